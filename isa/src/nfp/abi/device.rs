//! The words of [`crate::Resources::device`] in an image for this card: what the driver and the
//! translator tell about it beside the code. None of it is needed to run the image.

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceWord {
    /// From this instruction on the code is that of one function, whose eBPF frame pointer is
    /// `depth` bytes above A22.
    Frame {
        /// Index of the function's first instruction in the image.
        at: u32,
        /// Bytes of its frame, 0 to 0xffff.
        depth: u16,
    },
    /// Words of a map's values that programs add to, which the card therefore keeps big-endian.
    Atomic {
        /// Index of the map in the program's list.
        map: u16,
        /// Number of the first of the 32 words divided by 32.
        group: u8,
        /// The words, the first in bit 0.
        words: u32,
    },
}

const KIND: u32 = 56;
const FRAME: u64 = 1;
const ATOMIC: u64 = 2;

impl DeviceWord {
    /// The fact as a word.
    pub fn encode(self) -> u64 {
        match self {
            DeviceWord::Frame { at, depth } => {
                FRAME << KIND | u64::from(depth) << 32 | u64::from(at)
            }
            DeviceWord::Atomic { map, group, words } => {
                ATOMIC << KIND | u64::from(map) << 40 | u64::from(group) << 32 | u64::from(words)
            }
        }
    }

    /// The fact that a word holds; `None` for a kind that is not known.
    pub fn decode(word: u64) -> Option<DeviceWord> {
        match word >> KIND {
            FRAME => Some(DeviceWord::Frame {
                at: word as u32,
                depth: (word >> 32) as u16,
            }),
            ATOMIC => Some(DeviceWord::Atomic {
                map: (word >> 40) as u16,
                group: (word >> 32) as u8,
                words: word as u32,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceWord;

    #[test]
    fn every_field_comes_back_at_its_limits() {
        for word in [
            DeviceWord::Frame {
                at: u32::MAX,
                depth: u16::MAX,
            },
            DeviceWord::Frame { at: 0, depth: 64 },
            DeviceWord::Atomic {
                map: u16::MAX,
                group: u8::MAX,
                words: 1 << 31,
            },
            DeviceWord::Atomic {
                map: 3,
                group: 0,
                words: 5,
            },
        ] {
            assert_eq!(DeviceWord::decode(word.encode()), Some(word));
        }
        assert_eq!(DeviceWord::decode(0), None);
    }
}
