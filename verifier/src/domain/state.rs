//! What is known at one point of one path: the frames of the call chain and what is held.

use std::rc::Rc;

use super::{Block, Extent, Held, Kind, Range, Stack, StackObject, Value};

/// One function's registers and stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// r0 to r10.
    pub regs: [Value; 11],
    /// Its stack.
    pub stack: Stack,
    /// Index of the function.
    pub function: u16,
    /// pc of the call that made it; 0 for the entry.
    pub call_site: u32,
    /// How it was called, if it was by a helper.
    pub callback: Option<Callback>,
    /// How often the call that the frame is at called back on this path.
    pub calls_back: u32,
}

/// How a function is called by a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Smallest and largest value that it may give back.
    pub result: (i64, i64),
    /// Whether it is called later, when the program has ended.
    pub later: bool,
}

impl Frame {
    /// A fresh frame of `function` at this depth, called from `call_site`.
    pub fn new(function: u16, depth: u8, call_site: u32) -> Frame {
        let mut regs = [Value::UNKNOWN; 11];
        regs[10] = Value::pointer(Kind::Stack { frame: depth });
        Frame {
            regs,
            stack: Stack::default(),
            function,
            call_site,
            callback: None,
            calls_back: 0,
        }
    }
}

/// Source of ids that link values.
#[derive(Clone, Debug, Default)]
pub struct Ids(u32);

impl Ids {
    /// An id not given before.
    pub fn fresh(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

/// The state of one path. Cloning is cheap: callers' frames and stacks are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Frames of the callers, the entry first.
    callers: Vec<Rc<Frame>>,
    /// The running function's frame.
    pub top: Frame,
    /// What must be given back.
    pub held: Held,
    /// How often `may_goto` went on, and how often functions were called back, on this path.
    pub progress: (u32, u32),
}

impl State {
    /// The state where a function that nobody calls begins, but for its arguments.
    pub fn entry(function: u16) -> State {
        State {
            callers: Vec::new(),
            top: Frame::new(function, 0, 0),
            held: Held::default(),
            progress: (0, 0),
        }
    }

    /// Depth of the running function: 0 for the entry.
    pub fn depth(&self) -> usize {
        self.callers.len()
    }

    /// The frame at a depth up to [`State::depth`].
    pub fn frame(&self, depth: usize) -> &Frame {
        self.callers.get(depth).map_or(&self.top, |f| f)
    }

    /// The frame at a depth for writing.
    pub fn frame_mut(&mut self, depth: usize) -> &mut Frame {
        match self.callers.get_mut(depth) {
            Some(frame) => Rc::make_mut(frame),
            None => &mut self.top,
        }
    }

    /// Whether both share the frame of a caller at this depth.
    pub fn same_caller(&self, other: &State, depth: usize) -> bool {
        match (self.callers.get(depth), other.callers.get(depth)) {
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// All frames, the entry's first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.callers
            .iter()
            .map(|f| &**f)
            .chain(std::iter::once(&self.top))
    }

    /// Enters a function: `frame` becomes the running one.
    pub fn push(&mut self, frame: Frame) {
        let caller = std::mem::replace(&mut self.top, frame);
        self.callers.push(Rc::new(caller));
    }

    /// Leaves the running function; its frame, or `None` if it is the entry.
    pub fn pop(&mut self) -> Option<Frame> {
        let caller = self.callers.pop()?;
        let caller = Rc::try_unwrap(caller).unwrap_or_else(|shared| (*shared).clone());
        Some(std::mem::replace(&mut self.top, caller))
    }

    /// Calls `change` on every register and spilled register that `which` picks.
    pub fn update_all(
        &mut self,
        which: impl Fn(&Value) -> bool,
        mut change: impl FnMut(&mut Value),
    ) {
        for depth in 0..=self.depth() {
            let frame = self.frame(depth);
            let in_regs = frame.regs.iter().any(&which);
            let in_stack = frame
                .stack
                .slots()
                .iter()
                .any(|s| s.spilled().is_some_and(|(reg, _)| which(reg)));
            if !in_regs && !in_stack {
                continue;
            }
            let frame = self.frame_mut(depth);
            for reg in &mut frame.regs {
                if which(reg) {
                    change(reg);
                }
            }
            if in_stack {
                for slot in frame.stack.slots_mut() {
                    if slot.spilled().is_some_and(|(reg, _)| which(reg))
                        && let Some(reg) = slot.spilled_mut()
                    {
                        change(reg);
                    }
                }
            }
        }
    }

    /// Forgets every pointer into the packet.
    pub fn forget_packet(&mut self) {
        let sliced = |kind| {
            matches!(
                kind,
                Kind::Memory {
                    block: Block::Slice { packet: true, .. },
                    ..
                }
            )
        };
        self.update_all(
            |r| r.kind.follows_packet() || sliced(r.kind),
            |r| *r = Value::SCALAR,
        );
    }

    /// Decides whether all copies of the pointer `id` are null.
    pub fn resolve_null(&mut self, id: u32, null: bool) {
        let mut released = 0;
        self.update_all(
            |r| r.id == id && r.kind.or_null(),
            |r| {
                if null {
                    // A socket seen as of another kind carries a reference that is not its own.
                    if r.reference == id {
                        released = id;
                    }
                    *r = Value::scalar(Range::constant(0));
                } else {
                    r.kind = r.kind.not_null();
                    // Only a reference still needs its identity.
                    r.id = 0;
                }
            },
        );
        if released != 0 {
            self.held.references.retain(|r| r.id != released);
        }
    }

    /// Gives back a reference: everything that carries it becomes useless.
    pub fn release(&mut self, reference: u32) {
        self.held.references.retain(|r| r.id != reference);
        self.update_all(|r| r.reference == reference, |r| *r = Value::SCALAR);
    }

    /// Takes an object off the stack: `slots` slots from the one at `slot` on (towards the frame
    /// pointer) are untouched then.
    pub fn take_object(&mut self, frame: usize, slot: usize, slots: usize) {
        let stack = &mut self.frame_mut(frame).stack;
        for at in 0..slots {
            if let Some(index) = slot.checked_sub(at) {
                *stack.slot_mut(index) = super::Slot::default();
            }
        }
    }

    /// A dynptr is no more: what was sliced from it cannot be used.
    pub fn forget_slices(&mut self, owner: u32) {
        self.update_all(|r| r.owner == owner, |r| *r = Value::SCALAR);
    }

    /// Objects on the stacks, with frame and slot.
    pub fn objects(&self) -> impl Iterator<Item = (usize, usize, StackObject)> + '_ {
        self.frames().enumerate().flat_map(|(frame, f)| {
            let slots = f.stack.slots().iter().enumerate();
            slots.filter_map(move |(slot, s)| Some((frame, slot, s.object()?)))
        })
    }

    /// Makes all packet pointers of this id and kind reach at least `bytes` past their base.
    pub fn extend_packet(&mut self, kind: Kind, id: u32, bytes: u16) {
        self.update_all(
            |r| r.kind == kind && r.id == id,
            |r| {
                let reached = r.extent.bytes().max(bytes);
                r.extent = match reached {
                    0 => Extent::None,
                    reached => Extent::Bytes(reached),
                };
            },
        );
    }
}
