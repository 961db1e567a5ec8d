//! Instructions with a memory operand `[base + displacement]`, in their shortest form.
//!
//! dynasm gives a base register that is only known at run time a SIB byte and a REX prefix
//! always, so these few are encoded here. Opcodes are those of the Intel manual, volume 2.

use super::abi::Hard;

/// An instruction, but for its operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Prefixes before REX.
    prefix: &'static [u8],
    /// Operates on 64 bits (REX.W).
    wide: bool,
    /// Its register operand is a byte, whose numbers 4 to 7 need a REX prefix.
    byte: bool,
    /// Opcode.
    opcode: &'static [u8],
}

const fn access(prefix: &'static [u8], wide: bool, opcode: &'static [u8]) -> Access {
    Access {
        prefix,
        wide,
        byte: false,
        opcode,
    }
}

const NONE: &[u8] = &[];
const SIZE16: &[u8] = &[0x66];
const LOCK: &[u8] = &[0xf0];

/// `movzx r32, byte [m]`
pub(super) const LOAD8: Access = access(NONE, false, &[0x0f, 0xb6]);
/// `movzx r32, word [m]`
pub(super) const LOAD16: Access = access(NONE, false, &[0x0f, 0xb7]);
/// `mov r32, [m]`
pub(super) const LOAD32: Access = access(NONE, false, &[0x8b]);
/// `mov r64, [m]`
pub(super) const LOAD64: Access = access(NONE, true, &[0x8b]);
/// `movsx r64, byte [m]`
pub(super) const LOAD8_SIGNED: Access = access(NONE, true, &[0x0f, 0xbe]);
/// `movsx r64, word [m]`
pub(super) const LOAD16_SIGNED: Access = access(NONE, true, &[0x0f, 0xbf]);
/// `movsxd r64, dword [m]`
pub(super) const LOAD32_SIGNED: Access = access(NONE, true, &[0x63]);

/// `mov [m], r8`
pub(super) const STORE8: Access = Access {
    byte: true,
    ..access(NONE, false, &[0x88])
};
/// `mov [m], r16`
pub(super) const STORE16: Access = access(SIZE16, false, &[0x89]);
/// `mov [m], r32`
pub(super) const STORE32: Access = access(NONE, false, &[0x89]);
/// `mov [m], r64`
pub(super) const STORE64: Access = access(NONE, true, &[0x89]);

/// `mov byte [m], imm8`; the register operand is 0.
pub(super) const STORE8_IMM: Access = access(NONE, false, &[0xc6]);
/// `mov word [m], imm16`; the register operand is 0.
pub(super) const STORE16_IMM: Access = access(SIZE16, false, &[0xc7]);
/// `mov dword [m], imm32`; the register operand is 0.
pub(super) const STORE32_IMM: Access = access(NONE, false, &[0xc7]);
/// `mov qword [m], imm32`; the register operand is 0.
pub(super) const STORE64_IMM: Access = access(NONE, true, &[0xc7]);
/// `cmp dword [m], imm8`; the register operand is [`CMP`].
pub(super) const COMPARE32_IMM8: Access = access(NONE, false, &[0x83]);
/// What stands for the register of [`COMPARE32_IMM8`].
pub(super) const CMP: u8 = 7;

/// `lock op [m], r32` and `lock op [m], r64`, by what the operation's opcode is.
const fn locked(opcode: &'static [u8]) -> [Access; 2] {
    [access(LOCK, false, opcode), access(LOCK, true, opcode)]
}

/// `lock add [m], r`, of 32 and 64 bits.
pub(super) const LOCK_ADD: [Access; 2] = locked(&[0x01]);
/// `lock or [m], r`
pub(super) const LOCK_OR: [Access; 2] = locked(&[0x09]);
/// `lock and [m], r`
pub(super) const LOCK_AND: [Access; 2] = locked(&[0x21]);
/// `lock xor [m], r`
pub(super) const LOCK_XOR: [Access; 2] = locked(&[0x31]);
/// `lock xadd [m], r`
pub(super) const LOCK_XADD: [Access; 2] = locked(&[0x0f, 0xc1]);
/// `lock cmpxchg [m], r`
pub(super) const LOCK_CMPXCHG: [Access; 2] = locked(&[0x0f, 0xb1]);
/// `xchg [m], r`, which locks by itself.
pub(super) const XCHG: [Access; 2] = [access(NONE, false, &[0x87]), access(NONE, true, &[0x87])];

/// Writes the instruction up to an immediate.
pub(super) fn encode(out: &mut impl Extend<u8>, access: Access, reg: u8, base: Hard, disp: i32) {
    let rex = u8::from(access.wide) << 3 | (reg >> 3) << 2 | base >> 3;
    out.extend(access.prefix.iter().copied());
    if rex != 0 || (access.byte && reg >= 4) {
        out.extend([0x40 | rex]);
    }
    out.extend(access.opcode.iter().copied());
    let (reg, low) = (reg & 7, base & 7);
    // rbp and r13 have no form without displacement, rsp and r12 none without SIB byte.
    let short = i8::try_from(disp);
    let mode = match short {
        Ok(0) if low != 5 => 0b00,
        Ok(_) => 0b01,
        Err(_) => 0b10,
    };
    out.extend([mode << 6 | reg << 3 | low]);
    if low == 4 {
        out.extend([0x24]);
    }
    match (mode, short) {
        (0b00, _) => {}
        (0b01, Ok(short)) => out.extend(short.to_le_bytes()),
        _ => out.extend(disp.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(access: Access, reg: u8, base: Hard, disp: i32) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, access, reg, base, disp);
        out
    }

    /// Bytes from LLVM's assembler (`llvm-mc -triple x86_64 -x86-asm-syntax=intel`).
    #[test]
    fn encodings_are_those_of_another_assembler() {
        for (access, reg, base, disp, expected) in [
            (LOAD32, 0, 7, 0, vec![0x8b, 0x07]),
            (LOAD64, 2, 5, 0, vec![0x48, 0x8b, 0x55, 0x00]),
            (LOAD64, 9, 13, 0, vec![0x4d, 0x8b, 0x4d, 0x00]),
            (LOAD8, 6, 12, -128, vec![0x41, 0x0f, 0xb6, 0x74, 0x24, 0x80]),
            (
                LOAD16,
                8,
                6,
                128,
                vec![0x44, 0x0f, 0xb7, 0x86, 0x80, 0, 0, 0],
            ),
            (STORE8, 7, 3, 1, vec![0x40, 0x88, 0x7b, 0x01]),
            (STORE8, 2, 3, 1, vec![0x88, 0x53, 0x01]),
            (STORE16, 10, 2, 4, vec![0x66, 0x44, 0x89, 0x52, 0x04]),
            (LOAD32_SIGNED, 3, 0, 8, vec![0x48, 0x63, 0x58, 0x08]),
            (LOCK_XADD[1], 1, 14, 0, vec![0xf0, 0x49, 0x0f, 0xc1, 0x0e]),
            (LOCK_ADD[0], 6, 0, 4, vec![0xf0, 0x01, 0x70, 0x04]),
            (XCHG[0], 15, 11, 0, vec![0x45, 0x87, 0x3b]),
        ] {
            assert_eq!(bytes(access, reg, base, disp), expected, "{access:?}");
        }
    }
}
