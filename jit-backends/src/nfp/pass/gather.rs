//! Runs of loads and stores that copy memory, to become one bulk copy.

use isa::ebpf::{Insn, MemSize, Operand, Reg};
use verifier::facts::Region;

use super::Copy;
use crate::nfp::plan::Plan;
use crate::nfp::pointers::{Origin, Pointers};

/// Bytes at which a copy does not grow any more.
const ENOUGH: usize = 128;

/// A load and the store of what it loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pair {
    size: MemSize,
    through: Reg,
    from: Reg,
    load_offset: i32,
    to: Reg,
    store_offset: i32,
    from_map: bool,
}

impl Pair {
    /// The pair that starts at `pc`.
    fn at(plan: &Plan<'_>, pc: usize) -> Option<Pair> {
        let [load, store] = plan.steps.get(pc..pc + 2)? else {
            return None;
        };
        let region = |pc: usize| plan.facts(pc).access.map(|access| access.region);
        let Insn::Load {
            size,
            signed: false,
            dst,
            base: from,
            offset: load_offset,
        } = load.insn
        else {
            return None;
        };
        let Insn::Store {
            size: stored,
            base: to,
            offset: store_offset,
            src: Operand::Reg(src),
        } = store.insn
        else {
            return None;
        };
        let from_map = match region(pc)? {
            Region::Packet => false,
            Region::MapValue { .. } => true,
            _ => return None,
        };
        let fits = load.is_live()
            && store.is_live()
            && !store.target
            && stored == size
            && src == dst
            && region(pc + 1)? == Region::Packet;
        fits.then_some(Pair {
            size,
            through: dst,
            from,
            load_offset: i32::from(load_offset),
            to,
            store_offset: i32::from(store_offset),
            from_map,
        })
    }

    /// Whether `next` goes on where this ended, `step` bytes further.
    fn is_followed_by(&self, next: &Pair, step: i32) -> bool {
        *next
            == Pair {
                load_offset: self.load_offset + step,
                store_offset: self.store_offset + step,
                ..*self
            }
    }
}

pub(super) fn run(plan: &mut Plan<'_>) {
    let pointers = Pointers::new(plan);
    let mut pc = 0;
    while pc < plan.steps.len() {
        let (copy, overlooked) = chain(plan, &pointers, pc);
        if let Some(pc) = overlooked {
            plan.steps[pc].note =
                Some("a part of it was stored just before: the driver copies it with the others");
        }
        match copy {
            Some(copy) => {
                plan.steps[pc].copy = Some(copy);
                for step in &mut plan.steps[pc + 1..pc + copy.slots] {
                    step.removed = Some("part of a bulk copy");
                }
                pc += copy.slots;
            }
            None => pc += 1,
        }
    }
}

/// The copy that starts at `pc`, if two pairs or more follow each other there; and the load that
/// ends it, if the driver would go on.
fn chain(plan: &Plan<'_>, pointers: &Pointers, pc: usize) -> (Option<Copy>, Option<usize>) {
    let Some(head) = Pair::at(plan, pc) else {
        return (None, None);
    };
    let mut overlooked = None;
    let bytes = usize::from(head.size.bytes());
    let size = bytes as i32;
    let mut last = head;
    let mut direction = None;
    let mut count = 1;
    while count * bytes < ENOUGH {
        let at = pc + 2 * count;
        let Some(next) = Pair::at(plan, at) else {
            break;
        };
        let step = match direction {
            Some(step) => step,
            None if next.load_offset > last.load_offset => size,
            None => -size,
        };
        let goes_on = !plan.steps[at].target && last.is_followed_by(&next, step);
        if !goes_on || feeds(pointers, (pc, &head), &next, 0) {
            break;
        }
        if !plan.exact && feeds(pointers, (pc, &head), &next, i64::from(size) - 1) {
            overlooked = Some(at);
            break;
        }
        direction = Some(step);
        last = next;
        count += 1;
    }
    let Some(step) = direction else {
        return (None, overlooked);
    };
    let lowest = if step < 0 { last } else { head };
    let copy = Copy {
        from: (head.from, lowest.load_offset),
        from_map: head.from_map,
        to: (head.to, lowest.store_offset),
        bytes: count * bytes,
        descending: step < 0,
        slots: 2 * count,
    };
    (Some(copy), overlooked)
}

/// Whether the load of `next` may read what the copy from `head` on has stored by then. The driver
/// compares where accesses start; `part` is how many bytes of a load may have been stored beside.
fn feeds(pointers: &Pointers, (pc, head): (usize, &Pair), next: &Pair, part: i64) -> bool {
    if head.from_map {
        return false;
    }
    let (Some(from), Some(to)) = (pointers.base(pc), pointers.base(pc + 1)) else {
        return true;
    };
    let Some(apart) = Origin::distance(from, to) else {
        return true;
    };
    // All as offsets from the base of the loads.
    let stored = i64::from(head.store_offset) + apart;
    let (first, now) = (i64::from(head.load_offset), i64::from(next.load_offset));
    (first < stored && stored <= now + part) || (now - part <= stored && stored < first)
}
