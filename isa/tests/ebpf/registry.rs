//! The table against RFC 9669's instruction registry (`tests/golden/rfc9669.txt`).

use isa::ebpf::{Field, Group, Row, table};

/// Opcode, source, offset, immediate and group; `None` is any value.
type Entry = (u8, [Option<i32>; 3], Group);

fn entries() -> Vec<Entry> {
    let lines = include_str!("../golden/rfc9669.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split(' ').collect();
            let [opcode, src, offset, imm, group] = columns[..] else {
                panic!("{line}")
            };
            let number = |text: &str, radix| {
                (text != "-").then(|| i32::from_str_radix(text, radix).unwrap())
            };
            let fields = [number(src, 16), number(offset, 10), number(imm, 16)];
            let opcode = u8::from_str_radix(opcode, 16).unwrap();
            (opcode, fields, Group::from_name(group).unwrap())
        })
        .collect()
}

fn fields(row: &Row) -> [Option<i32>; 3] {
    [row.src(), row.offset(), row.imm()].map(|field| match field {
        Field::Is(value) => Some(value),
        Field::Operand => None,
    })
}

#[test]
fn every_entry_of_the_registry_is_a_row() {
    for (opcode, mut expected, mut group) in entries() {
        match (opcode, expected[0]) {
            // Linux puts the module of a kernel function into the offset.
            (0x85, Some(2)) => expected[1] = None,
            // The registry's 64-bit negation is in base32; it says of itself that §4.1 rules,
            // which puts all of class ALU64 into base64.
            (0x87, _) => group = Group::Base64,
            _ => {}
        }
        let found: Vec<&Row> = table()
            .iter()
            .filter(|row| row.opcode() == opcode && fields(row) == expected)
            .collect();
        let [row] = found[..] else {
            panic!("{opcode:#x} {expected:?}: {found:?}")
        };
        assert_eq!(row.group(), group, "{row}");
    }
}

/// What the table has beyond the registry, each with its reason.
#[test]
fn every_other_row_is_known_from_elsewhere() {
    let entries = entries();
    let others: Vec<&str> = table()
        .iter()
        .filter(|row| {
            !entries.iter().any(|(opcode, expected, _)| {
                row.opcode() == *opcode && (fields(row) == *expected || *opcode == 0x85)
            })
        })
        .map(Row::mnemonic)
        .collect();
    let known = [
        // RFC 9669 §5.2: left out of the registry.
        "ldxsb",
        "ldxsh",
        "ldxsw",
        // Linux 6.15 and 6.9.
        "load_acquire8",
        "load_acquire16",
        "load_acquire32",
        "load_acquire64",
        "store_release8",
        "store_release16",
        "store_release32",
        "store_release64",
        // RFC 9669 §5.5: any fields in the registry; Linux's are narrower.
        "ldabsb",
        "ldabsh",
        "ldabsw",
        "ldindb",
        "ldindh",
        "ldindw",
        "may_goto",
        // clang's, outside the RFC.
        "callx",
    ];
    assert_eq!(others, known);
}
