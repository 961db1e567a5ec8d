//! Words that the card's driver produced: `golden/nfp-words.txt` holds them before relocation
//! (with the relocation kind in the top byte) and as loaded.

use isa::nfp::{Insn, Relocation, decode, encode, seal, unseal};

struct Row {
    marked: u64,
    loaded: u64,
}

fn rows() -> Vec<Row> {
    include_str!("../golden/nfp-words.txt")
        .lines()
        .map(|line| {
            let (marked, loaded) = line.split_once(' ').expect("two words");
            let hex = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            Row {
                marked: hex(marked),
                loaded: hex(loaded),
            }
        })
        .collect()
}

#[test]
fn the_drivers_words_decode_and_encode() {
    for row in rows() {
        for word in [
            Relocation::split(row.marked).expect("a kind").1,
            unseal(row.loaded).expect("the ECC is right"),
        ] {
            let insn = decode(word).unwrap_or_else(|e| panic!("{word:#x}: {e}"));
            assert_eq!(encode(&insn), Ok(word), "{insn}");
        }
    }
}

#[test]
fn loading_changes_only_branch_addresses_and_address_immediates() {
    for row in rows() {
        let (kind, word) = Relocation::split(row.marked).expect("a kind");
        let before = decode(word).expect("decodes");
        let after = decode(unseal(row.loaded).expect("the ECC is right")).expect("decodes");
        let moved = match (kind, before, after) {
            (Relocation::None, before, _) => before,
            (
                Relocation::Immed,
                Insn::Immed {
                    dst,
                    width,
                    invert,
                    shift,
                    ..
                },
                Insn::Immed { value, .. },
            ) => Insn::Immed {
                dst,
                value,
                width,
                invert,
                shift,
            },
            (_, before, after) => before.with_target(after.target().expect("a branch")),
        };
        assert_eq!(moved, after, "{kind:?}");
    }
}

#[test]
fn one_flipped_bit_is_noticed() {
    let sealed = seal(0x00b4_4160_5a20);
    for bit in 0..52 {
        assert_eq!(unseal(sealed ^ 1 << bit), None, "bit {bit}");
    }
}
