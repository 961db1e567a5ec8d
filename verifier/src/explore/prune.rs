//! When a state needs no exploration because a kept one covers it.
//!
//! An old state whose paths were all found safe covers a new one if everything the old one's
//! safety rested on holds in the new one: values that are still read, pointers with all that is
//! known of them, and numbers where they were needed to be exact.

use crate::check::MAX_FRAMES;
use crate::domain::{Byte, Extent, Frame, Held, Kind, Slot, StackObject, State, Value};

/// Registers and slots of each frame, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) regs: [u16; MAX_FRAMES],
    pub(super) slots: [u64; MAX_FRAMES],
}

impl Marks {
    pub(super) fn is_empty(&self) -> bool {
        self.regs.iter().all(|r| *r == 0) && self.slots.iter().all(|s| *s == 0)
    }
}

/// How states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The new state may know more.
    Covered,
    /// The new state knows no less of anything that may still be used: what the old one's
    /// safety rests on is not known yet.
    Within,
    /// Both know the same: a loop that changes nothing.
    Same,
}

/// Which ids of the old state stand for which of the new one.
#[derive(Debug, Default)]
struct IdMap(Vec<(u32, u32)>);

impl IdMap {
    /// One to one.
    fn bijective(&mut self, old: u32, new: u32) -> bool {
        if (old == 0) != (new == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for (a, b) in &self.0 {
            if *a == old {
                return *b == new;
            }
            if *b == new {
                return false;
            }
        }
        self.0.push((old, new));
        true
    }

    /// What is linked in the old state is linked in the new one.
    fn keeps_links(&mut self, old: u32, new: u32) -> bool {
        old == 0 || new != 0 && self.bijective(old, new)
    }
}

/// What is needed of an old state to compare with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old<'a> {
    pub(super) state: &'a State,
    /// Numbers whose range matters.
    pub(super) precise: &'a Marks,
    /// Slots that were read afterwards, by frame.
    pub(super) reads: &'a [u64; MAX_FRAMES],
}

/// Whether the old state covers the new one. `live` gives the registers of a frame that may
/// still be read, by the pc at which the frame goes on.
pub(super) fn covers(old: Old<'_>, new: &State, pc: usize, live: &[u16], how: How) -> bool {
    let mut ids = IdMap::default();
    if old.state.depth() != new.depth() || !same_held(&old.state.held, &new.held, &mut ids) {
        return false;
    }
    let depth = new.depth();
    // The running frame differs most often.
    for at in (0..=depth).rev() {
        let (a, b) = (old.state.frame(at), new.frame(at));
        if a.function != b.function
            || a.call_site != b.call_site
            || a.callback != b.callback
            || a.calls_back > b.calls_back
        {
            return false;
        }
        let resumes = if at == depth {
            pc
        } else {
            // The frame above was called from here; what lives before the call but is
            // overwritten by it holds nothing.
            new.frame(at + 1).call_site as usize
        };
        let regs = live[resumes];
        if !registers_cover(a, b, regs, old.precise.regs[at], &mut ids, how)
            || !stack_covers(a, b, old.precise.slots[at], old.reads[at], &mut ids, how)
        {
            return false;
        }
    }
    true
}

/// Whether both hold the same.
fn same_held(old: &Held, new: &Held, ids: &mut IdMap) -> bool {
    let lock = match (&old.lock, &new.lock) {
        (None, None) => true,
        (Some(a), Some(b)) => a.place == b.place && ids.bijective(a.id, b.id),
        _ => false,
    };
    lock && old.rcu == new.rcu
        && old.preempt == new.preempt
        && old.references.len() == new.references.len()
        && old
            .references
            .iter()
            .zip(&new.references)
            .all(|(a, b)| a.resource == b.resource && ids.bijective(a.id, b.id))
}

fn registers_cover(
    old: &Frame,
    new: &Frame,
    live: u16,
    precise: u16,
    ids: &mut IdMap,
    how: How,
) -> bool {
    (0..10).all(|n| {
        live & (1 << n) == 0
            || value_covers(
                &old.regs[n],
                &new.regs[n],
                precise & (1 << n) != 0,
                ids,
                how,
            )
    })
}

fn value_covers(old: &Value, new: &Value, precise: bool, ids: &mut IdMap, how: How) -> bool {
    if how == How::Same {
        return old.kind == new.kind
            && old.off == new.off
            && old.same_delta(new)
            && old.extent == new.extent
            && old.range == new.range
            && ids.bijective(old.id, new.id)
            && ids.bijective(old.reference, new.reference)
            && ids.bijective(old.owner, new.owner);
    }
    let precise = precise || how == How::Within;
    match old.kind {
        // Nothing read it, or it could not have been safe.
        Kind::Unknown => true,
        Kind::Scalar => {
            if new.kind != Kind::Scalar {
                return false;
            }
            !precise
                || old.range.includes(&new.range)
                    && (old.id == 0 || old.same_delta(new) && ids.keeps_links(old.id, new.id))
        }
        kind => {
            if kind != new.kind || old.off != new.off {
                return false;
            }
            let extent = match old.extent {
                Extent::None => matches!(new.extent, Extent::None | Extent::Bytes(_)),
                Extent::Bytes(n) => matches!(new.extent, Extent::Bytes(m) if m >= n),
                Extent::AtEnd | Extent::PastEnd => new.extent == old.extent,
            };
            extent
                && old.range.includes(&new.range)
                && ids.bijective(old.id, new.id)
                && ids.bijective(old.reference, new.reference)
                && ids.bijective(old.owner, new.owner)
        }
    }
}

/// Whether both are the same object up to ids and the progress of loops.
fn same_object(old: Option<StackObject>, new: Option<StackObject>, ids: &mut IdMap) -> bool {
    use StackObject as O;
    let (Some(old), Some(new)) = (old, new) else {
        return old.is_none();
    };
    match (old.without_ids(), new.without_ids()) {
        (x, y) if x != y => false,
        _ => match (old, new) {
            (O::Dynptr { id: a, .. }, O::Dynptr { id: b, .. }) => {
                ids.bijective(a, b) && ids.bijective(old.reference(), new.reference())
            }
            _ => ids.bijective(old.reference(), new.reference()),
        },
    }
}

fn stack_covers(
    old: &Frame,
    new: &Frame,
    precise: u64,
    reads: u64,
    ids: &mut IdMap,
    how: How,
) -> bool {
    if how == How::Same {
        return same_stack(old, new, ids);
    }
    let untouched = Slot::default();
    old.stack.slots().iter().enumerate().all(|(n, a)| {
        if reads & (1 << n) == 0 && how != How::Within {
            return true;
        }
        let b = new.stack.slot(n).unwrap_or(&untouched);
        if let (Some(x), Some(y)) = (a.as_number(), b.as_number()) {
            return value_covers(&x, &y, precise & (1 << n) != 0, ids, how);
        }
        let bytes = a.bytes.iter().zip(&b.bytes).all(|(x, y)| match x {
            Byte::Untouched | Byte::Misc => true,
            Byte::Zero | Byte::Spill | Byte::Object => x == y,
        });
        if !bytes || !same_object(a.object(), b.object(), ids) {
            return false;
        }
        match (a.spilled(), b.spilled()) {
            (Some((x, _)), Some((y, _))) => value_covers(x, y, precise & (1 << n) != 0, ids, how),
            (Some(_), None) => false,
            (None, _) => true,
        }
    })
}

fn same_stack(old: &Frame, new: &Frame, ids: &mut IdMap) -> bool {
    if old.stack.same(&new.stack) {
        return true;
    }
    let (a, b) = (old.stack.slots(), new.stack.slots());
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| {
            x.bytes == y.bytes
                && same_object(x.object(), y.object(), ids)
                && match (x.spilled(), y.spilled()) {
                    (Some((p, _)), Some((q, _))) => value_covers(p, q, true, ids, How::Same),
                    (None, None) => true,
                    _ => false,
                }
        })
}
