//! What an image and the card's firmware agree on: register roles, packet vector, result word,
//! control and status registers.
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/bpf/jit.c` and `src/bpf/main.h`. Addresses that
//! differ between cards (where programs start, where a finished one jumps, where the helpers
//! are) come from the device record.

mod device;

pub use device::DeviceWord;

/// Low half of eBPF register `n` (0 to 9): GPR `2n`, in both banks. The high half is the next.
pub const fn gpr(n: u8) -> u8 {
    2 * n
}

/// Temporary for the address of an atomic, in both banks.
pub const ATOMIC_TEMPORARY: u8 = 20;
/// Temporary for immediates; in bank A also the return address of a bpf-to-bpf call.
pub const IMMEDIATE_TEMPORARY: u8 = 21;
/// In bank A the frame's base in local memory (bytes), in bank B the packet's length (bytes).
pub const FRAME_AND_LENGTH: u8 = 22;

/// LM index register of the stack frame.
pub const LM_STACK: u8 = 0;
/// LM index register of the packet vector.
pub const LM_VECTOR: u8 = 1;
/// LM index register of the value argument of a map update.
pub const LM_VALUE: u8 = 2;
/// LM index register for accesses that need an address of their own.
pub const LM_POINTER: u8 = 3;

/// Unit of stack frames, in bytes of local memory: the main function's frame starts at a
/// multiple of it, and a call moves the frame's base by a multiple of it.
pub const FRAME_UNIT: u32 = 64;

/// How an image is held against the device it is loaded into.
///
/// [`crate::Image::code`] holds the words as the driver's dump shows them: without
/// error-correcting bits, and with the [`super::Relocation`] kind in bits 63:56. For every word
/// of a kind, [`crate::Image::relocations`] has an entry whose
/// [`crate::RelocationKind::Target`] is the kind's number and whose symbol says what goes there:
///
/// | kind | symbol | put there |
/// |---|---|---|
/// | `Branch`, `GoOut`, `GoAbort`, `GoPush`, `GoPop` | [`crate::Symbol::Code`] | start + offset / 8, as branch address |
/// | `NextPacket` | [`crate::Symbol::Runtime`]\([`link::NEXT_PACKET`]) | the device's done address |
/// | `Helper` | [`crate::Symbol::Helper`] | the helper's address, as the record's FUNC entry says |
/// | `Immed` | [`crate::Symbol::Code`] | start + offset / 8, as 16-bit immediate |
/// | [`link::MAP_ID`] (not in the top byte) | [`crate::Symbol::Map`] | the device's id of the map, as 16-bit immediate |
///
/// [`super::link()`] does all of this.
pub mod link {
    /// Number of the relocation of an `immed` that loads a map's id. In the image it holds
    /// [`FIRST_MAP_ID`] plus the map's index in the program's list: the id on a device that
    /// holds the program's maps alone.
    pub const MAP_ID: u8 = 16;
    /// The id of the first map of a device; ids count up from there. Never 0, at most 0xffff:
    /// with another id the driver would load it with other instructions.
    pub const FIRST_MAP_ID: u16 = 1;
    /// The symbol of the place where a finished program jumps to (BPF_DONE), with its result in
    /// A0 (see [`super::result`]).
    pub const NEXT_PACKET: u32 = 0;
}

/// How a program calls a helper of the firmware: it jumps to the helper's address, and two more
/// instructions after the jump are executed (they set [`call::MAP`] or [`call::POINTER_TYPE`],
/// and the return address).
///
/// The firmware keeps r6 to r9 (GPRs 12 to 19), A22, B22 and LM1. It may change LM0, LM2 and
/// LM3: the program sets LM0 again where it had changed it for the call.
pub mod call {
    /// In bank B: where the helper jumps back to, an absolute code-store address.
    pub const RETURN: u8 = 0;
    /// In bank A, for map helpers: the map's id. The key is in local memory at LM0
    /// ([`super::LM_STACK`]), for an update the value at LM2 ([`super::LM_VALUE`]); flags are in
    /// r4 (GPRs 8 and 9). The result is r0 in both banks: for a lookup the address of the value
    /// (low half GPR 0, high half GPR 1) or 0, else the return code, 64 bits.
    pub const MAP: u8 = 0;
    /// In bank A, for `perf_event_output`: what kind of memory r4 points to. The other arguments
    /// are in r1 to r5 (r2: the map's id; r4: the pointer; r5: the size in bytes).
    pub const POINTER_TYPE: u8 = 1;
    /// r4 is the number 0.
    pub const SCALAR: u8 = 1;
    /// r4 is an address in map memory.
    pub const MAP_VALUE: u8 = 4;
    /// r4 is a byte address in local memory.
    pub const STACK: u8 = 6;
    /// r4 is an address in packet memory.
    pub const PACKET: u8 = 8;
}

/// Words of the packet vector.
pub mod vector {
    /// Packet length in its bits 13:0.
    pub const LENGTH: u8 = 0;
    /// Address of the packet's first byte; bits 15:0 are its offset in the buffer.
    pub const PACKET: u8 = 2;
    /// Bit 4: a receive queue was selected.
    pub const FLAGS: u8 = 4;
    /// Bits 7:0: which.
    pub const QUEUE: u8 = 6;
    /// The bits of the length word that are the length.
    pub const LENGTH_MASK: u32 = 0x3fff;
    /// The flag of a selected queue.
    pub const QUEUE_SELECTED: u32 = 1 << 4;
}

/// The result word, A0 when a program jumps to its end.
pub mod result {
    /// Position of the action code; the other bits are 0.
    pub const ACTION_SHIFT: u32 = 16;
    /// Low nibble: pass.
    pub const PASS: u8 = 1;
    /// Low nibble: drop.
    pub const DROP: u8 = 2;
    /// Low nibble: redirect, for XDP back out of the port it came in.
    pub const REDIRECT: u8 = 4;
    /// Action code of an XDP program that aborts or returns an unknown code: drop, statistic 3.
    pub const XDP_ABORTED: u8 = 0x82;
    /// Action codes of XDP_ABORTED, XDP_DROP, XDP_PASS and XDP_TX, lowest byte first.
    pub const XDP: u32 = 0x4411_2282;
    /// Action code of a tc program that aborts: pass, statistic 0.
    pub const TC_ABORTED: u8 = 0x11;
    /// Low nibbles of the action codes of tc return codes 0 to 7, lowest nibble first.
    pub const TC_ACTION: u32 = 0x4122_1211;
    /// High nibbles of the same: bit k counts in statistic k.
    pub const TC_STATISTIC: u32 = 0x4100_1211;
}

/// Control and status registers, byte addresses.
pub mod csr {
    /// Address in local memory of LM index register 0.
    pub const LM0: u16 = 0x64;
    /// The same of 1.
    pub const LM1: u16 = 0x6c;
    /// The same of 2.
    pub const LM2: u16 = 0x94;
    /// The same of 3.
    pub const LM3: u16 = 0x9c;
    /// Pseudo-random number.
    pub const PSEUDO_RANDOM: u16 = 0x148;
    /// Names in text.
    pub const NAMES: [(u16, &str); 5] = [
        (LM0, "ActLMAddr0"),
        (LM1, "ActLMAddr1"),
        (LM2, "ActLMAddr2"),
        (LM3, "ActLMAddr3"),
        (PSEUDO_RANDOM, "PseudoRndNum"),
    ];
    /// The address register of an LM index, 0 to 3.
    pub const LM: [u16; 4] = [LM0, LM1, LM2, LM3];
}

/// The word that overrides a memory command's length or data: the previous ALU result.
pub mod previous_alu {
    /// The 16-bit data of an `add_imm` comes from bits 31:16.
    pub const DATA: u32 = 2 << 3;
    /// The length comes from bits 12:8, in the command's unit, minus one.
    pub const LENGTH: u32 = 1 << 7;
    /// Position of the length.
    pub const LENGTH_SHIFT: u32 = 8;
    /// Position of the data.
    pub const DATA_SHIFT: u32 = 16;
}
