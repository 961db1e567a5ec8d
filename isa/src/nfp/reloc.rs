//! Relocation kinds: what the top byte of a word says before it is loaded.
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/bpf/main.h` and `src/nfp_asm.h`. Before relocation
//! the kinds from [`Relocation::GoOut`] to [`Relocation::Helper`] carry [`PLACEHOLDER`] as their
//! address, which shows in dumps.

/// Address of a branch that loading will fill; a helper call holds this plus the helper's id.
pub const PLACEHOLDER: u16 = 15_000;

/// The top byte's shift.
const KIND_SHIFT: u32 = 56;

/// What loading does to a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Relocation {
    /// Nothing.
    #[default]
    None = 0,
    /// The branch address moves by the address the image is loaded at.
    Branch = 1,
    /// The branch goes to the exit.
    GoOut = 2,
    /// The branch goes to the abort.
    GoAbort = 3,
    /// The branch goes to the routine that saves R6 to R9.
    GoPush = 4,
    /// The branch goes to the routine that restores them.
    GoPop = 5,
    /// The branch leaves the program.
    NextPacket = 6,
    /// The branch goes to a helper of the firmware.
    Helper = 7,
    /// The immediate is an address in the image, and moves with it.
    Immed = 8,
}

impl Relocation {
    /// All kinds, by number.
    pub const ALL: [Relocation; 9] = [
        Relocation::None,
        Relocation::Branch,
        Relocation::GoOut,
        Relocation::GoAbort,
        Relocation::GoPush,
        Relocation::GoPop,
        Relocation::NextPacket,
        Relocation::Helper,
        Relocation::Immed,
    ];

    /// The word with this kind in its top byte.
    pub fn mark(self, word: u64) -> u64 {
        word & !(0xff << KIND_SHIFT) | (self as u64) << KIND_SHIFT
    }

    /// Splits a marked word; none if the top byte is no kind.
    pub fn split(marked: u64) -> Option<(Relocation, u64)> {
        let kind = *Relocation::ALL.get((marked >> KIND_SHIFT) as usize)?;
        Some((kind, marked & !(0xff << KIND_SHIFT)))
    }
}
