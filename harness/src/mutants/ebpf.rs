//! Wrong eBPF instructions. Encodings are RFC 9669's (sections 3 to 5).

use super::kind::{Kind, Mutator, Surroundings};

/// Breaks images that are eBPF themselves.
pub(super) struct Ebpf;

/// Does nothing: `goto +0`.
const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];
const LDDW: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Other operations of a branch (bits 4 to 7): negated, other signedness, other at equality.
fn conditions(op: u8) -> &'static [u8] {
    match op {
        0x1 => &[0x5],
        0x2 => &[0xb, 0x3, 0x6],
        0x3 => &[0xa, 0x2, 0x7],
        0x4 | 0x5 => &[0x1],
        0x6 => &[0xd, 0x7, 0x2],
        0x7 => &[0xc, 0x6, 0x3],
        0xa => &[0x3, 0xb, 0xc],
        0xb => &[0x2, 0xa, 0xd],
        0xc => &[0x7, 0xd, 0xa],
        0xd => &[0x6, 0xc, 0xb],
        _ => &[],
    }
}

/// A neighbour of a register from r0 to r9.
fn other(register: u8) -> Option<u8> {
    (register < 10).then_some(register ^ 1)
}

impl Mutator for Ebpf {
    fn changes(&self, bytes: &[u8], around: Surroundings) -> Vec<(Kind, Vec<u8>)> {
        let Ok(insn) = <[u8; 8]>::try_from(bytes) else {
            return Vec::new();
        };
        let code = insn[0];
        if matches!(code, LDDW | CALL | EXIT) {
            return Vec::new();
        }
        let mut changes = Changes {
            insn,
            found: Vec::new(),
        };
        match code & 7 {
            4 | 7 => arithmetic(&mut changes, around),
            5 | 6 => branch(&mut changes),
            1 => load(&mut changes),
            2 | 3 => store(&mut changes),
            _ => {}
        }
        changes.with(Kind::Drop, |insn| *insn = NOTHING);
        changes.found
    }
}

struct Changes {
    insn: [u8; 8],
    found: Vec<(Kind, Vec<u8>)>,
}

impl Changes {
    fn with(&mut self, kind: Kind, change: impl FnOnce(&mut [u8; 8])) {
        let mut insn = self.insn;
        change(&mut insn);
        if insn != self.insn {
            self.found.push((kind, insn.to_vec()));
        }
    }

    fn destination(&mut self, kind: Kind) {
        if let Some(dst) = other(self.insn[1] & 15) {
            self.with(kind, |insn| insn[1] = insn[1] & 0xf0 | dst);
        }
    }

    fn source(&mut self, kind: Kind) {
        if let Some(src) = other(self.insn[1] >> 4) {
            self.with(kind, |insn| insn[1] = insn[1] & 15 | src << 4);
        }
    }

    fn immediate(&mut self) {
        self.with(Kind::Constant, |insn| insn[4] ^= 1);
    }

    fn offset(&mut self) {
        self.with(Kind::Constant, |insn| insn[2] ^= 1);
    }
}

fn arithmetic(changes: &mut Changes, around: Surroundings) {
    let (code, offset) = (changes.insn[0], changes.insn[2]);
    let (op, of_register) = (code >> 4, code & 8 != 0);
    if op == 0xd {
        // Byte swaps: the immediate is the width, the class and the source bit the order.
        changes.with(Kind::Width, |insn| {
            insn[4] = if insn[4] == 16 { 32 } else { 16 }
        });
        changes.with(Kind::Operation, |insn| insn[0] ^= 8);
        return;
    }
    let (kind, class) = match code & 7 {
        7 => (Kind::Width, 4),
        _ => (Kind::ZeroExtension, 7),
    };
    if !(op == 0xb && offset == 32) {
        changes.with(kind, |insn| insn[0] = insn[0] & !7 | class);
    }
    match op {
        0x0 | 0x1 | 0x4 | 0x5 => changes.with(Kind::Operation, |insn| insn[0] ^= 0x10),
        0x7 | 0xc => changes.with(Kind::SignExtension, |insn| insn[0] ^= 0xb0),
        0x3 | 0x9 => changes.with(Kind::SignExtension, |insn| insn[2] ^= 1),
        0xb if offset != 0 => changes.with(Kind::SignExtension, |insn| insn[2] = 0),
        _ => {}
    }
    let argument = op == 0xb && around.before_call && (1..=5).contains(&(changes.insn[1] & 15));
    let kind = if argument {
        Kind::HelperRegister
    } else {
        Kind::Operand
    };
    changes.destination(kind);
    if of_register {
        changes.source(kind);
    } else if op != 8 {
        changes.immediate();
    }
}

fn branch(changes: &mut Changes) {
    let code = changes.insn[0];
    let op = code >> 4;
    for other in conditions(op) {
        changes.with(Kind::Condition, |insn| insn[0] = insn[0] & 15 | other << 4);
    }
    if conditions(op).is_empty() {
        return;
    }
    let kind = if code & 7 == 5 {
        Kind::Width
    } else {
        Kind::ZeroExtension
    };
    changes.with(kind, |insn| insn[0] ^= 3);
    changes.destination(Kind::Operand);
    if code & 8 != 0 {
        changes.source(Kind::Operand);
    } else {
        changes.immediate();
    }
}

fn load(changes: &mut Changes) {
    let code = changes.insn[0];
    let (mode, size) = (code & 0xe0, code & 0x18);
    if size != 0x18 {
        match mode {
            0x60 => changes.with(Kind::SignExtension, |insn| insn[0] = insn[0] & 0x1f | 0x80),
            0x80 => changes.with(Kind::SignExtension, |insn| insn[0] = insn[0] & 0x1f | 0x60),
            _ => {}
        }
    }
    narrower(changes);
    changes.destination(Kind::Operand);
    changes.offset();
}

fn store(changes: &mut Changes) {
    let code = changes.insn[0];
    if code & 0xe0 == 0x60 {
        narrower(changes);
    } else if code == 0xdb {
        changes.with(Kind::Width, |insn| insn[0] = 0xc3);
    }
    if code & 7 == 3 {
        changes.source(Kind::Operand);
    } else {
        changes.immediate();
    }
}

/// The next smaller size of an access; a byte becomes two.
fn narrower(changes: &mut Changes) {
    let size = match changes.insn[0] & 0x18 {
        0x18 => 0x00,
        0x08 => 0x10,
        _ => 0x08,
    };
    changes.with(Kind::Width, |insn| insn[0] = insn[0] & !0x18 | size);
}
