//! Comparing the contents of two map sets, element by element.

use bpf::finding::{Finding, Stage};
use bpf::map::{Map, MapDef, MapId, MapSet, MapType};

/// One element in which two maps differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDifference {
    /// Map name.
    pub map: String,
    /// Key; empty for maps without keys.
    pub key: Vec<u8>,
    /// Value on the NIC; all CPUs' values one after the other for per-CPU maps. `None` if the
    /// element is not there.
    pub nic: Option<Vec<u8>>,
    /// Value on the reference.
    pub reference: Option<Vec<u8>>,
}

impl MapDifference {
    /// As a finding of the behaviour stage.
    pub fn finding(&self) -> Finding {
        Finding::error(
            "behaviour/map-mismatch",
            Stage::Behaviour,
            self.map.clone(),
            format!(
                "map {} differs at key {}: NIC {}, reference {}",
                self.map,
                hex(&self.key),
                self.nic.as_deref().map_or_else(|| "absent".to_owned(), hex),
                self.reference
                    .as_deref()
                    .map_or_else(|| "absent".to_owned(), hex),
            ),
        )
        .why("after the last packet every map must hold what it holds on the CPU")
        .help("--maps-out FILE writes the NIC's maps; a smaller capture shows where they part")
    }
}

/// Differences kept for a report; more are not collected.
const MOST: usize = 64;

/// The first elements that differ, by map and key; empty if all are equal. Maps whose values
/// are handles (programs, maps) or that the host drains (events) hold nothing to compare.
pub fn compare(defs: &[MapDef], nic: &MapSet, reference: &MapSet) -> Vec<MapDifference> {
    compare_but(defs, nic, reference, &|_| false, &|_, _| {})
}

/// The same without the maps that `skip` names; `clear` clears what of a value is left out.
pub(crate) fn compare_but(
    defs: &[MapDef],
    nic: &MapSet,
    reference: &MapSet,
    skip: &dyn Fn(MapId) -> bool,
    clear: &dyn Fn(MapId, &mut [u8]),
) -> Vec<MapDifference> {
    let mut differences = Vec::new();
    for (id, def) in defs.iter().enumerate() {
        let (Some(nic), Some(reference)) = (nic.get(id), reference.get(id)) else {
            continue;
        };
        if !comparable(def.kind) || differences.len() >= MOST || skip(id) {
            continue;
        }
        let clear = |value: &mut [u8]| clear(id, value);
        compare_map(def, nic, reference, &clear, &mut differences);
    }
    differences
}

fn comparable(kind: MapType) -> bool {
    !matches!(
        kind,
        MapType::ProgArray
            | MapType::PerfEventArray
            | MapType::Ringbuf
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
            | MapType::Devmap
            | MapType::DevmapHash
            | MapType::Cpumap
            | MapType::Xskmap
    )
}

fn compare_map(
    def: &MapDef,
    nic: &Map,
    reference: &Map,
    clear: &dyn Fn(&mut [u8]),
    into: &mut Vec<MapDifference>,
) {
    let cleared = |mut value: Vec<u8>| {
        clear(&mut value);
        value
    };
    if matches!(def.kind, MapType::Queue | MapType::Stack) {
        let values = |map: &Map| map.host_values().into_iter().map(cleared).collect();
        let (a, b): (Vec<_>, Vec<_>) = (values(nic), values(reference));
        if let Some(at) = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i)) {
            into.push(MapDifference {
                map: def.name.clone(),
                key: Vec::new(),
                nic: a.get(at).cloned(),
                reference: b.get(at).cloned(),
            });
        }
        return;
    }
    let mut keys: Vec<Vec<u8>> = nic.host_keys();
    keys.extend(reference.host_keys());
    keys.sort();
    keys.dedup();
    for key in keys {
        let value = |map: &Map| map.host_lookup(&key).ok().map(cleared);
        let (a, b) = (value(nic), value(reference));
        if a != b {
            into.push(MapDifference {
                map: def.name.clone(),
                key,
                nic: a,
                reference: b,
            });
            if into.len() >= MOST {
                return;
            }
        }
    }
}

/// Bytes as hex digits, in memory order.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
