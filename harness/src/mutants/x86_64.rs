//! Wrong x86-64 instructions: as far as they are of the few forms that compilers emit.
//! Encodings are those of the Intel manual, volume 2.

use super::kind::{Kind, Mutator, Surroundings};

/// Breaks x86-64 images.
pub(super) struct X86_64;

const NOP: u8 = 0x90;
/// `REX.W`.
const WIDE: u8 = 8;

/// An instruction taken apart, as offsets of its bytes.
struct Parts {
    /// The operand-size prefix.
    size: Option<usize>,
    rex: Option<usize>,
    /// The last byte of the opcode.
    opcode: usize,
    /// Whether 0x0f stands before it.
    is_long: bool,
    modrm: Option<usize>,
    /// First byte of the displacement of a memory operand.
    displacement: Option<usize>,
    /// First byte of an immediate.
    immediate: Option<usize>,
}

impl Parts {
    fn new(bytes: &[u8]) -> Option<Parts> {
        let mut at = 0;
        let (mut size, mut rex) = (None, None);
        loop {
            match *bytes.get(at)? {
                0x66 => size = Some(at),
                0xf0 | 0xf2 | 0xf3 => {}
                0x40..=0x4f => {
                    rex = Some(at);
                    at += 1;
                    break;
                }
                _ => break,
            }
            at += 1;
        }
        let is_long = *bytes.get(at)? == 0x0f;
        let opcode = at + usize::from(is_long);
        let code = *bytes.get(opcode)?;
        let has_modrm = if is_long {
            matches!(code, 0x10..=0x1f | 0x28..=0x2f | 0x40..=0x4f | 0x57 | 0x90..=0x9f
                | 0xa3..=0xaf | 0xb0..=0xbf | 0xc0 | 0xc1)
        } else {
            matches!(code, 0x00..=0x3f if code & 7 < 4)
                || matches!(code, 0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7
                    | 0xd0..=0xd3 | 0xf6 | 0xf7 | 0xfe | 0xff)
        };
        let modrm = has_modrm.then_some(opcode + 1);
        let (displacement, behind) = match modrm {
            None => (None, opcode + 1),
            Some(modrm) => {
                let byte = *bytes.get(modrm)?;
                let (mode, rm) = (byte >> 6, byte & 7);
                let operand = modrm + 1 + usize::from(mode != 3 && rm == 4);
                let bytes = match mode {
                    0 if rm == 5 => 4,
                    1 => 1,
                    2 => 4,
                    _ => 0,
                };
                ((bytes > 0).then_some(operand), operand + bytes)
            }
        };
        let takes_immediate = !is_long
            && match code {
                0x69
                | 0x6b
                | 0x80
                | 0x81
                | 0x83
                | 0xa8
                | 0xa9
                | 0xb0..=0xbf
                | 0xc0
                | 0xc1
                | 0xc6
                | 0xc7 => true,
                0xf6 | 0xf7 => modrm.is_some_and(|at| bytes[at] >> 3 & 7 < 2),
                0x00..=0x3f => code & 7 == 4 || code & 7 == 5,
                _ => false,
            };
        Some(Parts {
            size,
            rex,
            opcode,
            is_long,
            modrm,
            displacement,
            immediate: (takes_immediate && behind < bytes.len()).then_some(behind),
        })
    }
}

struct Changes<'a> {
    bytes: &'a [u8],
    found: Vec<(Kind, Vec<u8>)>,
}

impl Changes<'_> {
    fn with(&mut self, kind: Kind, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.bytes.to_vec();
        change(&mut bytes);
        if bytes != self.bytes {
            self.found.push((kind, bytes));
        }
    }

    /// The byte at `at` becomes `byte`.
    fn set(&mut self, kind: Kind, at: usize, byte: u8) {
        self.with(kind, |bytes| bytes[at] = byte);
    }
}

/// Other conditions (`cc` of jcc, setcc and cmovcc): negated, of the other signedness, other at
/// equality.
fn conditions(cc: u8) -> Vec<u8> {
    let signedness = match cc {
        0x2 => Some(0xc),
        0x3 => Some(0xd),
        0x6 => Some(0xe),
        0x7 => Some(0xf),
        0xc => Some(0x2),
        0xd => Some(0x3),
        0xe => Some(0x6),
        0xf => Some(0x7),
        _ => None,
    };
    let equality = match cc {
        0x2 | 0x3 | 0x6 | 0x7 => Some(cc ^ 4),
        0xc..=0xf => Some(cc ^ 2),
        _ => None,
    };
    std::iter::once(cc ^ 1)
        .chain(signedness)
        .chain(equality)
        .collect()
}

impl Mutator for X86_64 {
    fn changes(&self, bytes: &[u8], around: Surroundings) -> Vec<(Kind, Vec<u8>)> {
        let Some(parts) = Parts::new(bytes) else {
            return Vec::new();
        };
        let code = bytes[parts.opcode];
        let mut changes = Changes {
            bytes,
            found: Vec::new(),
        };
        let is_jump = if parts.is_long {
            (0x80..=0x8f).contains(&code)
        } else {
            (0x70..=0x7f).contains(&code)
        };
        let is_conditional =
            is_jump || (parts.is_long && matches!(code, 0x40..=0x4f | 0x90..=0x9f));
        if is_conditional {
            for other in conditions(code & 15) {
                changes.set(Kind::Condition, parts.opcode, code & 0xf0 | other);
            }
        }
        if parts.is_long {
            long(&mut changes, &parts, code);
        } else {
            short(&mut changes, &parts, code);
        }
        widths(&mut changes, &parts, code);
        operands(&mut changes, &parts, code, around);
        if !around.relocated {
            constants(&mut changes, &parts);
        }
        // A missing return, push or pop is no mistake that a test could miss.
        let leaves = !parts.is_long && matches!(code, 0xc3 | 0x50..=0x5f | 0xc9);
        if !leaves {
            let kind = if reads_pointer(bytes, &parts) {
                Kind::BoundsReload
            } else {
                Kind::Drop
            };
            changes.with(kind, |bytes| bytes.fill(NOP));
        }
        changes.found
    }
}

/// Whether it is `mov r64, [context + …]` of one of the packet's three pointers, which lie first
/// in the run state.
fn reads_pointer(bytes: &[u8], parts: &Parts) -> bool {
    let (Some(rex), Some(modrm)) = (parts.rex, parts.modrm) else {
        return false;
    };
    let base = bytes[modrm] & 7 | (bytes[rex] & 1) << 3;
    let displacement = parts.displacement.map_or(0, |at| bytes[at]);
    let is_context = base == 7 || base == 12;
    let is_load = !parts.is_long && bytes[parts.opcode] == 0x8b && bytes[rex] & WIDE != 0;
    is_load && is_context && bytes[modrm] >> 6 < 2 && matches!(displacement, 0 | 8 | 16)
}

/// Opcodes behind 0x0f.
fn long(changes: &mut Changes<'_>, parts: &Parts, code: u8) {
    match code {
        // movzx and movsx, of bytes and words.
        0xb6 | 0xb7 | 0xbe | 0xbf => {
            changes.set(Kind::SignExtension, parts.opcode, code ^ 8);
            changes.set(Kind::Width, parts.opcode, code ^ 1);
        }
        _ => {}
    }
}

/// Opcodes of one byte.
fn short(changes: &mut Changes<'_>, parts: &Parts, code: u8) {
    match code {
        // add and sub, or and and, with a register.
        0x00..=0x03 | 0x08..=0x0b | 0x20..=0x23 | 0x28..=0x2b => {
            changes.set(Kind::Operation, parts.opcode, code ^ 0x28);
        }
        // movsxd becomes mov of 32 bits.
        0x63 => {
            if let Some(rex) = parts.rex {
                changes.with(Kind::SignExtension, |bytes| {
                    bytes[parts.opcode] = 0x8b;
                    bytes[rex] &= !WIDE;
                });
            }
        }
        // A store of a byte becomes one of more.
        0x88 => changes.set(Kind::Width, parts.opcode, 0x89),
        _ => {}
    }
    let Some(modrm) = parts.modrm else {
        return;
    };
    let byte = changes.bytes[modrm];
    match (code, byte >> 3 & 7) {
        // The same with a constant.
        (0x81 | 0x83, 0 | 1 | 4 | 5) => changes.set(Kind::Operation, modrm, byte ^ 5 << 3),
        // shl and shr, shr and sar.
        (0xc1 | 0xd1 | 0xd3, 4) => changes.set(Kind::Operation, modrm, byte ^ 1 << 3),
        (0xc1 | 0xd1 | 0xd3, 5 | 7) => changes.set(Kind::SignExtension, modrm, byte ^ 2 << 3),
        // div and idiv.
        (0xf7, 6 | 7) => changes.set(Kind::SignExtension, modrm, byte ^ 1 << 3),
        _ => {}
    }
    // `mov r32, r32` of one register only clears the upper half.
    let rex = parts.rex.map_or(0, |at| changes.bytes[at]);
    let same = byte >> 6 == 3 && byte >> 3 & 7 == byte & 7 && rex >> 2 & 1 == rex & 1;
    if matches!(code, 0x89 | 0x8b) && same && rex & WIDE == 0 {
        changes.with(Kind::ZeroExtension, |bytes| bytes.fill(NOP));
    }
}

fn widths(changes: &mut Changes<'_>, parts: &Parts, code: u8) {
    let Some(modrm) = parts.modrm else {
        return;
    };
    let computes = if parts.is_long {
        matches!(code, 0xaf | 0xb1 | 0xc1)
    } else {
        matches!(code, 0x00..=0x3f if code & 1 == 1)
            || matches!(
                code,
                0x69 | 0x6b | 0x81 | 0x83 | 0x85 | 0x89 | 0x8b | 0xc1 | 0xc7 | 0xd1 | 0xd3 | 0xf7
            )
    };
    if let Some(rex) = parts.rex.filter(|_| computes) {
        let byte = changes.bytes[rex];
        let is_register = changes.bytes[modrm] >> 6 == 3;
        let kind = match (byte & WIDE != 0, is_register) {
            (false, true) => Kind::ZeroExtension,
            _ => Kind::Width,
        };
        changes.set(kind, rex, byte ^ WIDE);
    }
    // A store of a word becomes one of a double word.
    if let Some(size) = parts.size.filter(|_| !parts.is_long && code == 0x89) {
        changes.set(Kind::Width, size, NOP);
    }
}

fn operands(changes: &mut Changes<'_>, parts: &Parts, code: u8, around: Surroundings) {
    let Some(modrm) = parts.modrm else {
        return;
    };
    let byte = changes.bytes[modrm];
    let is_register = byte >> 6 == 3;
    let moves = !parts.is_long && matches!(code, 0x89 | 0x8b) && is_register;
    let kind = if moves && (around.of_call || around.before_call) {
        Kind::HelperRegister
    } else {
        Kind::Operand
    };
    if is_register {
        changes.set(kind, modrm, byte ^ 1);
    }
    // Elsewhere these bits are a part of the opcode.
    let has_register = parts.is_long && !matches!(code, 0x90..=0x9f | 0x10..=0x1f)
        || !parts.is_long && (code < 0x40 || matches!(code, 0x63 | 0x69 | 0x6b | 0x84..=0x8b));
    if has_register {
        changes.set(kind, modrm, byte ^ 1 << 3);
    }
}

fn constants(changes: &mut Changes<'_>, parts: &Parts) {
    for at in [parts.displacement, parts.immediate].into_iter().flatten() {
        let byte = changes.bytes[at];
        changes.set(Kind::Constant, at, byte ^ 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(bytes: &[u8]) -> Vec<(Kind, Vec<u8>)> {
        let around = Surroundings {
            relocated: false,
            of_call: false,
            before_call: false,
        };
        X86_64.changes(bytes, around)
    }

    /// Bytes of `llvm-mc -triple x86_64 -x86-asm-syntax=intel` on both sides.
    #[test]
    fn what_was_meant_is_what_stands_there() {
        for (insn, kind, wrong) in [
            // jb +5; jae, jl, jbe
            (&[0x72, 5][..], Kind::Condition, &[0x73, 5][..]),
            (&[0x72, 5], Kind::Condition, &[0x7c, 5]),
            (&[0x72, 5], Kind::Condition, &[0x76, 5]),
            // add rax, rdi; sub rax, rdi; add eax, edi
            (&[0x48, 0x01, 0xf8], Kind::Operation, &[0x48, 0x29, 0xf8]),
            (&[0x48, 0x01, 0xf8], Kind::Width, &[0x40, 0x01, 0xf8]),
            // movzx eax, byte ptr [rdi]; movsx eax, byte ptr [rdi]
            (
                &[0x0f, 0xb6, 0x07],
                Kind::SignExtension,
                &[0x0f, 0xbe, 0x07],
            ),
            // shr r9d, 3; sar r9d, 3; shr r9, 3
            (
                &[0x41, 0xc1, 0xe9, 3],
                Kind::SignExtension,
                &[0x41, 0xc1, 0xf9, 3],
            ),
            (
                &[0x41, 0xc1, 0xe9, 3],
                Kind::ZeroExtension,
                &[0x49, 0xc1, 0xe9, 3],
            ),
            // mov eax, eax
            (&[0x89, 0xc0], Kind::ZeroExtension, &[0x90, 0x90]),
            // mov rax, [rdi + 8]: data_end
            (&[0x48, 0x8b, 0x47, 8], Kind::BoundsReload, &[0x90; 4]),
            // and eax, 7; and eax, 6
            (&[0x83, 0xe0, 7], Kind::Constant, &[0x83, 0xe0, 6]),
        ] {
            let found = changes(insn);
            assert!(
                found.contains(&(kind, wrong.to_vec())),
                "{insn:02x?}: no {kind} {wrong:02x?} among {found:02x?}"
            );
        }
    }
}
