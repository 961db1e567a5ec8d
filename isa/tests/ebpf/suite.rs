//! Assembly in the conformance suite's form. Expected bytes are put together by hand from the
//! fields of RFC 9669.

use isa::ebpf::{Insn, decode, encode, parse_suite_asm, table};

fn assemble(text: &str) -> Vec<Insn> {
    parse_suite_asm(text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .insns
}

#[test]
fn mnemonics_are_the_rfcs_instructions() {
    let cases: [(&str, [u8; 8]); 34] = [
        ("mov %r0, 0x10", [0xb7, 0, 0, 0, 0x10, 0, 0, 0]),
        ("mov64 r0, -1", [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        ("mov32 %r3, %r4", [0xbc, 0x43, 0, 0, 0, 0, 0, 0]),
        (
            "add r1, 0xffffffff",
            [0x07, 1, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ),
        ("sdiv32 %r1, %r2", [0x3c, 0x21, 1, 0, 0, 0, 0, 0]),
        ("smod %r1, -3", [0x97, 1, 1, 0, 0xfd, 0xff, 0xff, 0xff]),
        ("movsx832 %r1, %r2", [0xbc, 0x21, 8, 0, 0, 0, 0, 0]),
        ("movsx3264 %r1, %r2", [0xbf, 0x21, 32, 0, 0, 0, 0, 0]),
        ("neg %r5", [0x87, 5, 0, 0, 0, 0, 0, 0]),
        ("neg32 %r5", [0x84, 5, 0, 0, 0, 0, 0, 0]),
        ("le16 %r1", [0xd4, 1, 0, 0, 16, 0, 0, 0]),
        ("be64 %r1", [0xdc, 1, 0, 0, 64, 0, 0, 0]),
        ("bswap32 %r1", [0xd7, 1, 0, 0, 32, 0, 0, 0]),
        ("swap32 %r1", [0xd7, 1, 0, 0, 32, 0, 0, 0]),
        ("ldxb %r1, [%r2]", [0x71, 0x21, 0, 0, 0, 0, 0, 0]),
        ("ldxdw %r1, [%r10-8]", [0x79, 0xa1, 0xf8, 0xff, 0, 0, 0, 0]),
        ("ldxsh r1, [r2+4]", [0x89, 0x21, 4, 0, 0, 0, 0, 0]),
        ("stw [%r1+4], 0x80000000", [0x62, 1, 4, 0, 0, 0, 0, 0x80]),
        ("stxh [%r1+0x10], %r2", [0x6b, 0x21, 16, 0, 0, 0, 0, 0]),
        ("lock add [%r1], %r2", [0xdb, 0x21, 0, 0, 0, 0, 0, 0]),
        (
            "lock fetch add32 [%r1+4], %r2",
            [0xc3, 0x21, 4, 0, 1, 0, 0, 0],
        ),
        (
            "lock fetch_xor [%r1], %r2",
            [0xdb, 0x21, 0, 0, 0xa1, 0, 0, 0],
        ),
        ("lock xchg32 [%r1], %r2", [0xc3, 0x21, 0, 0, 0xe1, 0, 0, 0]),
        (
            "lock cmpxchg [%r10-8], %r1",
            [0xdb, 0x1a, 0xf8, 0xff, 0xf1, 0, 0, 0],
        ),
        ("ldabsw 0x10", [0x20, 0, 0, 0, 16, 0, 0, 0]),
        ("ldindb %r3, 2", [0x50, 0x30, 0, 0, 2, 0, 0, 0]),
        ("ja +2", [0x05, 0, 2, 0, 0, 0, 0, 0]),
        ("ja32 -70000", [0x06, 0, 0, 0, 0x90, 0xee, 0xfe, 0xff]),
        ("jeq %r0, 5, +2", [0x15, 0, 2, 0, 5, 0, 0, 0]),
        ("jslt32 %r1, %r2, -1", [0xce, 0x21, 0xff, 0xff, 0, 0, 0, 0]),
        ("jset %r1, 8, 3", [0x45, 1, 3, 0, 8, 0, 0, 0]),
        ("call 5", [0x85, 0, 0, 0, 5, 0, 0, 0]),
        ("callx %r3", [0x8d, 3, 0, 0, 0, 0, 0, 0]),
        ("exit # done", [0x95, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (text, bytes) in cases {
        assert_eq!(encode(&assemble(text)).unwrap(), bytes, "{text}");
    }
}

#[test]
fn wide_loads_take_two_slots() {
    let bytes = [
        0x18, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55,
    ];
    assert_eq!(
        encode(&assemble("lddw %r0, 0x5566778811223344")).unwrap(),
        bytes
    );
}

#[test]
fn labels_jumps_to_exit_and_local_calls() {
    let insns = assemble(
        "start:\n\
         call local f\n\
         jne %r0, 15, exit\n\
         ja start\n\
         exit\n\
         f:\n\
         mov %r0, 15\n\
         exit\n",
    );
    let texts: Vec<String> = insns.iter().map(ToString::to_string).collect();
    // The last `exit` is what a jump to `exit` goes to.
    assert_eq!(
        texts,
        [
            "call pc+3",
            "if r0 != 15 goto +3",
            "goto -3",
            "exit",
            "r0 = 15",
            "exit"
        ]
    );
    let own = assemble("ja exit\nexit: mov r0, 1\nexit\n");
    assert_eq!(own[0].to_string(), "goto +0");
}

#[test]
fn errors_say_what_the_suite_has() {
    let cases = [
        (
            "mvo %r0, 1",
            "line 1, column 1: expected a mnemonic of the conformance suite, found `mvo`",
        ),
        ("mov %r0 1", "line 1, column 9: expected `,`, found `1`"),
        (
            "mov %r11, 1",
            "line 1, column 6: expected a 64-bit register (r0 to r10), found `r11`",
        ),
        (
            "\nja +40000",
            "line 2, column 4: the offset must be between -32768 and 32767, found `40000`",
        ),
        (
            "ldxw %r0, %r1",
            "line 1, column 11: expected `[`, found `%`",
        ),
        (
            "stw [%r1], %r2",
            "line 1, column 12: expected a number, found `%`",
        ),
        (
            "call local nowhere",
            "line 1, column 12: expected a label of this text, found `nowhere`",
        ),
        (
            "lock frob [%r1], %r2",
            "line 1, column 1: expected a mnemonic of the conformance suite, found `lock`",
        ),
        (
            "exit 5",
            "line 1, column 6: expected the end of the line, found `5`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse_suite_asm(text).expect_err(text).to_string(),
            expected,
            "{text}"
        );
    }
}

/// Each mnemonic of the table, with operands that fit its row.
#[test]
fn every_mnemonic_of_the_table_is_read() {
    let mut read = 0;
    for row in table() {
        let Some(suite) = row.suite() else { continue };
        let register = row.mnemonic().ends_with("_reg");
        let second = if register { "%r2" } else { "7" };
        let text = match row.mnemonic() {
            "exit" => suite.to_owned(),
            "ja" | "ja32" | "call_helper" | "call_local" => format!("{suite} +1"),
            "callx" => format!("{suite} %r1"),
            name if name.starts_with("neg") || ["le", "be", "bs"].contains(&&name[..2]) => {
                format!("{suite} %r1")
            }
            name if name.starts_with("movsx") => format!("{suite} %r1, %r2"),
            name if name.starts_with("ldabs") => format!("{suite} 7"),
            name if name.starts_with("ldind") => format!("{suite} %r1, 7"),
            name if name.starts_with("ldx") => format!("{suite} %r1, [%r2+4]"),
            name if name.starts_with("stx") || name.starts_with("atomic") => {
                format!("{suite} [%r1-4], %r2")
            }
            name if name.starts_with("st") => format!("{suite} [%r1-4], 7"),
            name if name.starts_with('j') => format!("{suite} %r1, {second}, +1"),
            _ => format!("{suite} %r1, {second}"),
        };
        let insns = assemble(&text);
        assert_eq!(insns[0].row().mnemonic(), row.mnemonic(), "{text}");
        assert_eq!(decode(&encode(&insns).unwrap()).unwrap(), insns);
        read += 1;
    }
    assert_eq!(
        read,
        table().len() - 16,
        "rows without a mnemonic: pseudo sources and Linux's own"
    );
}
