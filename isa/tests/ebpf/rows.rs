//! Instructions of the table with any operands.

use isa::ebpf::{Field, Row, table};
use proptest::prelude::*;

/// Bytes of a row with these operands; the second slot follows for two-slot loads.
pub(crate) fn bytes_of(
    row: &Row,
    (dst, src): (u8, u8),
    offset: i16,
    imm: i32,
    next_imm: i32,
) -> Vec<u8> {
    let pick = |field, operand| match field {
        Field::Is(value) => value,
        Field::Operand => operand,
    };
    let mut bytes = vec![row.opcode()];
    bytes.push((pick(row.src(), src.into()) << 4 | pick(row.dst(), dst.into())) as u8);
    bytes.extend((pick(row.offset(), offset.into()) as i16).to_le_bytes());
    bytes.extend(pick(row.imm(), imm).to_le_bytes());
    if row.mnemonic().starts_with("lddw") {
        let used = matches!(
            row.mnemonic(),
            "lddw" | "lddw_map_fd_value" | "lddw_btf_id" | "lddw_map_value"
        );
        bytes.extend([0; 4]);
        bytes.extend(if used { next_imm } else { 0 }.to_le_bytes());
    }
    bytes
}

/// The bytes of one instruction, any row with any operands.
pub(crate) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let registers = (0..=10u8, 0..=10u8);
    let rows = prop::sample::select(table());
    (rows, registers, any::<i16>(), any::<i32>(), any::<i32>()).prop_map(
        |(row, registers, offset, imm, next_imm)| bytes_of(&row, registers, offset, imm, next_imm),
    )
}
