//! [`Aimed`]: packets that make a program meet the edges of its operands.

use std::collections::VecDeque;
use std::sync::Arc;

use bpf::generate::Random;
use bpf::map::MapSet;
use bpf::run::{Arrival, Batch, Environment};
use bpf::trace::Site;
use verifier::Verified;

use super::look::{Look, Read, Seen, Wish};
use super::{LONGEST, Packets, SHORTEST};
use crate::side::{Loaded, NotTaken, Side};
use crate::trace::sites;

/// Packets tried for each one given out.
const TRIES: usize = 32;
/// Packets wished for and not yet tried, at most.
const WISHED: usize = 1024;
/// Room before and behind a frame, in bytes.
pub(crate) const ROOM: (usize, usize) = (256, 64);
/// Sizes of numbers in packets, longest first.
const SIZES: [usize; 4] = [8, 4, 2, 1];

/// Packets that follow from a program, what surrounds it, and a seed. The program is watched on
/// the interpreter while it processes candidates. One that makes an instruction meet operands of a
/// kind that it had not met is given out, and leads to more: where a number that is compared stands
/// in the packet as it is, there the number is put that it is compared with, or one next to it.
/// What a candidate that is not given out did to maps is undone, so that the program does the same
/// again on those alone that were.
pub struct Aimed {
    packets: Packets,
    random: Random,
    program: Loaded,
    sites: Arc<[Vec<Site>]>,
    seen: Seen,
    wished: VecDeque<Vec<u8>>,
    /// Packets that showed something new, and what was read of them.
    new: Vec<(Vec<u8>, Vec<Read>)>,
    tries: usize,
    /// The maps after the packets given out; `None` if all candidates are.
    kept: Option<MapSet>,
    /// Number of the next packet given out.
    number: u64,
    insns: Arc<bpf::Program>,
    is_raw: bool,
}

impl std::fmt::Debug for Aimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Aimed({} tried, {} wished)",
            self.number,
            self.wished.len()
        )
    }
}

impl Aimed {
    /// Packets of which each was chosen from several.
    ///
    /// # Errors
    /// If the interpreter does not take the program.
    pub fn new(
        verified: &Verified,
        environment: &Arc<Environment>,
        seed: u64,
    ) -> Result<Aimed, NotTaken> {
        let program = verified.program();
        let loaded = Side::Interp.load(verified, environment)?;
        let kept = loaded.maps().snapshot().ok();
        Ok(Aimed {
            packets: Packets::new(program, seed),
            random: Random::new(!seed),
            tries: if kept.is_some() { TRIES } else { 1 },
            kept,
            program: loaded,
            sites: sites(&[verified]),
            seen: Seen::new(program.insns.len()),
            wished: VecDeque::new(),
            new: Vec::new(),
            number: 0,
            insns: Arc::clone(program),
            is_raw: matches!(program.hook, bpf::Hook::Raw { .. }),
        })
    }

    /// Every candidate is given out, which is quick.
    #[must_use]
    pub fn unchosen(mut self) -> Aimed {
        self.tries = 1;
        self.kept = None;
        self
    }

    /// The next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        let mut tried = 0;
        loop {
            let candidate = match self.random.below(3) {
                0 => self.wished.pop_front(),
                1 => self.varied(),
                _ => None,
            };
            let mut candidate = candidate.unwrap_or_else(|| self.packets.packet());
            self.packets.complete(&mut candidate);
            tried += 1;
            if self.try_packet(&candidate) || tried >= self.tries {
                self.number += 1;
                if let Some(kept) = &self.kept {
                    kept.copy_from(self.program.maps());
                }
                return candidate;
            }
            if let Some(kept) = &self.kept {
                self.program.maps().copy_from(kept);
            }
        }
    }

    /// One that showed something new, with other numbers where it was read.
    fn varied(&mut self) -> Option<Vec<u8>> {
        let at = self.random.below(self.new.len() as u64) as usize;
        let (packet, reads) = self.new.get(at)?;
        let mut packet = packet.clone();
        for _ in 0..=self.random.below(3) {
            let read = self.random.choose_from(reads)?;
            let number = self.random.operand();
            change(&mut packet, read, self.random.percent(30), number)?;
        }
        Some(packet)
    }

    /// Whether a packet shows something new.
    fn try_packet(&mut self, packet: &[u8]) -> bool {
        let mut batch = Batch::new();
        let arrival = Arrival {
            number: self.number,
            arrival_ns: arrival_ns(self.number),
            port: 1,
            queue: 0,
        };
        batch.push(arrival, packet, ROOM.0, ROOM.1);
        let sites = self.sites.first().map_or(&[][..], Vec::as_slice);
        let mut look = Look {
            insns: &self.insns.insns,
            sites,
            seen: &mut self.seen,
            random: &mut self.random,
            is_new: false,
            wishes: Vec::new(),
            reads: Vec::new(),
        };
        self.program.trace(&mut batch, &mut look);
        let Look {
            is_new,
            wishes,
            reads,
            ..
        } = look;
        for wish in wishes {
            if self.wished.len() < WISHED
                && let Some(changed) = self.fulfilled(packet, wish, &reads)
            {
                self.wished.push_back(changed);
            }
        }
        if is_new {
            self.new.push((packet.to_vec(), reads));
        }
        is_new
    }

    /// The packet, changed as wished.
    fn fulfilled(&mut self, packet: &[u8], wish: Wish, reads: &[Read]) -> Option<Vec<u8>> {
        let mut changed = packet.to_vec();
        match wish {
            Wish::Longer(bytes) => {
                let len = i64::try_from(packet.len()).ok()?.checked_add(bytes)?;
                let len = usize::try_from(len).ok()?;
                if self.is_raw || !(SHORTEST..=LONGEST).contains(&len) {
                    return None;
                }
                let fill = self.random.any() as u8;
                changed.resize(len, fill);
            }
            Wish::Number(from, to) => {
                if let Some((at, size, swapped)) = self.place(packet, from) {
                    put(&mut changed, at, size, swapped, to);
                } else {
                    // It was computed: a number that the program read is changed instead.
                    let read = self.random.choose_from(reads)?;
                    let number = if self.random.percent(50) {
                        to
                    } else {
                        self.random.operand()
                    };
                    change(&mut changed, read, self.random.percent(30), number)?;
                }
            }
        }
        Some(changed)
    }

    /// Where a number stands in a packet: its offset, size, and whether in network byte order.
    fn place(&mut self, packet: &[u8], number: u64) -> Option<(usize, usize, bool)> {
        for size in SIZES {
            let unused = 64 - 8 * size as u32;
            let extended = [
                number << unused >> unused,
                ((number << unused) as i64 >> unused) as u64,
            ];
            if !extended.contains(&number) {
                continue;
            }
            let little = &number.to_le_bytes()[..size];
            let big = &number.to_be_bytes()[8 - size..];
            let found: Vec<(usize, usize, bool)> = packet
                .windows(size)
                .enumerate()
                .filter(|(_, bytes)| *bytes == little || *bytes == big)
                .map(|(at, bytes)| (at, size, bytes != little))
                .collect();
            // What stands there in few bytes may do so by chance.
            if !found.is_empty() && self.random.percent(75) {
                return self.random.choose_from(&found);
            }
        }
        None
    }
}

/// Arrival of a packet, in nanoseconds since the epoch.
pub(crate) fn arrival_ns(number: u64) -> u64 {
    1_700_000_000_000_000_000 + number * 1000
}

/// Puts a number where a program read one; `None` if that is not in the packet as it came.
fn change(packet: &mut [u8], read: Read, swapped: bool, number: u64) -> Option<()> {
    let at = usize::try_from(read.from.checked_sub(ROOM.0 as i64)?).ok()?;
    if at.checked_add(read.size)? > packet.len() {
        return None;
    }
    put(packet, at, read.size, swapped, number);
    Some(())
}

fn put(packet: &mut [u8], at: usize, size: usize, swapped: bool, number: u64) {
    let bytes = if swapped {
        number.to_be_bytes()
    } else {
        number.to_le_bytes()
    };
    let from = if swapped { 8 - size } else { 0 };
    packet[at..at + size].copy_from_slice(&bytes[from..from + size]);
}

#[cfg(test)]
mod tests {
    use bpf::object::{LoadOptions, load};

    use super::*;

    fn aimed(text: &str) -> Aimed {
        let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
        let verified = crate::pipeline::verify(&Arc::new(set.programs[0].clone())).unwrap();
        Aimed::new(&verified, &Arc::new(Environment::default()), 1).unwrap()
    }

    const PARSES: &str = "
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += 133
        r0 = 1
        if r4 > r3 goto out
        r5 = *(u32 *)(r2 + 100)
        if r5 != 0x12345678 goto out
        r5 = *(u32 *)(r2 + 104)
        r4 = *(u32 *)(r2 + 108)
        if r4 != r5 goto out
        r0 = 2
        out:
        exit
    ";

    #[test]
    fn packets_meet_what_the_program_compares_them_with() {
        let mut aimed = aimed(PARSES);
        let packets: Vec<Vec<u8>> = (0..64).map(|_| aimed.packet()).collect();
        let word = |packet: &[u8], at: usize| packet.get(at..at + 4).map(<[u8]>::to_vec);
        let parsed = |packet: &&Vec<u8>| {
            packet.len() >= 133 && word(packet, 100) == Some(0x1234_5678_u32.to_le_bytes().into())
        };
        assert!(packets.iter().any(|p| p.len() == 132), "one byte too short");
        assert!(packets.iter().any(|p| p.len() == 133), "just long enough");
        assert!(packets.iter().any(|p| parsed(&p)));
        let equal = |packet: &&Vec<u8>| word(packet, 104) == word(packet, 108);
        assert!(packets.iter().filter(parsed).any(|p| equal(&p)));
    }

    #[test]
    fn the_same_seed_gives_the_same_packets() {
        let packets = || {
            let mut aimed = aimed(PARSES);
            (0..40).map(|_| aimed.packet()).collect::<Vec<_>>()
        };
        assert_eq!(packets(), packets());
    }
}
