//! Assembly text and raw instructions.

use bpf::Hook;
use bpf::map::{MapType, SlotValue};
use bpf::object::{LoadOptions, MapProblem, ObjectError, load};
use isa::ebpf::{CallTarget, Insn, Wide};

const COUNTER: &str = ";;! run = [\"verify\"]
.map counter type=array key=4 value=8 entries=1

  *(u32 *)(r10 - 4) = 0
  r1 = map[counter] ll
  r2 = r10
  r2 += -4
  call bpf_map_lookup_elem   ; looks it up
  if r0 == 0 goto pass
  r1 = *(u64 *)(r0 + 0)
  r1 += 1
  *(u64 *)(r0 + 0) = r1
pass:
  r0 = 2
  exit
";

#[test]
fn text_without_sections_is_one_xdp_program() {
    let set = load(
        "dir/counter.bpf",
        COUNTER.as_bytes(),
        &LoadOptions::default(),
    )
    .unwrap();
    let [program] = &set.programs[..] else {
        panic!("{set:?}");
    };
    assert_eq!(
        (program.name.as_str(), &program.hook),
        ("counter", &Hook::XDP)
    );
    assert_eq!(program.insns.len(), 12);
    assert_eq!(program.insns[5], Insn::Call(CallTarget::Helper(1)));
    let map = &set.maps[0];
    assert_eq!(
        (map.kind, map.key_size, map.value_size, map.max_entries),
        (MapType::Array, 4, 8, 1)
    );
    // Line 8 of the text is the call.
    assert_eq!(program.source.place_at(5), Some(("dir/counter.bpf", 8)));
    assert_eq!(
        program.source.line_at(5).unwrap().text,
        "call bpf_map_lookup_elem   ; looks it up"
    );
    // The second slot of the wide load belongs to its line.
    assert_eq!(program.source.line_at(2).unwrap().line, 5);

    let raw = LoadOptions {
        hook: Some(Hook::Raw { memory_bytes: 64 }),
        ..LoadOptions::default()
    };
    let set = load("counter.bpf", COUNTER.as_bytes(), &raw).unwrap();
    assert_eq!(set.programs[0].hook, Hook::Raw { memory_bytes: 64 });
}

#[test]
fn sections_and_functions_of_text_are_those_of_an_object() {
    let text = "
.map jumps type=prog_array key=4 value=4 entries=4
.license MIT
.section .text
first_helper:
  r0 = 1
  exit
second_helper:
  call first_helper
  exit
.section xdp
.globl entry
entry:
  call second_helper
  call first_helper
  exit
.section 0/3
.globl tail
tail:
  r0 = 2
  exit
.section kprobe/x
.globl probe
probe:
  r0 = 0
  exit
";
    let set = load("x.s", text.as_bytes(), &LoadOptions::default()).unwrap();
    let names: Vec<&str> = set.programs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["entry", "tail"]);
    let entry = set.find("xdp").unwrap();
    let functions: Vec<(&str, usize)> = entry
        .subprograms
        .iter()
        .map(|s| (s.name.as_str(), s.start))
        .collect();
    // In the order of the calls, not of the text.
    assert_eq!(
        functions,
        [("entry", 0), ("second_helper", 3), ("first_helper", 5)]
    );
    let targets: Vec<Option<i64>> = (0..entry.insns.len())
        .map(|pc| entry.insns[pc].function_target(pc))
        .collect();
    assert_eq!(targets[..4], [Some(3), Some(5), None, Some(5)]);
    assert_eq!(entry.license.as_deref(), Some("MIT"));
    assert_eq!(set.refused[0].name, "probe");
    assert_eq!(set.refused[0].finding.rule, "object/hook-not-packet");
    // `0/3` is slot 3 of the first declared map.
    let slots = &set.maps[0].slots;
    assert_eq!(
        (slots[0].index, &slots[0].value),
        (3, &SlotValue::Program("tail".to_owned()))
    );
}

#[test]
fn wrong_text_names_line_and_column() {
    let error = load(
        "x.bpf",
        b"r0 = 1\nr1 = bogus!\nexit\n",
        &LoadOptions::default(),
    )
    .unwrap_err();
    assert!(
        error.to_string().starts_with("x.bpf: line 2, column "),
        "{error}"
    );
    let error = load(
        "x.bpf",
        b"r1 = map[nothing] ll\nexit\n",
        &LoadOptions::default(),
    )
    .unwrap_err();
    assert!(
        matches!(&error, ObjectError::Map { map, problem: MapProblem::Undeclared, .. } if map == "nothing"),
        "{error}"
    );
    let error = load(
        "x.bpf",
        b".map m type=hashh key=4 value=4 entries=1\nr1 = map[m] ll\nexit\n",
        &LoadOptions::default(),
    )
    .unwrap_err();
    assert!(
        matches!(&error, ObjectError::Map { problem: MapProblem::UnknownTypeName { found }, .. } if found == "hashh"),
        "{error}"
    );
}

/// `r1 = map 0 (by file descriptor); r0 = 2; exit`, bytes from RFC 9669's tables.
const RAW: [u8; 32] = [
    0x18, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0xb7, 0x00, 0, 0, 2, 0, 0, 0, //
    0x95, 0, 0, 0, 0, 0, 0, 0,
];

#[test]
fn raw_instructions_use_declared_maps_by_number() {
    let options = LoadOptions {
        raw_maps: vec![("counter".to_owned(), "array,4,8,16".to_owned())],
        ..LoadOptions::default()
    };
    let set = load("a/x.bin", &RAW, &options).unwrap();
    let program = &set.programs[0];
    assert_eq!(program.name, "x");
    assert!(matches!(
        program.insns[0],
        Insn::LoadWide {
            value: Wide::Map(0),
            ..
        }
    ));
    assert_eq!(set.maps[0].max_entries, 16);

    let hex = "# a comment\n18110000 00000000 0000000000000000\n0xb7,0x00 00 00 02 00 00 00\n9500000000000000\n";
    let from_hex = load("x.hex", hex.as_bytes(), &options).unwrap();
    assert_eq!(from_hex.programs[0].insns, program.insns);

    let error = load("x.bin", &RAW, &LoadOptions::default()).unwrap_err();
    assert!(
        matches!(
            error,
            ObjectError::UndeclaredMap {
                pc: 0,
                index: 0,
                declared: 0,
                ..
            }
        ),
        "{error}"
    );
    let error = load("x.hex", b"95 00\n00 g0", &options).unwrap_err();
    assert!(
        matches!(
            error,
            ObjectError::Hex {
                line: 2,
                column: 4,
                found: 'g',
                ..
            }
        ),
        "{error}"
    );
    let error = load("x.bin", &RAW[..28], &options).unwrap_err();
    assert!(matches!(error, ObjectError::Decode { .. }), "{error}");
}

#[test]
fn map_declarations_that_do_not_read_say_what_is_expected() {
    for text in [
        "",
        "array",
        "array,4,8",
        "array,4,8,x",
        "array,4,8,1,0,0",
        "arrai,4,8,1",
    ] {
        let options = LoadOptions {
            raw_maps: vec![("m".to_owned(), text.to_owned())],
            ..LoadOptions::default()
        };
        let error = load("x.bin", &RAW, &options).unwrap_err();
        assert!(
            matches!(&error, ObjectError::Map { map, .. } if map == "m"),
            "{text}: {error}"
        );
    }
}
