//! Encoding and decoding of eBPF: round trips over everything representable, and what is
//! refused.

use crate::rows::{any_bytes, bytes_of};
use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, CpuVersion, DecodeError, DecodeErrorKind, EncodeErrorKind,
    FieldName, Group, Insn, MemSize, Operand, PacketBase, Reg, Row, SwapKind, Wide, Width, decode,
    decode_one, encode, table,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn encoding_inverts_decoding(parts in prop::collection::vec(any_bytes(), 1..40)) {
        let bytes = parts.concat();
        let insns = decode(&bytes).unwrap();
        prop_assert_eq!(insns.len() * 8, bytes.len());
        prop_assert_eq!(encode(&insns).unwrap(), bytes);
    }

    #[test]
    fn what_decodes_is_its_bytes(bytes in prop::collection::vec(any::<u8>(), 0..33)) {
        match decode(&bytes) {
            Ok(insns) => prop_assert_eq!(encode(&insns).unwrap(), bytes),
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert_eq!(error.pc, error.offset / 8);
            }
        }
    }

    /// Near misses: one byte of good code changed.
    #[test]
    fn a_changed_byte_is_another_instruction_or_an_error(
        good in any_bytes(), at in 0..16usize, byte in any::<u8>()
    ) {
        let mut bytes = good;
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(insns) = decode(&bytes) {
            prop_assert_eq!(encode(&insns).unwrap(), bytes);
        }
    }
}

#[test]
fn every_row_decodes_to_itself_and_back() {
    for row in table() {
        let bytes = bytes_of(row, (3, 7), -5, 0x1234_5678, 9);
        let insns = decode(&bytes).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(insns[0].row().mnemonic(), row.mnemonic());
        assert_eq!(Row::by_mnemonic(row.mnemonic()), Some(row));
        assert_eq!(encode(&insns).unwrap(), bytes, "{row}");
        assert_eq!(table()[row.index()].mnemonic(), row.mnemonic());
    }
}

/// Opcode bytes of RFC 9669 §3.2, §4.1 and §4.3, put together from the class, source and code
/// values given there.
#[test]
fn opcodes_follow_the_fields_of_the_rfc() {
    let ops = [
        (AluOp::Add, 0x0),
        (AluOp::Sub, 0x1),
        (AluOp::Mul, 0x2),
        (AluOp::Div, 0x3),
        (AluOp::Or, 0x4),
        (AluOp::And, 0x5),
        (AluOp::Lsh, 0x6),
        (AluOp::Rsh, 0x7),
        (AluOp::Mod, 0x9),
        (AluOp::Xor, 0xa),
        (AluOp::Mov, 0xb),
        (AluOp::Arsh, 0xc),
    ];
    for (op, code) in ops {
        for (width, class) in [(Width::W32, 4), (Width::W64, 7)] {
            for (src, source) in [(Operand::Imm(1), 0), (Operand::Reg(Reg::R2), 8)] {
                let insn = Insn::Alu {
                    op,
                    width,
                    dst: Reg::R1,
                    src,
                };
                assert_eq!(insn.row().opcode(), code << 4 | source | class, "{insn}");
            }
        }
    }
    // §4.1: code DIV and MOD, the signed form has offset 1.
    let sdiv = Insn::Alu {
        op: AluOp::Sdiv,
        width: Width::W64,
        dst: Reg::R1,
        src: Operand::Reg(Reg::R2),
    };
    assert_eq!(encode(&[sdiv]).unwrap(), [0x3f, 0x21, 1, 0, 0, 0, 0, 0]);
}

/// Groups of rows that the registry does not have; the others are in `registry`.
#[test]
fn groups_and_versions_have_names_and_include_each_other() {
    let group = |mnemonic: &str| Row::by_mnemonic(mnemonic).unwrap().group();
    assert_eq!(group("ldxsb"), Group::Base32);
    assert_eq!(group("ldabsw"), Group::Packet);
    assert_eq!(group("callx"), Group::Callx);
    assert_eq!(group("load_acquire32"), Group::Atomic32);
    assert!(Group::Atomic64.includes(Group::Atomic32));
    assert!(!Group::Base64.includes(Group::Divmul32));
    for group in Group::ALL {
        assert_eq!(Group::from_name(group.name()), Some(group));
    }
    for version in CpuVersion::ALL {
        assert_eq!(CpuVersion::from_name(version.name()), Some(version));
    }
}

fn error(bytes: &[u8]) -> DecodeError {
    decode(bytes).unwrap_err()
}

#[test]
fn a_reserved_field_that_is_not_zero_is_named() {
    let found = error(&[0x95, 0, 0, 0, 0, 0, 0, 0, 0x05, 0x30, 0, 0, 0, 0, 0, 0]);
    let (opcode, field) = (5, FieldName::SrcReg);
    let kind = DecodeErrorKind::Field {
        opcode,
        field,
        found: 3,
        expected: vec![0],
    };
    assert_eq!(
        found,
        DecodeError {
            pc: 1,
            offset: 9,
            kind
        }
    );
    assert_eq!(
        found.to_string(),
        "insn 1 (byte 0x9): src_reg of opcode 0x05 is 3, expected 0"
    );
}

#[test]
fn a_selector_out_of_range_shows_what_there_is() {
    assert_eq!(
        error(&[0xdc, 1, 0, 0, 24, 0, 0, 0]).to_string(),
        "insn 0 (byte 0x4): imm of opcode 0xdc is 24, expected 16, 32 or 64"
    );
    assert_eq!(
        error(&[0x37, 1, 2, 0, 5, 0, 0, 0]).to_string(),
        "insn 0 (byte 0x2): offset of opcode 0x37 is 2, expected 0 or 1"
    );
    assert_eq!(
        error(&[0x18, 0x71, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).to_string(),
        "insn 0 (byte 0x1): src_reg of opcode 0x18 is 7, expected 0, 1, 2, 3, 4, 5 or 6"
    );
}

#[test]
fn registers_end_at_ten() {
    assert_eq!(
        error(&[0xbf, 0xb1, 0, 0, 0, 0, 0, 0]).to_string(),
        "insn 0 (byte 0x1): src_reg of opcode 0xbf is 11, expected a register, 0 to 10"
    );
    assert_eq!(
        error(&[0xb7, 0x0f, 0, 0, 0, 0, 0, 0]).to_string(),
        "insn 0 (byte 0x1): dst_reg of opcode 0xb7 is 15, expected a register, 0 to 10"
    );
}

#[test]
fn two_slot_loads_are_whole() {
    let first = [0x18, 1, 0, 0, 1, 0, 0, 0];
    assert_eq!(error(&first).kind, DecodeErrorKind::WideCutShort);
    assert_eq!((error(&first).pc, error(&first).offset), (1, 8));
    let second = |slot: [u8; 8]| error(&[first, slot].concat());
    let tail = |field, found| DecodeErrorKind::WideTail { field, found };
    assert_eq!(
        second([0x95, 0, 0, 0, 0, 0, 0, 0]).kind,
        tail(FieldName::Opcode, 0x95)
    );
    assert_eq!(
        second([0, 1, 0, 0, 0, 0, 0, 0]).kind,
        tail(FieldName::DstReg, 1)
    );
    assert_eq!(
        second([0, 0x10, 0, 0, 0, 0, 0, 0]).kind,
        tail(FieldName::SrcReg, 1)
    );
    assert_eq!(
        second([0, 0, 0, 1, 0, 0, 0, 0]).kind,
        tail(FieldName::Offset, 256)
    );
    // A map by its descriptor has no second number.
    let map = [0x18, 0x11, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0];
    assert_eq!(error(&map).kind, tail(FieldName::NextImm, 8));
    assert_eq!((error(&map).pc, error(&map).offset), (1, 12));
}

#[test]
fn unknown_opcodes_and_cut_slots_are_errors() {
    for opcode in [0x00, 0x38, 0x99, 0xff, 0x8e, 0xe6] {
        assert_eq!(
            error(&[opcode, 0, 0, 0, 0, 0, 0, 0]).kind,
            DecodeErrorKind::Opcode { opcode }
        );
    }
    assert_eq!(
        error(&[0x95, 0, 0]).kind,
        DecodeErrorKind::CutShort { found: 3 }
    );
    assert_eq!(
        decode_one(&[]).unwrap_err().kind,
        DecodeErrorKind::CutShort { found: 0 }
    );
    assert_eq!(decode(&[]), Ok(vec![]));
}

#[test]
fn addr_space_cast_is_refused_by_name() {
    let found = error(&[0xbf, 0x21, 1, 0, 1, 0, 0, 0]);
    assert_eq!(found.kind, DecodeErrorKind::AddrSpaceCast);
    assert!(found.to_string().contains("addr_space_cast"), "{found}");
}

#[test]
fn values_without_bytes_do_not_encode() {
    let r1 = Reg::R1;
    let atomic = |size| Insn::Atomic {
        op: AtomicOp::Add,
        size,
        base: r1,
        offset: 0,
        src: r1,
    };
    let unencodable = [
        Insn::Swap {
            kind: SwapKind::ToBe,
            bits: 24,
            dst: r1,
        },
        Insn::MovSx {
            width: Width::W32,
            dst: r1,
            src: r1,
            bits: 32,
        },
        Insn::Load {
            size: MemSize::DW,
            signed: true,
            dst: r1,
            base: r1,
            offset: 0,
        },
        atomic(MemSize::B),
        atomic(MemSize::H),
        Insn::LoadPacket {
            size: MemSize::DW,
            base: PacketBase::Abs,
            offset: 0,
        },
        Insn::Jump {
            offset: 32768,
            long: false,
        },
    ];
    for insn in unencodable {
        assert_eq!(insn.row().mnemonic(), "unencodable", "{insn:?}");
        let error = encode(&[Insn::Exit, insn]).unwrap_err();
        assert_eq!(
            (error.pc, error.kind),
            (1, EncodeErrorKind::Unencodable { insn })
        );
    }
}

#[test]
fn tails_come_after_their_loads_only() {
    let load = Insn::LoadWide {
        dst: Reg::R1,
        value: Wide::Value(1),
    };
    let kind = |insns: &[Insn]| encode(insns).map_err(|error| (error.pc, error.kind));
    assert_eq!(kind(&[load]), Err((0, EncodeErrorKind::MissingTail)));
    assert_eq!(
        kind(&[Insn::Exit, load, Insn::Exit]),
        Err((1, EncodeErrorKind::MissingTail))
    );
    assert_eq!(
        kind(&[Insn::Exit, Insn::WideTail]),
        Err((1, EncodeErrorKind::StrayTail))
    );
    assert_eq!(
        kind(&[load, Insn::WideTail, Insn::WideTail]),
        Err((2, EncodeErrorKind::StrayTail))
    );
    assert_eq!(Insn::WideTail.row().mnemonic(), "lddw_tail");
}

/// By the text: what stands left of a plain `=` is written, all else that is named is read.
#[test]
fn effects_agree_with_the_text() {
    for row in table() {
        let insn = decode(&bytes_of(row, (3, 7), -5, 5, 9)).unwrap()[0];
        if matches!(insn, Insn::Call(_) | Insn::LoadPacket { .. } | Insn::Exit) {
            continue;
        }
        let text = insn.to_string();
        let named = |text: &str| {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words
                .filter_map(|word| word.strip_prefix(['r', 'w'])?.parse::<u32>().ok())
                .fold(0, |set, number| set | 1 << number)
        };
        let (reads, writes) = match text.split_once(" = ") {
            Some((left, right)) if !left.starts_with('*') => (named(right), named(left)),
            _ => match text.split_once("= ") {
                // `r3 += r7`, but not the comparison of a jump or a store.
                Some((left, _)) if left.starts_with(['r', 'w']) => (named(&text), named(left)),
                _ => (named(&text), 0),
            },
        };
        assert_eq!((insn.reads(), insn.writes()), (reads, writes), "{text}");
    }
}

#[test]
fn effects_name_the_registers() {
    let [r0, r1, r2, r6] = [1, 2, 4, 64];
    let mov = Insn::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst: Reg::R1,
        src: Operand::Reg(Reg::R2),
    };
    assert_eq!((mov.reads(), mov.writes()), (r2, r1));
    let cmpxchg = Insn::Atomic {
        op: AtomicOp::Cmpxchg,
        size: MemSize::DW,
        base: Reg::R1,
        offset: 0,
        src: Reg::R2,
    };
    assert_eq!((cmpxchg.reads(), cmpxchg.writes()), (r0 | r1 | r2, r0));
    let call = Insn::Call(CallTarget::Helper(1));
    assert_eq!((call.reads(), call.writes()), (0b11_1110, 0b11_1111));
    let packet = Insn::LoadPacket {
        size: MemSize::W,
        base: PacketBase::Abs,
        offset: 4,
    };
    assert_eq!((packet.reads(), packet.writes()), (r6, 0b11_1111));
    assert_eq!((Insn::Exit.reads(), Insn::Exit.writes()), (r0, 0));
    assert!(Insn::Exit.is_terminator() && !call.is_terminator());
}
