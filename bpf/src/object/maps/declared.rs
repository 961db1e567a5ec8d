//! Maps declared beside the instructions: `.map` lines of assembly text, and `--map
//! NAME=type,key,value,entries` for raw instructions.

use crate::map::{MapDef, MapType};
use crate::object::error::MapProblem;

/// Reads `type,key,value,entries` with sizes in bytes, as `--map NAME=...` gives it.
pub(in crate::object) fn declare(name: &str, text: &str) -> Result<MapDef, MapProblem> {
    let bad = |found: &str, expected| MapProblem::Declaration {
        found: found.chars().take(80).collect(),
        expected,
    };
    let mut parts = text.split(',').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let kind = MapType::from_name(kind).ok_or_else(|| MapProblem::UnknownTypeName {
        found: kind.chars().take(80).collect(),
    })?;
    let mut number = |expected| {
        let part = parts.next().unwrap_or_default();
        parse_number(part).ok_or_else(|| bad(text, expected))
    };
    let mut def = super::blank(name, kind);
    def.key_size = number("type,key,value,entries with the key's size in bytes second")?;
    def.value_size = number("type,key,value,entries with the value's size in bytes third")?;
    def.max_entries = number("type,key,value,entries with the number of entries last")?;
    if let Some(flags) = parts.next() {
        def.flags = parse_number(flags)
            .ok_or_else(|| bad(text, "creation flags as a number after the entries"))?;
    }
    if parts.next().is_some() {
        return Err(bad(
            text,
            "type,key,value,entries and perhaps flags, nothing more",
        ));
    }
    Ok(def)
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
