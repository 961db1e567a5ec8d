//! The words of an image as `nicbed jit` prints them.
//!
//! Most images are bytes that need no more to be read by a disassembler. A card with a code store
//! of words holds them relocated and with error-correcting bits; that is what a driver would
//! write into it, and where two drivers are compared.

use caps::{Bound, Caps, Value};
use isa::nfp::{LinkError, Place, link};
use isa::{Image, Isa};

/// One text a word: as loaded into a NIC with these capabilities that holds the program's maps
/// alone, or with `unrelocated` as the image has them. `None` where the instruction set has no
/// words of one size.
///
/// # Errors
/// The image names what the NIC does not have.
pub fn words(
    image: &Image,
    nic: &Caps,
    unrelocated: bool,
) -> Option<Result<Vec<String>, LinkError>> {
    match image.isa {
        Isa::Nfp => Some(if unrelocated {
            Ok(dumped(image))
        } else {
            loaded(image, nic)
        }),
        Isa::Ebpf | Isa::X86_64 | Isa::Rv64 | Isa::Hxdp => None,
    }
}

fn dumped(image: &Image) -> Vec<String> {
    let words = image.code.chunks_exact(8).map(|bytes| {
        let word = bytes
            .iter()
            .rev()
            .fold(0, |word, b| word << 8 | u64::from(*b));
        format!("{word:016x}")
    });
    words.collect()
}

fn loaded(image: &Image, nic: &Caps) -> Result<Vec<String>, LinkError> {
    let number = |key: &str| match nic.fact(key).map(|fact| &fact.value) {
        Some(Value::Number(Bound::Known(n))) => Some(*n),
        _ => None,
    };
    let address = |key: &str| number(key).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let helper = |id: u32| {
        let name = bpf::helper::name(id)?;
        let address = number(&format!("helper.{name}.code_address"))?;
        u32::try_from(address).ok()
    };
    let first = u64::from(isa::nfp::abi::link::FIRST_MAP_ID);
    let place = Place {
        start: address("nfp.code_start_insns"),
        done: address("nfp.code_done_insns"),
        helper: &helper,
        map: &|map| Some(first + map as u64),
    };
    let words = link(image, &place)?;
    Ok(words.iter().map(|word| format!("{word:016x}")).collect())
}
