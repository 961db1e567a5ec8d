//! The packets that a generated program is run on.

use bpf::Hook;
use bpf::generate::{RAW_BYTES, Random};
use pcaps::generate::{Generator, Mix, Spec};

/// Longest frame: what matters lies at its beginning, and long ones cost time.
const LONGEST: usize = 256;
/// Shortest frame that a program sees.
const SHORTEST: usize = 14;

/// So many packets (memories, for a program without hook) of a seed.
pub fn packets(hook: &Hook, seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    if matches!(hook, Hook::Raw { .. }) {
        return (0..count)
            .map(|_| numbers(&mut random, RAW_BYTES as usize))
            .collect();
    }
    let mut spec = Spec::new(Mix::All, count as u64);
    spec.seed = seed;
    spec.flows = 4;
    let mut generator = Generator::new(spec).ok();
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let mut frame = Vec::new();
        let real = random.percent(60);
        if let Some(generator) = &mut generator
            && real
        {
            generator.next_into(&mut frame);
        }
        if !real {
            let bytes = SHORTEST + random.below(100) as usize;
            frame = numbers(&mut random, bytes);
            if random.percent(50) && frame.len() > 14 {
                // IPv4, so that parsers go on.
                frame[12..14].copy_from_slice(&[0x08, 0x00]);
            }
        }
        frame.truncate(LONGEST);
        frame.resize(frame.len().max(SHORTEST), 0);
        frames.push(frame);
    }
    frames
}

/// Bytes of numbers at the edges of their ranges.
fn numbers(random: &mut Random, bytes: usize) -> Vec<u8> {
    let words = bytes.div_ceil(8);
    let mut all: Vec<u8> = (0..words)
        .flat_map(|_| random.operand().to_le_bytes())
        .collect();
    all.truncate(bytes);
    all
}
