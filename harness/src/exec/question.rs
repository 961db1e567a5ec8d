//! What a backend program is asked.

use bpf::Hook;
use caps::Caps;
use isa::ebpf::{NoSymbols, encode};
use serde_json::{Value, json};
use verifier::Verified;

use crate::mapdiff::hex;

const SCHEMA: &str = "nicbed/backend/1";

/// What it is.
pub(super) fn describe() -> Value {
    json!({ "schema": SCHEMA, "ask": "describe" })
}

/// What a backend is asked about a program: what it makes of it for a NIC.
pub fn translate(verified: &Verified, caps: &Caps) -> Value {
    let program = verified.program();
    let code = encode(&program.insns).unwrap_or_default();
    let insns = program.insns.iter().enumerate();
    let insns = insns
        .filter(|(_, insn)| insn.slots() > 0)
        .map(|(pc, insn)| {
            json!({
                "pc": pc,
                "text": insn.display(pc, &NoSymbols).to_string(),
                "line": program.source.place_at(pc).map(|(_, line)| line),
            })
        });
    let maps = program.maps.iter().map(|map| {
        json!({
            "name": map.name,
            "type": map.kind.name(),
            "key_size": map.key_size,
            "value_size": map.value_size,
            "max_entries": map.max_entries,
            "flags": map.flags,
        })
    });
    let functions = program
        .subprograms
        .iter()
        .map(|function| json!({ "name": function.name, "pc": function.start }));
    json!({
        "schema": SCHEMA,
        "ask": "translate",
        "program": {
            "name": program.name,
            "hook": program.hook.name(),
            "memory_bytes": match program.hook {
                Hook::Raw { memory_bytes } => Some(memory_bytes),
                _ => None,
            },
            "code": hex(&code),
            "insns": insns.collect::<Vec<_>>(),
            "functions": functions.collect::<Vec<_>>(),
            "maps": maps.collect::<Vec<_>>(),
            "stack_bytes": verified.stats().stack_bytes,
        },
        "facts": crate::report::facts::facts(verified),
        "nic": caps,
    })
}
