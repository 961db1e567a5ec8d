//! eBPF to x86-64, for NICs whose cores are the host's.
//!
//! [`X86_64`] is the backend. `abi` says which register holds what, `plan` decides what concerns
//! whole functions, `lower` translates instruction by instruction, `emit` holds the bytes,
//! `listing` reads them back through an independent disassembler. What the engine must know
//! stands in [`isa::x86_64::abi`].
#![expect(
    clippy::useless_conversion,
    clippy::used_underscore_binding,
    reason = "what `dynasm!` expands to"
)]

mod abi;
mod access;
mod emit;
mod known;
mod listing;
mod lower;
mod plan;

use caps::Caps;
use isa::{Image, Isa};
use verifier::Verified;

use crate::{Backend, Listing, Refusal};

/// The backend for x86-64.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl Backend for X86_64 {
    fn name(&self) -> &'static str {
        "x86_64"
    }

    fn isa(&self) -> Isa {
        Isa::X86_64
    }

    fn translate(&self, program: &Verified, _caps: &Caps) -> Result<Image, Refusal> {
        lower::lower(program)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        listing::listing(image)
    }
}
