//! GNU objdump reads every instruction as we do.
//!
//! `golden/nfp-objdump.txt` was printed by GNU Binutils 2.40, configured with
//! `--target=nfp-elf`, `objdump -d -M ctx4` of an `elf64-nfp` file whose code section holds the
//! sealed words in its first column.

use isa::nfp::{decode, encode, seal, unseal};

use crate::variety::instructions;

#[test]
fn every_instruction_reads_in_objdump_as_here() {
    let golden = include_str!("../golden/nfp-objdump.txt");
    let ours: Vec<(u64, String)> = instructions()
        .iter()
        .map(|insn| (seal(encode(insn).expect("fits")), insn.to_string()))
        .collect();
    let theirs: Vec<(u64, String)> = golden
        .lines()
        .map(|line| {
            let (word, text) = line.split_once('\t').expect("word, tab, text");
            (
                u64::from_str_radix(word, 16).expect("a hexadecimal word"),
                text.to_owned(),
            )
        })
        .collect();
    let words = |rows: &[(u64, String)]| {
        rows.iter()
            .map(|(word, _)| format!("{word:016x}"))
            .collect::<Vec<_>>()
            .join(
                "
",
            )
    };
    assert!(
        words(&ours) == words(&theirs),
        "the instructions of variety.rs changed; disassemble these words anew:\n{}",
        words(&ours)
    );
    for ((word, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{word:016x}");
    }
}

#[test]
fn objdumps_words_decode() {
    for line in include_str!("../golden/nfp-objdump.txt").lines() {
        let (word, text) = line.split_once('\t').expect("word, tab, text");
        let sealed = u64::from_str_radix(word, 16).expect("a hexadecimal word");
        let insn = decode(unseal(sealed).expect("the ECC is right")).expect("an instruction");
        assert_eq!(insn.to_string(), text, "{word}");
    }
}
