//! The packet and the context: how far, how much room, which fields.

use bpf::finding::Severity;
use bpf::{Hook, context};
use isa::ebpf::{CallTarget, Insn, PacketBase};
use verifier::Facts;
use verifier::facts::Region;

use super::{Certainty, Checker};
use crate::rules;
use crate::value::{Bound, Value};

/// Bytes of headroom that head and metadata can take on the host: a program that asks for more
/// fails there too.
const HOST_HEADROOM: i64 = (bpf::run::XDP_HEADROOM - bpf::run::XDP_FRAME_SIZE) as i64;

pub(super) fn check(checker: &mut Checker<'_>) {
    window(checker);
    for (pc, insn, facts) in checker.reachable() {
        if let Insn::Call(CallTarget::Helper(id)) = insn
            && let Some(name) = bpf::helper::name(*id)
            && checker.caps.has("helpers", name)
        {
            match name {
                "bpf_xdp_adjust_head" | "bpf_xdp_adjust_meta" => headroom(checker, pc, name, facts),
                "bpf_xdp_adjust_tail" => tailroom(checker, pc, name, facts),
                _ => {}
            }
        }
        if facts.access.is_some_and(|a| a.region == Region::Kernel) {
            let name = checker.caps.name.clone();
            checker.add(
                Severity::Error,
                rules::KERNEL,
                Some(pc),
                "kernel",
                format!("the kernel's own structures are not on {name}"),
                "a map's members and what bpf_skc_to_* or a cast gives lie in the host's memory"
                    .to_owned(),
                "leave the work that needs them to the host",
            );
        }
        if let Some(access) = facts.access
            && access.region == Region::Ctx
        {
            let stores = matches!(
                insn,
                Insn::Store { .. } | Insn::StoreRelease { .. } | Insn::Atomic { .. }
            );
            context_field(checker, pc, access.min, stores);
        }
    }
}

/// Bytes of the packet that an instruction touches at most, counted from its first.
pub(crate) fn packet_reach(insn: &Insn, facts: &Facts) -> Option<u64> {
    if let Insn::LoadPacket {
        size,
        base: PacketBase::Abs,
        offset,
    } = insn
    {
        let end = i64::from(*offset) + i64::from(size.bytes());
        return u64::try_from(end).ok();
    }
    let access = facts.access?;
    (access.region == Region::Packet).then_some(())?;
    u64::try_from(access.max.saturating_add(i64::from(access.size))).ok()
}

fn window(checker: &mut Checker<'_>) {
    let frame_max = checker.caps.packet().frame_max;
    let punts = checker.caps.packet().punt_beyond_window;
    for ground in checker.grounds("packet.window_bytes") {
        let Value::Number(window) = ground.fact.value else {
            continue;
        };
        for (pc, insn, facts) in checker.reachable() {
            let Some(reach) = packet_reach(insn, facts) else {
                continue;
            };
            // No byte lies beyond the longest frame, whatever the program would reach.
            let reach = frame_max.known().map_or(reach, |max| reach.min(max));
            if !window.exceeded_by(reach) {
                continue;
            }
            let why = checker.why_shown(&ground, &format!("a window of {window} bytes"));
            let (severity, help) = if punts {
                (
                    Severity::Note,
                    "frames longer than the window go to the host (packet.beyond_window)",
                )
            } else {
                (
                    Severity::Error,
                    "compare a variable offset with a smaller bound before the access",
                )
            };
            checker.add(
                severity,
                rules::WINDOW,
                Some(pc),
                "packet",
                format!(
                    "the access can reach byte {} of a frame, {} lets programs reach {window}",
                    reach.saturating_sub(1),
                    checker.caps.name
                ),
                why,
                help,
            );
        }
    }
}

fn headroom(checker: &mut Checker<'_>, pc: usize, name: &str, facts: &Facts) {
    let Some((low, high)) = checker.argument(pc, 2, facts) else {
        return;
    };
    let (low, high) = (i64::from(low), i64::from(high));
    let mut rows = vec!["packet.headroom_usable_bytes"];
    if name == "bpf_xdp_adjust_meta" {
        rows.push("packet.meta_bytes");
    }
    let grounds: Vec<_> = rows
        .into_iter()
        .flat_map(|row| checker.grounds(row))
        .collect();
    for ground in grounds {
        let Value::Number(bound) = ground.fact.value else {
            continue;
        };
        // A growth that fails on the host as well is no difference.
        let asks = low.max(-HOST_HEADROOM);
        if asks >= 0 || high < -HOST_HEADROOM {
            continue;
        }
        let (severity, has) = match bound {
            Bound::Known(room) if asks < -(room as i64) => {
                let always = high < -(room as i64);
                let severity = if always {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                (severity, format!("{room} bytes"))
            }
            Bound::Unknown => (Severity::Warning, "no known number of bytes".to_owned()),
            _ => continue,
        };
        let why = checker.why_shown(&ground, &has);
        let may = if low == high { "takes" } else { "may take" };
        checker.add(
            severity,
            rules::HEADROOM,
            Some(pc),
            name,
            format!(
                "{name} {may} {} bytes of headroom, {} has {has}",
                -asks, checker.caps.name
            ),
            why,
            "push fewer bytes, or pass the frame to the host where it fails",
        );
    }
}

fn tailroom(checker: &mut Checker<'_>, pc: usize, name: &str, facts: &Facts) {
    let Some((low, high)) = checker.argument(pc, 2, facts) else {
        return;
    };
    let (low, high) = (i64::from(low), i64::from(high));
    for ground in checker.grounds("packet.tailroom_bytes") {
        let (severity, has) = match ground.fact.value {
            Value::Number(Bound::Known(room)) if high > room as i64 => {
                let always = low > room as i64;
                let severity = if always {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                (severity, format!("{room} bytes"))
            }
            Value::Number(Bound::Unknown) if high > 0 => {
                (Severity::Warning, "no known number of bytes".to_owned())
            }
            _ => continue,
        };
        let why = checker.why_shown(&ground, &has);
        let may = if low == high { "grows" } else { "may grow" };
        checker.add(
            severity,
            rules::TAILROOM,
            Some(pc),
            name,
            format!(
                "{name} {may} the frame at its tail, {} has room for {has}",
                checker.caps.name
            ),
            why,
            "only shorten frames, or bound the growth by a comparison before the call",
        );
    }
}

fn context_field(checker: &mut Checker<'_>, pc: usize, offset: i64, stores: bool) {
    let hook = &checker.program.hook;
    let Some(field) = context::field_at(hook, offset) else {
        return;
    };
    let is_tc = matches!(hook, Hook::Tc { .. });
    let (row, rule, what) = match (is_tc, stores) {
        (false, false) => ("ctx.xdp_read", rules::CTX_FIELD, "fill"),
        (false, true) => ("ctx.xdp_write", rules::CTX_WRITE, "take a write of"),
        (true, false) => ("ctx.tc_read", rules::CTX_FIELD, "fill"),
        (true, true) => ("ctx.tc_write", rules::CTX_WRITE, "take a write of"),
    };
    if let Some((ground, certainty)) = checker.lacks(row, field.name) {
        let why = checker.why(&ground);
        let message = match certainty {
            Certainty::Sure => format!(
                "{} does not {what} the context field {}",
                checker.caps.name, field.name
            ),
            Certainty::Unknown => format!(
                "whether {} would {what} the context field {} is not known",
                checker.caps.name, field.name
            ),
        };
        checker.add(
            certainty.severity(),
            rule,
            Some(pc),
            field.name,
            message,
            why,
            "leave the field alone, or decide by what the packet says",
        );
    }
}
