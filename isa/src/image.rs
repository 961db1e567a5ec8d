//! [`Image`]: what a backend makes and a NIC loads.

use std::fmt;

/// An instruction set that an image can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// eBPF itself, for NICs that execute it.
    Ebpf,
    /// x86-64, for NICs whose cores are the host's.
    X86_64,
    /// RV64IMAC (BlueField-3 DPA class).
    Rv64,
    /// Netronome NFP microengine.
    Nfp,
    /// hXDP's four-lane rows.
    Hxdp,
}

impl Isa {
    /// All, in order.
    pub const ALL: [Isa; 5] = [Isa::Ebpf, Isa::X86_64, Isa::Rv64, Isa::Nfp, Isa::Hxdp];

    /// The name used in profiles and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Ebpf => "ebpf",
            Isa::X86_64 => "x86_64",
            Isa::Rv64 => "rv64",
            Isa::Nfp => "nfp",
            Isa::Hxdp => "hxdp",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Code for a NIC, not yet loaded: bytes with holes, and what each range of them came from.
///
/// An image is data and may be wrong. Engines that interpret check every access; native code
/// is run only where the caller vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The instruction set of [`Image::code`].
    pub isa: Isa,
    /// The encoded instructions, in the set's own byte order.
    pub code: Vec<u8>,
    /// How many instructions (rows, for hXDP) the code holds.
    pub instructions: usize,
    /// Places in the code that only loading can fill, by ascending `at`.
    pub relocations: Vec<Relocation>,
    /// Byte offset in the code where execution starts.
    pub entry: usize,
    /// What the program needs of the device beside the code store.
    pub resources: Resources,
    /// Code ranges by ascending start; together they cover the code without overlap.
    pub source_map: Vec<CodeRange>,
    /// Reachable pcs that have no code, with the reason, by ascending pc.
    pub removed: Vec<(usize, &'static str)>,
    /// Remarks of the backend on places in the code, by ascending byte offset.
    pub notes: Vec<(usize, &'static str)>,
}

impl Image {
    /// Vouches for the code, so that an engine may run it in this process.
    ///
    /// # Safety
    /// The code must keep to the `abi` of its instruction set, and touch no memory but its own
    /// stack, the run state, the packet and the maps it is loaded with, whatever packet it is
    /// given. What a built-in backend made of a verified program, unchanged, does.
    #[expect(
        unsafe_code,
        reason = "declares the one promise that safe code cannot make"
    )]
    pub unsafe fn trust(self) -> TrustedImage {
        TrustedImage(self)
    }
}

/// An image that somebody vouches for; see [`Image::trust`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedImage(Image);

impl TrustedImage {
    /// The image.
    pub fn image(&self) -> &Image {
        &self.0
    }
}

/// What a program needs of a device beside its code store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Stack in bytes over the deepest chain of calls.
    pub stack_bytes: usize,
    /// Indices into the program's map list that the code refers to, ascending.
    pub maps: Vec<usize>,
    /// Their names, in the same order, for listings.
    pub map_names: Vec<String>,
    /// Helper ids that the code calls, ascending.
    pub helpers: Vec<u32>,
    /// Words that only the NIC's own driver understands (what its hooks learned).
    pub device: Vec<u64>,
    /// Values of read-only globals the translation relied on: (map index, contents). A NIC
    /// refuses to load the image over other contents.
    pub frozen: Vec<(usize, Vec<u8>)>,
}

/// A place in the code that loading fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Byte offset in the code.
    pub at: usize,
    /// How the value is stored there.
    pub kind: RelocationKind,
    /// What is stored.
    pub symbol: Symbol,
}

/// How a relocated value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationKind {
    /// 8 bytes, little-endian, absolute.
    Absolute64,
    /// 4 bytes, little-endian, absolute; a larger value is a load error.
    Absolute32,
    /// The immediate of the eBPF instruction (two slots) that starts there.
    EbpfWide,
    /// As the instruction set of the image defines it (a number of its `abi` module).
    Target(u8),
}

/// What a relocation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// The engine's entry for the helper with this id.
    Helper(u32),
    /// The engine's handle of the map with this index in the program's map list.
    Map(usize),
    /// The address of the values of an array-like map, plus an offset in bytes.
    MapValues {
        /// Index in the program's map list.
        map: usize,
        /// Byte offset from the first value.
        offset: u64,
    },
    /// A fixed entry of the engine (a number of the set's `abi` module).
    Runtime(u32),
    /// A place in the image itself, as a byte offset in its code.
    Code(usize),
}

/// A range of code and the eBPF instructions it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// First byte.
    pub start: usize,
    /// First byte after the range.
    pub end: usize,
    /// Lane, for sets that issue several instructions at once; else 0.
    pub lane: u8,
    /// pcs of the eBPF instructions, ascending; empty for glue (prologue, stubs).
    pub pcs: Vec<usize>,
}
