//! Assembly in the kernel's and LLVM's form.

use crate::rows::any_bytes;
use isa::ebpf::{
    Assembly, CallTarget, Insn, MapDecl, NoSymbols, Section, Symbols, Wide, decode, encode,
    parse_asm, parse_suite_asm,
};
use proptest::prelude::*;
use std::borrow::Cow;

/// Two helpers and two maps.
struct Names;

impl Symbols for Names {
    fn helper_name(&self, id: u32) -> Option<Cow<'_, str>> {
        (id == 1).then_some("bpf_map_lookup_elem".into())
    }

    fn helper_id(&self, name: &str) -> Option<u32> {
        (name == "bpf_map_lookup_elem").then_some(1)
    }

    fn kfunc_name(&self, id: i32, module: i16) -> Option<Cow<'_, str>> {
        (id == 5 && module == 0).then_some("bpf_preempt_disable".into())
    }

    fn kfunc_id(&self, name: &str) -> Option<i32> {
        (name == "bpf_preempt_disable").then_some(5)
    }

    fn map_name(&self, index: u32) -> Option<Cow<'_, str>> {
        ["counter", "ports"]
            .get(index as usize)
            .map(|name| (*name).into())
    }

    fn label(&self, pc: usize) -> Option<Cow<'_, str>> {
        (pc >= 2).then(|| format!("L{pc}").into())
    }
}

fn assemble(text: &str) -> Assembly {
    parse_asm(text, &Names).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn texts(assembly: &Assembly) -> Vec<String> {
    let insns = assembly
        .insns
        .iter()
        .filter(|insn| **insn != Insn::WideTail);
    insns.map(ToString::to_string).collect()
}

#[test]
fn a_program_with_a_map_labels_and_a_helper() {
    let assembly = assemble(
        "; counts packets\n\
         .map counter type=array key=4 value=8 entries=1 flags=0x400\n\
         .section xdp\n\
         .globl count\n\
         count:\n\
         \t*(u32 *)(r10 - 4) = 0 # the key\n\
         \tr2 = r10\n\
         \tr2 += -4\n\
         \tr1 = map[counter] ll\n\
         \tcall bpf_map_lookup_elem\n\
         \tif r0 == 0 goto out\n\
         \tr1 = 1 /* one\n\
         more */\n\
         \tlock *(u64 *)(r0 + 0) += r1\n\
         out: r0 = 2\n\
         \texit // done\n",
    );
    assert_eq!(
        texts(&assembly),
        [
            "*(u32 *)(r10 - 4) = 0",
            "r2 = r10",
            "r2 += -4",
            "r1 = map[idx:0] ll",
            "call 1",
            "if r0 == 0 goto +2",
            "r1 = 1",
            "lock *(u64 *)(r0 + 0) += r1",
            "r0 = 2",
            "exit",
        ]
    );
    assert_eq!(assembly.lines, [6, 7, 8, 9, 9, 10, 11, 12, 14, 15, 16]);
    assert_eq!(assembly.labels.get("out"), Some(&9));
    assert_eq!(assembly.functions, [(0, "count".to_owned())]);
    assert_eq!(assembly.globals, ["count"]);
    assert_eq!(
        assembly.sections,
        [Section {
            name: "xdp".into(),
            start: 0,
            end: 11
        }]
    );
    assert_eq!(
        assembly.maps,
        [MapDecl {
            name: "counter".into(),
            kind: "array".into(),
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0x400,
            inner: None,
            lock: None,
            timer: None,
            line: 2,
        }]
    );
}

#[test]
fn names_are_printed_where_they_are_known() {
    let assembly = assemble(
        "r1 = map[counter] ll\n\
         if r1 != 0 goto +1\n\
         call 1\n\
         r2 = map[idx:1][0]+8 ll\n\
         goto -3\n\
         call pc-2\n\
         call 7\n",
    );
    let named: Vec<String> = (0..)
        .zip(&assembly.insns)
        .map(|(pc, insn)| insn.display(pc, &Names).to_string())
        .collect();
    assert_eq!(
        named,
        [
            "r1 = map[counter] ll",
            "(second slot)",
            "if r1 != 0 goto L4",
            "call bpf_map_lookup_elem",
            "r2 = map[ports][0]+8 ll",
            "(second slot)",
            "goto L4",
            "call L6",
            "call 7",
        ]
    );
}

#[test]
fn pseudo_sources_have_a_text_of_their_own() {
    let texts = [
        ("r1 = map[fd:5] ll", Wide::MapFd(5)),
        (
            "r1 = map[fd:5][0]+8 ll",
            Wide::MapFdValue { fd: 5, offset: 8 },
        ),
        ("r1 = map[idx:3] ll", Wide::Map(3)),
        (
            "r1 = map[idx:3][0]+0 ll",
            Wide::MapValue { map: 3, offset: 0 },
        ),
        ("r1 = btf[id:77] ll", Wide::BtfId { id: 77, module: 0 }),
        ("r1 = btf[id:77,fd:4] ll", Wide::BtfId { id: 77, module: 4 }),
        ("r1 = subprog[-3] ll", Wide::Function { offset: -3 }),
    ];
    for (text, expected) in texts {
        let insn = assemble(text).insns[0];
        assert!(
            matches!(insn, Insn::LoadWide { value, .. } if value == expected),
            "{text}"
        );
        assert_eq!(insn.to_string(), text);
    }
    let kfunc = Insn::Call(CallTarget::Kfunc { id: -1, module: 2 });
    assert_eq!(assemble("call kfunc[id:-1,module:2]").insns, [kfunc]);
    assert_eq!(kfunc.to_string(), "call kfunc[id:-1,module:2]");
}

#[test]
fn kernel_functions_have_names() {
    let text = "call kfunc[bpf_preempt_disable]";
    let kfunc = Insn::Call(CallTarget::Kfunc { id: 5, module: 0 });
    let assembly = parse_asm(text, &Names).expect("it is assembly");
    assert_eq!(assembly.insns, [kfunc]);
    assert_eq!(kfunc.display(0, &Names).to_string(), text);
    let error = parse_asm("call kfunc[bpf_nothing]", &Names).expect_err("no such function");
    assert_eq!(error.kind, isa::ebpf::AsmErrorKind::UnknownKfunc);
}

#[test]
fn numeric_labels_are_local() {
    let assembly = assemble(
        "1: r0 = 1\n\
         if r1 == 0 goto 1f\n\
         goto 1b\n\
         1: exit\n\
         goto 1b\n\
         1: goto 1b\n",
    );
    assert_eq!(
        texts(&assembly),
        [
            "r0 = 1",
            "if r1 == 0 goto +1",
            "goto -3",
            "exit",
            "goto -2",
            "goto -1"
        ]
    );
}

#[test]
fn functions_are_what_is_called_and_what_is_said_to_be() {
    let assembly = assemble(
        ".text\n\
         helper: exit\n\
         .type other,@function\n\
         other: exit\n\
         inner: exit\n\
         .section xdp,\"ax\",@progbits\n\
         main: call helper\n\
         r1 = inner ll\n\
         exit\n",
    );
    let functions: Vec<(usize, &str)> = assembly
        .functions
        .iter()
        .map(|(pc, name)| (*pc, name.as_str()))
        .collect();
    assert_eq!(functions, [(0, "helper"), (1, "other"), (2, "inner")]);
    assert_eq!(
        assembly.insns[3],
        Insn::Call(CallTarget::Local { offset: -4 })
    );
    assert!(matches!(
        assembly.insns[4],
        Insn::LoadWide {
            value: Wide::Function { offset: -3 },
            ..
        }
    ));
    assert_eq!(
        assembly.sections,
        [
            Section {
                name: ".text".into(),
                start: 0,
                end: 3
            },
            Section {
                name: "xdp".into(),
                start: 3,
                end: 7
            }
        ]
    );
}

#[test]
fn data_sections_of_a_compiler_are_skipped() {
    let assembly = assemble(
        "\t.file\t\"x.c\"\n\
         \t.section\tlicense,\"aw\",@progbits\n\
         _license:\n\
         \t.asciz\t\"Dual MIT/GPL\" # ; not a comment's end: \"\n\
         \t.section\t.maps,\"aw\",@progbits\n\
         counter:\n\
         \t.zero\t32\n\
         \t.quad\tcounter\n\
         \t.section\txdp,\"ax\",@progbits\n\
         main:                                   # @main\n\
         .Lfunc_begin0:\n\
         \t.loc\t0 5 0\n\
         \tr1 = counter ll\n\
         \tr8 = w2\n\
         \t#APP\n\
         \tr1 = 5; r2 = 6 # a comment; r3 = 7\n\
         \tx: r4 = 8;\n\
         \t#NO_APP\n\
         \tr5 = 9 ; r6 = 10\n\
         \texit\n\
         \t.section\t.BTF,\"\",@progbits\n\
         \t.short\t60319 # 0xeb9f\n\
         \t.ascii\t\";\\\"#\"\n\
         \t.addrsig\n",
    );
    assert_eq!(assembly.license.as_deref(), Some("Dual MIT/GPL"));
    assert_eq!(
        texts(&assembly),
        [
            "r1 = map[idx:0] ll",
            "w8 = w2",
            "r1 = 5",
            "r2 = 6",
            "r4 = 8",
            "r5 = 9",
            "exit"
        ]
    );
    assert_eq!(assembly.map_names, ["counter"]);
    assert!(assembly.maps.is_empty());
}

/// Text and the error it gives.
const ERRORS: [(&str, &str); 35] = [
    (
        "r1 = 99999999999999999999",
        "line 1, column 6: the immediate must be between -2147483648 and 2147483647, found `99999999999999999999`",
    ),
    (
        "r1 = 0x ll",
        "line 1, column 6: expected a number, decimal or after 0x, without leading zeros, found `0x`",
    ),
    (
        "r1 = r11",
        "line 1, column 6: expected a register, a number, a name with `ll`, or an access to memory, found `r11`",
    ),
    (
        "\nr1 += w2",
        "line 2, column 7: expected a 64-bit register (r0 to r10), found `w2`",
    ),
    (
        "w1 = r2",
        "line 1, column 6: expected a 32-bit register (w0 to w10), found `r2`",
    ),
    (
        "r1 = -r2",
        "line 1, column 7: expected r1 again: the instruction works in place, found `r2`",
    ),
    (
        "r1 = le16 r2",
        "line 1, column 11: expected r1 again: the instruction works in place, found `r2`",
    ),
    (
        "r1 = 0xffffffff",
        "line 1, column 6: a 64-bit operation sign-extends its 32-bit immediate, so it must be between -2147483648 and 2147483647 (load larger numbers with `ll`), found `0xffffffff`",
    ),
    (
        "w1 = 0x100000000",
        "line 1, column 6: the immediate must be between -2147483648 and 4294967295, found `0x100000000`",
    ),
    (
        "r1 = 010",
        "line 1, column 6: expected a number, decimal or after 0x, without leading zeros, found `010`",
    ),
    (
        "r1 = 5x",
        "line 1, column 6: expected a number, decimal or after 0x, without leading zeros, found `5x`",
    ),
    (
        "r1 = *(u32 *)(r2 + 32768)",
        "line 1, column 18: the offset must be between -32768 and 32767, found `32768`",
    ),
    (
        "r1 = *(u24 *)(r2 + 0)",
        "line 1, column 8: expected one of u8, u16, u32, u64, s8, s16, s32, found `u24`",
    ),
    (
        "w1 = *(u64 *)(r2 + 0)",
        "line 1, column 14: expected a load of at most 4 bytes, without sign, into a 32-bit register, found `(`",
    ),
    (
        "lock *(u16 *)(r1 + 0) += r2",
        "line 1, column 8: expected u32 or u64: atomics are 4 or 8 bytes wide, found `u16`",
    ),
    (
        "lock *(u64 *)(r1 + 0) -= r2",
        "line 1, column 23: expected `+=`, `|=`, `&=` or `^=`, found `-=`",
    ),
    (
        "*(u64 *)(r1 + 0) += r2",
        "line 1, column 18: expected `=` (a read-modify-write begins with `lock`), found `+=`",
    ),
    (
        "r1 = atomic_fetch_add((u64 *)(r2 + 0), r3)",
        "line 1, column 40: expected r1 again: the instruction works in place, found `r3`",
    ),
    (
        "r1 = cmpxchg_64(r2 + 0, r0, r3)",
        "line 1, column 16: expected r0 on the left: it receives the old value of cmpxchg, found `(`",
    ),
    (
        "if r1 =! 0 goto +1",
        "line 1, column 7: expected a comparison: == != > >= < <= s> s>= s< s<= &, found `=`",
    ),
    (
        "if r1 == 0 exit",
        "line 1, column 12: expected `goto`, found `exit`",
    ),
    (
        "goto nowhere",
        "line 1, column 6: expected a label of this text, found `nowhere`",
    ),
    (
        "goto +32768",
        "line 1, column 6: the offset must be between -32768 and 32767, found `32768`",
    ),
    (
        "call bpf_nothing",
        "line 1, column 6: expected a label of this text or the name of a helper, found `bpf_nothing`",
    ),
    (
        "a: exit\na: exit",
        "line 2, column 1: expected a new name; this one is in use since line 1, found `a`",
    ),
    (
        "exit exit",
        "line 1, column 6: expected the end of the line, found `exit`",
    ),
    (
        "mov r1, 5",
        "line 1, column 1: expected an instruction, found `mov`",
    ),
    (
        "exit\n /* never",
        "line 2, column 2: expected the end of what begins here, found `/*`",
    ),
    (
        ".byte 5",
        "line 1, column 1: expected an instruction; data cannot stand in a code section, found `.byte`",
    ),
    (
        ".frobnicate",
        "line 1, column 1: expected an instruction, a label or a known directive, found `.frobnicate`",
    ),
    (
        ".data\nr0 = 1",
        "line 2, column 1: expected a data directive; this section is not code, found `r0`",
    ),
    (
        ".map a type=hash key=4 value=8",
        "line 1, column 31: expected `entries=...` in this map declaration, found the end of the line",
    ),
    (
        ".map a type=hash size=4",
        "line 1, column 18: expected one of the keys type, key, value, entries, flags, inner, lock, timer, found `size`",
    ),
    (
        ".map a type=hash entries=4294967296",
        "line 1, column 26: the value must be between 0 and 4294967295, found `4294967296`",
    ),
    (
        ".map a type=hash entries=1\n.map a type=hash entries=1",
        "line 2, column 6: expected a new name; this one is in use since line 1, found `a`",
    ),
];

#[test]
fn errors_say_where_what_and_what_instead() {
    for (text, expected) in ERRORS {
        let error = parse_asm(text, &NoSymbols).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn brackets_make_a_name_a_map_even_where_a_label_has_it() {
    let assembly = assemble("both: r1 = map[both] ll\nr2 = both ll\n");
    assert_eq!(
        texts(&assembly),
        ["r1 = map[idx:0] ll", "r2 = subprog[-3] ll"]
    );
    assert_eq!(assembly.map_names, ["both"]);
}

#[test]
fn a_text_ends_with_its_line() {
    let assembly = assemble(".data\n.ascii \"never closed\n.text\nr1 = 5 ; five\n");
    assert_eq!(texts(&assembly), ["r1 = 5"]);
}

#[test]
fn immediates_may_be_written_as_the_operation_sees_them() {
    let assembly =
        assemble("r1 &= 0xfffffffffffffff0\nw1 = 0xfffffff0\n*(u32 *)(r1 + 0) = 0xffffffff");
    assert_eq!(
        texts(&assembly),
        ["r1 &= -16", "w1 = -16", "*(u32 *)(r1 + 0) = -1"]
    );
}

#[test]
fn targets_out_of_reach_are_errors() {
    let far = format!("goto end\n{}end: exit\n", "r0 = 1\n".repeat(32768));
    let error = parse_asm(&far, &NoSymbols).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 6: target is 32768 slots away, further than the 16 bits of the field \
         reach, found `end`"
    );
    let near = far.replacen("goto", "gotol", 1);
    assert_eq!(
        assemble(&near).insns[0],
        Insn::Jump {
            offset: 32768,
            long: true
        }
    );
}

/// Pieces that come up in assembly, for texts that are almost right.
const PIECES: [&str; 58] = [
    "r1",
    "w2",
    "r10",
    "r11",
    "=",
    "+=",
    "s",
    ">>=",
    "/=",
    "-",
    "+",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "u32",
    "u64",
    "s8",
    "*)",
    "(r1",
    "skb",
    "lock",
    "if",
    "goto",
    "gotol",
    "may_goto",
    "call",
    "callx",
    "exit",
    "ll",
    "map",
    "fd",
    "idx",
    "btf",
    "subprog",
    "kfunc",
    "pc",
    "5",
    "0x7fffffff",
    "-1",
    "99999999999999999999",
    "label",
    "label:",
    "1:",
    "1b",
    ".map",
    ".section",
    ".text",
    "type=hash",
    "key=4",
    "\"ax",
    "/*",
    "*/",
    "é",
    "\n",
];

proptest! {
    #[test]
    fn what_is_printed_reads_back(parts in prop::collection::vec(any_bytes(), 1..20)) {
        let insns = decode(&parts.concat()).unwrap();
        let printed = insns.iter().filter(|insn| **insn != Insn::WideTail);
        let text = printed.map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let assembly = parse_asm(&text, &NoSymbols).unwrap();
        prop_assert_eq!(&assembly.insns, &insns, "{}", text);
        prop_assert_eq!(encode(&assembly.insns).unwrap(), parts.concat());
        prop_assert_eq!(assembly.lines.len(), insns.len());
    }

    #[test]
    fn any_text_is_assembled_or_refused(text in "\\PC{0,80}") {
        for assembly in [parse_asm(&text, &Names), parse_suite_asm(&text)].into_iter().flatten() {
            encode(&assembly.insns).unwrap();
        }
    }

    #[test]
    fn almost_assembly_is_assembled_or_refused(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
        space in prop::sample::select(&["", " "][..]),
    ) {
        let text = pieces.join(space);
        for result in [parse_asm(&text, &Names), parse_suite_asm(&text)] {
            match result {
                Ok(assembly) => { encode(&assembly.insns).unwrap(); }
                Err(error) => prop_assert!(error.line >= 1 && error.column >= 1, "{}", error),
            }
        }
    }
}
