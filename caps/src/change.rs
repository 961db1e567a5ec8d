//! What a NIC would have to declare for a finding to go away.

use bpf::Hook;
use bpf::finding::Finding;
use isa::ebpf::{CpuVersion, Group, Row};
use verifier::Verified;

use crate::check::{deepest_stack, maps_used, packet_reach, reachable, region_name};
use crate::domain::MAP_FLAGS;
use crate::headroom::headroom;
use crate::profile::Caps;
use crate::rules;
use crate::schema::full_key;
use crate::value::{Bound, Names, Value};

/// Changes to the profile, as [`crate::apply_set`] takes them, after which `finding` no longer
/// stands; empty where no change of what is declared would help (the verifier refuses, the
/// backend cannot, or a helper's arguments are at fault). One change at a time may not be enough:
/// check again after each. `image` is the image's length as for [`headroom`].
pub fn changes(
    program: &Verified,
    caps: &Caps,
    finding: &Finding,
    image: Option<(u64, u64)>,
) -> Vec<String> {
    let change = Change { program, caps };
    let subject = finding.subject.as_str();
    let insn = finding.pc.and_then(|pc| program.program().insns.get(pc));
    let map = || {
        let maps = &program.program().maps;
        maps_used(program)
            .into_iter()
            .filter_map(|(map, _)| maps.get(map))
            .find(|map| map.name == subject)
    };
    let is_tc = matches!(program.program().hook, Hook::Tc { .. });
    match finding.rule.as_str() {
        rules::HOOK => change.name("hooks", subject),
        rules::HELPER => change.name("helpers", subject),
        rules::ACTION if is_tc => change.name("actions.tc", subject),
        rules::ACTION => change.name("actions.xdp", subject),
        rules::CTX_FIELD if is_tc => change.name("ctx.tc_read", subject),
        rules::CTX_FIELD => change.name("ctx.xdp_read", subject),
        rules::CTX_WRITE if is_tc => change.name("ctx.tc_write", subject),
        rules::CTX_WRITE => change.name("ctx.xdp_write", subject),
        rules::ISA | rules::TOO_NEW | rules::ATOMIC => {
            let Some((pc, insn)) = finding.pc.zip(insn) else {
                return Vec::new();
            };
            let changes = change.instruction(insn.row());
            let region = program.facts(pc).access.and_then(|a| region_name(a.region));
            match region {
                // The instruction is there, but not in this region.
                Some(region) if changes.is_empty() => change.name("isa.atomic_regions", region),
                _ => changes,
            }
        }
        rules::MAP_TYPE => {
            map().map_or_else(Vec::new, |map| change.name("map.types", map.kind.name()))
        }
        rules::MAP_FLAGS => map().map_or_else(Vec::new, |map| {
            MAP_FLAGS
                .iter()
                .filter(|(_, bit)| map.flags & bit != 0)
                .flat_map(|(name, _)| change.name("map.flags", name))
                .collect()
        }),
        rules::MAP_KEY => map().map_or_else(Vec::new, |map| {
            change.at_least("map.key_bytes", u64::from(map.key_size))
        }),
        rules::MAP_VALUE => map().map_or_else(Vec::new, |map| {
            change.at_least("map.value_bytes", u64::from(map.value_size))
        }),
        rules::MAP_PAIR => map().map_or_else(Vec::new, |map| {
            let (key, value) = (u64::from(map.key_size), u64::from(map.value_size));
            change.at_least_rounded("map.pair_bytes", &[key, value])
        }),
        rules::MAP_ENTRIES => map().map_or_else(Vec::new, |map| {
            change.at_least("map.entries", u64::from(map.max_entries))
        }),
        rules::MAP_COUNT | rules::MAP_TOTAL | rules::STACK | rules::TOO_LONG | rules::CALLS => {
            headroom(program, caps, image)
                .iter()
                .filter(|room| room.left().is_some_and(|left| left < 0))
                .flat_map(|room| change.at_least(room.key, room.used.unwrap_or(0)))
                .collect()
        }
        rules::MAP_DIRECT => change.choice("map.direct_values", "true"),
        rules::MAP_WRITE => change.choice("map.value_access", "read-write"),
        rules::LOOPS => change.choice("loops", "bounded"),
        rules::WINDOW => {
            let reach = reachable(program)
                .filter_map(|(_, insn, facts)| packet_reach(insn, facts))
                .max();
            let longest = caps.packet().frame_max.known().unwrap_or(u64::MAX);
            change.at_least("packet.window_bytes", reach.unwrap_or(0).min(longest))
        }
        _ => Vec::new(),
    }
}

struct Change<'a> {
    program: &'a Verified,
    caps: &'a Caps,
}

impl Change<'_> {
    /// Adds `name` to a list in every layer that lacks it.
    fn name(&self, key: &str, name: &str) -> Vec<String> {
        self.caps
            .layers(key)
            .filter(|(_, fact)| match &fact.value {
                Value::Names(names) => !names.contains(name),
                _ => true,
            })
            .map(|(by, fact)| match fact.value {
                Value::Names(_) => format!("{}+={name}", full_key(by, key)),
                _ => format!("{}={name}", full_key(by, key)),
            })
            .collect()
    }

    fn choice(&self, key: &str, word: &str) -> Vec<String> {
        self.caps
            .layers(key)
            .filter(|(_, fact)| match &fact.value {
                Value::Choice(now) => now != word,
                Value::Flag(on) => !on,
                _ => true,
            })
            .map(|(by, _)| format!("{}={word}", full_key(by, key)))
            .collect()
    }

    /// Raises a number in every layer where it is less than `needed`.
    fn at_least(&self, key: &str, needed: u64) -> Vec<String> {
        self.at_least_rounded(key, &[needed])
    }

    fn at_least_rounded(&self, key: &str, parts: &[u64]) -> Vec<String> {
        let mut changes = Vec::new();
        for (by, fact) in self.caps.layers(key) {
            let (bound, needed) = match &fact.value {
                Value::Number(bound) => (*bound, parts.iter().sum()),
                // The stack is rounded frame by frame.
                Value::Limit(limit) if key == "stack.bytes" => {
                    (limit.value, deepest_stack(self.program, limit.granule).0)
                }
                Value::Limit(limit) => (
                    limit.value,
                    parts.iter().map(|part| limit.rounded(*part)).sum(),
                ),
                _ => continue,
            };
            if bound.exceeded_by(needed) || bound == Bound::Unknown {
                changes.push(format!("{}={needed}", full_key(by, key)));
            }
        }
        changes
    }

    fn instruction(&self, row: &Row) -> Vec<String> {
        let mnemonic = row.mnemonic();
        let mut changes: Vec<String> = Vec::new();
        for (by, fact) in self.caps.layers("isa.excluded_opcodes") {
            if matches!(&fact.value, Value::Names(Names::List(list)) if list.iter().any(|n| n == mnemonic))
            {
                changes.push(format!(
                    "{}-={mnemonic}",
                    full_key(by, "isa.excluded_opcodes")
                ));
            }
        }
        for (by, fact) in self.caps.layers("isa.cpu_version") {
            let too_old = match &fact.value {
                Value::Choice(word) => CpuVersion::from_name(word).is_some_and(|v| row.cpu() > v),
                _ => true,
            };
            if too_old {
                changes.push(format!("{}={}", full_key(by, "isa.cpu_version"), row.cpu()));
            }
        }
        for (by, fact) in self.caps.layers("isa.groups") {
            let lacks = match &fact.value {
                Value::Names(Names::All) => false,
                Value::Names(Names::List(list)) => !list
                    .iter()
                    .filter_map(|name| Group::from_name(name))
                    .any(|group| group.includes(row.group())),
                _ => true,
            };
            if lacks {
                changes.push(format!(
                    "{}+={}",
                    full_key(by, "isa.groups"),
                    row.group().name()
                ));
            }
        }
        changes
    }
}
