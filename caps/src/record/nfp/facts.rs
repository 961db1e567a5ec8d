//! The record and the facts of a profile: each made from the other.

use bpf::map::MapType;

use super::{
    ADJUST_HEAD_NO_META, AdjustHead, BPF_CAP_RELOAD, CAP_BPF, DEFAULT_ABI, FUNCTIONS, Firmware,
    Maps, Record, Registers,
};
use crate::profile::Caps;
use crate::value::{Bound, Limit, Names, Scope, Unit, Value};

/// Names of the helpers in [`FUNCTIONS`].
const LOOKUP_TO_EVENT: [&str; 4] = [
    "bpf_map_lookup_elem",
    "bpf_map_update_elem",
    "bpf_map_delete_elem",
    "bpf_perf_event_output",
];
const RANDOM: &str = "bpf_get_prandom_u32";
const ADJUST_HEAD: &str = "bpf_xdp_adjust_head";
const ADJUST_TAIL: &str = "bpf_xdp_adjust_tail";
const QUEUE_FIELD: &str = "rx_queue_index";

impl Record {
    /// What a device with these capabilities declares. Numbers that the profile does not know
    /// are 0; what registers cannot hold has been refused when the profile was read.
    pub(crate) fn of(caps: &Caps) -> Record {
        let number = |key: &str| caps.bound(key).known().unwrap_or(0);
        let flag = |key: &str| {
            caps.fact(key)
                .is_some_and(|fact| fact.value == Value::Flag(true))
        };
        let listed = |key: &str, name: &str| match caps.fact(key).map(|fact| &fact.value) {
            Some(Value::Names(names)) => names.contains(name),
            _ => false,
        };
        let registers = Registers {
            cap: if listed("hooks", "xdp") { CAP_BPF } else { 0 },
            abi: number("nfp.abi_version") as u8,
            bpf_cap: u8::from(flag("nfp.live_reload")),
            max_len_insns: device_number(caps, "image.length") as u16,
            start_insns: number("nfp.code_start_insns") as u16,
            done_insns: number("nfp.code_done_insns") as u16,
            stack_units: (device_number(caps, "stack.bytes") / 64) as u8,
            split_units: ((device_number(caps, "packet.window_bytes") + 32) / 64) as u8,
        };
        let functions = FUNCTIONS
            .into_iter()
            .zip(LOOKUP_TO_EVENT)
            .filter(|(_, name)| listed("helpers", name))
            .map(|(id, name)| (id, number(&format!("helper.{name}.code_address")) as u32))
            .collect();
        let adjust_head = if listed("helpers", ADJUST_HEAD) {
            AdjustHead {
                flags: u32::from(flag("nfp.adjust_head_no_meta")),
                off_min: number("nfp.adjust_head_min_offset_bytes") as u32,
                off_max: number("nfp.adjust_head_max_offset_bytes") as u32,
                guaranteed_sub: number("nfp.adjust_head_guaranteed_sub_bytes") as u32,
                guaranteed_add: number("nfp.adjust_head_guaranteed_add_bytes") as u32,
            }
        } else {
            AdjustHead::default()
        };
        let mut types = 0;
        for kind in MapType::ALL.iter().filter(|kind| kind.number() < 32) {
            if listed("map.types", kind.name()) {
                types |= 1 << kind.number();
            }
        }
        let abi = number("nfp.abi_version") as u32;
        Record {
            registers,
            firmware: Some(Firmware {
                functions,
                adjust_head,
                maps: Maps {
                    types,
                    max_maps: device_number(caps, "map.count") as u32,
                    max_elems: device_number(caps, "map.total_entries") as u32,
                    max_key_bytes: device_number(caps, "map.key_bytes") as u32,
                    max_value_bytes: device_number(caps, "map.value_bytes") as u32,
                    max_elem_bytes: device_number(caps, "map.pair_bytes") as u32,
                },
                random: listed("helpers", RANDOM),
                queue_select: listed("ctx.xdp_write", QUEUE_FIELD),
                adjust_tail: listed("helpers", ADJUST_TAIL),
                abi_version: (abi != DEFAULT_ABI).then_some(abi),
                multi_entry_messages: flag("nfp.multi_entry_messages"),
            }),
            warnings: Vec::new(),
        }
    }

    /// The record as facts of a profile, by full key.
    pub fn facts(&self) -> Vec<(String, Value)> {
        let absent = Firmware::default();
        let firmware = self.firmware.as_ref().unwrap_or(&absent);
        let mut helpers = Vec::new();
        let mut facts = Vec::new();
        for (id, name) in FUNCTIONS.into_iter().zip(LOOKUP_TO_EVENT) {
            if let Some(&address) = firmware.functions.get(&id)
                && address != 0
            {
                helpers.push(name);
                facts.push((
                    format!("helper.{name}.code_address"),
                    Value::Number(Bound::Known(u64::from(address))),
                ));
            }
        }
        if firmware.random {
            helpers.push(RANDOM);
        }
        let head = firmware.adjust_head;
        if head.off_max != 0 {
            helpers.push(ADJUST_HEAD);
        }
        if firmware.adjust_tail {
            helpers.push(ADJUST_TAIL);
        }
        let names = |list: &[&str]| {
            Value::Names(Names::List(list.iter().map(|n| (*n).to_owned()).collect()))
        };
        let hooks: &[&str] = if self.is_capable() {
            &["xdp", "tc"]
        } else {
            &[]
        };
        let types: Vec<&str> = MapType::ALL
            .iter()
            .filter(|kind| kind.number() < 32 && firmware.maps.types >> kind.number() & 1 == 1)
            .map(|kind| kind.name())
            .collect();
        let number = |n: u64| Value::Number(Bound::Known(n));
        let limit = |n: u64, unit, scope, granule| {
            Value::Limit(Limit {
                value: Bound::Known(n),
                unit,
                scope,
                granule,
            })
        };
        let r = &self.registers;
        let maps = &firmware.maps;
        let queue: &[&str] = if firmware.queue_select {
            &[QUEUE_FIELD]
        } else {
            &[]
        };
        let mut add = |key: &str, value| facts.push((key.to_owned(), value));
        add("hooks", names(hooks));
        add("helpers", names(&helpers));
        add(
            "image.length",
            limit(u64::from(r.max_len_insns), Unit::Insns, Scope::Program, 1),
        );
        add(
            "stack.bytes",
            limit(
                u64::from(r.stack_units) * 64,
                Unit::Bytes,
                Scope::Program,
                64,
            ),
        );
        add("packet.window_bytes", number(self.window_bytes()));
        add("ctx.xdp_write", names(queue));
        add("map.types", names(&types));
        add("map.count", number(u64::from(maps.max_maps)));
        add("map.key_bytes", number(u64::from(maps.max_key_bytes)));
        add("map.value_bytes", number(u64::from(maps.max_value_bytes)));
        add(
            "map.pair_bytes",
            limit(u64::from(maps.max_elem_bytes), Unit::Bytes, Scope::Map, 8),
        );
        add(
            "map.total_entries",
            limit(u64::from(maps.max_elems), Unit::Entries, Scope::AllMaps, 1),
        );
        add("nfp.abi_version", number(u64::from(r.abi)));
        add("nfp.code_start_insns", number(u64::from(r.start_insns)));
        add("nfp.code_done_insns", number(u64::from(r.done_insns)));
        add(
            "nfp.live_reload",
            Value::Flag(r.bpf_cap & BPF_CAP_RELOAD != 0),
        );
        add(
            "nfp.multi_entry_messages",
            Value::Flag(firmware.multi_entry_messages),
        );
        if head.off_max != 0 {
            add(
                "nfp.adjust_head_no_meta",
                Value::Flag(head.flags & ADJUST_HEAD_NO_META != 0),
            );
            for (key, n) in [
                ("nfp.adjust_head_min_offset_bytes", head.off_min),
                ("nfp.adjust_head_max_offset_bytes", head.off_max),
                ("nfp.adjust_head_guaranteed_sub_bytes", head.guaranteed_sub),
                ("nfp.adjust_head_guaranteed_add_bytes", head.guaranteed_add),
            ] {
                add(key, number(u64::from(n)));
            }
        }
        facts
    }
}

/// The number that the device layer of a profile says, 0 if unknown.
fn device_number(caps: &Caps, key: &str) -> u64 {
    match caps.fact(key).map(|fact| &fact.value) {
        Some(Value::Number(Bound::Known(n))) => *n,
        Some(Value::Limit(limit)) => limit.value.known().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a record of this format says the fact with this key (`*` for a helper's name).
pub(crate) fn declares(key: &str) -> bool {
    matches!(
        key,
        "hooks"
            | "helpers"
            | "helper.*.code_address"
            | "image.length"
            | "stack.bytes"
            | "packet.window_bytes"
            | "ctx.xdp_write"
            | "map.types"
            | "map.count"
            | "map.total_entries"
            | "map.key_bytes"
            | "map.value_bytes"
            | "map.pair_bytes"
    ) || key.starts_with("nfp.")
}

/// Whether registers and blob can say what the profile's device layer says; else the key and
/// why not.
pub(crate) fn expressible(caps: &Caps) -> Result<(), (&'static str, &'static str)> {
    let names = |key: &str| match caps.fact(key).map(|fact| &fact.value) {
        Some(Value::Names(Names::List(list))) => Some(list.as_slice()),
        _ => None,
    };
    for (key, largest, why) in [
        (
            "image.length",
            0xffff,
            "the register BPF_MAX_LEN holds 0 to 65535",
        ),
        (
            "stack.bytes",
            255 * 64,
            "the register BPF_STACK_SZ holds 0 to 255 units of 64 bytes",
        ),
        (
            "packet.window_bytes",
            255 * 64 - 32,
            "the register BPF_INL_MTU counts units of 64 bytes, of which 32 are taken off: 32, 96, 160 … 16288",
        ),
        ("map.count", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.key_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.value_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.pair_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.total_entries", 0xffff_ffff, "the blob holds 32 bits"),
    ] {
        let Some(fact) = caps.fact(key) else { continue };
        let (known, unit) = match &fact.value {
            Value::Number(bound) => (bound.known(), None),
            Value::Limit(limit) => (limit.value.known(), Some(limit.unit)),
            _ => (None, None),
        };
        let Some(n) = known else {
            return Err((key, "the device's record holds a number"));
        };
        let fits = n <= largest
            && match key {
                "image.length" => unit == Some(Unit::Insns),
                "stack.bytes" => n % 64 == 0,
                "packet.window_bytes" => n % 64 == 32,
                _ => true,
            };
        if !fits {
            return Err((key, why));
        }
    }
    let hooks = names("hooks").unwrap_or_default();
    if !(hooks.is_empty() || hooks == ["xdp", "tc"]) {
        return Err(("hooks", "CAP bit 27 stands for xdp and tc together"));
    }
    if caps.fact("ctx.xdp_write").is_some() {
        let fields = names("ctx.xdp_write").ok_or(("ctx.xdp_write", "a record lists fields"))?;
        if fields.iter().any(|field| field != QUEUE_FIELD) {
            return Err(("ctx.xdp_write", "the blob can only say rx_queue_index"));
        }
    }
    let helpers = names("helpers").unwrap_or_default();
    for helper in helpers {
        let address = format!("helper.{helper}.code_address");
        match helper.as_str() {
            RANDOM | ADJUST_TAIL => {}
            ADJUST_HEAD => {
                if caps.fact("nfp.adjust_head_max_offset_bytes").is_none() {
                    return Err((
                        "helpers",
                        "bpf_xdp_adjust_head needs nfp.adjust_head_max_offset_bytes",
                    ));
                }
            }
            name if LOOKUP_TO_EVENT.contains(&name) => {
                if caps.fact(&address).is_none() {
                    return Err((
                        "helpers",
                        "a map or event helper needs its helper.NAME.code_address",
                    ));
                }
            }
            _ => return Err(("helpers", "the blob has no entry for one of them")),
        }
    }
    match names("map.types") {
        Some(list) if list.iter().all(|n| type_fits(n)) => Ok(()),
        _ => Err(("map.types", "the blob has a bit for types 0 to 31")),
    }
}

fn type_fits(name: &str) -> bool {
    MapType::from_name(name).is_some_and(|kind| kind.number() < 32)
}
