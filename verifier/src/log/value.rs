//! Registers and stack slots as the kernel's log writes them: `R1=pkt(off=14,r=34)`.

use std::fmt::Write;

use crate::domain::{Byte, Extent, Frame, Kind, Range, Slot, State, Value};
use crate::platform::Platform;

/// All that is known in the running function.
pub(crate) fn registers(platform: &Platform<'_>, state: &State) -> String {
    frame(platform, state, state.depth())
}

/// All that is known in the frame at `depth`.
pub(super) fn frame(platform: &Platform<'_>, state: &State, depth: usize) -> String {
    listed(platform, state, depth, u16::MAX, u64::MAX)
}

/// What is known of some registers and stack slots of the running function, by their bits.
pub(super) fn some(platform: &Platform<'_>, state: &State, regs: u16, slots: u64) -> String {
    listed(platform, state, state.depth(), regs, slots)
}

fn listed(platform: &Platform<'_>, state: &State, depth: usize, regs: u16, slots: u64) -> String {
    let frame: &Frame = state.frame(depth);
    let mut text = String::new();
    let mut add = |name: std::fmt::Arguments<'_>, value: &str| {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{name}={value}");
    };
    for (n, reg) in frame.regs.iter().enumerate() {
        if regs & (1 << n) != 0 && reg.kind != Kind::Unknown {
            add(format_args!("R{n}"), &register(platform, depth, reg));
        }
    }
    for (n, slot) in frame.stack.slots().iter().enumerate() {
        if slots & (1 << n) != 0 && !slot.is_untouched() {
            add(
                format_args!("fp-{}", 8 * (n + 1)),
                &stack_slot(platform, depth, slot),
            );
        }
    }
    if regs == u16::MAX && depth == state.depth() && !state.held.references.is_empty() {
        let ids: Vec<String> = state
            .held
            .references
            .iter()
            .map(|r| r.id.to_string())
            .collect();
        add(format_args!("refs"), &ids.join(","));
    }
    if depth > 0 && !text.is_empty() {
        text.insert_str(0, &format!("frame{depth}: "));
    }
    text
}

fn stack_slot(platform: &Platform<'_>, depth: usize, slot: &Slot) -> String {
    let letters = |bytes: &[Byte]| -> String {
        let from_the_top = bytes.iter().rev();
        let letter = |byte: &Byte| match byte {
            Byte::Untouched => '?',
            Byte::Misc => 'm',
            Byte::Zero => '0',
            Byte::Spill => 'r',
            Byte::Object => 'o',
        };
        from_the_top.map(letter).collect()
    };
    match slot.spilled() {
        Some((value, kept)) => {
            let rest = letters(&slot.bytes[usize::from(kept).min(8)..]);
            let rest = rest.replace('r', "?");
            format!("{rest}{}", register(platform, depth, value))
        }
        None => letters(&slot.bytes),
    }
}

/// What a register of the frame at `depth` holds.
pub(crate) fn register(platform: &Platform<'_>, depth: usize, value: &Value) -> String {
    match value.kind {
        Kind::Scalar => return scalar(value),
        Kind::Stack { frame } => {
            let mut text = "fp".to_owned();
            if usize::from(frame) != depth {
                let _ = write!(text, "[{frame}]");
            }
            let constant = value.range.as_constant().unwrap_or(0) as i64;
            let _ = write!(text, "{}", i64::from(value.off) + constant);
            if value.range.as_constant().is_none() {
                let _ = write!(text, "({})", bounds(&value.range).join(","));
            }
            return text;
        }
        _ => {}
    }
    let mut parts = Vec::new();
    if value.id != 0 {
        parts.push(format!("id={}", value.id));
    }
    if value.reference != 0 {
        parts.push(format!("ref_obj_id={}", value.reference));
    }
    if let Kind::Map { map, .. } | Kind::MapValue { map, .. } = value.kind {
        parts.push(format!("map={}", platform.map_name(map)));
        if let Some(def) = platform.map(map) {
            parts.push(format!("ks={},vs={}", def.key_size, def.value_size));
        }
    }
    if value.off != 0 {
        parts.push(format!("off={}", value.off));
    }
    if value.kind.is_packet() {
        let reach = match value.extent {
            Extent::None => "0".to_owned(),
            Extent::Bytes(bytes) => bytes.to_string(),
            // The kernel's codes for what lies at the end and past it.
            Extent::AtEnd => "0xffffffffffffffff".to_owned(),
            Extent::PastEnd => "0xfffffffffffffffe".to_owned(),
        };
        parts.push(format!("r={reach}"));
    }
    if let Kind::Memory { size, .. } = value.kind {
        parts.push(format!("sz={size}"));
    }
    match value.range.as_constant() {
        Some(0) => {}
        Some(constant) => parts.push(format!("imm={}", constant as i64)),
        None => parts.extend(bounds(&value.range)),
    }
    format!("{}({})", value.kind.name(), parts.join(","))
}

fn scalar(value: &Value) -> String {
    if let Some(constant) = value.range.as_constant() {
        return signed(constant as i64);
    }
    let mut parts = Vec::new();
    if value.id != 0 {
        let delta = if value.is_delta && value.off != 0 {
            format!("{:+}", value.off)
        } else {
            String::new()
        };
        parts.push(format!("id={}{delta}", value.id));
    }
    parts.extend(bounds(&value.range));
    format!("scalar({})", parts.join(","))
}

/// The bounds that say something, equal ones together, and the known bits.
fn bounds(range: &Range) -> Vec<String> {
    let top = &Range::UNKNOWN;
    let all = [
        ("smin", range.smin, range.smin == top.smin),
        ("smax", range.smax, range.smax == top.smax),
        ("umin", range.umin as i64, range.umin == top.umin),
        ("umax", range.umax as i64, range.umax == top.umax),
        ("smin32", half(range.s32_min), range.s32_min == top.s32_min),
        ("smax32", half(range.s32_max), range.s32_max == top.s32_max),
        (
            "umin32",
            i64::from(range.u32_min),
            range.u32_min == top.u32_min,
        ),
        (
            "umax32",
            i64::from(range.u32_max),
            range.u32_max == top.u32_max,
        ),
    ];
    let mut parts = Vec::new();
    let mut done = [false; 8];
    for (at, (name, value, omit)) in all.iter().enumerate() {
        if *omit || done[at] {
            continue;
        }
        let mut part = (*name).to_owned();
        for (later, (also, other, omit)) in all.iter().enumerate().skip(at + 1) {
            if !omit && other == value && name[1..4] == also[1..4] {
                done[later] = true;
                let _ = write!(part, "={also}");
            }
        }
        let number = if name.starts_with('s') {
            signed(*value)
        } else {
            unsigned(*value as u64)
        };
        parts.push(format!("{part}={number}"));
    }
    if range.bits != crate::domain::Tnum::UNKNOWN {
        parts.push(format!(
            "var_off=({:#x}; {:#x})",
            range.bits.value, range.bits.mask
        ));
    }
    parts
}

/// A signed bound of the lower half: as the unsigned half unless it is small.
fn half(value: i32) -> i64 {
    match i16::try_from(value) {
        Ok(small) => i64::from(small),
        Err(_large) => i64::from(value as u32),
    }
}

/// Small numbers in decimal, others in hexadecimal.
fn signed(value: i64) -> String {
    if i16::try_from(value).is_ok() {
        value.to_string()
    } else {
        format!("{value:#x}")
    }
}

fn unsigned(value: u64) -> String {
    if u16::try_from(value).is_ok() {
        value.to_string()
    } else {
        format!("{value:#x}")
    }
}
