//! The table of helper prototypes against Linux's verifier: who may call a helper, with what
//! licence, with which memory, and what happens to packet pointers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod kernel;

use bpf::helper::{Arg, PROTOTYPES, Prototype, Return};
use bpf::map::{MapDef, MapType};
use kernel::{KernelMap, KernelProgram, insn, wide};

const XDP: u32 = 6;
const TC: u32 = 3;

/// A map that the helper takes.
fn map_for(id: u32) -> KernelMap {
    let (kind, key_size, value_size, max_entries) = match id {
        12 => (MapType::ProgArray, 4, 4, 1),
        25 => (MapType::PerfEventArray, 4, 4, 1),
        51 => (MapType::Devmap, 4, 4, 1),
        87..=89 => (MapType::Queue, 0, 8, 1),
        130..=134 => (MapType::Ringbuf, 0, 0, 4096),
        195 => (MapType::PercpuArray, 4, 8, 1),
        _ => (MapType::Hash, 8, 8, 1),
    };
    let def = MapDef {
        key_size,
        value_size,
        max_entries,
        ..MapDef::new("m", kind)
    };
    KernelMap::new(&def, None).unwrap()
}

/// Where memory arguments point.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Stack,
    /// Like stack, but of one byte less than the helper takes.
    TooShort,
    Packet,
}

/// A program that calls the helper once as its prototype says: r6 = ctx, r7 = packet data of at
/// least 64 bytes, r8 = a reserved record where one is needed.
struct Calling {
    slots: Vec<u64>,
    map: KernelMap,
}

fn calling(prototype: &Prototype, kind: u32, memory: Memory) -> Calling {
    let map = map_for(prototype.id);
    let mut slots = vec![insn(0xbf, 6, 1, 0, 0)];
    // 64 bytes of the stack are zero.
    for offset in (-64..0).step_by(8) {
        slots.push(insn(0x7a, 10, 0, offset, 0));
    }
    // data and data_end: xdp_md 0 and 4, __sk_buff 76 and 80.
    let data = if kind == XDP { 0 } else { 76 };
    slots.push(insn(0x61, 7, 6, data, 0));
    slots.push(insn(0x61, 2, 6, data + 4, 0));
    slots.push(insn(0xbf, 3, 7, 0, 0));
    slots.push(insn(0x07, 3, 0, 0, 64));
    slots.push(insn(0xbd, 3, 2, 2, 0)); // if r3 <= r2 goto +2
    slots.push(insn(0xb7, 0, 0, 0, 0));
    slots.push(insn(0x95, 0, 0, 0, 0));
    let releases = prototype.args.contains(&Arg::RingbufRecord);
    if releases {
        wide(&mut slots, 1, 1, map.raw() as u64);
        slots.push(insn(0xb7, 2, 0, 0, 8));
        slots.push(insn(0xb7, 3, 0, 0, 0));
        slots.push(insn(0x85, 0, 0, 0, 131));
        slots.push(insn(0x55, 0, 0, 2, 0));
        slots.push(insn(0xb7, 0, 0, 0, 0));
        slots.push(insn(0x95, 0, 0, 0, 0));
        slots.push(insn(0xbf, 8, 0, 0, 0));
    }
    for (arg, register) in prototype.args.iter().zip(1..) {
        let mut memory_arg = |size: i32| match memory {
            Memory::Packet => slots.push(insn(0xbf, register, 7, 0, 0)),
            Memory::Stack => {
                slots.push(insn(0xbf, register, 10, 0, 0));
                slots.push(insn(0x07, register, 0, 0, -64));
            }
            Memory::TooShort => {
                slots.push(insn(0xbf, register, 10, 0, 0));
                slots.push(insn(0x07, register, 0, 0, 1 - size));
            }
        };
        match arg {
            Arg::Ctx => slots.push(insn(0xbf, register, 6, 0, 0)),
            Arg::ConstMap => wide(&mut slots, register, 1, map.raw() as u64),
            Arg::MapKey if prototype.id == 195 => memory_arg(4),
            Arg::MapKey | Arg::MapValue | Arg::UninitMapValue => memory_arg(8),
            Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::MemRw | Arg::FixedMem(_) => {
                memory_arg(64);
            }
            Arg::Size | Arg::SizeOrZero => slots.push(insn(0xb7, register, 0, 0, 64)),
            Arg::Anything | Arg::ConstAllocSize => slots.push(insn(0xb7, register, 0, 0, 0)),
            Arg::RingbufRecord => slots.push(insn(0xbf, register, 8, 0, 0)),
            Arg::None | Arg::Function | Arg::StackOrNull | Arg::SpinLock | Arg::ConstStr => {}
        }
    }
    slots.push(insn(0x85, 0, 0, 0, prototype.id as i32));
    if prototype.ret == Return::RingbufRecordOrNull {
        slots.push(insn(0x15, 0, 0, 3, 0));
        slots.push(insn(0xbf, 1, 0, 0, 0));
        slots.push(insn(0xb7, 2, 0, 0, 0));
        slots.push(insn(0x85, 0, 0, 0, 133));
    }
    Calling { slots, map }
}

impl Calling {
    fn load(mut self, kind: u32, end: &[u64]) -> Result<(), String> {
        self.slots.extend(end);
        let result = KernelProgram::load_type(kind, &self.slots);
        drop(self.map);
        result.map(|_| ()).map_err(|(_, log)| log)
    }
}

const RETURN_ZERO: [u64; 2] = [0xb7, 0x95];

/// Last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(6).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn modelled() -> impl Iterator<Item = &'static Prototype> {
    PROTOTYPES.iter().filter(|p| p.modelled)
}

#[test]
fn a_call_by_the_prototype_is_accepted() {
    if !kernel::available() {
        return;
    }
    for prototype in modelled() {
        for (kind, allowed) in [(XDP, prototype.xdp), (TC, prototype.tc)] {
            let result = calling(prototype, kind, Memory::Stack).load(kind, &RETURN_ZERO);
            match result {
                Ok(()) => assert!(allowed, "{} loads in type {kind}", prototype.name),
                Err(log) => assert!(!allowed, "{} in {kind}: {}", prototype.name, tail(&log)),
            }
        }
    }
}

#[test]
fn what_licence_it_needs() {
    if !kernel::available() {
        return;
    }
    for prototype in modelled() {
        let mut calling = calling(prototype, XDP, Memory::Stack);
        calling.slots.extend(RETURN_ZERO);
        let loads = KernelProgram::load_licensed(XDP, &calling.slots, c"MIT").is_ok();
        assert_eq!(loads, !prototype.gpl_only, "{}", prototype.name);
    }
}

#[test]
fn memory_of_the_packet_and_memory_too_short() {
    if !kernel::available() {
        return;
    }
    let mut with_memory = 0;
    for prototype in modelled() {
        let takes_memory = prototype.args.iter().any(|arg| {
            !matches!(
                arg,
                Arg::None
                    | Arg::Ctx
                    | Arg::ConstMap
                    | Arg::Anything
                    | Arg::ConstAllocSize
                    | Arg::RingbufRecord
                    | Arg::Size
                    | Arg::SizeOrZero
            )
        });
        if !takes_memory {
            continue;
        }
        with_memory += 1;
        let result = calling(prototype, XDP, Memory::Packet).load(XDP, &RETURN_ZERO);
        assert_eq!(
            result.is_ok(),
            prototype.packet_args,
            "{} with packet memory: {}",
            prototype.name,
            tail(&result.err().unwrap_or_default())
        );
        let result = calling(prototype, XDP, Memory::TooShort).load(XDP, &RETURN_ZERO);
        assert!(result.is_err(), "{} takes memory too short", prototype.name);
    }
    assert!(with_memory > 10);
}

#[test]
fn packet_pointers_after_the_call() {
    if !kernel::available() {
        return;
    }
    // r0 = *(u8 *)(r7 + 0); exit
    let use_packet = [insn(0x71, 0, 7, 0, 0), 0x95];
    for prototype in modelled() {
        let result = calling(prototype, XDP, Memory::Stack).load(XDP, &use_packet);
        assert_eq!(
            result.is_err(),
            prototype.changes_packet,
            "{}: {}",
            prototype.name,
            tail(&result.err().unwrap_or_default())
        );
    }
}

#[test]
fn what_is_returned() {
    if !kernel::available() {
        return;
    }
    for prototype in modelled() {
        if prototype.ret == Return::RingbufRecordOrNull {
            continue;
        }
        // exit with what the helper left; and dereference it after a null check.
        let plain = calling(prototype, XDP, Memory::Stack).load(XDP, &[0x95]);
        let deref = [
            insn(0x15, 0, 0, 1, 0),
            insn(0x71, 0, 0, 0, 0),
            insn(0xb7, 0, 0, 0, 0),
            0x95,
        ];
        let pointer = calling(prototype, XDP, Memory::Stack).load(XDP, &deref);
        let expected = match prototype.ret {
            // A pointer may leave a privileged program, though not as a verdict the kernel
            // would check here.
            Return::MapValueOrNull => (plain.is_ok(), true),
            Return::Void => (false, false),
            _ => (true, false),
        };
        assert_eq!(
            (plain.is_ok(), pointer.is_ok()),
            expected,
            "{}: {}",
            prototype.name,
            tail(&plain.err().unwrap_or_default())
        );
    }
}

/// Everything that the kernel lets XDP programs call is named, and what has a prototype for XDP
/// is among it.
#[test]
fn all_helpers_of_xdp_have_names() {
    if !kernel::available() {
        return;
    }
    let mut callable = Vec::new();
    for id in 1..230 {
        let slots = [insn(0x85, 0, 0, 0, id), 0xb7, 0x95];
        // A refusal for the arguments, not for the function.
        let allowed = match KernelProgram::load(&slots) {
            Ok(_) => true,
            Err((_, log)) => {
                !(log.contains("cannot use helper")
                    || log.contains("unknown func")
                    || log.contains("invalid func"))
            }
        };
        if allowed {
            let id = id as u32;
            assert!(bpf::helper::name(id).is_some(), "{id}");
            callable.push(id);
        }
    }
    for prototype in &PROTOTYPES {
        assert_eq!(
            callable.contains(&prototype.id),
            prototype.xdp,
            "{}",
            prototype.name
        );
    }
    let without: Vec<_> = callable
        .iter()
        .filter(|id| bpf::helper::prototype(**id).is_none())
        .filter_map(|id| bpf::helper::name(*id))
        .collect();
    println!("XDP may call, but there is no prototype: {without:?}");
}
