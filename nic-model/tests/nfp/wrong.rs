//! Images that are wrong: refused while loading, or stopped, and never more than that.

use bpf::Hook;
use bpf::run::TrapCause;
use isa::nfp::{AddressMode, AluOp, Command, Condition, ContextSwap, Insn, Operand, Sources};
use nic_model::LoadError;

use crate::setup::{Word, alu, both, branch, helper, image, immed, lm, load, mov, pass, run, word};

fn trap(words: &[Word]) -> (Option<usize>, TrapCause) {
    let batch = run(words);
    let (_, trap) = &batch.traps[0];
    assert!(batch.frames[0].trapped);
    (trap.code_offset.map(|at| at / 8), trap.cause)
}

fn refusal(words: &[Word]) -> Option<LoadError> {
    load(&image(words), &[], &Hook::XDP).err()
}

fn command(command: Command, a: Operand, b: Operand, mode: AddressMode) -> Word {
    word(Insn::Cmd {
        command,
        xfer: 0,
        count: 3,
        src: Sources::new(a, b).unwrap(),
        mode,
        swap: ContextSwap::Swap,
        indirect: false,
    })
}

#[test]
fn an_endless_loop_is_stopped() {
    let (_, cause) = trap(&[branch(Condition::Always, 0, 0)]);
    assert!(matches!(cause, TrapCause::Fuel { .. }));
}

#[test]
fn running_off_the_end_is_stopped() {
    let nop = word(Insn::NOP);
    assert!(matches!(trap(&[nop]), (Some(1), TrapCause::BadJump { .. })));
}

#[test]
fn local_memory_that_is_not_the_programs_is_refused() {
    // Index registers that nobody set point to what belongs to the firmware.
    let (at, cause) = trap(&[word(mov(Operand::A(1), lm(2, 0)))]);
    assert!(matches!(
        (at, cause),
        (Some(0), TrapCause::OutOfBounds { address: 0, .. })
    ));
    let beyond = [
        word(immed(Operand::A(1), 0x8000)),
        word(Insn::CsrWrite {
            address: isa::nfp::abi::csr::LM3,
            src: Operand::A(1),
        }),
        word(Insn::NOP),
        word(Insn::NOP),
        word(Insn::NOP),
        word(mov(lm(3, 0), Operand::Imm(1))),
    ];
    assert!(matches!(
        trap(&beyond),
        (Some(5), TrapCause::OutOfBounds { .. })
    ));
}

#[test]
fn writes_stay_in_the_packet_and_reads_in_its_buffer() {
    let packet = word(mov(both(4), lm(1, 2)));
    let write = |at: u8| {
        let write = command(
            Command::Write8Swap,
            Operand::A(4),
            Operand::Imm(at),
            AddressMode::Bits32,
        );
        let mut words = vec![packet, write];
        words.extend(pass());
        run(&words).traps.len()
    };
    assert_eq!([write(0), write(60), write(61)], [0, 0, 1]);
    let read = |far: u16| {
        let mut words = vec![
            packet,
            word(immed(Operand::B(5), far)),
            command(
                Command::Read8,
                Operand::A(4),
                Operand::B(5),
                AddressMode::Bits32,
            ),
        ];
        words.extend(pass());
        run(&words).traps.len()
    };
    // Behind the packet there are no bytes, but the memory goes on up to the split.
    assert_eq!([read(0), read(70), read(1900), read(4000)], [0, 0, 0, 1]);
}

#[test]
fn addresses_outside_maps_and_packets_are_refused() {
    for mode in [
        AddressMode::Bits32,
        AddressMode::Bits40BA,
        AddressMode::Bits40AB,
    ] {
        for high in [0, 1, 0xffff] {
            let words = [
                word(immed(Operand::A(4), high)),
                word(immed(Operand::B(5), high)),
                command(Command::Read32Swap, Operand::A(4), Operand::B(5), mode),
            ];
            assert!(matches!(
                trap(&words),
                (Some(2), TrapCause::OutOfBounds { .. })
            ));
        }
    }
}

#[test]
fn a_helper_is_given_no_map_that_there_is_not() {
    let words = [
        helper(1),
        word(immed(Operand::A(0), 17)),
        word(immed(Operand::B(0), 0)),
    ];
    assert_eq!(trap(&words), (Some(0), TrapCause::BadMap { value: 17 }));
}

#[test]
fn a_packet_cannot_leave_its_buffer() {
    let mut words = vec![
        word(mov(Operand::A(1), lm(1, 2))),
        word(alu(lm(1, 2), Operand::A(1), AluOp::Sub, Operand::Imm(200))),
    ];
    words.extend(pass());
    assert!(matches!(trap(&words).1, TrapCause::OutOfBounds { .. }));
}

#[test]
fn a_result_word_without_an_action_is_refused() {
    let mut words = pass();
    words[2] = word(Insn::NOP);
    assert_eq!(trap(&words).1, TrapCause::BadResult { word: 0 });
}

#[test]
fn a_branch_in_a_defer_slot_is_refused() {
    let words = [
        branch(Condition::Always, 1, 0),
        branch(Condition::Always, 0, 0),
    ];
    assert_eq!(trap(&words), (Some(1), TrapCause::BadInstruction));
}

#[test]
fn words_that_are_no_instructions_are_refused_while_loading() {
    let malformed = |words: &[Word]| match refusal(words) {
        Some(LoadError::Malformed { offset, .. }) => Some(offset),
        _ => None,
    };
    // Every bit above the instruction, and one that its form does not use.
    assert_eq!(malformed(&[word(Insn::NOP), (1 << 45, None)]), Some(8));
    assert_eq!(malformed(&[(0x0000_00e0_0000_0000, None)]), Some(0));
    let read = Insn::CsrRead {
        address: isa::nfp::abi::csr::PSEUDO_RANDOM,
    };
    assert_eq!(malformed(&[word(read)]), Some(0));
    assert_eq!(
        malformed(&[word(Insn::CsrWrite {
            address: 0x10,
            src: Operand::A(0)
        })]),
        Some(0)
    );
    // agilio-cx has no map_update.
    assert_eq!(malformed(&[helper(2)]), Some(0));
    assert_eq!(malformed(&[]), Some(0));
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let words = vec![word(Insn::NOP); 2561];
    assert_eq!(
        refusal(&words),
        Some(LoadError::TooLarge {
            what: "code store",
            needs: 2561,
            has: 2560
        })
    );
}
