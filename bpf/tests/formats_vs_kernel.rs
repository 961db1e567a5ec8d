//! Format strings against Linux, which judges those of `bpf_snprintf` when a program is loaded.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod kernel;

use std::os::fd::AsRawFd;

use bpf::helper::valid_format;
use bpf::map::{MapDef, MapType};
use kernel::{Attr, KernelMap, KernelProgram, Rng, insn, wide};

const FREEZE: i32 = 22;
const PSEUDO_MAP_VALUE: u8 = 2;

/// Whether the kernel takes `bpf_snprintf` with this format and so many arguments.
fn accepted(format: &[u8], arguments: u32) -> bool {
    let def = MapDef {
        key_size: 4,
        value_size: format.len() as u32,
        max_entries: 1,
        flags: 1 << 7,
        ..MapDef::new("m", MapType::Array)
    };
    let map = KernelMap::new(&def, None).unwrap();
    map.update(&[0; 4], format, 0).unwrap();
    let mut attr = Attr::new().u32(0, map.fd.as_raw_fd() as u32);
    kernel::bpf(FREEZE, &mut attr).unwrap();
    let mut slots = Vec::new();
    for slot in 1..=16 {
        slots.push(insn(0x7a, 10, 0, -8 * slot, 0));
    }
    slots.extend([insn(0xbf, 1, 10, 0, 0), insn(0x07, 1, 0, 0, -128)]);
    slots.push(insn(0xb7, 2, 0, 0, 16));
    wide(&mut slots, 3, PSEUDO_MAP_VALUE, map.raw() as u64);
    slots.extend([insn(0xbf, 4, 10, 0, 0), insn(0x07, 4, 0, 0, -96)]);
    slots.push(insn(0xb7, 5, 0, 0, 8 * arguments as i32));
    slots.extend([insn(0x85, 0, 0, 0, 165), 0xb7, 0x95]);
    KernelProgram::load(&slots).is_ok()
}

fn compare(format: &[u8], arguments: u32) {
    assert_eq!(
        valid_format(format, arguments as usize),
        accepted(format, arguments),
        "{:?} with {arguments}",
        String::from_utf8_lossy(format)
    );
}

#[test]
fn every_byte_where_it_matters() {
    if !kernel::available() {
        return;
    }
    for byte in 1..=255 {
        compare(&[byte, 0], 0);
        compare(&[b'%', byte, 0], 1);
        compare(&[b'%', b's', byte, 0], 1);
        compare(&[b'%', b'p', byte, 0], 1);
        compare(&[b'%', b'l', byte, 0], 1);
    }
    compare(b"no end", 0);
    compare(b"%d%d%d%d%d%d%d%d%d%d%d%d\0", 12);
}

#[test]
fn formats_of_pieces() {
    if !kernel::available() {
        return;
    }
    let pieces: [&[u8]; 30] = [
        b"%d", b"%u", b"%x", b"%X", b"%i", b"%c", b"%s", b"%p", b"%%", b"%", b"l", b"ll", b"d",
        b"k", b"us", b"%pks", b"%pI4", b"%pi6", b"%pB", b"0", b"-", b"+", b" ", b"12", b"a", b".",
        b"\n", b"*", b"%ll", b"x",
    ];
    let mut rng = Rng(7);
    for _ in 0..2000 {
        let mut format = Vec::new();
        for _ in 0..=rng.below(5) {
            format.extend_from_slice(rng.pick(&pieces));
        }
        format.push(0);
        compare(&format, rng.below(4) as u32);
    }
}
