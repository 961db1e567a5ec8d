//! The packets that mutants are run over.

use bpf::Hook;
use bpf::generate::{EDGES, RAW_BYTES, Random};
use bpf::run::{Arrival, Batch};

/// Room before and behind a frame, in bytes.
const ROOM: (usize, usize) = (256, 64);
/// Bytes of the shortest and the longest frame.
const LENGTHS: (u64, u64) = (14, 160);
/// How many shapes frames have, see [`batch`].
const SHAPES: u64 = 5;
/// Sizes of what programs read.
const SIZES: [usize; 4] = [1, 2, 4, 8];

/// `count` frames that follow from a seed, numbered from `first`: words at the edges of their
/// ranges, near them, and any; in some frames the same throughout, or nearly. Each frame has moreover one edge of some size at some place, the
/// edges and sizes in turn: an instruction sees the edges of its operands by way of the packet
/// they come from.
pub(super) fn batch(hook: &Hook, seed: u64, first: u64, count: u64) -> Batch {
    let mut batch = Batch::new();
    let mut bytes = Vec::new();
    for number in first..first + count {
        let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let len = match hook {
            Hook::Raw { .. } => RAW_BYTES as usize,
            Hook::Xdp { .. } | Hook::Tc { .. } => {
                (LENGTHS.0 + random.below(LENGTHS.1 - LENGTHS.0)) as usize
            }
        };
        bytes.clear();
        let (word, shape) = (random.operand(), number % SHAPES);
        while bytes.len() < len {
            let word = match shape {
                // Any two words are the same, so that comparisons meet equality.
                0 => word,
                // Or differ by one.
                1 => word.wrapping_add(random.below(3)).wrapping_sub(1),
                // All bytes are the same.
                2 => (word & 0xff) * 0x0101_0101_0101_0101,
                _ => random.operand(),
            };
            bytes.extend(word.to_le_bytes());
        }
        bytes.truncate(len);
        let edge = EDGES[(number % EDGES.len() as u64) as usize].to_le_bytes();
        let size = SIZES[(number / EDGES.len() as u64 % SIZES.len() as u64) as usize];
        let at = random.below((len - size) as u64 + 1) as usize;
        bytes[at..at + size].copy_from_slice(&edge[..size]);
        let arrival = Arrival {
            number,
            arrival_ns: 1_700_000_000_000_000_000 + number * 1000,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, &bytes, ROOM.0, ROOM.1);
    }
    batch
}
