//! Encoding and decoding of eBPF: round trips over everything representable, and what is
//! refused.

use isa::ebpf::{DecodeErrorKind, Field, FieldName, Insn, Row, decode, encode, table};

/// Bytes of a row with these operands; the second slot follows for two-slot loads.
fn bytes_of(row: &Row, dst: i32, src: i32, offset: i32, imm: i32) -> Vec<u8> {
    let pick = |field, operand| match field {
        Field::Is(value) => value,
        Field::Operand => operand,
    };
    let mut bytes = vec![row.opcode()];
    bytes.push((pick(row.src(), src) << 4 | pick(row.dst(), dst)) as u8);
    bytes.extend((pick(row.offset(), offset) as i16).to_le_bytes());
    bytes.extend(pick(row.imm(), imm).to_le_bytes());
    if row.mnemonic().starts_with("lddw") {
        bytes.extend([0; 8]);
    }
    bytes
}

#[test]
fn every_row_decodes_to_itself_and_back() {
    for row in table() {
        let bytes = bytes_of(row, 3, 7, -5, 0x1234_5678);
        let insns = decode(&bytes).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(insns[0].row().mnemonic(), row.mnemonic());
        assert_eq!(Row::by_mnemonic(row.mnemonic()), Some(row));
        assert_eq!(encode(&insns).unwrap(), bytes, "{row}");
    }
}

#[test]
fn a_reserved_field_that_is_not_zero_is_named() {
    let error = decode(&[0x95, 0, 0, 0, 0, 0, 0, 0, 0x05, 0x30, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!((error.pc, error.offset), (1, 9));
    assert_eq!(
        error.kind,
        DecodeErrorKind::Field {
            opcode: 5,
            field: FieldName::SrcReg,
            found: 3,
            expected: vec![0]
        }
    );
    assert_eq!(
        error.to_string(),
        "insn 1 (byte 0x9): src_reg of opcode 0x05 is 3, expected 0"
    );
}

#[test]
fn exit_is_its_row() {
    assert_eq!(Insn::Exit.row().mnemonic(), "exit");
    assert_eq!(Insn::WideTail.row().mnemonic(), "lddw_tail");
}
