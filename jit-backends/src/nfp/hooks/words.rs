//! What programs do to the words of map values. The card's atomic engine keeps counters
//! big-endian, so the driver turns those words on the way to the host, and a word must be one
//! thing or the other: for all entries of a map, all programs, as long as the map lives.

use std::collections::BTreeMap;

use bpf::Program;
use isa::nfp::learned::{Learned, MapWords, Word, WordUse};

use super::MAP_WORDS;
use super::report::Refusal;
use crate::Loaded;

/// The words of the maps of one program, by index in its map list.
#[derive(Debug, Default)]
pub(super) struct Words {
    maps: BTreeMap<usize, Vec<Word>>,
}

impl Words {
    /// Of the maps that a program refers to; those that exist keep what is known of them.
    pub(super) fn of(loaded: &Loaded, program: &Program) -> Words {
        let fresh = |map: usize| {
            let size = program.maps.get(map).map_or(0, |def| def.value_size);
            vec![Word::default(); size.div_ceil(4) as usize]
        };
        let referenced = program.referenced_maps();
        let mut maps: BTreeMap<usize, Vec<Word>> = referenced
            .into_keys()
            .map(|map| (map, fresh(map)))
            .collect();
        for earlier in &loaded.programs {
            let Some(learned) = Learned::decode(&earlier.device) else {
                continue;
            };
            for known in learned.maps {
                let Some(def) = earlier.maps.get(known.map as usize) else {
                    continue;
                };
                let same = maps
                    .iter_mut()
                    .filter(|(map, _)| program.maps.get(**map) == Some(def));
                for (_, words) in same {
                    words.clone_from(&known.words);
                }
            }
        }
        Words { maps }
    }

    /// For the programs that come later, the translator and the device.
    pub(super) fn of_program(&self) -> Vec<MapWords> {
        let maps = self.maps.iter().map(|(map, words)| MapWords {
            map: *map as u32,
            words: words.clone(),
        });
        maps.collect()
    }

    /// A program loads from, or adds to, bytes `at..at + size` of a value.
    pub(super) fn used(
        &mut self,
        map: usize,
        at: usize,
        size: usize,
        now: WordUse,
    ) -> Option<Refusal> {
        let words = self.maps.get_mut(&map)?;
        let first = at / 4;
        let last = (at + size).div_ceil(4).min(words.len());
        for (index, word) in words.iter_mut().enumerate().take(last).skip(first) {
            // The byte that the driver names: where its walk over the access meets the word.
            let off = at.max(4 * index);
            if word.used != WordUse::Unused && word.used != now {
                return Some(conflict(word.used, now, off));
            }
            if now == WordUse::Atomic && word.non_zero_update {
                return Some(initialized(off));
            }
            word.used = now;
        }
        None
    }

    /// The word that byte `at` of a value lies in.
    pub(super) fn at(&mut self, map: usize, at: usize) -> Option<&mut Word> {
        self.maps.get_mut(&map)?.get_mut(at / 4)
    }
}

fn conflict(before: WordUse, now: WordUse, off: usize) -> Refusal {
    let is_counter = now == WordUse::Atomic;
    Refusal::new(
        MAP_WORDS,
        "EOPNOTSUPP",
        format!(
            "map value use type conflict {} vs {} off: {off}",
            before.name(),
            now.name()
        ),
    )
    .why(
        "the card keeps counters big-endian, and a program would see them so: a word that some \
         program adds to atomically must not be loaded by any, also not after the lookup that it \
         counts",
    )
    .help(if is_counter {
        "count in a word of its own that no program loads (another field, or another map)"
    } else {
        "leave reading the counter to the host, or keep what the program decides by in another field"
    })
}

fn initialized(off: usize) -> Refusal {
    Refusal::new(
        MAP_WORDS,
        "EOPNOTSUPP",
        format!(
            "atomic counter in map value may already be initialized to non-zero value off: {off}"
        ),
    )
    .why(
        "the word was written with what may not be zero before the driver knew that it is a \
         counter, so it may lie there in the wrong byte order",
    )
    .help("write zero to counters when an element is made, and load the program before the host fills the map")
}
