//! What instructions do, by the semantics that the facts about the card give.

use isa::nfp::{AluOp, Condition, Insn, MulSize, MulStep, Operand, ShfOp, Shift, Sources, Width};

use crate::setup::{
    Word, address, alu, both, branch, computed, immed, lm, mov, pass, run, show, word,
};

const A1: Operand = Operand::A(1);
const B2: Operand = Operand::B(2);
const A3: Operand = Operand::A(3);

/// Any 32 bits into both banks of a register.
fn constant(register: u8, value: u32) -> [Insn; 2] {
    [
        immed(both(register), value as u16),
        Insn::Immed {
            dst: both(register),
            value: (value >> 16) as u16,
            width: Width::Word,
            invert: false,
            shift: 2,
        },
    ]
}

fn with(left: u32, right: u32, then: &[Insn]) -> u32 {
    let code = [&constant(1, left)[..], &constant(2, right), then].concat();
    computed(&code, 3)
}

#[test]
fn an_operation_takes_left_and_right() {
    for (op, expected) in [
        (AluOp::Right, 0x0000_00ff),
        (AluOp::Not, 0xffff_ff00),
        (AluOp::Add, 0xf000_010e),
        (AluOp::And, 0x0000_000f),
        (AluOp::NotAnd, 0x0000_00f0),
        (AluOp::AndNot, 0xf000_0000),
        (AluOp::Or, 0xf000_00ff),
        (AluOp::Xor, 0xf000_00f0),
        (AluOp::Sub, 0xefff_ff10),
    ] {
        let left = 0xf000_000f;
        assert_eq!(with(left, 0xff, &[alu(A3, A1, op, B2)]), expected, "{op:?}");
    }
    let low = [alu(A3, A1, AluOp::Add16, B2)];
    assert_eq!(with(0x1_0000, 0xffff_0002, &low), 0x1_0002);
    // The left operand in bank B is the left one still.
    assert_eq!(with(7, 5, &[alu(A3, B2, AluOp::Sub, A1)]), u32::MAX - 1);
}

#[test]
fn carries_go_from_one_operation_to_the_next() {
    let low = alu(Operand::None, A1, AluOp::Add, B2);
    // What stands between does not touch the carry.
    let between = [
        immed(Operand::B(21), 0),
        Insn::shf(A3, Operand::None, ShfOp::Right, B2, Shift::Left(1)).unwrap(),
        Insn::ld_field(A3, 1, B2, Shift::None, true).unwrap(),
    ];
    let high = alu(A3, Operand::A(4), AluOp::AddCarry, Operand::Imm(10));
    let sum = |left, right| with(left, right, &[&[low][..], &between, &[high]].concat());
    assert_eq!(sum(u32::MAX, 1), 11);
    assert_eq!(sum(u32::MAX, 0), 10);
    let low = alu(Operand::None, A1, AluOp::Sub, B2);
    let high = alu(A3, Operand::A(4), AluOp::SubCarry, Operand::Imm(0));
    assert_eq!(with(5, 5, &[low, high]), 0);
    assert_eq!(with(5, 6, &[low, high]), u32::MAX);
}

#[test]
fn shifts_and_rotations() {
    let shifted = |shift, op| {
        let shf = Insn::shf(A3, A1, op, B2, shift).unwrap();
        with(0x0000_00f1, 0x8000_0010, &[shf])
    };
    assert_eq!(shifted(Shift::None, ShfOp::Right), 0x8000_0010);
    assert_eq!(shifted(Shift::Left(4), ShfOp::Right), 0x0000_0100);
    assert_eq!(shifted(Shift::Right(4), ShfOp::Right), 0x0800_0001);
    assert_eq!(shifted(Shift::Rotate(8), ShfOp::Right), 0x1080_0000);
    assert_eq!(shifted(Shift::Right(4), ShfOp::And), 0x0000_0001);
    assert_eq!(shifted(Shift::Left(4), ShfOp::Or), 0x0000_01f1);
    // Left is the upper half.
    assert_eq!(shifted(Shift::Double(8), ShfOp::Right), 0xf180_0000);
}

#[test]
fn an_indirect_shift_is_by_the_a_operand_of_the_last_operation() {
    let by = |amount: u32, shift| {
        let code = [
            alu(Operand::None, A1, AluOp::Or, Operand::Imm(0)),
            Insn::shf(A3, Operand::None, ShfOp::Right, B2, shift).unwrap(),
        ];
        with(amount, 0x8000_0001, &code)
    };
    assert_eq!(by(4, Shift::LeftIndirect), 0x10);
    assert_eq!(by(36, Shift::LeftIndirect), 0x10);
    assert_eq!(by(31, Shift::RightIndirect), 1);
    assert_eq!(by(0, Shift::RightIndirect), 0x8000_0001);
}

#[test]
fn an_arithmetic_shift_fills_with_the_sign_of_the_last_result() {
    let shifted = |sign: u32, value| {
        let code = [
            alu(Operand::None, A1, AluOp::Or, Operand::Imm(0)),
            Insn::shf(A3, Operand::None, ShfOp::Arithmetic, B2, Shift::Right(4)).unwrap(),
        ];
        with(sign, value, &code)
    };
    assert_eq!(shifted(0x8000_0000, 0x8000_0000), 0xf800_0000);
    // The sign is not the shifted operand's.
    assert_eq!(shifted(0, 0x8000_0000), 0x0800_0000);
    assert_eq!(shifted(0x8000_0000, 0x10), 0xf000_0001);
}

#[test]
fn ld_field_replaces_bytes() {
    let field = |mask, shift, clear| {
        let code = [
            mov(A3, A1),
            Insn::ld_field(A3, mask, B2, shift, clear).unwrap(),
        ];
        with(0x1122_3344, 0xaabb_ccdd, &code)
    };
    assert_eq!(field(0b0001, Shift::None, false), 0x1122_33dd);
    assert_eq!(field(0b1100, Shift::Left(16), false), 0xccdd_3344);
    assert_eq!(field(0b0011, Shift::Right(16), true), 0x0000_aabb);
    assert_eq!(field(0b1001, Shift::Rotate(8), false), 0xdd22_33cc);
}

#[test]
fn immed_shifts_inverts_and_replaces_halves() {
    let of = |value, width, invert, shift| {
        let insn = Insn::Immed {
            dst: A3,
            value,
            width,
            invert,
            shift,
        };
        with(0, 0, &[immed(A3, 0x5678), insn])
    };
    assert_eq!(of(0x1234, Width::All, false, 1), 0x0012_3400);
    assert_eq!(of(0x1234, Width::All, true, 2), 0xedcb_ffff);
    assert_eq!(of(0x1234, Width::Word, false, 2), 0x1234_5678);
}

fn product(size: MulSize, steps: u8, left: u32, right: u32, high: bool) -> u32 {
    let src = Sources::new(A1, B2).unwrap();
    let step = |size, n| Insn::Mul {
        size,
        step: MulStep::Step(n),
        src,
    };
    let mut code = vec![step(MulSize::Start, 1)];
    code.extend((1..=steps).map(|n| step(size, n)));
    code.push(Insn::MulLast {
        size,
        high,
        dst: A3,
    });
    with(left, right, &code)
}

#[test]
fn a_multiplication_takes_a_byte_a_step() {
    let (left, right) = (0xdead_beef, 0xcafe_f00d);
    let wide = u64::from(left) * u64::from(right);
    assert_eq!(product(MulSize::M32x32, 4, left, right, false), wide as u32);
    assert_eq!(
        product(MulSize::M32x32, 4, left, right, true),
        (wide >> 32) as u32
    );
    assert_eq!(
        product(MulSize::M16x16, 2, left, right, false),
        0xbeef * 0xf00d
    );
    // A step too few leaves a byte of the multiplier out.
    assert_eq!(
        product(MulSize::M32x32, 3, left, right, false),
        left.wrapping_mul(right & 0xff_ffff)
    );
}

/// Whether a branch is taken after `left - right`.
fn taken(condition: Condition, left: u32, right: u32) -> bool {
    let mut words: Vec<Word> = [&constant(1, left)[..], &constant(2, right)]
        .concat()
        .into_iter()
        .map(word)
        .collect();
    words.push(word(immed(A3, 1)));
    words.push(word(alu(Operand::None, A1, AluOp::Sub, B2)));
    let target = words.len() + 2;
    words.push(branch(condition, 0, target));
    words.push(word(immed(A3, 0)));
    words.extend(show(3, 0));
    words.extend(pass());
    run(&words).bytes(0)[0] == 1
}

#[test]
fn conditions_compare_signed_and_unsigned() {
    let interesting = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX];
    for (left, right) in interesting
        .iter()
        .flat_map(|l| interesting.iter().map(move |r| (*l, *r)))
    {
        let signed = (left as i32, right as i32);
        for (condition, expected) in [
            (Condition::Always, true),
            (Condition::Equal, left == right),
            (Condition::NotEqual, left != right),
            (Condition::Minus, (left.wrapping_sub(right) as i32) < 0),
            (Condition::CarrySet, left >= right),
            (Condition::CarryClear, left < right),
            (Condition::GreaterEqual, signed.0 >= signed.1),
            (Condition::Less, signed.0 < signed.1),
        ] {
            let case = format!("{condition:?} {left:#x} {right:#x}");
            assert_eq!(taken(condition, left, right), expected, "{case}");
        }
    }
}

#[test]
fn deferred_instructions_run_whether_or_not_a_branch_is_taken() {
    for (condition, target) in [(Condition::Always, true), (Condition::NotEqual, false)] {
        let mut words = vec![
            word(immed(A3, 0)),
            word(alu(Operand::None, A3, AluOp::Or, Operand::Imm(0))),
            branch(condition, 2, 7),
            word(alu(A3, A3, AluOp::Add, Operand::Imm(1))),
            word(alu(A3, A3, AluOp::Add, Operand::Imm(2))),
            word(alu(A3, A3, AluOp::Add, Operand::Imm(4))),
            word(alu(A3, A3, AluOp::Add, Operand::Imm(8))),
        ];
        words.extend(show(3, 0));
        words.extend(pass());
        let expected = if target { 3 } else { 15 };
        assert_eq!(run(&words).bytes(0)[0], expected);
    }
}

#[test]
fn a_return_goes_to_the_address_in_its_register() {
    let mut words = vec![
        address(Operand::A(21), 4),
        word(Insn::Rtn {
            src: Operand::A(21),
            defer: 1,
        }),
        word(immed(A3, 1)),
        word(immed(A3, 2)),
        word(alu(A3, A3, AluOp::Add, Operand::Imm(8))),
    ];
    words.extend(show(3, 0));
    words.extend(pass());
    assert_eq!(run(&words).bytes(0)[0], 9);
}

#[test]
fn local_memory_is_reached_by_index_and_moves_on() {
    let point = |index: usize, src| {
        [
            Insn::CsrWrite {
                address: isa::nfp::abi::csr::LM[index],
                src,
            },
            Insn::NOP,
            Insn::NOP,
            Insn::NOP,
        ]
    };
    let stack = Operand::A(22);
    let code = [
        &[
            mov(lm(0, 0), Operand::Imm(3)),
            mov(lm(0, 1), Operand::Imm(5)),
        ][..],
        &point(3, stack),
        &[
            mov(A1, Operand::LmIncrement(3)),
            alu(A3, A1, AluOp::Add, Operand::LmIncrement(3)),
            mov(Operand::LmDecrement(3), Operand::Imm(80)),
            mov(A1, lm(0, 2)),
            alu(A3, A1, AluOp::Add, Operand::B(3)),
        ],
    ]
    .concat();
    // The second sum takes bank B, which is 0: bank A was written alone.
    assert_eq!(computed(&code, 3), 80);
    assert_eq!(computed(&code[..8], 3), 8);
}

#[test]
fn an_index_register_takes_effect_after_three_more_cycles() {
    let after = |nops: usize| {
        let mut code = vec![
            mov(lm(0, 0), Operand::Imm(1)),
            alu(A1, Operand::A(22), AluOp::Add, Operand::Imm(64)),
            Insn::CsrWrite {
                address: isa::nfp::abi::csr::LM0,
                src: A1,
            },
        ];
        code.extend(vec![Insn::NOP; nops]);
        code.push(mov(A3, lm(0, 0)));
        computed(&code, 3)
    };
    assert_eq!([after(0), after(2), after(3)], [1, 1, 0]);
}

#[test]
fn random_numbers_are_those_of_the_packet() {
    let read = [
        Insn::CsrRead {
            address: isa::nfp::abi::csr::PSEUDO_RANDOM,
        },
        immed(A3, 0),
    ];
    assert_eq!(computed(&read, 3), bpf::helper::random(7, 0, 0));
    assert_eq!(
        computed(&[read, read].concat(), 3),
        bpf::helper::random(7, 0, 1)
    );
}
