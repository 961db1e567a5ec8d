//! What the driver learns of a program while it is verified: for its translator, for the device
//! that holds the maps, and for the programs that come after it. Carried as plain words in
//! `Image.resources.device`.
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/bpf/verifier.c` and `src/bpf/main.h`. The numbers
//! are those of the paths that the verifier walks, merged over visits, which the driver trusts;
//! they need not hold on paths that it prunes.

/// How programs use a 4-byte word of a map's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WordUse {
    /// Not at all.
    #[default]
    Unused,
    /// Loaded.
    Read,
    /// Stored to (the driver refuses that, so it is never seen).
    Write,
    /// Added to by the device's atomic engine, which keeps it big-endian.
    Atomic,
}

impl WordUse {
    /// The driver's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            WordUse::Unused => "unused",
            WordUse::Read => "read",
            WordUse::Write => "write",
            WordUse::Atomic => "atomic",
        }
    }

    const fn number(self) -> u64 {
        match self {
            WordUse::Unused => 0,
            WordUse::Read => 1,
            WordUse::Write => 2,
            WordUse::Atomic => 3,
        }
    }

    const fn from_number(number: u64) -> WordUse {
        match number & 3 {
            0 => WordUse::Unused,
            1 => WordUse::Read,
            2 => WordUse::Write,
            _ => WordUse::Atomic,
        }
    }
}

/// What the driver keeps of a word of a map's values, over all entries and programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// How programs use it.
    pub used: WordUse,
    /// It was updated with what may not be zero before anybody used it.
    pub non_zero_update: bool,
}

/// The words of the values of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapWords {
    /// Index in the program's map list.
    pub map: u32,
    /// By ascending offset, 4 bytes each.
    pub words: Vec<Word>,
}

/// What was seen at an instruction, merged over visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visited {
    /// Slot.
    pub pc: u32,
    /// Least and largest unsigned value of the destination before the instruction.
    pub dst: (u64, u64),
    /// The same of the source: a register's, or the immediate's 32 bits.
    pub src: (u64, u64),
    /// The addend of an atomic may be above 0xffff.
    pub over16: bool,
    /// The addend of an atomic may be at most 0xffff.
    pub maybe16: bool,
    /// The stack pointer differed from visit to visit.
    pub moving_pointer: bool,
    /// The stack pointer led into a caller's frame.
    pub caller_frame: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Maps that the program refers to, by ascending index.
    pub maps: Vec<MapWords>,
    /// Arithmetic, atomics and stack accesses, by ascending pc.
    pub visits: Vec<Visited>,
}

/// Words of 4 bits in one of 64.
const PER_CELL: usize = 16;

impl Learned {
    /// As words.
    pub fn encode(&self) -> Vec<u64> {
        let mut out = vec![self.maps.len() as u64];
        for map in &self.maps {
            out.push(u64::from(map.map) << 32 | map.words.len() as u64);
            for cell in map.words.chunks(PER_CELL) {
                let bits = cell.iter().enumerate().fold(0, |bits, (i, word)| {
                    let word = word.used.number() | u64::from(word.non_zero_update) << 2;
                    bits | word << (4 * i)
                });
                out.push(bits);
            }
        }
        out.push(self.visits.len() as u64);
        for visit in &self.visits {
            let flags = u64::from(visit.over16)
                | u64::from(visit.maybe16) << 1
                | u64::from(visit.moving_pointer) << 2
                | u64::from(visit.caller_frame) << 3;
            out.push(u64::from(visit.pc) << 32 | flags);
            out.extend([visit.dst.0, visit.dst.1, visit.src.0, visit.src.1]);
        }
        out
    }

    /// From words; `None` if they are no such record. No words at all are an empty one.
    pub fn decode(words: &[u64]) -> Option<Learned> {
        let mut learned = Learned::default();
        if words.is_empty() {
            return Some(learned);
        }
        let mut words = words.iter().copied();
        for _ in 0..words.next()? {
            let head = words.next()?;
            let (map, count) = ((head >> 32) as u32, head as u32 as usize);
            let mut map = MapWords {
                map,
                words: Vec::new(),
            };
            while map.words.len() < count {
                let cell = words.next()?;
                let taken = (count - map.words.len()).min(PER_CELL);
                map.words.extend((0..taken).map(|i| {
                    let bits = cell >> (4 * i);
                    Word {
                        used: WordUse::from_number(bits),
                        non_zero_update: bits >> 2 & 1 == 1,
                    }
                }));
            }
            learned.maps.push(map);
        }
        for _ in 0..words.next()? {
            let head = words.next()?;
            let mut next = || words.next();
            learned.visits.push(Visited {
                pc: (head >> 32) as u32,
                dst: (next()?, next()?),
                src: (next()?, next()?),
                over16: head & 1 == 1,
                maybe16: head >> 1 & 1 == 1,
                moving_pointer: head >> 2 & 1 == 1,
                caller_frame: head >> 3 & 1 == 1,
            });
        }
        words.next().is_none().then_some(learned)
    }

    /// What was seen at `pc`, if it is kept.
    pub fn at(&self, pc: usize) -> Option<&Visited> {
        let by_pc = |visit: &Visited| (visit.pc as usize).cmp(&pc);
        let at = self.visits.binary_search_by(by_pc).ok()?;
        self.visits.get(at)
    }
}

/// Turns the words of a value that the atomic engine keeps big-endian: what the driver does to
/// every value on its way between host and device. The two words of a 64-bit counter keep their
/// places.
pub fn swap_atomic_words(words: &[Word], value: &mut [u8]) {
    for (word, bytes) in words.iter().zip(value.chunks_exact_mut(4)) {
        if word.used == WordUse::Atomic {
            bytes.reverse();
        }
    }
}

/// What a host's update with `value` adds to the words of a map: an unused word whose bytes are
/// not the same in both orders must not become a counter any more.
pub fn note_host_update(words: &mut [Word], value: &[u8]) {
    for (word, bytes) in words.iter_mut().zip(value.chunks_exact(4)) {
        let same = bytes.iter().eq(bytes.iter().rev());
        if word.used == WordUse::Unused && !same {
            word.non_zero_update = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_comes_back() {
        let word = |used, non_zero_update| Word {
            used,
            non_zero_update,
        };
        let mut words = vec![word(WordUse::Atomic, false); 17];
        words[3] = word(WordUse::Unused, true);
        words[16] = word(WordUse::Read, false);
        let learned = Learned {
            maps: vec![MapWords { map: 2, words }, MapWords::default()],
            visits: vec![Visited {
                pc: 9,
                dst: (1, u64::MAX),
                src: (3, 4),
                over16: true,
                maybe16: false,
                moving_pointer: true,
                caller_frame: false,
            }],
        };
        let encoded = learned.encode();
        assert_eq!(Learned::decode(&encoded).as_ref(), Some(&learned));
        assert_eq!(learned.at(9).map(|v| v.src), Some((3, 4)));
        assert_eq!(learned.at(8), None);
        for cut in 1..encoded.len() {
            assert_eq!(Learned::decode(&encoded[..cut]), None, "{cut}");
        }
        assert_eq!(Learned::decode(&[]), Some(Learned::default()));
    }

    #[test]
    fn a_counter_is_turned_word_by_word() {
        let mut words = vec![Word::default(); 4];
        words[1].used = WordUse::Atomic;
        words[2].used = WordUse::Atomic;
        let mut value: Vec<u8> = (0..16).collect();
        swap_atomic_words(&words, &mut value);
        let turned = [0, 1, 2, 3, 7, 6, 5, 4, 11, 10, 9, 8, 12, 13, 14, 15];
        assert_eq!(value, turned);
        note_host_update(
            &mut words,
            &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 9, 9, 7],
        );
        let noted: Vec<bool> = words.iter().map(|w| w.non_zero_update).collect();
        assert_eq!(noted, [false; 4], "zero, counters, the same both ways");
        note_host_update(&mut words, &[1, 0, 0, 0]);
        assert!(words[0].non_zero_update);
    }
}
