//! How much of each limit a program uses, and how much is left.

use serde::Serialize;
use verifier::Verified;

use crate::check::{deepest_stack, maps_used};
use crate::profile::Caps;
use crate::value::{Bound, Limit, Unit, Value};

/// One limit of a NIC and a program's use of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headroom {
    /// Key of the limit in the profile, for example `stack.bytes`.
    pub key: &'static str,
    /// What is counted: `insns`, `rows`, `slots`, `bytes`, `entries`, `frames` or `maps`.
    pub unit: &'static str,
    /// How much the program uses, rounded as the NIC rounds; `None` if only translation could
    /// tell and there is no image.
    pub used: Option<u64>,
    /// How much there is; `None` where the profile gives no number.
    pub available: Option<u64>,
}

impl Headroom {
    /// What is left; negative if the program uses more than there is. `None` if either side is
    /// not known.
    pub fn left(&self) -> Option<i64> {
        let (used, available) = (self.used?, self.available?);
        Some(available as i64 - used as i64)
    }

    /// The share used, in thousandths; `None` as for [`Headroom::left`]. A limit of 0 that
    /// nothing is used of is not used at all.
    pub fn permille(&self) -> Option<u64> {
        let (used, available) = (self.used?, self.available?);
        if used == 0 {
            return Some(0);
        }
        Some(
            used.saturating_mul(1000)
                .checked_div(available)
                .unwrap_or(u64::MAX),
        )
    }
}

/// Every limit of `caps` that counts something of `program`, in the order of the profile's
/// tables. `image` is the image's length in instructions (rows) and in bytes, where there is one.
pub fn headroom(program: &Verified, caps: &Caps, image: Option<(u64, u64)>) -> Vec<Headroom> {
    let mut rooms = Vec::new();
    let mut add = |key, unit, bound: Bound, used: Option<u64>| {
        if bound != Bound::Unlimited {
            rooms.push(Headroom {
                key,
                unit,
                used,
                available: bound.known(),
            });
        }
    };
    if let Some(limit) = caps.image_length() {
        let used = match limit.unit {
            Unit::Insns | Unit::Rows => image.map(|(instructions, _)| instructions),
            Unit::Bytes => image.map(|(_, bytes)| bytes),
            Unit::Slots => Some(program.program().insns.len() as u64),
            Unit::Entries => None,
        };
        let used = used.map(|used| limit.rounded(used));
        add("image.length", limit.unit.name(), limit.value, used);
    }
    if let Some(limit) = limit(caps, "stack.bytes") {
        let (used, _) = deepest_stack(program, limit.granule);
        add("stack.bytes", "bytes", limit.value, Some(used));
    }
    if let Some(bound) = number(caps, "calls.frames") {
        let depth = u64::from(program.stats().call_depth).max(1);
        add("calls.frames", "frames", bound, Some(depth));
    }
    let defs = &program.program().maps;
    let maps: Vec<_> = maps_used(program)
        .into_iter()
        .filter_map(|(map, _)| defs.get(map))
        .filter(|map| caps.has("map.types", map.kind.name()))
        .collect();
    if let Some(bound) = number(caps, "map.count") {
        add("map.count", "maps", bound, Some(maps.len() as u64));
    }
    if let Some(limit) = limit(caps, "map.total_entries") {
        let used = maps.iter().fold(0_u64, |sum, map| {
            sum.saturating_add(limit.rounded(u64::from(map.max_entries)))
        });
        add("map.total_entries", "entries", limit.value, Some(used));
    }
    if let Some(limit) = limit(caps, "map.total_bytes") {
        let used = maps.iter().fold(0_u64, |sum, map| {
            let element = u64::from(map.key_size) + u64::from(map.value_size);
            let bytes = u64::from(map.max_entries).saturating_mul(limit.rounded(element));
            sum.saturating_add(bytes)
        });
        add("map.total_bytes", "bytes", limit.value, Some(used));
    }
    rooms
}

/// The tightest limit of a key over the layers of a profile.
fn limit(caps: &Caps, key: &str) -> Option<Limit> {
    caps.layers(key)
        .filter_map(|(_, fact)| match &fact.value {
            Value::Limit(limit) => Some(*limit),
            _ => None,
        })
        .min_by_key(|limit| limit.value.known().unwrap_or(u64::MAX))
}

fn number(caps: &Caps, key: &str) -> Option<Bound> {
    caps.layers(key)
        .filter_map(|(_, fact)| match fact.value {
            Value::Number(bound) => Some(bound),
            _ => None,
        })
        .min_by_key(|bound| bound.known().unwrap_or(u64::MAX))
}
