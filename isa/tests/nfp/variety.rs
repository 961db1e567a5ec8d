//! Instructions of every form, operation, operand kind and shift.

use isa::nfp::{
    ALU_OPS, AddressMode, AluOp, COMMANDS, CONDITIONS, Condition, ContextSwap, Insn, MulSize,
    MulStep, Operand, SHF_OPS, ShfOp, Shift, Sources, Width,
};

fn lm(index: u8, offset: u8) -> Operand {
    Operand::Lm { index, offset }
}

/// Unrestricted pairs of sources that can be read together.
fn wide_pairs() -> Vec<(Operand, Operand)> {
    vec![
        (Operand::A(4), Operand::B(22)),
        (Operand::B(7), Operand::A(31)),
        (Operand::A(5), Operand::Imm(255)),
        (Operand::Imm(3), Operand::B(0)),
        (Operand::Imm(128), Operand::A(1)),
        (Operand::Xfer(9), Operand::B(3)),
        (Operand::A(2), Operand::Xfer(31)),
        (lm(0, 15), Operand::B(6)),
        (Operand::A(6), lm(1, 0)),
        (Operand::A(6), lm(2, 7)),
        (Operand::LmIncrement(3), Operand::B(1)),
        (Operand::LmDecrement(0), Operand::A(9)),
        (Operand::Xfer(1), Operand::Imm(9)),
    ]
}

fn narrow_pairs() -> Vec<(Operand, Operand)> {
    vec![
        (Operand::A(4), Operand::B(22)),
        (Operand::B(7), Operand::A(31)),
        (Operand::A(5), Operand::Imm(127)),
        (Operand::Imm(64), Operand::B(0)),
        (Operand::Xfer(9), Operand::B(3)),
        (Operand::A(2), Operand::Xfer(31)),
        (lm(0, 7), Operand::B(6)),
        (Operand::A(6), lm(3, 1)),
    ]
}

fn destinations() -> Vec<Operand> {
    vec![
        Operand::A(22),
        Operand::B(21),
        Operand::Both(8),
        Operand::Xfer(3),
        lm(0, 1),
        lm(3, 5),
        Operand::None,
    ]
}

fn shifts() -> Vec<Shift> {
    vec![
        Shift::None,
        Shift::Rotate(8),
        Shift::Right(1),
        Shift::Right(31),
        Shift::Left(1),
        Shift::Left(28),
        Shift::RightIndirect,
        Shift::LeftIndirect,
    ]
}

/// All of them, in a fixed order.
pub(crate) fn instructions() -> Vec<Insn> {
    let mut all = vec![Insn::NOP];
    let ok = |insn: Result<Insn, _>| insn.expect("the operands fit");
    for (op, ..) in ALU_OPS {
        all.push(ok(Insn::alu(
            Operand::Both(2),
            Operand::A(4),
            op,
            Operand::B(6),
        )));
    }
    for (left, right) in wide_pairs() {
        all.push(ok(Insn::alu(Operand::A(0), left, AluOp::Add, right)));
        all.push(Insn::Mul {
            size: MulSize::Start,
            step: MulStep::Step(1),
            src: Sources::new(left, right).expect("fits"),
        });
    }
    for dst in destinations() {
        all.push(ok(Insn::alu(
            dst,
            Operand::None,
            AluOp::Right,
            Operand::B(5),
        )));
        all.push(ok(Insn::shf(
            dst,
            Operand::None,
            ShfOp::Right,
            Operand::B(5),
            Shift::Left(3),
        )));
        for (value, width, invert, shift) in [
            (0x3fff, Width::All, false, 0),
            (0xabcd, Width::All, false, 1),
            (0x12, Width::All, true, 2),
            (0x4411, Width::Word, false, 2),
        ] {
            all.push(Insn::Immed {
                dst,
                value,
                width,
                invert,
                shift,
            });
        }
        for high in [false, true] {
            all.push(Insn::MulLast {
                size: MulSize::M32x32,
                high,
                dst,
            });
        }
    }
    all.push(Insn::MulLast {
        size: MulSize::M16x16,
        high: false,
        dst: Operand::Both(4),
    });
    for shift in shifts() {
        for (op, ..) in SHF_OPS {
            let right_only = matches!(shift, Shift::Right(_) | Shift::RightIndirect);
            if op == ShfOp::Arithmetic && !right_only {
                continue;
            }
            all.push(ok(Insn::shf(
                Operand::Both(2),
                Operand::A(4),
                op,
                Operand::B(6),
                shift,
            )));
        }
        all.push(ok(Insn::ld_field(
            Operand::Both(2),
            0b0110,
            Operand::B(6),
            shift,
            false,
        )));
    }
    for shift in [Shift::Double(1), Shift::Double(31), Shift::DoubleIndirect] {
        all.push(ok(Insn::shf(
            Operand::Both(3),
            Operand::A(3),
            ShfOp::Right,
            Operand::B(2),
            shift,
        )));
    }
    for (left, right) in narrow_pairs() {
        all.push(ok(Insn::shf(
            Operand::A(0),
            left,
            ShfOp::Or,
            right,
            Shift::Left(4),
        )));
    }
    for (dst, right) in [
        (Operand::A(0), Operand::Imm(0x82)),
        (Operand::B(1), Operand::A(3)),
        (Operand::Both(10), Operand::Xfer(0)),
        (Operand::Both(10), Operand::A(7)),
        (lm(1, 6), Operand::B(4)),
    ] {
        for clear in [false, true] {
            all.push(ok(Insn::ld_field(dst, 0b0011, right, Shift::None, clear)));
        }
    }
    for step in 1..=4 {
        all.push(Insn::Mul {
            size: MulSize::M32x32,
            step: MulStep::Step(step),
            src: Sources::new(Operand::A(2), Operand::B(4)).expect("fits"),
        });
    }
    for step in 1..=2 {
        all.push(Insn::Mul {
            size: MulSize::M16x16,
            step: MulStep::Step(step),
            src: Sources::new(Operand::A(2), Operand::B(4)).expect("fits"),
        });
    }
    for (i, (condition, ..)) in CONDITIONS.into_iter().enumerate() {
        all.push(Insn::Br {
            condition,
            defer: i as u8 % 4,
            target: [0, 0x80, 0x1fff, 0x2000][i % 4],
        });
    }
    all.push(Insn::Br {
        condition: Condition::Always,
        defer: 0,
        target: 0x3fff,
    });
    for (src, bit, set, defer) in [
        (Operand::A(4), 5, true, 0),
        (Operand::B(4), 31, false, 2),
        (Operand::Xfer(2), 0, true, 1),
    ] {
        all.push(Insn::BrBit {
            src,
            bit,
            set,
            defer,
            target: 0x123,
        });
    }
    for (src, defer) in [(Operand::A(21), 0), (Operand::B(21), 3)] {
        all.push(Insn::Rtn { src, defer });
    }
    for address in [0x64, 0x6c, 0x94, 0x9c, 0x148] {
        all.push(Insn::CsrRead { address });
        for src in [Operand::A(22), Operand::B(4), Operand::Imm(64), lm(0, 2)] {
            all.push(Insn::CsrWrite { address, src });
        }
    }
    for (command, ..) in COMMANDS {
        all.push(Insn::Cmd {
            command,
            xfer: 0,
            count: 0,
            src: Sources {
                a: Operand::A(4),
                b: Operand::Imm(30),
                swap: false,
            },
            mode: AddressMode::Bits32,
            swap: ContextSwap::Swap,
            indirect: false,
        });
    }
    let command = isa::nfp::Command::Add;
    for (i, mode) in [
        AddressMode::Bits32,
        AddressMode::Bits40AB,
        AddressMode::Bits40BA,
    ]
    .into_iter()
    .enumerate()
    {
        for swap in [
            ContextSwap::Swap,
            ContextSwap::SwapDefer1,
            ContextSwap::SwapDefer2,
            ContextSwap::None,
        ] {
            all.push(Insn::Cmd {
                command,
                xfer: 8,
                count: [0, 4, 7][i],
                src: Sources {
                    a: Operand::A(20),
                    b: Operand::B(20),
                    swap: false,
                },
                mode,
                swap,
                indirect: swap == ContextSwap::None,
            });
        }
    }
    all
}

#[test]
fn encoding_and_decoding_undo_each_other() {
    for insn in instructions() {
        let word = isa::nfp::encode(&insn).expect("fits");
        let back = isa::nfp::decode(word).unwrap_or_else(|e| panic!("{insn}: {word:#x}: {e}"));
        assert_eq!(isa::nfp::encode(&back), Ok(word), "{insn} became {back}");
        assert_eq!(back.to_string(), insn.to_string());
    }
}
