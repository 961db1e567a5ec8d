//! The driver's own rules, as the kernel's offload core lets it state them: at map creation,
//! at each instruction of each path, when verification ends, and when the program is attached.
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/bpf/verifier.c` and `src/bpf/offload.c`. Every
//! refusal keeps the driver's words and errno, and says in ours what they do not. The driver
//! stops at the first; here all are found, and the first is marked.
//!
//! `opcodes` is what has a translation at all, `call`, `memory`, `arithmetic` and `exit` are the
//! checks of one kind of instruction each, `words` what programs do to the words of map values,
//! `create` map creation, `finish` what is known at the end: stack, and whether the program can
//! be attached. `wrong` is what the driver accepts and breaks. What was learned goes to the
//! translator and the device as [`isa::nfp::learned::Learned`].

mod arithmetic;
mod call;
mod create;
mod exit;
mod finish;
mod kinds;
mod memory;
mod opcodes;
mod report;
mod words;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpf::map::MapDef;
use bpf::{Finding, Hook, Program};
use caps::Caps;
use caps::record::nfp::{Firmware, Record, Registers};
use isa::ebpf::{CallTarget, Insn};
use isa::nfp::learned::Learned;
use verifier::facts::Region;
use verifier::{DeviceHooks, Summary, Visit};

use crate::Loaded;
use kinds::Pointer;
use report::{Refusal, Report};
use words::Words;

const OPCODE: &str = "nfp/opcode";
const HELPER: &str = "nfp/helper";
const HELPER_ARGUMENT: &str = "nfp/helper-argument";
const EVENT_DIFFERS: &str = "nfp/event-differs";
const EXIT_CODE: &str = "nfp/exit-code";
const POINTER: &str = "nfp/pointer";
const STACK_ACCESS: &str = "nfp/stack-access";
const MAP_VALUE: &str = "nfp/map-value";
const MAP_WORDS: &str = "nfp/map-words";
const MAP_CREATE: &str = "nfp/map-create";
const CONTEXT_STORE: &str = "nfp/context-store";
const ATOMIC: &str = "nfp/atomic";
const MULTIPLY: &str = "nfp/multiply";
const DIVIDE: &str = "nfp/divide";
const STACK_TOO_LARGE: &str = "nfp/stack-too-large";
const TRANSLATION: &str = "nfp/translation";
const ACCEPTED_BUT_WRONG: &str = "nfp/accepted-but-wrong";
const PORT: &str = "nfp/port";
const PACKET_SPLIT: &str = "nfp/packet-split";
const BUSY: &str = "nfp/busy";

/// What the driver knows of the device.
struct Device {
    name: String,
    registers: Registers,
    firmware: Firmware,
    is_capable: bool,
    window_bytes: u64,
    punts: bool,
    /// Of the port: the longest frame without its Ethernet header.
    mtu: u64,
}

impl Device {
    fn of(caps: &Caps) -> Device {
        // A record that a device of these capabilities serves can be read.
        let record = Record::decode(&caps.to_record()).ok();
        let packet = caps.packet();
        let frame = packet.frame_max.known().unwrap_or(u64::MAX);
        Device {
            name: caps.name.clone(),
            registers: record.as_ref().map(|r| r.registers).unwrap_or_default(),
            is_capable: record.as_ref().is_some_and(Record::is_capable),
            window_bytes: record.as_ref().map_or(0, Record::window_bytes),
            firmware: record.and_then(|r| r.firmware).unwrap_or_default(),
            punts: packet.punt_beyond_window,
            mtu: frame.saturating_sub(ETHERNET_BYTES),
        }
    }
}

/// Bytes of an Ethernet header, which an MTU does not count.
const ETHERNET_BYTES: u64 = 14;

/// The driver, while one program is verified.
pub(crate) struct Hooks {
    device: Device,
    loaded: Loaded,
    program: Option<Arc<Program>>,
    words: Words,
    seen: BTreeMap<usize, Seen>,
    /// Instructions that a path came to.
    reached: BTreeSet<usize>,
    /// Loads of the context: where.
    context_loads: BTreeMap<usize, i64>,
    /// Elements that this program's maps have taken of the device's budget, and their number.
    taken: create::Taken,
    /// The end of what it touches of the packet, once known.
    packet_end: Option<u64>,
    report: Report,
}

/// What earlier visits of an instruction have shown.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pointer: Option<Pointer>,
    dst: (u64, u64),
    src: (u64, u64),
    over16: bool,
    maybe16: bool,
    moving_pointer: bool,
    caller_frame: bool,
}

impl Default for Seen {
    fn default() -> Seen {
        let nothing = (u64::MAX, 0);
        Seen {
            pointer: None,
            dst: nothing,
            src: nothing,
            over16: false,
            maybe16: false,
            moving_pointer: false,
            caller_frame: false,
        }
    }
}

impl Hooks {
    pub(crate) fn new(caps: &Caps, loaded: &Loaded) -> Hooks {
        Hooks {
            device: Device::of(caps),
            loaded: loaded.clone(),
            program: None,
            words: Words::default(),
            seen: BTreeMap::new(),
            reached: BTreeSet::new(),
            context_loads: BTreeMap::new(),
            taken: create::Taken::of(loaded),
            packet_end: None,
            report: Report::default(),
        }
    }

    fn hook(&self) -> Option<&Hook> {
        self.program.as_ref().map(|program| &program.hook)
    }

    /// A map's definition by its index.
    fn map_def(&self, map: Option<usize>) -> Option<&MapDef> {
        self.program.as_ref()?.maps.get(map?)
    }

    /// A map's name by its index; empty where it is not one map.
    fn map_name(&self, map: Option<usize>) -> String {
        self.map_def(map)
            .map_or_else(String::new, |map| map.name.clone())
    }

    fn say(&mut self, refusals: Vec<Refusal>) -> Vec<Finding> {
        let new = refusals.into_iter();
        new.filter_map(|refusal| self.report.refuse(refusal))
            .collect()
    }
}

impl DeviceHooks for Hooks {
    fn begin(&mut self, program: &Arc<Program>) {
        self.words = Words::of(&self.loaded, program);
        self.program = Some(Arc::clone(program));
    }

    fn map(&mut self, map: &MapDef) -> Vec<Finding> {
        let refusals = self.create(map);
        self.say(refusals)
    }

    fn instruction(&mut self, visit: &Visit<'_>) -> Vec<Finding> {
        if *visit.insn == Insn::WideTail {
            return Vec::new();
        }
        self.reached.insert(visit.pc);
        if let Some(access) = visit.facts.access
            && access.region == Region::Ctx
        {
            self.context_loads.insert(visit.pc, access.min);
        }
        let mut refusals = opcodes::check(visit);
        if refusals.is_empty() {
            refusals = match visit.insn {
                Insn::Call(CallTarget::Helper(_) | CallTarget::Kfunc { .. }) => self.call(visit),
                Insn::Exit => self.exit(visit),
                Insn::Load { .. } => self.load(visit),
                Insn::Store {
                    src: isa::ebpf::Operand::Reg(_),
                    ..
                } => self.store(visit),
                Insn::Atomic { .. } | Insn::LoadAcquire { .. } | Insn::StoreRelease { .. } => {
                    self.atomic(visit)
                }
                Insn::Alu { .. } => self.arithmetic(visit),
                _ => Vec::new(),
            };
        }
        let mut findings = self.say(refusals);
        findings.extend(self.event_differs(visit));
        findings
    }

    fn finalize(&mut self, summary: &Summary<'_>) -> Vec<Finding> {
        self.packet_end = summary.packet_end;
        let mut refusals: Vec<Refusal> = self.stack(summary).into_iter().collect();
        refusals.extend(self.wrong());
        self.say(refusals)
    }

    fn attach(&mut self, _port: u32) -> Vec<Finding> {
        let refusals = self.attachable();
        self.say(refusals)
    }

    fn learned(&self) -> Vec<u64> {
        let visits = self.seen.iter().map(|(pc, seen)| seen.visited(*pc));
        Learned {
            maps: self.words.of_program(),
            visits: visits.collect(),
        }
        .encode()
    }
}
