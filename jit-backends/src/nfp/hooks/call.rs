//! Calls of helpers: which there are, and what their arguments may be.

use bpf::finding::{Finding, Severity};
use isa::ebpf::{CallTarget, Insn};
use isa::nfp::learned::WordUse;
use verifier::Visit;
use verifier::facts::{RegKind, Region};

use super::kinds::{self, Pointer};
use super::report::Refusal;
use super::{EVENT_DIFFERS, HELPER, HELPER_ARGUMENT, Hooks};
use caps::record::nfp::ADJUST_HEAD_NO_META;

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const RANDOM: u32 = 7;
const EVENT_OUTPUT: u32 = 25;
const ADJUST_HEAD: u32 = 44;
const ADJUST_TAIL: u32 = 65;

/// `BPF_F_CURRENT_CPU`.
const CURRENT_CPU: u64 = 0xffff_ffff;

impl Hooks {
    pub(super) fn call(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        let id = match *visit.insn {
            Insn::Call(CallTarget::Helper(id)) => id,
            // The driver takes the number of a kernel function for that of a helper.
            Insn::Call(CallTarget::Kfunc { id, .. }) => {
                return vec![unknown(id).at(visit.pc).means(&["isa/not-on-nic"])];
            }
            _ => return Vec::new(),
        };
        let firmware = &self.device.firmware;
        let mut refusals = Vec::new();
        match id {
            LOOKUP | UPDATE | DELETE => {
                let name = short(id);
                if !self.has(id) {
                    refusals.push(self.missing(id, format!("{name}: not supported by FW"), "FUNC"));
                }
                refusals.extend(stack_argument(visit, id, 2, "key"));
                if id == UPDATE {
                    refusals.extend(stack_argument(visit, id, 3, "value"));
                    refusals.extend(self.initial_value(visit));
                }
                self.note_key(visit);
            }
            RANDOM if !firmware.random => refusals.push(self.missing(
                id,
                "bpf_get_prandom_u32(): FW doesn't support random number generation".to_owned(),
                "RANDOM",
            )),
            ADJUST_HEAD if firmware.adjust_head.off_max == 0 => refusals.push(self.missing(
                id,
                "adjust_head not supported by FW".to_owned(),
                "ADJUST_HEAD",
            )),
            ADJUST_HEAD if firmware.adjust_head.flags & ADJUST_HEAD_NO_META == 0 => {
                let text =
                    "adjust_head: FW requires shifting metadata, not supported by the driver";
                refusals.push(
                    Refusal::new(HELPER, "EOPNOTSUPP", text)
                        .subject("bpf_xdp_adjust_head")
                        .why("the firmware's ADJUST_HEAD entry lacks the flag NO_META: metadata lies before the frame and would have to be moved")
                        .help("use firmware that keeps no metadata before the frame"),
                );
            }
            ADJUST_TAIL if !firmware.adjust_tail => refusals.push(self.missing(
                id,
                "adjust_tail not supported by FW".to_owned(),
                "ADJUST_TAIL",
            )),
            EVENT_OUTPUT => refusals.extend(self.event_output(visit)),
            RANDOM | ADJUST_HEAD | ADJUST_TAIL => {}
            _ => refusals.push(
                unknown(id as i32)
                    .subject(helper(id))
                    .means(&["helper/not-on-nic"]),
            ),
        }
        for refusal in &mut refusals {
            refusal.pc = Some(visit.pc);
        }
        refusals
    }

    fn has(&self, id: u32) -> bool {
        let address = self.device.firmware.functions.get(&id);
        address.is_some_and(|address| *address != 0)
    }

    fn missing(&self, id: u32, text: String, entry: &str) -> Refusal {
        Refusal::new(HELPER, "EOPNOTSUPP", text)
            .subject(helper(id))
            .why(format!(
                "the driver can call {}, but the firmware of {} has no entry {entry} for it in its capabilities",
                helper(id),
                self.device.name
            ))
            .help(match id {
                UPDATE | DELETE => {
                    "let the host fill the map, or count by atomic additions to values that exist"
                }
                _ => "use firmware that has it, or do this part on the host",
            })
            .means(&["helper/not-on-nic"])
    }

    /// Where the key lies: if that differs from visit to visit, the driver always loads it anew.
    fn note_key(&mut self, visit: &Visit<'_>) {
        let key = &visit.facts.registers[2];
        let now = Pointer {
            kind: kinds::number(key),
            offset: kinds::offset(key),
        };
        let seen = self.seen.entry(visit.pc).or_default();
        if let Some(before) = seen.pointer.replace(now) {
            seen.moving_pointer |= before.offset != now.offset;
        }
    }

    /// What an update writes must be zero where programs count.
    fn initial_value(&mut self, visit: &Visit<'_>) -> Option<Refusal> {
        let call = visit.facts.call.as_ref()?;
        let map = call.map?;
        let (Region::Stack { up }, start) = call.value? else {
            return None;
        };
        let size = self.map_def(Some(map))?.value_size;
        let name = self.map_name(Some(map));
        for index in 0..size as usize {
            // The frame of a caller is not looked into.
            let byte = start + index as i64;
            if up == 0 && is_zero(visit, byte) {
                continue;
            }
            let Some(word) = self.words.at(map, index) else {
                continue;
            };
            if word.used != WordUse::Atomic {
                word.non_zero_update = true;
                continue;
            }
            let slot = -byte - 1;
            let refusal = Refusal::new(
                HELPER_ARGUMENT,
                "EOPNOTSUPP",
                format!(
                    "value at offset {index}/{slot} may be non-zero, bpf_map_update_elem() is required to initialize atomic counters to zero to avoid offload endian issues"
                ),
            );
            return Some(
                refusal
                    .subject(name)
                    .why(
                        "programs count in this word, which the card keeps big-endian; only zero \
                         is the same both ways, and the driver believes only bytes that were \
                         stored as zero piece by piece (Linux 6.18 keeps a whole slot of zeros \
                         as a spilled register, which does not count)",
                    )
                    .help("set counters to 0 by stores of 4 bytes or less at the upper half of 8-byte slots, or let the host make the element"),
            );
        }
        None
    }

    fn event_output(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let refuse = |text: String| {
            Refusal::new(HELPER_ARGUMENT, "EOPNOTSUPP", text)
                .subject("bpf_perf_event_output")
                .means(&["helper/constraint"])
        };
        if !self.has(EVENT_OUTPUT) {
            let text = "event_output: not supported by FW".to_owned();
            refusals.push(self.missing(EVENT_OUTPUT, text, "FUNC"));
        }
        let flags = &visit.facts.registers[3];
        let low = flags.range.bits;
        let is_known = low.mask & CURRENT_CPU == 0 && low.value & CURRENT_CPU == CURRENT_CPU;
        if !is_known {
            refusals.push(
                refuse(format!(
                    "event_output: must use BPF_F_CURRENT_CPU, var_off: {}",
                    kinds::bits(flags)
                ))
                .why("the card has no CPU of the host: events go to the one that takes them")
                .help("pass BPF_F_CURRENT_CPU"),
            );
        }
        let data = &visit.facts.registers[4];
        let number = kinds::number(data);
        let taken = [kinds::SCALAR, kinds::STACK, kinds::MAP_VALUE, kinds::PACKET];
        if !taken.contains(&number) {
            refusals.push(
                refuse(format!("event_output: unsupported ptr type: {number}"))
                    .why(format!(
                        "the data lie in {}; the firmware sends from the stack, map values and the packet",
                        kinds::name(number)
                    ))
                    .help("copy the data into a local variable and send that"),
            );
            return refusals;
        }
        if number == kinds::STACK {
            refusals.extend(stack_argument(visit, EVENT_OUTPUT, 4, "data"));
        }
        let now = Pointer {
            kind: number,
            offset: kinds::offset(data),
        };
        let seen = self.seen.entry(visit.pc).or_default();
        if let Some(before) = seen.pointer.replace(now)
            && before.kind != number
        {
            let text = format!("event_output: ptr type changed: {} {number}", before.kind);
            refusals.push(
                Refusal {
                    errno: "EINVAL",
                    ..refuse(text)
                }
                .means(&[])
                .why(format!(
                    "on one path the data lie in {}, on another in {}; the call tells the firmware one of them",
                    kinds::name(before.kind),
                    kinds::name(number)
                ))
                .help("call the helper on each branch, not behind the branches"),
            );
        }
        refusals
    }

    /// What the driver warns of at each call that it accepts.
    pub(super) fn event_differs(&mut self, visit: &Visit<'_>) -> Option<Finding> {
        if !matches!(visit.insn, Insn::Call(CallTarget::Helper(EVENT_OUTPUT))) {
            return None;
        }
        let finding = self.report.remark(
            Severity::Warning,
            EVENT_DIFFERS,
            visit.pc,
            "bpf_perf_event_output",
            "warning: return codes and behavior of event_output helper differ for offload!",
        )?;
        Some(
            finding
                .why("the card sends events on its own: the helper may report success for one that is dropped later")
                .help("do not decide by what the helper returns"),
        )
    }
}

/// The driver's short name of a helper with an address.
fn short(id: u32) -> &'static str {
    match id {
        LOOKUP => "map_lookup",
        UPDATE => "map_update",
        DELETE => "map_delete",
        _ => "event_output",
    }
}

fn helper(id: u32) -> String {
    bpf::helper::name(id).map_or_else(|| format!("helper {id}"), str::to_owned)
}

fn unknown(id: i32) -> Refusal {
    Refusal::new(HELPER, "EOPNOTSUPP", format!("unsupported function id: {id}"))
        .why("the driver knows map lookup, update and delete, random numbers, events, adjust_head and adjust_tail")
        .help("do this part on the host")
}

/// The rules of an argument that the firmware reads from the stack.
fn stack_argument(visit: &Visit<'_>, id: u32, register: usize, what: &str) -> Option<Refusal> {
    let fact = &visit.facts.registers[register];
    let name = short(id);
    let number = kinds::number(fact);
    let refuse = |text: String| {
        Refusal::new(HELPER_ARGUMENT, "EOPNOTSUPP", text)
            .subject(helper(id))
            .means(&["helper/constraint"])
    };
    if !matches!(fact.kind, RegKind::Stack { .. }) {
        return Some(
            refuse(format!("{name}: unsupported ptr type {number}"))
                .why(format!(
                    "the {what} lies in {}; the firmware reads it from local memory, where the stack is",
                    kinds::name(number)
                ))
                .help(format!("copy the {what} into a local variable and pass that")),
        );
    }
    let Some(offset) = kinds::offset(fact) else {
        return Some(
            refuse(format!("{name}: variable pointer"))
                .why(format!(
                    "the {what} lies at {} to {} from the frame pointer, depending on a number",
                    fact.range.smin, fact.range.smax
                ))
                .help(format!("copy the {what} to one place and pass that")),
        );
    };
    (offset % 4 != 0).then(|| {
        refuse(format!("{name}: unaligned stack pointer {}", -offset))
            .why(format!(
                "the {what} lies {} bytes below the frame pointer; the firmware reads words of 4 bytes",
                -offset
            ))
            .help(format!("align the {what}: __attribute__((aligned(4)))"))
    })
}

/// Whether the byte at this offset from the frame pointer is known to be zero.
fn is_zero(visit: &Visit<'_>, byte: i64) -> bool {
    let slot = byte.div_euclid(8) * 8;
    let bit = byte.rem_euclid(8);
    let slots = visit.facts.stack.iter();
    slots
        .filter(|known| i64::from(known.offset) == slot)
        .any(|known| known.zero >> bit & 1 == 1)
}
