//! What the machine would choose by itself and a packet gives instead: time and random numbers.
//!
//! Before a program is loaded, its calls of the clocks and of the random number generator are
//! replaced by loads from a map, the *given values*, which the worker fills before each packet.
//! So programs that time out entries or sample packets can be compared, all but the helpers
//! themselves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bpf::Program;
use bpf::helper::random_state;
use bpf::map::{MapDef, MapId, MapType};
use isa::ebpf::{CallTarget, Insn, NoSymbols, Wide, parse_asm};

use super::maps;
use super::sys::Pages;

/// `BPF_F_MMAPABLE`.
const F_MMAPABLE: u32 = 1 << 10;
/// Where the values lie: the time in ns, in jiffies, how many random numbers were taken, and the
/// state that they follow from.
const NOW: usize = 0;
const JIFFIES: usize = 8;
const TAKEN: usize = 16;
const STATE: usize = 24;

/// What a helper is replaced by. Like a call it leaves r0 and may clobber r1 to r5.
fn replacement(helper: u32) -> Option<String> {
    let load = |offset: usize| {
        format!(
            "r0 = map[given][0] ll
             r0 = *(u64 *)(r0 + {offset})"
        )
    };
    match helper {
        5 | 125 | 160 | 208 => Some(load(NOW)),
        118 => Some(load(JIFFIES)),
        7 => {
            let [add, first, second] = bpf::helper::RANDOM_STEPS.map(u64::cast_signed);
            Some(format!(
                "r1 = map[given][0] ll
                 r0 = *(u64 *)(r1 + {STATE})
                 r2 = *(u64 *)(r1 + {TAKEN})
                 r0 ^= r2
                 r2 += 1
                 *(u64 *)(r1 + {TAKEN}) = r2
                 r2 = {add} ll
                 r0 += r2
                 r2 = r0
                 r2 >>= 30
                 r0 ^= r2
                 r2 = {first} ll
                 r0 *= r2
                 r2 = r0
                 r2 >>= 27
                 r0 ^= r2
                 r2 = {second} ll
                 r0 *= r2
                 r2 = r0
                 r2 >>= 31
                 r0 ^= r2
                 r0 >>= 32"
            ))
        }
        _ => None,
    }
}

/// Whether a program calls a clock; whether it asks for random numbers.
pub(super) fn takes(program: &Program) -> (bool, bool) {
    let calls = |ids: &[u32]| {
        let called =
            |insn: &Insn| matches!(insn, Insn::Call(CallTarget::Helper(id)) if ids.contains(id));
        program.insns.iter().any(called)
    };
    (calls(&[5, 118, 125, 160, 208]), calls(&[7]))
}

/// The program with its calls replaced, where `map` is the map of given values. Gives `None` if a
/// jump becomes too long to be written.
pub(super) fn replace(program: &Program, map: MapId) -> Option<Program> {
    // The replacement of each slot, and the slots' new places.
    let mut places = Vec::with_capacity(program.insns.len() + 1);
    let mut insns: Vec<Insn> = Vec::with_capacity(program.insns.len());
    let mut origins = Vec::with_capacity(program.insns.len());
    for (pc, insn) in program.insns.iter().enumerate() {
        places.push(insns.len());
        let text = match insn {
            Insn::Call(CallTarget::Helper(id)) => replacement(*id),
            _ => None,
        };
        match text {
            None => insns.push(*insn),
            Some(text) => {
                let mut assembled = parse_asm(&text, &NoSymbols).ok()?.insns;
                for insn in &mut assembled {
                    if let Insn::LoadWide {
                        value: Wide::MapValue { map: given, .. },
                        ..
                    } = insn
                    {
                        *given = u32::try_from(map).ok()?;
                    }
                }
                insns.extend(assembled);
            }
        }
        origins.resize(insns.len(), pc);
    }
    places.push(insns.len());
    for at in 0..insns.len() {
        let insn = &mut insns[at];
        let pc = origins[at];
        let Some(target) = insn.jump_target(pc).or_else(|| insn.function_target(pc)) else {
            continue;
        };
        let target = *places.get(usize::try_from(target).ok()?)?;
        let distance = target as i64 - at as i64 - 1;
        match insn {
            Insn::Jump { offset, .. }
            | Insn::Call(CallTarget::Local { offset })
            | Insn::LoadWide {
                value: Wide::Function { offset },
                ..
            } => *offset = i32::try_from(distance).ok()?,
            Insn::Branch { offset, .. } | Insn::MayGoto { offset } => {
                *offset = i16::try_from(distance).ok()?;
            }
            _ => {}
        }
    }
    let mut replaced = program.clone();
    for function in &mut replaced.subprograms {
        function.start = *places.get(function.start)?;
        function.end = *places.get(function.end)?;
    }
    replaced.insns = insns.into();
    Some(replaced)
}

/// The map of given values.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) fd: OwnedFd,
    pages: Pages,
}

impl Given {
    pub(super) fn new() -> io::Result<Given> {
        let page = Pages::page_bytes();
        let def = MapDef {
            key_size: 4,
            value_size: page as u32,
            max_entries: 1,
            flags: F_MMAPABLE,
            ..MapDef::new("given", MapType::Array)
        };
        let fd = maps::create_sized(&def, None)?;
        let pages = Pages::new(fd.as_fd(), 0, page, true)?;
        Ok(Given { fd, pages })
    }

    /// Sets what the next packet is given.
    pub(super) fn set(&self, seed: u64, packet: u64, now_ns: u64) {
        self.pages.set_u64(NOW, now_ns);
        self.pages.set_u64(JIFFIES, bpf::helper::jiffies64(now_ns));
        self.pages.set_u64(TAKEN, 0);
        self.pages.set_u64(STATE, random_state(seed, packet));
    }
}
