//! Loads, stores and atomics: what the base register may point to.

use bpf::Hook;
use isa::ebpf::{AtomicOp, Insn, Reg};
use isa::nfp::learned::WordUse;
use verifier::Visit;
use verifier::facts::{RegKind, Region};

use super::kinds::{self, Pointer};
use super::report::Refusal;
use super::{ATOMIC, CONTEXT_STORE, Hooks, MAP_VALUE, POINTER, STACK_ACCESS};

/// Offset of `rx_queue_index` in `struct xdp_md`.
const RX_QUEUE_INDEX: i64 = 16;

/// What an instruction does to memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Load,
    Store,
    Atomic,
}

impl Hooks {
    pub(super) fn load(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        match visit.insn {
            Insn::Load { base, .. } => self.pointer(visit, *base, Kind::Load),
            _ => Vec::new(),
        }
    }

    /// A store of a register; those of immediates the driver does not look at.
    pub(super) fn store(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        let Insn::Store { base, .. } = *visit.insn else {
            return Vec::new();
        };
        if visit.facts.registers[base.index()].kind == RegKind::Ctx {
            let refusal = self.context_store(visit);
            if let Some(refusal) = refusal {
                return vec![refusal.at(visit.pc)];
            }
        }
        self.pointer(visit, base, Kind::Store)
    }

    fn context_store(&self, visit: &Visit<'_>) -> Option<Refusal> {
        let hook = self.hook()?;
        let at = visit.facts.access?.min;
        let field = bpf::context::field_at(hook, at).map_or("", |field| field.name);
        let is_queue = matches!(hook, Hook::Xdp { .. }) && at == RX_QUEUE_INDEX;
        let text = match (is_queue, self.device.firmware.queue_select) {
            (true, true) => return None,
            (true, false) => "queue selection not supported by FW",
            (false, _) => "unsupported store to context field",
        };
        let refusal = Refusal::new(CONTEXT_STORE, "EOPNOTSUPP", text)
            .subject(field)
            .means(&["ctx/write"]);
        Some(if is_queue {
            refusal
                .why(format!(
                    "the firmware of {} has no entry QUEUE_SELECT in its capabilities",
                    self.device.name
                ))
                .help("leave the queue to the card's own hash")
        } else {
            refusal
                .why("the only field that a program on the card can store to is rx_queue_index of an XDP context")
                .help("leave the field alone, and do this part on the host")
        })
    }

    pub(super) fn atomic(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        let (imm, base, src) = match *visit.insn {
            Insn::Atomic { op, base, src, .. } => (atomic_imm(op), base, src),
            Insn::LoadAcquire { base, dst, .. } => (0x100, base, dst),
            Insn::StoreRelease { base, src, .. } => (0x110, base, src),
            _ => return Vec::new(),
        };
        let mut refusals = Vec::new();
        let mut refuse = |text: String, why: &str, help: &str, means| {
            let refusal = Refusal::new(ATOMIC, "EOPNOTSUPP", text)
                .at(visit.pc)
                .subject(visit.insn.row().mnemonic())
                .means(means);
            refusals.push(refusal.why(why).help(help));
        };
        if imm != 0 {
            refuse(
                format!("atomic op not implemented: {imm}"),
                "the card's atomic engine adds, and gives nothing back",
                "use an addition whose result is not used (__sync_fetch_and_add as a statement, compiled with -mcpu=v2 or v3)",
                &["isa/not-on-nic", "atomic/not-on-nic", "isa/too-new"][..],
            );
        }
        let pointer = &visit.facts.registers[base.index()];
        let is_value = kinds::number(pointer) == kinds::MAP_VALUE;
        if !is_value {
            refuse(
                format!(
                    "atomic add not to a map value pointer: {}",
                    kinds::number(pointer)
                ),
                "the atomic engine works on the memory of maps alone",
                "add without an atomic: what is not in a map nobody else sees",
                &["atomic/not-on-nic"][..],
            );
        }
        let addend = &visit.facts.registers[src.index()];
        if kinds::number(addend) != kinds::SCALAR {
            refuse(
                format!("atomic add not of a scalar: {}", kinds::number(addend)),
                "an address means nothing to the card's host",
                "add a number",
                &[][..],
            );
        }
        let bits = addend.range.bits;
        let seen = self.seen.entry(visit.pc).or_default();
        seen.over16 |= bits.value > 0xffff || bits.mask > 0xffff;
        seen.maybe16 |= bits.value <= 0xffff;
        if is_value {
            refusals.extend(self.pointer(visit, base, Kind::Atomic));
        }
        refusals
    }

    /// The checks of a base register.
    fn pointer(&mut self, visit: &Visit<'_>, base: Reg, kind: Kind) -> Vec<Refusal> {
        let fact = &visit.facts.registers[base.index()];
        let number = kinds::number(fact);
        if ![kinds::CTX, kinds::STACK, kinds::MAP_VALUE, kinds::PACKET].contains(&number) {
            let refusal = Refusal::new(
                POINTER,
                "EINVAL",
                format!("unsupported ptr type: {number}"),
            )
            .at(visit.pc)
            .subject(base.to_string())
            .why(format!(
                "{base} points into {}; the card reaches the context, the stack, map values and the packet",
                kinds::name(number)
            ))
            .help("keep it on the stack or in a map");
            return vec![refusal];
        }
        let mut refusals = Vec::new();
        if number == kinds::STACK {
            refusals.extend(self.stack_access(visit, base));
        }
        if number == kinds::MAP_VALUE {
            refusals.extend(self.value_access(visit, kind));
        }
        let seen = self.seen.entry(visit.pc).or_default();
        let before = seen.pointer.replace(Pointer {
            kind: number,
            offset: kinds::offset(fact),
        });
        if let Some(before) = before
            && before.kind != number
        {
            refusals.push(
                Refusal::new(
                    POINTER,
                    "EINVAL",
                    format!(
                        "ptr type changed for instruction {} -> {number}",
                        before.kind
                    ),
                )
                .subject(base.to_string())
                .why(format!(
                    "on one path {base} points into {}, on another into {}: one machine instruction cannot serve both",
                    kinds::name(before.kind),
                    kinds::name(number)
                ))
                .help("access each kind of memory by an instruction of its own: load on each branch, not behind the branches"),
            );
        }
        for refusal in &mut refusals {
            refusal.pc = Some(visit.pc);
        }
        refusals
    }

    fn stack_access(&mut self, visit: &Visit<'_>, base: Reg) -> Vec<Refusal> {
        let fact = &visit.facts.registers[base.index()];
        let seen = self.seen.entry(visit.pc).or_default();
        if matches!(fact.kind, RegKind::Stack { up } if up > 0) {
            seen.caller_frame = true;
        }
        let Some(now) = kinds::offset(fact) else {
            let range = fact.range;
            let refusal = Refusal::new(STACK_ACCESS, "EINVAL", "variable ptr stack access")
                .subject("stack")
                .why(format!(
                    "{base} points to {} to {} from the frame pointer; addresses in local memory are computed before the program runs",
                    range.smin, range.smax
                ))
                .help("index local arrays by constants: unroll the loop, or keep the array in a map");
            return vec![refusal];
        };
        let before = seen
            .pointer
            .filter(|before| before.kind == kinds::STACK)
            .and_then(|before| before.offset);
        let Some(before) = before else {
            return Vec::new();
        };
        seen.moving_pointer |= before != now;
        if !seen.moving_pointer || before % 4 == now % 4 {
            return Vec::new();
        }
        let refusal = Refusal::new(
            STACK_ACCESS,
            "EINVAL",
            format!("stack access changed location was:{before} is:{now}"),
        )
        .subject("stack")
        .why("from path to path the access lies differently in the 4-byte words of local memory")
        .help("align what the pointer can point to on 4 bytes: __attribute__((aligned(4)))");
        vec![refusal]
    }

    fn value_access(&mut self, visit: &Visit<'_>, kind: Kind) -> Vec<Refusal> {
        let Some(access) = visit.facts.access else {
            return Vec::new();
        };
        let map = match access.region {
            Region::MapValue { map } => map,
            _ => None,
        };
        let name = self.map_name(map);
        if kind == Kind::Store {
            let refusal = Refusal::new(MAP_VALUE, "EOPNOTSUPP", "map writes not supported")
                .subject(name)
                .why("programs on the card read map values and add to them atomically; nothing else writes")
                .help("count by atomic additions, or let the host write the value")
                .means(&["map/value-write"]);
            return vec![refusal];
        }
        if access.min != access.max {
            let refusal = Refusal::new(MAP_VALUE, "EOPNOTSUPP", "map value offset is variable")
                .subject(name)
                .why(format!(
                    "the access lies at bytes {} to {} of the value; which words programs use is kept for each word, so the driver must know it",
                    access.min, access.max
                ))
                .help("use one map element for each item of the array, and look up by its index");
            return vec![refusal];
        }
        let value = self.map_def(map).map_or(0, |def| i64::from(def.value_size));
        if map.is_some() && access.min + i64::from(access.size) > value {
            let refusal = Refusal::new(MAP_VALUE, "EINVAL", "map value access out-of-bounds")
                .subject(name)
                .why(format!("the value has {value} bytes"));
            return vec![refusal];
        }
        let (Some(map), Ok(at)) = (map, usize::try_from(access.min)) else {
            return Vec::new();
        };
        let now = if kind == Kind::Atomic {
            WordUse::Atomic
        } else {
            WordUse::Read
        };
        let conflict = self.words.used(map, at, usize::from(access.size), now);
        conflict.map(|r| r.subject(name)).into_iter().collect()
    }
}

/// The immediate that says which atomic it is (RFC 9669 §5.3).
const fn atomic_imm(op: AtomicOp) -> i32 {
    match op {
        AtomicOp::Add => 0x00,
        AtomicOp::FetchAdd => 0x01,
        AtomicOp::Or => 0x40,
        AtomicOp::FetchOr => 0x41,
        AtomicOp::And => 0x50,
        AtomicOp::FetchAnd => 0x51,
        AtomicOp::Xor => 0xa0,
        AtomicOp::FetchXor => 0xa1,
        AtomicOp::Xchg => 0xe1,
        AtomicOp::Cmpxchg => 0xf1,
    }
}
