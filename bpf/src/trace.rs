//! A run instruction by instruction: an engine calls an [`Observer`] before each one.
//!
//! Engines have addresses of their own. A [`Recorder`] keeps what an engine shows in a form that
//! two engines can be held against each other by: numbers as they are, pointers as a [`Place`].
//! Which register holds which is not seen in the register; whoever knows the program says it in
//! a [`Site`] for each instruction. All of it is plain data, so that a trace can cross processes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::map::MapId;

/// How many registers a program has.
pub const REGISTERS: usize = 11;

/// The time before an instruction, as the engine that runs the program shows it.
pub trait Moment {
    /// Number of the running program: its index among those loaded together.
    fn program(&self) -> u32;

    /// Slot of the instruction that is about to run.
    fn pc(&self) -> usize;

    /// Byte offset of its code in the program's image, where the engine runs an image.
    fn code_offset(&self) -> Option<usize>;

    /// r0 to r10, with the engine's own addresses.
    fn registers(&self) -> [u64; REGISTERS];

    /// What an address of this region means; `None` if it means nothing (null), and for
    /// [`Region::Stack`], which the frame pointers tell.
    fn resolve(&self, region: Region, address: u64) -> Option<Place>;

    /// Copies from the program's memory; gives whether all bytes could be read.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;
}

/// Looks at a run.
pub trait Observer {
    /// Called before each instruction.
    fn before(&mut self, moment: &dyn Moment);
}

/// What a register holds, as far as the program's proof knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Region {
    /// Nothing that may be relied on.
    #[default]
    Unknown,
    /// A number.
    Number,
    /// The address of the context.
    Context,
    /// An address in the packet's area, or in the memory of a program without hook.
    Packet,
    /// An address in a stack frame.
    Stack,
    /// An address in a map's memory, or null.
    Value,
    /// A map itself.
    Map,
}

/// What an address means, the same on every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Byte of the context.
    Context {
        /// From its start.
        offset: i64,
    },
    /// Byte of the packet's area.
    Packet {
        /// From the area's first byte, which is headroom.
        offset: i64,
    },
    /// Byte of a stack frame.
    Stack {
        /// Function that owns the frame: 0 is the entry, one more for each call.
        frame: u32,
        /// From its frame pointer: -512 to 0.
        offset: i64,
    },
    /// Byte of a map's memory.
    Value {
        /// The map.
        map: MapId,
        /// From the start of the map's memory.
        at: i64,
    },
    /// A map itself.
    Map {
        /// The map.
        map: MapId,
    },
}

/// What is known of an instruction before it runs: which of an engine's numbers are addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// What each register holds; [`Region::Unknown`] if nobody reads it any more.
    pub registers: [Region; REGISTERS],
    /// What it stores into memory other than the context, if it does.
    pub store: Option<Store>,
    /// Whether it is the first instruction of a function other than the entry.
    pub starts: bool,
    /// Whether it calls a function, or a helper that may call one.
    pub calls: bool,
    /// Whether it is an `exit`.
    pub leaves: bool,
}

/// A store or atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Number of the register with the address.
    pub base: u8,
    /// Byte offset from there.
    pub offset: i16,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether a number is stored, and not an address, which is another on every engine.
    pub number: bool,
}

/// What a register held, the same on every engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing that may be relied on.
    #[default]
    Unknown,
    /// A number; null.
    Number(u64),
    /// An address.
    At(Place),
    /// What should be an address, and leads nowhere.
    Nowhere,
}

/// One instruction that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the program.
    pub program: u32,
    /// Slot in it.
    pub pc: usize,
    /// Functions on the stack, less one.
    pub depth: u32,
    /// Byte offset of its code in the image.
    pub code_offset: Option<usize>,
    /// The registers before it.
    pub registers: [Value; REGISTERS],
    /// What a store left in memory, once it was done.
    pub stored: Option<Stored>,
}

/// Memory around a store, after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Where the store went.
    pub place: Option<Place>,
    /// The bytes stored; empty if they are an address, or the run ended with the store.
    pub bytes: Vec<u8>,
    /// The 8 bytes before it, where they belong to the program and are not of the stack, which may
    /// hold addresses.
    pub before: Option<[u8; 8]>,
    /// The 8 bytes behind it, likewise.
    pub after: Option<[u8; 8]>,
}

/// Keeps the steps of one run.
#[derive(Debug)]
pub struct Recorder {
    sites: Arc<[Vec<Site>]>,
    most: usize,
    steps: Vec<Step>,
    left_out: u64,
    frames: Vec<u64>,
    last: Option<Site>,
    stored_at: Option<(u64, u8)>,
}

/// Steps that a recorder keeps unless told otherwise: enough for all but loops for their own sake.
pub const MOST_STEPS: usize = 1 << 16;

impl Recorder {
    /// An empty one, which keeps so many steps at most. `sites` has a list for each program, by
    /// number, with an entry for each slot; registers of slots that it does not have are unknown.
    pub fn new(sites: Arc<[Vec<Site>]>, most: usize) -> Recorder {
        Recorder {
            sites,
            most,
            steps: Vec::new(),
            left_out: 0,
            frames: Vec::new(),
            last: None,
            stored_at: None,
        }
    }

    /// The steps kept, in order, and how many more there were.
    pub fn finish(self) -> (Vec<Step>, u64) {
        (self.steps, self.left_out)
    }

    /// Reads what the instruction before has stored.
    fn complete(&mut self, moment: &dyn Moment) {
        let Some((address, size)) = self.stored_at.take() else {
            return;
        };
        let Some(stored) = self.steps.last_mut().and_then(|s| s.stored.as_mut()) else {
            return;
        };
        let mut bytes = vec![0; usize::from(size)];
        if !moment.read(address, &mut bytes) {
            return;
        }
        stored.bytes = bytes;
        if !matches!(stored.place, Some(Place::Stack { .. })) {
            let eight = |at: u64| {
                let mut bytes = [0; 8];
                moment.read(at, &mut bytes).then_some(bytes)
            };
            stored.before = eight(address.wrapping_sub(8));
            stored.after = eight(address.wrapping_add(u64::from(size)));
        }
    }

    fn value(&self, moment: &dyn Moment, region: Region, raw: u64) -> Value {
        match region {
            Region::Unknown => Value::Unknown,
            Region::Number => Value::Number(raw),
            // An engine that never needs the context's address may hold anything.
            _ if raw == 0 && region != Region::Context => Value::Number(0),
            _ => self
                .place(moment, region, raw)
                .map_or(Value::Nowhere, Value::At),
        }
    }

    fn place(&self, moment: &dyn Moment, region: Region, address: u64) -> Option<Place> {
        if !matches!(region, Region::Stack) {
            return moment.resolve(region, address);
        }
        // A function without a frame of its own may show its caller's frame pointer: the
        // outermost of equals is whose it is.
        let frames = self.frames.iter().enumerate();
        let (frame, offset) = frames
            .map(|(frame, pointer)| (frame, address.wrapping_sub(*pointer) as i64))
            .find(|(_, offset)| (-512..=0).contains(offset))?;
        Some(Place::Stack {
            frame: frame as u32,
            offset,
        })
    }
}

impl Observer for Recorder {
    fn before(&mut self, moment: &dyn Moment) {
        self.complete(moment);
        let (program, pc) = (moment.program(), moment.pc());
        let site = self
            .sites
            .get(program as usize)
            .and_then(|sites| sites.get(pc))
            .copied()
            .unwrap_or_default();
        let last = self.last.replace(site);
        if last.is_some_and(|l| l.leaves) {
            self.frames.pop();
        }
        // A helper may call a function several times: it is entered again after each return.
        if self.frames.is_empty() || (site.starts && last.is_some_and(|l| l.calls || l.leaves)) {
            self.frames.push(0);
        }
        let raw = moment.registers();
        if let Some(frame) = self.frames.last_mut() {
            *frame = raw[REGISTERS - 1];
        }
        if self.steps.len() >= self.most {
            self.left_out += 1;
            return;
        }
        let mut registers = [Value::default(); REGISTERS];
        for (number, value) in registers.iter_mut().enumerate() {
            *value = self.value(moment, site.registers[number], raw[number]);
        }
        let stored = site.store.map(|store| {
            let base = usize::from(store.base).min(REGISTERS - 1);
            let address = raw[base].wrapping_add(i64::from(store.offset) as u64);
            self.stored_at = store.number.then_some((address, store.size));
            Stored {
                place: self.place(moment, site.registers[base], address),
                before: None,
                bytes: Vec::new(),
                after: None,
            }
        });
        self.steps.push(Step {
            program,
            pc,
            depth: self.frames.len() as u32 - 1,
            code_offset: moment.code_offset(),
            registers,
            stored,
        });
    }
}
