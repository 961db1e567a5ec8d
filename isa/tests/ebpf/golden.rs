//! Bytes and texts that LLVM 19 made (`tests/golden/ebpf.sh`), against the table.

use isa::ebpf::{NoSymbols, Row, decode, encode, parse_asm, table};
use std::collections::BTreeSet;

struct Case {
    line: usize,
    bytes: Vec<u8>,
    text: &'static str,
    cpu: &'static str,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../golden/ebpf.tsv").lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with('#'))
        .map(|(index, line)| {
            let mut columns = line.split('\t');
            let mut column = || {
                columns
                    .next()
                    .unwrap_or_else(|| panic!("line {}", index + 1))
            };
            Case {
                line: index + 1,
                bytes: bytes(column()),
                text: column(),
                cpu: column(),
            }
        })
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn bytes_print_as_llvm_prints_them() {
    for Case {
        line, bytes, text, ..
    } in cases()
    {
        let insns = decode(&bytes).unwrap_or_else(|error| panic!("line {line}: {error}"));
        assert_eq!(insns[0].to_string(), text, "line {line}");
        assert_eq!(insns.len(), bytes.len() / 8, "line {line}");
    }
}

#[test]
fn texts_assemble_to_llvms_bytes() {
    for Case {
        line, bytes, text, ..
    } in cases()
    {
        let assembly =
            parse_asm(text, &NoSymbols).unwrap_or_else(|error| panic!("line {line}: {error}"));
        assert_eq!(
            encode(&assembly.insns).unwrap(),
            bytes,
            "line {line}: {text}"
        );
    }
}

#[test]
fn versions_agree() {
    for Case {
        line,
        bytes,
        text,
        cpu,
    } in cases()
    {
        let insns = decode(&bytes).unwrap();
        assert_eq!(insns[0].row().cpu().name(), cpu, "line {line}: {text}");
    }
}

#[test]
fn every_row_that_llvm_has_a_text_for_is_there() {
    let seen: BTreeSet<&str> = cases()
        .iter()
        .map(|case| decode(&case.bytes).unwrap()[0].row().mnemonic())
        .collect();
    let missing: Vec<&str> = table()
        .iter()
        .map(Row::mnemonic)
        .filter(|name| !seen.contains(name))
        .collect();
    // Fields that only the kernel gives a meaning; LLVM prints what it prints for the plain form.
    assert_eq!(
        missing,
        [
            "lddw_map_fd",
            "lddw_map_fd_value",
            "lddw_btf_id",
            "lddw_function",
            "lddw_map",
            "lddw_map_value",
            "call_kfunc"
        ]
    );
}
