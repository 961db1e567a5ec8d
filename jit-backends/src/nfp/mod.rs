//! eBPF to the Netronome NFP's microengines, in the sequences of the card's own driver.
//!
//! [`Nfp`] is the backend; the README has the register map and an overview of the sequences.
//! `hooks` is what the driver checks while a program is verified. Of the translator, `plan`
//! decides what concerns the whole program, `zext` which upper halves are cleared, `pass`
//! rewrites instructions as the driver does before it translates, `lower` translates one by one,
//! `emit` holds the words, `listing` shows them. What the card must know stands in
//! [`isa::nfp::abi`].
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/bpf/jit.c` and `src/bpf/verifier.c`.

mod emit;
mod hooks;
mod listing;
mod lower;
mod pass;
mod plan;
mod pointers;
mod zext;

use caps::Caps;
use isa::{Image, Isa};
use verifier::{DeviceHooks, Verified};

use crate::{Backend, Listing, Loaded, Refusal};

/// The backend for the Agilio cards.
#[derive(Clone, Copy, Debug)]
pub struct Nfp;

impl Backend for Nfp {
    fn name(&self) -> &'static str {
        "nfp"
    }

    fn isa(&self) -> Isa {
        Isa::Nfp
    }

    /// The driver's own checks of one program, on a device with these capabilities that already
    /// holds `loaded`. Every refusal carries the driver's words and errno
    /// ([`bpf::finding::DriverAnswer`]).
    fn hooks(&self, caps: &Caps, loaded: &Loaded) -> Option<Box<dyn DeviceHooks>> {
        Some(Box::new(hooks::Hooks::new(caps, loaded)))
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        lower::lower(program, caps)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        listing::listing(image)
    }
}
