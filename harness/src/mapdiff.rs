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
    compare_but(defs, nic, reference, |_| false, |_, a, b| a == b)
}

/// The same without the maps that `skip` names; `alike` says whether two values count as equal.
pub(crate) fn compare_but(
    defs: &[MapDef],
    nic: &MapSet,
    reference: &MapSet,
    skip: impl Fn(MapId) -> bool,
    alike: impl Fn(MapId, &[u8], &[u8]) -> bool,
) -> Vec<MapDifference> {
    let mut differences = Vec::new();
    for (id, def) in defs.iter().enumerate() {
        let (Some(nic), Some(reference)) = (nic.get(id), reference.get(id)) else {
            continue;
        };
        if !comparable(def.kind) || differences.len() >= MOST || skip(id) {
            continue;
        }
        let alike = |a: Option<&Vec<u8>>, b: Option<&Vec<u8>>| match (a, b) {
            (Some(a), Some(b)) => alike(id, a, b),
            (a, b) => a == b,
        };
        compare_map(def, nic, reference, alike, &mut differences);
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
    alike: impl Fn(Option<&Vec<u8>>, Option<&Vec<u8>>) -> bool,
    into: &mut Vec<MapDifference>,
) {
    if matches!(
        def.kind,
        MapType::Queue | MapType::Stack | MapType::BloomFilter
    ) {
        let (a, b) = (nic.host_values(), reference.host_values());
        if let Some(at) = (0..a.len().max(b.len())).find(|i| !alike(a.get(*i), b.get(*i))) {
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
        let (a, b) = (nic.host_lookup(&key).ok(), reference.host_lookup(&key).ok());
        if !alike(a.as_ref(), b.as_ref()) {
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
