//! Map creation. All maps of a device share one budget of elements.

use bpf::map::{MapDef, MapType};

use super::report::Refusal;
use super::{Hooks, MAP_CREATE};
use crate::Loaded;

/// What maps have taken of the device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    maps: u64,
    elements: u64,
}

impl Taken {
    /// By the maps that exist.
    pub(super) fn of(loaded: &Loaded) -> Taken {
        let offloaded = loaded.maps.iter().filter(|map| !is_neutral(map));
        offloaded.fold(Taken::default(), Taken::with)
    }

    fn with(self, map: &MapDef) -> Taken {
        Taken {
            maps: self.maps + 1,
            elements: self.elements + u64::from(map.max_entries),
        }
    }
}

/// Maps of this type stay on the host, and programs name them by their global id.
fn is_neutral(map: &MapDef) -> bool {
    map.kind == MapType::PerfEventArray
}

/// `BPF_F_MMAPABLE`, with which libbpf makes the maps of global variables that others can name.
const MMAPABLE: u32 = 1 << 10;

/// The flags with which a loader creates a map.
fn flags(map: &MapDef) -> u32 {
    map.flags | if map.data.is_some() { MMAPABLE } else { 0 }
}

impl Hooks {
    /// The checks of a map that the program refers to, in the driver's order.
    pub(super) fn create(&mut self, map: &MapDef) -> Vec<Refusal> {
        let Some(pc) = self.first_reference(map) else {
            return Vec::new();
        };
        if is_neutral(map) || self.loaded.maps.contains(map) {
            return Vec::new();
        }
        let limits = self.device.firmware.maps;
        let refuse = |errno, text: String, means| {
            Refusal::new(MAP_CREATE, errno, text)
                .at(pc)
                .subject(&*map.name)
                .means(means)
        };
        let device = &self.device.name;
        if limits.types == 0 {
            let what = "maps cannot be created on this device";
            let refusal = Refusal::silent(MAP_CREATE, "EOPNOTSUPP", what)
                .at(pc)
                .subject(&*map.name)
                .means(&["map/type"])
                .why(format!(
                    "the firmware of {device} has no entry MAPS in its capabilities, or one without types"
                ))
                .help("use firmware that has maps");
            return vec![refusal];
        }
        let mut refusals = Vec::new();
        let flags = flags(map);
        if flags != 0 {
            refusals.push(
                refuse(
                    "EINVAL",
                    "map flags are not supported".to_owned(),
                    &["map/flags", "map/direct-value"][..],
                )
                .why(format!(
                    "map {} is created with flags {flags:#x}, and the driver takes none{}",
                    map.name,
                    if map.data.is_some() {
                        ": it holds global variables, which loaders give flags of their own"
                    } else {
                        ""
                    }
                ))
                .help(if map.data.is_some() {
                    "pass global variables in an array map and look them up"
                } else {
                    "create the map without them"
                }),
            );
        }
        let number = map.kind.number();
        if number >= 32 || limits.types >> number & 1 == 0 {
            refusals.push(
                refuse(
                    "EOPNOTSUPP",
                    "map type not supported".to_owned(),
                    &["map/type"][..],
                )
                .why(format!(
                    "the firmware's MAPS entry says types {:#x}, and {} is type {number}",
                    limits.types, map.kind
                ))
                .help("use a hash or an array"),
            );
            return refusals;
        }
        let taken = self.taken;
        if taken.maps >= u64::from(limits.max_maps) {
            refusals.push(
                refuse(
                    "ENOMEM",
                    "too many maps for a device".to_owned(),
                    &["map/count"][..],
                )
                .why(format!(
                    "{} maps are there already, {device} holds {}",
                    taken.maps, limits.max_maps
                ))
                .help("put several values into one map"),
            );
        }
        let left = u64::from(limits.max_elems).saturating_sub(taken.elements);
        if u64::from(map.max_entries) > left {
            refusals.push(
                refuse(
                    "ENOMEM",
                    format!(
                        "map with too many elements: {}, left: {left}",
                        map.max_entries
                    ),
                    &["map/total", "map/entries"][..],
                )
                .why(format!(
                    "all maps of {device} share {} elements, and a map reserves its max_entries; other maps have {}",
                    limits.max_elems, taken.elements
                ))
                .help(format!("--map {}.max_entries={left}, or fewer", map.name)),
            );
        }
        let rounded = |size: u32| u64::from(size).next_multiple_of(8);
        let element = rounded(map.key_size) + rounded(map.value_size);
        for (is_over, text, means, why, help) in [
            (
                element > u64::from(limits.max_elem_bytes),
                format!(
                    "map elements too large: {element}, FW max element size (key+value): {}",
                    limits.max_elem_bytes
                ),
                &["map/pair-size"][..],
                "key and value are rounded up to 8 bytes each",
                "make key or value shorter, or split the map in two",
            ),
            (
                map.key_size > limits.max_key_bytes,
                format!(
                    "map key size {}, FW max is {}",
                    map.key_size, limits.max_key_bytes
                ),
                &["map/key-size"][..],
                "the firmware's MAPS entry says how long a key can be",
                "make the key shorter, or split the map in two",
            ),
            (
                map.value_size > limits.max_value_bytes,
                format!(
                    "map value size {}, FW max is {}",
                    map.value_size, limits.max_value_bytes
                ),
                &["map/value-size"][..],
                "the firmware's MAPS entry says how long a value can be",
                "make the value shorter, or split the map in two",
            ),
        ] {
            if is_over {
                refusals.push(refuse("ENOMEM", text, means).why(why).help(help));
            }
        }
        if refusals.is_empty() {
            self.taken = taken.with(map);
        }
        refusals
    }

    /// The first instruction that refers to a map of the program.
    fn first_reference(&self, map: &MapDef) -> Option<usize> {
        let program = self.program.as_ref()?;
        let mut referenced = program.referenced_maps().into_iter();
        let index = program.maps.iter().position(|known| known == map)?;
        referenced.find_map(|(at, pc)| (at == index).then_some(pc))
    }
}
