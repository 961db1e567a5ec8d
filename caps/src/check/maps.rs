//! Maps: types, sizes, counts, and what code does to their values.

use bpf::map::MapDef;
use isa::ebpf::{Insn, Wide};
use verifier::facts::Region;

use super::{Certainty, Checker, Ground};
use crate::domain::MAP_FLAGS;
use crate::rules;
use crate::value::{Limit, Value};

/// A map that reachable code refers to: its index and the first pc that does.
pub(crate) fn used(verified: &verifier::Verified) -> Vec<(usize, usize)> {
    let mut used: Vec<(usize, usize)> = Vec::new();
    for (pc, insn, _) in super::reachable(verified) {
        if let Insn::LoadWide {
            value: Wide::Map(map) | Wide::MapValue { map, .. },
            ..
        } = insn
        {
            let map = *map as usize;
            if !used.iter().any(|(known, _)| *known == map) {
                used.push((map, pc));
            }
        }
    }
    used
}

pub(super) fn check(checker: &mut Checker<'_>) {
    let maps = used(checker.verified);
    let defs: Vec<(usize, &MapDef)> = maps
        .iter()
        .filter_map(|&(map, pc)| Some((pc, checker.program.maps.get(map)?)))
        .collect();
    for &(pc, map) in &defs {
        one(checker, pc, map);
    }
    // Maps of a type that is not there take no room.
    let fitting: Vec<_> = defs
        .into_iter()
        .filter(|(_, map)| checker.caps.has("map.types", map.kind.name()))
        .collect();
    count(checker, &fitting);
    totals(checker, &fitting);
    accesses(checker);
}

fn one(checker: &mut Checker<'_>, pc: usize, map: &MapDef) {
    let nic = checker.caps.name.clone();
    if let Some((ground, certainty)) = checker.lacks("map.types", map.kind.name()) {
        let why = checker.why(&ground);
        let message = match certainty {
            Certainty::Sure => {
                format!("{nic} has no maps of type {} (map {})", map.kind, map.name)
            }
            Certainty::Unknown => {
                format!("whether {nic} has maps of type {} is not known", map.kind)
            }
        };
        checker.add(
            certainty.severity(),
            rules::MAP_TYPE,
            Some(pc),
            map.name.clone(),
            message,
            why,
            type_help(map),
        );
        // Sizes of a type that is not there say nothing more.
        if certainty == Certainty::Sure {
            return;
        }
    }
    // The flags of global data come with it: one reason is enough.
    let is_refused_data = map.data.is_some() && flag_is_off(checker, "map.direct_values").is_some();
    for (name, bit) in MAP_FLAGS {
        if map.flags & bit != 0
            && !is_refused_data
            && let Some((ground, certainty)) = checker.lacks("map.flags", name)
        {
            let why = checker.why(&ground);
            checker.add(
                certainty.severity(),
                rules::MAP_FLAGS,
                Some(pc),
                map.name.clone(),
                format!("{nic} does not take the flag {name} of map {}", map.name),
                why,
                "create the map without it",
            );
        }
    }
    for (rule, row, what, used) in [
        (rules::MAP_KEY, "map.key_bytes", "key", map.key_size),
        (rules::MAP_VALUE, "map.value_bytes", "value", map.value_size),
    ] {
        for ground in checker.grounds(row) {
            if let Value::Number(bound) = ground.fact.value
                && bound.exceeded_by(u64::from(used))
            {
                let why = checker.why_shown(&ground, &format!("{bound} bytes"));
                checker.error(
                    rule,
                    Some(pc),
                    map.name.clone(),
                    format!(
                        "the {what} of map {} is {used} bytes long, {nic} takes {bound}",
                        map.name
                    ),
                    why,
                    format!("make the {what} shorter, or split the map in two"),
                );
            }
        }
    }
    for ground in checker.grounds("map.pair_bytes") {
        let Value::Limit(limit) = &ground.fact.value else {
            continue;
        };
        let used =
            limit.rounded(u64::from(map.key_size)) + limit.rounded(u64::from(map.value_size));
        if limit.value.exceeded_by(used) {
            let why = checker.why(&ground);
            checker.error(
                rules::MAP_PAIR,
                Some(pc),
                map.name.clone(),
                format!(
                    "key and value of map {} take {used} bytes together, {nic} takes {}",
                    map.name, limit.value
                ),
                why,
                "make key or value shorter, or split the map in two",
            );
        }
    }
    if map.max_entries == 0 {
        checker.error(
            rules::MAP_ENTRIES,
            Some(pc),
            map.name.clone(),
            format!("map {} has 0 entries: it cannot be created", map.name),
            "the object leaves the size to the program's own loader".into(),
            format!("do as the loader does: --map {}.max_entries=N", map.name),
        );
    }
    for ground in checker.grounds("map.entries") {
        let Value::Limit(limit) = &ground.fact.value else {
            continue;
        };
        if limit.exceeded_by(u64::from(map.max_entries)) {
            let why = checker.why(&ground);
            checker.error(
                rules::MAP_ENTRIES,
                Some(pc),
                map.name.clone(),
                format!(
                    "map {} has {} entries, {nic} takes {}",
                    map.name, map.max_entries, limit.value
                ),
                why,
                format!("--map {}.max_entries={}", map.name, limit.value),
            );
        }
    }
}

fn type_help(map: &MapDef) -> &'static str {
    use bpf::map::MapType as T;
    match map.kind {
        T::PercpuArray => "use an array, and add to it atomically",
        T::PercpuHash | T::LruHash | T::LruPercpuHash => {
            "use a hash, filled by the host or large enough for every key"
        }
        T::LpmTrie => "use one hash for each prefix length that occurs",
        T::ProgArray => "put the parts into one program",
        T::Devmap | T::DevmapHash | T::Cpumap | T::Xskmap => {
            "answer with XDP_TX or XDP_PASS instead of redirecting"
        }
        T::PerfEventArray | T::Ringbuf => "pass the frame to the host and sample it there",
        _ => "use a hash or an array",
    }
}

fn count(checker: &mut Checker<'_>, defs: &[(usize, &MapDef)]) {
    for ground in checker.grounds("map.count") {
        let Value::Number(bound) = ground.fact.value else {
            continue;
        };
        if bound.exceeded_by(defs.len() as u64) {
            let why = checker.why_shown(&ground, &format!("{bound} maps"));
            let first_too_many = bound.known().and_then(|n| defs.get(n as usize));
            checker.error(
                rules::MAP_COUNT,
                first_too_many.map(|(pc, _)| *pc),
                first_too_many.map_or_else(String::new, |(_, map)| map.name.clone()),
                format!(
                    "the program uses {} maps, {} holds {bound}",
                    defs.len(),
                    checker.caps.name
                ),
                why,
                "put several values into one map",
            );
        }
    }
}

fn totals(checker: &mut Checker<'_>, defs: &[(usize, &MapDef)]) {
    let of = |map: &MapDef, limit: &Limit, bytes: bool| {
        let entries = u64::from(map.max_entries);
        if bytes {
            let element = u64::from(map.key_size) + u64::from(map.value_size);
            entries.saturating_mul(limit.rounded(element))
        } else {
            limit.rounded(entries)
        }
    };
    for (row, bytes, what) in [
        ("map.total_entries", false, "entries"),
        ("map.total_bytes", true, "bytes"),
    ] {
        for ground in checker.grounds(row) {
            let Value::Limit(limit) = &ground.fact.value else {
                continue;
            };
            let total = defs.iter().fold(0_u64, |sum, (_, map)| {
                sum.saturating_add(of(map, limit, bytes))
            });
            if limit.value.exceeded_by(total)
                && let Some((pc, largest)) = defs.iter().max_by_key(|(_, m)| of(m, limit, bytes))
            {
                let why = checker.why(&ground);
                checker.error(
                    rules::MAP_TOTAL,
                    Some(*pc),
                    largest.name.clone(),
                    format!(
                        "the maps take {total} {what} together, {} has {}",
                        checker.caps.name, limit.value
                    ),
                    why,
                    format!("make map {} smaller: it is the largest", largest.name),
                );
            }
        }
    }
}

/// Addresses of values in code, and stores to values.
fn accesses(checker: &mut Checker<'_>) {
    let name = |checker: &Checker<'_>, map: Option<usize>| {
        map.and_then(|m| checker.program.maps.get(m))
            .map_or_else(|| "several maps".to_owned(), |m| m.name.clone())
    };
    for (pc, insn, facts) in checker.reachable() {
        if let Insn::LoadWide {
            value: Wide::MapValue { map, .. },
            ..
        } = insn
            && let Some((ground, certainty)) = flag_is_off(checker, "map.direct_values")
        {
            let subject = name(checker, Some(*map as usize));
            let why = checker.why(&ground);
            let message = match certainty {
                Certainty::Sure => format!(
                    "code of {} cannot hold the address of a value of map {subject}",
                    checker.caps.name
                ),
                Certainty::Unknown => format!(
                    "whether code of {} can hold the address of a value of map {subject} is not known",
                    checker.caps.name
                ),
            };
            checker.add(
                certainty.severity(),
                rules::MAP_DIRECT,
                Some(pc),
                subject,
                message,
                why,
                "pass global variables in an array map and look them up",
            );
        }
        let stores = matches!(insn, Insn::Store { .. } | Insn::StoreRelease { .. });
        if let Some(access) = facts.access
            && stores
            && let Region::MapValue { map } = access.region
        {
            for ground in checker.grounds("map.value_access") {
                if !matches!(&ground.fact.value, Value::Choice(word) if word == "read") {
                    continue;
                }
                let subject = name(checker, map);
                let why = checker.why_shown(&ground, "only reads of map values");
                checker.error(
                    rules::MAP_WRITE,
                    Some(pc),
                    subject.clone(),
                    format!(
                        "programs on {} cannot store to a value of map {subject}",
                        checker.caps.name
                    ),
                    why,
                    "count by atomic additions, or let the host write the value",
                );
            }
        }
    }
}

/// The layer that says no to a flag, or the one that does not know.
fn flag_is_off<'a>(checker: &Checker<'a>, row: &str) -> Option<(Ground<'a>, Certainty)> {
    checker
        .grounds(row)
        .into_iter()
        .find_map(|ground| match ground.fact.value {
            Value::Flag(true) => None,
            Value::Flag(false) => Some((ground, Certainty::Sure)),
            _ => Some((ground, Certainty::Unknown)),
        })
}

/// Entries and bytes that maps take: (entries, bytes of keys and values).
pub(crate) fn sizes<'a>(maps: impl Iterator<Item = &'a MapDef>) -> (u64, u64) {
    maps.fold((0, 0), |(entries, bytes), map| {
        let n = u64::from(map.max_entries);
        let element = u64::from(map.key_size) + u64::from(map.value_size);
        (
            entries.saturating_add(n),
            bytes.saturating_add(n.saturating_mul(element)),
        )
    })
}
