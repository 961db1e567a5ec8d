//! Loading: an image's words, moved to where a device puts them and sealed.

use super::abi::link::{MAP_ID, NEXT_PACKET};
use super::form::{self, Field};
use super::{Relocation, seal};
use crate::{Image, RelocationKind, Symbol};

/// Where a device puts an image, and what is around it. All addresses are in instructions.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Address of the image's first instruction (BPF_START).
    pub start: u16,
    /// Address that a finished program jumps to (BPF_DONE).
    pub done: u16,
    /// Address of the helper with this id; `None` if the firmware has none.
    pub helper: &'a dyn Fn(u32) -> Option<u32>,
    /// The device's id of the map with this index in the program's list.
    pub map: &'a dyn Fn(usize) -> Option<u64>,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("start", &self.start)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// Why an image cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The code is no sequence of 8-byte words.
    #[error("the code ends within a word")]
    Torn,
    /// A word's top byte is no relocation kind, or no relocation stands beside it.
    #[error("word {word}: its relocation kind does not agree with the image's relocations")]
    Kind {
        /// Which word.
        word: usize,
    },
    /// A relocation names what the device does not have.
    #[error("word {word}: {what}")]
    Unknown {
        /// Which word.
        word: usize,
        /// What is not there.
        what: &'static str,
    },
    /// The relocated address or number does not fit the word.
    #[error("word {word}: {value:#x} does not fit {bits} bits")]
    TooLarge {
        /// Which word.
        word: usize,
        /// The address or number.
        value: u64,
        /// How many bits the word has for it.
        bits: u32,
    },
}

/// The words as the code store holds them: relocated, with error-correcting bits.
///
/// # Errors
/// The image is malformed, or names what the place does not have.
pub fn link(image: &Image, place: &Place<'_>) -> Result<Vec<u64>, LinkError> {
    if !image.code.len().is_multiple_of(8) {
        return Err(LinkError::Torn);
    }
    let mut relocations = image.relocations.iter().peekable();
    let words = image.code.chunks_exact(8).enumerate().map(|(index, word)| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        let disagrees = LinkError::Kind { word: index };
        let (kind, mut word) = Relocation::split(u64::from_le_bytes(bytes)).ok_or(disagrees)?;
        let relocation = relocations.next_if(|r| r.at == index * 8);
        match (relocation, kind) {
            (None, Relocation::None) => {}
            (Some(relocation), kind) => {
                let number = match kind {
                    Relocation::None => MAP_ID,
                    kind => kind as u8,
                };
                if relocation.kind != RelocationKind::Target(number) {
                    return Err(disagrees);
                }
                word = relocated(index, word, kind, relocation.symbol, place)?;
            }
            (None, _) => return Err(disagrees),
        }
        Ok(seal(word))
    });
    let words = words.collect::<Result<Vec<u64>, LinkError>>()?;
    match relocations.next() {
        Some(left) => Err(LinkError::Kind { word: left.at / 8 }),
        None => Ok(words),
    }
}

fn relocated(
    index: usize,
    word: u64,
    kind: Relocation,
    symbol: Symbol,
    place: &Place<'_>,
) -> Result<u64, LinkError> {
    let unknown = |what| LinkError::Unknown { word: index, what };
    let value = match symbol {
        Symbol::Code(at) if at.is_multiple_of(8) => u64::from(place.start) + (at / 8) as u64,
        Symbol::Runtime(NEXT_PACKET) => u64::from(place.done),
        Symbol::Helper(id) => (place.helper)(id)
            .map(u64::from)
            .ok_or(unknown("the firmware has no such helper"))?,
        Symbol::Map(map) => (place.map)(map).ok_or(unknown("the device has no such map"))?,
        Symbol::Code(_) | Symbol::Runtime(_) | Symbol::MapValues { .. } => {
            return Err(unknown("an image for this card cannot name that"));
        }
    };
    let too_large = |bits| LinkError::TooLarge {
        word: index,
        value,
        bits,
    };
    match kind {
        Relocation::Immed | Relocation::None => {
            if value > 0xffff {
                return Err(too_large(16));
            }
            let in_b = form::A10.get(word) & IMMEDIATE != IMMEDIATE;
            let low = if in_b { form::B10 } else { form::A10 };
            let word = low.set(word, IMMEDIATE | value & 0xff);
            Ok(form::IMM.set(word, value >> 8))
        }
        _ => {
            if value > BRANCH_MAX {
                return Err(too_large(14));
            }
            let high: Field = form::ADDR_HI;
            Ok(high.set(form::ADDR_LO.set(word, value), value >> form::ADDR_LO.width))
        }
    }
}

/// Code of an immediate in a 10-bit source.
const IMMEDIATE: u64 = 0x300;
/// The largest branch address.
const BRANCH_MAX: u64 = 0x3fff;
