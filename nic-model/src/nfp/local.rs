//! A thread's part of local memory: packet vector and stack, and the registers that point there.

use isa::nfp::abi::{self, FRAME_UNIT};

use super::step::Local;

/// Byte address of the packet vector: a window of 8 words.
pub(super) const VECTOR: u32 = 0x40;
/// Byte address of the stack, which the main function's frame starts.
pub(super) const STACK: u32 = 0x80;
/// Words of the packet vector.
const VECTOR_WORDS: usize = 8;
/// First words of both.
const FIRST: [usize; 2] = [VECTOR as usize / 4, STACK as usize / 4];
/// A word after which a new address takes effect: the one that sets it, then three more.
const SETTLES: u64 = 4;

const _: () = assert!(STACK.is_multiple_of(FRAME_UNIT));

/// An LM index register.
#[derive(Clone, Copy, Debug, Default)]
struct Pointer {
    address: u32,
    /// What it held before, until the cycle `from`.
    before: u32,
    from: u64,
}

impl Pointer {
    fn at(self, cycle: u64) -> u32 {
        if cycle < self.from {
            self.before
        } else {
            self.address
        }
    }
}

/// Local memory as a program sees it.
#[derive(Debug)]
pub(super) struct LocalMemory {
    words: Vec<u32>,
    pointers: [Pointer; 4],
}

/// The byte address that is none of the program's.
pub(super) struct Outside(pub(super) u32);

impl LocalMemory {
    /// With so many bytes of stack.
    pub(super) fn new(stack_bytes: u32) -> LocalMemory {
        LocalMemory {
            words: vec![0; FIRST[1] + stack_bytes as usize / 4],
            pointers: [Pointer::default(); 4],
        }
    }

    /// Makes it as a program finds it, for a packet of this length at this address.
    pub(super) fn reset(&mut self, length: u32, packet: u32) {
        self.words.fill(0);
        self.set_vector(abi::vector::LENGTH, length);
        self.set_vector(abi::vector::PACKET, packet);
        self.pointers = [Pointer::default(); 4];
        self.pointers[usize::from(abi::LM_STACK)].address = STACK;
        self.pointers[usize::from(abi::LM_VECTOR)].address = VECTOR;
    }

    /// A word of the packet vector.
    pub(super) fn vector(&self, word: u8) -> u32 {
        self.words
            .get(FIRST[0] + usize::from(word))
            .copied()
            .unwrap_or(0)
    }

    fn set_vector(&mut self, word: u8, value: u32) {
        if let Some(place) = self.words.get_mut(FIRST[0] + usize::from(word)) {
            *place = value;
        }
    }

    /// Sets an index register; it takes effect after three more cycles.
    pub(super) fn point(&mut self, index: u8, address: u32, cycle: u64) {
        let pointer = &mut self.pointers[usize::from(index & 3)];
        *pointer = Pointer {
            before: pointer.at(cycle),
            address,
            from: cycle + SETTLES,
        };
    }

    /// Lets every register take effect: so much time has passed.
    pub(super) fn settle(&mut self) {
        for pointer in &mut self.pointers {
            pointer.from = 0;
        }
    }

    /// Where an index register points.
    pub(super) fn pointer(&self, index: u8, cycle: u64) -> u32 {
        self.pointers[usize::from(index & 3)].at(cycle)
    }

    /// Whether a program may touch this word.
    fn is_inside(&self, word: usize) -> bool {
        (FIRST[0]..FIRST[0] + VECTOR_WORDS).contains(&word)
            || (FIRST[1]..self.words.len()).contains(&word)
    }

    /// Index of the word that an operand means.
    fn word(&mut self, local: Local, cycle: u64) -> Result<usize, Outside> {
        let pointer = &mut self.pointers[usize::from(local.index & 3)];
        let address = pointer.at(cycle);
        if local.moves != 0 {
            *pointer = Pointer {
                address: address.wrapping_add_signed(i32::from(local.moves)),
                before: 0,
                from: 0,
            };
        }
        let word = ((address / 4) | u32::from(local.offset)) as usize;
        if self.is_inside(word) {
            Ok(word)
        } else {
            Err(Outside(word as u32 * 4))
        }
    }

    /// The word that an operand means; the register then moves.
    pub(super) fn load(&mut self, local: Local, cycle: u64) -> Result<u32, Outside> {
        let word = self.word(local, cycle)?;
        Ok(self.words[word])
    }

    /// Stores the word that an operand means; the register then moves.
    pub(super) fn store(&mut self, local: Local, value: u32, cycle: u64) -> Result<(), Outside> {
        let word = self.word(local, cycle)?;
        self.words[word] = value;
        Ok(())
    }

    /// Copies bytes out, as the firmware does for a helper's argument.
    pub(super) fn read(&self, address: u32, into: &mut [u8]) -> Result<(), Outside> {
        for (byte, at) in into.iter_mut().zip(u64::from(address)..) {
            let word = at as usize / 4;
            if !self.is_inside(word) {
                return Err(Outside(at as u32));
            }
            *byte = self.words[word].to_le_bytes()[at as usize % 4];
        }
        Ok(())
    }
}
