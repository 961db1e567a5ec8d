//! The same calls of helpers twice: in an XDP program that the kernel runs, and over a plain test
//! machine.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

use bpf::helper::Machine;
use bpf::map::{Map, MapDef, MapType};

use crate::kernel::{self, KernelMap, KernelProgram, insn, wide};
use crate::machine::{HANDLES, MEMORY, TestMachine};

/// Bytes of memory that both sides work on; the results of the calls lie at its start.
pub const SIZE: usize = 2048;
/// Memory that calls may use starts here.
pub const SCRATCH: u64 = 1024;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum A {
    /// A number.
    N(u64),
    /// This offset in the memory.
    M(u64),
    /// The context.
    Ctx,
    /// The map with this index.
    Map(usize),
    /// This offset in the only value of the array with this index.
    In(usize, u64),
    /// The ring buffer record reserved before.
    Record,
}

/// A helper and its arguments.
pub type Call = (u32, Vec<A>);

/// A map on both sides, filled alike.
pub struct Pair {
    pub def: MapDef,
    pub theirs: KernelMap,
}

pub fn pair(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Pair {
    let def = MapDef {
        key_size,
        value_size,
        max_entries,
        flags: u32::from(kind == MapType::LpmTrie),
        ..MapDef::new("m", kind)
    };
    let theirs = KernelMap::new(&def, None).unwrap();
    Pair { def, theirs }
}

/// An array of one value that programs may only read.
pub fn constants(bytes: &[u8]) -> Pair {
    let def = MapDef {
        key_size: 4,
        value_size: bytes.len() as u32,
        max_entries: 1,
        flags: 1 << 7,
        ..MapDef::new("constants", MapType::Array)
    };
    let theirs = KernelMap::new(&def, None).unwrap();
    theirs.update(&[0; 4], bytes, 0).unwrap();
    theirs.freeze().unwrap();
    Pair { def, theirs }
}

/// Whether r0 says anything after this helper.
pub fn returns(id: u32) -> bool {
    !matches!(id, 132 | 133)
}

/// The program: r6 = ctx, r9 = memory; after call `i` its r0 lies at `8 * i`.
pub fn program(memory: &KernelMap, calls: &[Call], maps: &[Pair]) -> Vec<u64> {
    let mut slots = vec![insn(0xbf, 6, 1, 0, 0), insn(0x62, 10, 0, -4, 0)];
    wide(&mut slots, 1, 1, memory.raw() as u64);
    slots.push(insn(0xbf, 2, 10, 0, 0));
    slots.push(insn(0x07, 2, 0, 0, -4));
    slots.push(insn(0x85, 0, 0, 0, 1));
    slots.push(insn(0x55, 0, 0, 1, 0)); // if r0 != 0 goto +1
    slots.push(insn(0x95, 0, 0, 0, 0));
    slots.push(insn(0xbf, 9, 0, 0, 0));
    for (i, (id, args)) in calls.iter().enumerate() {
        for (arg, register) in args.iter().zip(1..) {
            match *arg {
                A::N(n) => wide(&mut slots, register, 0, n),
                A::M(offset) => {
                    slots.push(insn(0xbf, register, 9, 0, 0));
                    slots.push(insn(0x07, register, 0, 0, offset as i32));
                }
                A::Ctx => slots.push(insn(0xbf, register, 6, 0, 0)),
                A::Map(index) => wide(&mut slots, register, 1, maps[index].theirs.raw() as u64),
                A::In(index, offset) => {
                    let fd = maps[index].theirs.raw() as u64;
                    wide(&mut slots, register, 2, fd | offset << 32);
                }
                // r7 holds the record, and is null on the other way out.
                A::Record => slots.push(insn(0xbf, register, 7, 0, 0)),
            }
        }
        slots.push(insn(0x85, 0, 0, 0, *id as i32));
        if *id == 131 {
            // r7 = record; a reserved one is filled with 0xab (8 bytes), a missing one ends here.
            slots.push(insn(0xbf, 7, 0, 0, 0));
            slots.push(insn(0x55, 7, 0, 3, 0)); // if r7 != 0 goto +3
            slots.push(insn(0x7a, 9, 0, 8 * i as i16, 0));
            slots.push(insn(0xb7, 0, 0, 0, 2));
            slots.push(insn(0x95, 0, 0, 0, 0));
            slots.push(insn(0x7a, 9, 0, 8 * i as i16, 1));
            slots.push(insn(0x7a, 7, 0, 0, 0x5a5a_a5a5));
        } else if returns(*id) {
            slots.push(insn(0x7b, 9, 0, 8 * i as i16, 0));
        }
    }
    slots.push(insn(0xb7, 0, 0, 0, 2));
    slots.push(insn(0x95, 0, 0, 0, 0));
    slots
}

/// The same calls on the test machine.
pub fn here(machine: &mut TestMachine, calls: &[Call]) {
    let mut record = 0;
    for (i, (id, args)) in calls.iter().enumerate() {
        let mut values = [0; 5];
        for (value, arg) in values.iter_mut().zip(args) {
            *value = match *arg {
                A::N(n) => n,
                A::M(offset) => MEMORY + offset,
                A::Ctx => 0x77,
                A::Map(index) => HANDLES + index as u64,
                A::In(index, offset) => {
                    let map = machine.maps.get(index).unwrap();
                    let at = map.lookup(&[0; 4], 0).unwrap();
                    machine.value_address(index, at) + offset
                }
                A::Record => record,
            };
        }
        let mut r0 = bpf::helper::call(*id, machine, values).unwrap();
        if *id == 131 {
            record = r0;
            if r0 == 0 {
                return;
            }
            machine
                .write(record, &0x5a5a_a5a5_u64.to_le_bytes())
                .unwrap();
            r0 = 1;
        }
        if returns(*id) {
            machine.memory[8 * i..8 * i + 8].copy_from_slice(&r0.to_le_bytes());
        }
    }
}

/// Where a tc program leaves what it reads of its context at its end, 8 bytes a number.
pub const CONTEXT: usize = 512;
/// Offset and size of these numbers in `struct __sk_buff`; the last is what of the packet is
/// linear.
pub const NUMBERS: [(usize, usize); 16] = [
    (0, 4),
    (4, 4),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 4),
    (32, 4),
    (44, 4),
    (68, 4),
    (160, 4),
    (164, 4),
    (152, 8),
    (180, 1),
    (80, 4),
];
/// That of `hash`.
pub const HASH: usize = 10;
/// That of `wire_len`, which is 0 in a test run that is given no context.
pub const WIRE_LEN: usize = 11;

/// What the program reads of its context at its end; `ignored` are left out.
fn context_program(slots: &mut Vec<u64>, ignored: &[usize]) {
    slots.truncate(slots.len() - 2);
    for (i, (offset, size)) in NUMBERS.into_iter().enumerate() {
        if ignored.contains(&i) {
            continue;
        }
        let load = match size {
            1 => 0x71,
            8 => 0x79,
            _ => 0x61,
        };
        slots.push(insn(load, 0, 6, offset as i16, 0));
        if offset == 80 {
            slots.push(insn(0x61, 1, 6, 76, 0));
            slots.push(insn(0x1f, 0, 1, 0, 0));
        }
        slots.push(insn(0x7b, 9, 0, (CONTEXT + 8 * i) as i16, 0));
    }
    slots.push(insn(0xb7, 0, 0, 0, 2));
    slots.push(insn(0x95, 0, 0, 0, 0));
}

/// The same of the test machine.
fn context_here(machine: &mut TestMachine, ignored: &[usize]) {
    let skb = machine.skb.clone().unwrap();
    for (i, (offset, size)) in NUMBERS.into_iter().enumerate() {
        if ignored.contains(&i) {
            continue;
        }
        let number = match offset {
            80 => u64::from(skb.linear),
            _ => skb.load(offset, size).unwrap(),
        };
        let at = CONTEXT + 8 * i;
        machine.memory[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
}

/// Runs on both sides and compares memory, packet and the maps. Gives the machine, and what the
/// calls returned.
pub fn compare(
    frame: &[u8],
    content: &[u8],
    calls: &[Call],
    maps: &[Pair],
) -> (TestMachine, Vec<i64>) {
    compare_on(None, frame, content, calls, maps)
}

/// The same in a tc program where `tc` is given: the numbers of the context that are not
/// compared.
pub fn compare_on(
    tc: Option<&[usize]>,
    frame: &[u8],
    content: &[u8],
    calls: &[Call],
    maps: &[Pair],
) -> (TestMachine, Vec<i64>) {
    let mut machine = match tc {
        None => TestMachine::new(frame, SIZE),
        Some(_) => TestMachine::tc(frame, SIZE),
    };
    machine.memory[SCRATCH as usize..SCRATCH as usize + content.len()].copy_from_slice(content);
    for pair in maps {
        let map = Map::new(&pair.def, kernel::possible_cpus()).unwrap();
        if pair.def.key_size > 0 && pair.def.kind != MapType::Xskmap {
            for key in pair.theirs.keys(pair.def.key_size as usize) {
                if let Ok(value) = pair.theirs.lookup(&key) {
                    map.host_update(&key, &value, 0).unwrap();
                }
            }
        }
        machine.maps.push(map);
    }
    let memory = pair(MapType::Array, 4, SIZE as u32, 1);
    memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
    let mut slots = program(&memory.theirs, calls, maps);
    if let Some(ignored) = tc {
        context_program(&mut slots, ignored);
    }
    let kind = if tc.is_some() { 3 } else { 6 };
    let loaded = KernelProgram::load_type(kind, &slots).unwrap_or_else(|(errno, log)| {
        panic!("{calls:?}: errno {errno}\n{log}");
    });
    let run = loaded.run(frame).unwrap();
    assert_eq!(run.retval, 2);
    let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
    here(&mut machine, calls);
    if let Some(ignored) = tc {
        context_here(&mut machine, ignored);
    }
    let results = |bytes: &[u8]| -> Vec<i64> {
        bytes
            .chunks_exact(8)
            .take(calls.len())
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    assert_eq!(results(&machine.memory), results(&kernels), "{calls:x?}");
    if let Some(at) = (0..SIZE).find(|at| machine.memory[*at] != kernels[*at]) {
        let at = at / 8 * 8;
        panic!(
            "memory differs at {at} after {calls:x?} on {:x?}: {:x?}, the kernel has {:x?}",
            &frame[..frame.len().min(64)],
            &machine.memory[at..at + 8],
            &kernels[at..at + 8]
        );
    }
    // A test run gives the metadata too.
    let ours = &machine.area[machine.meta as usize..machine.end as usize];
    let kernels = &run.bytes[..];
    let differing = ours.iter().zip(kernels).position(|(a, b)| a != b);
    assert_eq!(ours.len(), kernels.len(), "{calls:x?}");
    if let Some(at) = differing {
        let part = |bytes: &[u8]| bytes[at..bytes.len().min(at + 16)].to_vec();
        panic!(
            "packet differs at {at} after {calls:x?}: {:x?}, the kernel has {:x?}",
            part(ours),
            part(kernels)
        );
    }
    for (index, pair) in maps.iter().enumerate() {
        if pair.def.key_size == 0 || pair.def.kind == MapType::Xskmap {
            continue;
        }
        for key in pair.theirs.keys(pair.def.key_size as usize) {
            let ours = machine.maps.get(index).unwrap().host_lookup(&key);
            assert_eq!(ours.ok(), pair.theirs.lookup(&key).ok(), "{calls:x?}");
        }
    }
    let results = results(&machine.memory);
    (machine, results)
}
