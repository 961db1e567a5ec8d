//! What native code was stopped for, as findings: one for each place and reason.

use std::collections::BTreeMap;

use bpf::Program;
use bpf::fault::Area;
use bpf::finding::{Finding, Stage};
use bpf::run::{Trap, TrapCause};

/// Faults by rule, program, place in the image and pc.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<Key, Noted>);

type Key = (&'static str, u32, Option<usize>, Option<usize>);

#[derive(Debug)]
struct Noted {
    trap: Trap,
    first: u64,
    packets: u64,
}

/// The rule of a trap that tells of native code gone wrong.
pub const fn rule(cause: &TrapCause) -> Option<&'static str> {
    match cause {
        TrapCause::Crash { .. } => Some("native/crash"),
        TrapCause::NoReturn { .. } => Some("native/no-return"),
        TrapCause::Overrun { .. } => Some("native/overrun"),
        TrapCause::SystemCall { .. } => Some("native/system-call"),
        TrapCause::WorkerDied => Some("native/worker-died"),
        _ => None,
    }
}

impl Faults {
    /// Notes the trap of a packet, if it is such a one.
    pub fn note(&mut self, trap: &Trap, packet: u64) {
        let Some(rule) = rule(&trap.cause) else {
            return;
        };
        let program = trap.fault.as_ref().map_or(0, |fault| fault.program);
        let key = (rule, program, trap.code_offset, trap.pc);
        let noted = self.0.entry(key).or_insert_with(|| Noted {
            trap: trap.clone(),
            first: packet,
            packets: 0,
        });
        noted.packets += 1;
    }

    /// The findings; `programs` are those of the NIC, by number.
    pub fn findings(&self, programs: &[&Program]) -> Vec<Finding> {
        self.0
            .iter()
            .map(|((rule, program, ..), noted)| {
                let program = programs.get(*program as usize).copied();
                finding(rule, program, noted)
            })
            .collect()
    }
}

fn finding(rule: &str, program: Option<&Program>, noted: &Noted) -> Finding {
    let trap = &noted.trap;
    let subject = trap
        .code_offset
        .map_or_else(|| "image".to_owned(), |offset| format!("image+{offset:#x}"));
    let packets = match noted.packets {
        1 => format!("packet {}", noted.first),
        n => format!("{n} packets, first packet {}", noted.first),
    };
    let message = format!("{} at {subject}, {packets}", cause(&trap.cause, program));
    let mut finding = Finding::error(rule, Stage::Behaviour, subject, message)
        .why(why(trap))
        .help(
            "the image is what the backend made: nicbed jit shows the code of that place beside \
             the program",
        );
    match (trap.pc, program) {
        (Some(pc), Some(program)) => finding = finding.at(pc, &program.source),
        (pc, _) => finding.pc = pc,
    }
    finding
}

/// The cause, with the name of a map in place of its number.
fn cause(cause: &TrapCause, program: Option<&Program>) -> String {
    if let TrapCause::Overrun {
        area: Area::Map(id),
    } = cause
        && let Some(map) = program.and_then(|program| program.maps.get(*id as usize))
    {
        return format!("native code wrote past the end of map {}", map.name);
    }
    cause.to_string()
}

fn why(trap: &Trap) -> String {
    let fault = trap.fault.as_ref();
    let registers = fault.filter(|fault| !fault.registers.is_empty());
    match (registers, registers.and_then(|fault| fault.address)) {
        (None, _) => "a verified program does none of this, whatever the packet".to_owned(),
        (Some(fault), None) => format!("registers: {fault}"),
        (Some(fault), Some(address)) => {
            format!("the access was to {address}; registers: {fault}")
        }
    }
}
