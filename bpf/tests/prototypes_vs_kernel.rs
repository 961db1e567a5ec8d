//! The table of helper prototypes against Linux's verifier: who may call a helper, with what
//! licence, with which memory, and what happens to packet pointers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod kernel;

use bpf::Hook;
use bpf::helper::{Arg, PROTOTYPES, Prototype, Return, prototype_on};
use bpf::map::{MapDef, MapType};
use kernel::{KernelMap, KernelProgram, insn, wide};

const XDP: u32 = 6;
const TC: u32 = 3;

/// A map that the helper takes.
fn map_for(id: u32) -> KernelMap {
    let (kind, key_size, value_size, max_entries) = match id {
        12 => (MapType::ProgArray, 4, 4, 1),
        33 | 37 => (MapType::CgroupArray, 4, 4, 1),
        22 | 25 | 55 => (MapType::PerfEventArray, 4, 4, 1),
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
    /// The stack again, with lengths of 0.
    Empty,
}

/// A program that calls the helper once as its prototype says: r6 = ctx, r7 = packet data of at
/// least 64 bytes, r8 = a reserved record or a socket where one is needed.
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
    if prototype.args.contains(&Arg::Socket) {
        slots.push(insn(0x79, 8, 6, 168, 0));
        slots.extend([insn(0x55, 8, 0, 2, 0), 0xb7, 0x95]);
    }
    if prototype.args.contains(&Arg::AcquiredSocket) {
        slots.push(insn(0xbf, 1, 6, 0, 0));
        slots.push(insn(0xbf, 2, 10, 0, 0));
        slots.push(insn(0x07, 2, 0, 0, -64));
        for (register, value) in [(3, 12), (4, 0), (5, 0)] {
            slots.push(insn(0xb7, register, 0, 0, value));
        }
        slots.push(insn(0x85, 0, 0, 0, 84));
        slots.extend([insn(0x55, 0, 0, 2, 0), 0xb7, 0x95]);
        slots.push(insn(0xbf, 8, 0, 0, 0));
    }
    for (arg, register) in prototype.args.iter().zip(1..) {
        let mut memory_arg = |size: i32| match memory {
            Memory::Packet => slots.push(insn(0xbf, register, 7, 0, 0)),
            Memory::Stack | Memory::Empty => {
                slots.push(insn(0xbf, register, 10, 0, 0));
                slots.push(insn(0x07, register, 0, 0, -64));
            }
            Memory::TooShort => {
                slots.push(insn(0xbf, register, 10, 0, 0));
                slots.push(insn(0x07, register, 0, 0, 1 - size));
            }
        };
        match arg {
            Arg::Ctx | Arg::CtxOrNull => slots.push(insn(0xbf, register, 6, 0, 0)),
            Arg::ConstMap => wide(&mut slots, register, 1, map.raw() as u64),
            Arg::MapKey if prototype.id == 195 => memory_arg(4),
            Arg::MapKey | Arg::MapValue | Arg::MapValueOrNull | Arg::UninitMapValue => {
                memory_arg(8);
            }
            Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::MemRw => memory_arg(64),
            Arg::FixedMem(bytes) | Arg::AlignedOut(bytes) => memory_arg(*bytes as i32),
            Arg::Size | Arg::SizeOrZero if memory == Memory::Empty => {
                slots.push(insn(0xb7, register, 0, 0, 0));
            }
            Arg::Size | Arg::SizeOrZero => slots.push(insn(0xb7, register, 0, 0, 64)),
            Arg::Anything | Arg::ConstAllocSize => slots.push(insn(0xb7, register, 0, 0, 0)),
            Arg::RingbufRecord | Arg::Socket | Arg::AcquiredSocket => {
                slots.push(insn(0xbf, register, 8, 0, 0));
            }
            _ => {}
        }
    }
    slots.push(insn(0x85, 0, 0, 0, prototype.id as i32));
    if matches!(prototype.ret, Return::AcquiredSocketOrNull(_)) {
        slots.push(insn(0x15, 0, 0, 2, 0));
        slots.push(insn(0xbf, 1, 0, 0, 0));
        slots.push(insn(0x85, 0, 0, 0, 86));
    }
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

/// Prototypes that a call can be made of here, with the type of program to make it in.
fn callable() -> impl Iterator<Item = (&'static Prototype, u32)> {
    let possible = |p: &Prototype| {
        // What only follows with more around it; storage maps need type information.
        !p.args.iter().any(|arg| {
            matches!(
                arg,
                Arg::Kernel(..)
                    | Arg::PointerField
                    | Arg::Function
                    | Arg::StackOrNull
                    | Arg::SpinLock
                    | Arg::Timer
                    | Arg::DynptrMem
                    | Arg::NewDynptr
                    | Arg::Dynptr
                    | Arg::RecordDynptr
                    | Arg::ConstStr
                    | Arg::MapValueOrNull
            )
        }) && !p.name.contains("storage")
    };
    PROTOTYPES
        .iter()
        .flat_map(move |any| {
            [(XDP, Hook::XDP), (TC, Hook::TC)].map(|(kind, hook)| {
                let prototype = prototype_on(&hook, any.id).unwrap();
                // XDP programs have no socket at hand.
                let at_hand = kind == TC || !prototype.args.contains(&Arg::Socket);
                (possible(prototype) && at_hand).then_some((prototype, kind))
            })
        })
        .flatten()
}

/// The same, only those that the hook has.
fn allowed() -> impl Iterator<Item = (&'static Prototype, u32)> {
    callable().filter(|(p, kind)| if *kind == XDP { p.xdp } else { p.tc })
}

#[test]
fn a_call_by_the_prototype_is_accepted() {
    if !kernel::available() {
        return;
    }
    let mut asked = 0;
    for (prototype, kind) in callable() {
        let allowed = if kind == XDP {
            prototype.xdp
        } else {
            prototype.tc
        };
        let result = calling(prototype, kind, Memory::Stack).load(kind, &RETURN_ZERO);
        match result {
            Ok(()) => assert!(allowed, "{} loads in type {kind}", prototype.name),
            Err(log) => assert!(!allowed, "{} in {kind}: {}", prototype.name, tail(&log)),
        }
        asked += 1;
    }
    assert!(asked > 200, "only {asked} calls");
}

#[test]
fn what_licence_it_needs() {
    if !kernel::available() {
        return;
    }
    for any in &PROTOTYPES {
        for (kind, hook) in [(XDP, Hook::XDP), (TC, Hook::TC)] {
            let prototype = prototype_on(&hook, any.id).unwrap();
            if !prototype.allowed(&hook) {
                continue;
            }
            let slots = [insn(0x85, 0, 0, 0, any.id as i32), 0xb7, 0x95];
            let result = KernelProgram::load_licensed(kind, &slots, c"MIT");
            let restricted = result.is_err_and(|(_, log)| log.contains("GPL-restricted"));
            assert_eq!(restricted, prototype.gpl_only, "{}", prototype.name);
        }
    }
}

#[test]
fn memory_of_the_packet_and_memory_too_short() {
    if !kernel::available() {
        return;
    }
    let mut with_memory = 0;
    for (prototype, kind) in allowed() {
        let takes_memory = prototype.args.iter().any(|arg| {
            matches!(
                arg,
                Arg::MapKey
                    | Arg::MapValue
                    | Arg::UninitMapValue
                    | Arg::Mem
                    | Arg::MemOrNull
                    | Arg::UninitMem
                    | Arg::MemRw
                    | Arg::FixedMem(_)
                    | Arg::AlignedOut(_)
            )
        });
        if !takes_memory {
            continue;
        }
        with_memory += 1;
        let result = calling(prototype, kind, Memory::Packet).load(kind, &RETURN_ZERO);
        assert_eq!(
            result.is_ok(),
            prototype.packet_args,
            "{} with packet memory: {}",
            prototype.name,
            tail(&result.err().unwrap_or_default())
        );
        let result = calling(prototype, kind, Memory::TooShort).load(kind, &RETURN_ZERO);
        assert!(result.is_err(), "{} takes memory too short", prototype.name);
    }
    assert!(with_memory > 50, "only {with_memory}");
}

#[test]
fn lengths_of_0() {
    if !kernel::available() {
        return;
    }
    let mut wrong = Vec::new();
    for (prototype, kind) in allowed() {
        let sized = |arg| prototype.args.contains(&arg);
        if !sized(Arg::Size) && !sized(Arg::SizeOrZero) {
            continue;
        }
        let result = calling(prototype, kind, Memory::Empty).load(kind, &RETURN_ZERO);
        if result.is_ok() == sized(Arg::Size) {
            wrong.push(prototype.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn packet_pointers_after_the_call() {
    if !kernel::available() {
        return;
    }
    // r0 = *(u8 *)(r7 + 0); exit
    let use_packet = [insn(0x71, 0, 7, 0, 0), 0x95];
    for (prototype, kind) in allowed() {
        let result = calling(prototype, kind, Memory::Stack).load(kind, &use_packet);
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
    for (prototype, kind) in allowed() {
        if matches!(
            prototype.ret,
            Return::RingbufRecordOrNull | Return::AcquiredSocketOrNull(_)
        ) {
            // Released before the end.
            continue;
        }
        // Exit with what the helper left; and dereference it, after a null check and without.
        let plain = calling(prototype, kind, Memory::Stack).load(kind, &[0x95]);
        let deref = [insn(0x61, 0, 0, 0, 0), 0x95];
        let checked = [insn(0x15, 0, 0, 1, 0), deref[0], 0xb7, 0x95];
        let pointer = calling(prototype, kind, Memory::Stack).load(kind, &checked);
        let unchecked = calling(prototype, kind, Memory::Stack).load(kind, &deref);
        let expected = match prototype.ret {
            // A pointer may leave a privileged program.
            Return::Kernel("task_struct", _) => (true, true, true),
            Return::MapValueOrNull
            | Return::SocketOrNull(_)
            | Return::SameSocketOrNull(_)
            | Return::Kernel(..) => (true, true, false),
            Return::Void => (false, false, false),
            _ => (true, false, false),
        };
        assert_eq!(
            (plain.is_ok(), pointer.is_ok(), unchecked.is_ok()),
            expected,
            "{}: {}",
            prototype.name,
            tail(&plain.err().unwrap_or_default())
        );
    }
}

/// The hooks of packet programs, and no more than they have, are in the table.
#[test]
fn who_may_call_what() {
    if !kernel::available() {
        return;
    }
    let refused = ["cannot use helper", "unknown func", "invalid func"];
    let mut without = Vec::new();
    for id in 1..230 {
        for (kind, hook) in [(XDP, Hook::XDP), (TC, Hook::TC), (4, Hook::TC)] {
            let slots = [insn(0x85, 0, 0, 0, id), 0xb7, 0x95];
            // A refusal for the arguments, not for the function.
            let loads = match KernelProgram::load_type(kind, &slots) {
                Ok(_) => true,
                Err((_, log)) => !refused.iter().any(|said| log.contains(said)),
            };
            let id = id as u32;
            match prototype_on(&hook, id) {
                Some(p) => assert_eq!(loads, p.allowed(&hook), "{} in {kind}", p.name),
                None if loads => {
                    let name = bpf::helper::name(id);
                    without.push(name.unwrap_or_else(|| panic!("{id} has no name")));
                }
                None => {}
            }
        }
    }
    without.dedup();
    println!("packet programs may call, but there is no prototype: {without:?}");
}
