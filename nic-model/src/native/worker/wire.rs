//! What goes to a worker and comes back, as values.

use bpf::btf::fields::{SpecialField, SpecialKind};
use bpf::fault::Area;
use bpf::map::{MapDef, MapType};
use bpf::run::{Emitted, Environment, Event, Frame, Trap, TrapCause};
use bpf::skb::Skb;
use isa::{Image, Isa, Relocation, RelocationKind, Resources, Symbol};
use serde::{Deserialize, Serialize};

use super::super::fault::Told;

/// What a worker loads before the first frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) environment: Environment,
    /// CPUs (queues) of the maps.
    pub(super) cpus: u32,
    /// The maps by id; their files come with the request.
    pub(super) maps: Vec<MapShape>,
    /// The programs by id.
    pub(super) programs: Vec<ProgramPart>,
    /// The program that frames enter.
    pub(super) entry: usize,
}

/// What a worker needs to know of a map.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MapShape {
    name: String,
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    extra: u64,
    /// Structure, offset and size of the fields that copies leave alone.
    special: Vec<(String, u32, u32)>,
}

impl MapShape {
    pub(super) fn new(def: &MapDef) -> MapShape {
        MapShape {
            name: def.name.clone(),
            kind: def.kind.number(),
            key_size: def.key_size,
            value_size: def.value_size,
            max_entries: def.max_entries,
            flags: def.flags,
            extra: def.extra,
            special: def
                .special
                .iter()
                .map(|f| (f.kind.name().to_owned(), f.offset, f.size))
                .collect(),
        }
    }

    pub(super) fn def(&self) -> Option<MapDef> {
        Some(MapDef {
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            flags: self.flags,
            extra: self.extra,
            special: self
                .special
                .iter()
                .map(|(name, offset, size)| SpecialField {
                    kind: SpecialKind::of(name).unwrap_or(SpecialKind::KernelPointer),
                    offset: *offset,
                    size: *size,
                    contains: None,
                    pointee: None,
                })
                .collect(),
            ..MapDef::new(&self.name, MapType::from_number(self.kind)?)
        })
    }
}

/// What a worker needs to know of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProgramPart {
    code: Vec<u8>,
    entry: usize,
    relocations: Vec<RelocationPart>,
    /// For each map of the program its id.
    pub(super) maps: Vec<usize>,
}

/// A relocation in numbers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct RelocationPart {
    at: usize,
    kind: Kind,
    symbol: Named,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    Absolute64,
    Absolute32,
    EbpfWide,
    Target(u8),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Named {
    Helper(u32),
    Map(usize),
    MapValues { map: usize, offset: u64 },
    Runtime(u32),
    Code(usize),
}

impl RelocationPart {
    fn new(relocation: &Relocation) -> RelocationPart {
        RelocationPart {
            at: relocation.at,
            kind: match relocation.kind {
                RelocationKind::Absolute64 => Kind::Absolute64,
                RelocationKind::Absolute32 => Kind::Absolute32,
                RelocationKind::EbpfWide => Kind::EbpfWide,
                RelocationKind::Target(number) => Kind::Target(number),
            },
            symbol: match relocation.symbol {
                Symbol::Helper(id) => Named::Helper(id),
                Symbol::Map(map) => Named::Map(map),
                Symbol::MapValues { map, offset } => Named::MapValues { map, offset },
                Symbol::Runtime(number) => Named::Runtime(number),
                Symbol::Code(at) => Named::Code(at),
            },
        }
    }

    fn relocation(self) -> Relocation {
        Relocation {
            at: self.at,
            kind: match self.kind {
                Kind::Absolute64 => RelocationKind::Absolute64,
                Kind::Absolute32 => RelocationKind::Absolute32,
                Kind::EbpfWide => RelocationKind::EbpfWide,
                Kind::Target(number) => RelocationKind::Target(number),
            },
            symbol: match self.symbol {
                Named::Helper(id) => Symbol::Helper(id),
                Named::Map(map) => Symbol::Map(map),
                Named::MapValues { map, offset } => Symbol::MapValues { map, offset },
                Named::Runtime(number) => Symbol::Runtime(number),
                Named::Code(at) => Symbol::Code(at),
            },
        }
    }
}

impl ProgramPart {
    pub(super) fn new(image: &Image, maps: &[usize]) -> ProgramPart {
        ProgramPart {
            code: image.code.clone(),
            entry: image.entry,
            relocations: image.relocations.iter().map(RelocationPart::new).collect(),
            maps: maps.to_vec(),
        }
    }

    /// The image, as far as running it goes.
    pub(super) fn image(&self) -> Image {
        Image {
            isa: Isa::X86_64,
            code: self.code.clone(),
            instructions: 0,
            relocations: self.relocations.iter().map(|r| r.relocation()).collect(),
            entry: self.entry,
            resources: Resources::default(),
            source_map: Vec::new(),
            removed: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// One record of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// Something the program handed to the host; before the frame it belongs to.
    Event(Event),
    /// A copy that it sent; before the frame it belongs to.
    Emitted(Emitted),
    /// What became of the next frame, and of what it has beside its bytes; the body of the record
    /// is its area.
    Frame(Frame, Option<Box<Skb>>, Option<Trap>),
}

/// Why a worker cannot load what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// The request cannot be read.
    Request,
    /// A map cannot be mapped.
    Map,
    /// An image cannot be linked.
    Image,
    /// There is no memory.
    Memory,
    /// The filter of system calls cannot be applied.
    Filter,
}

/// Why a worker ended in the midst of a frame.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) cause: TrapCause,
    /// The program, by id, and the byte offset in its code, where that is known.
    pub(super) place: Option<(usize, usize)>,
    /// pc of the latest helper call, where code outside the image was stopped.
    pub(super) pc: Option<usize>,
    pub(super) told: Option<Told>,
}

impl Report {
    pub(super) fn overrun(area: Area) -> Report {
        Report::bare(TrapCause::Overrun { area })
    }

    /// A cause alone, where the place says nothing.
    pub(super) fn bare(cause: TrapCause) -> Report {
        Report {
            cause,
            place: None,
            pc: None,
            told: None,
        }
    }
}
