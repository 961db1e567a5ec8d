//! Small programs, each with what a NIC says against it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use bpf::{Finding, Hook, Severity};
use caps::{Caps, apply_set, builtin, builtin_names, check, usage};
use verifier::{Verified, verify};

fn nic(name: &str) -> Caps {
    builtin(name).unwrap_or_else(|error| panic!("{error}"))
}

fn with(name: &str, settings: &[&str]) -> Caps {
    settings.iter().fold(nic(name), |caps, text| {
        apply_set(&caps, text).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn program_of(hook: Option<Hook>, text: &str) -> Verified {
    let options = LoadOptions {
        hook,
        queues: 1,
        ..LoadOptions::default()
    };
    let set = load("case.bpf", text.as_bytes(), &options).unwrap_or_else(|e| panic!("{e}"));
    let program = set.programs.into_iter().next().unwrap();
    verify(Arc::new(program), verifier::Options::default())
        .unwrap_or_else(|rejection| panic!("{}", rejection.finding.message))
}

fn program(text: &str) -> Verified {
    program_of(None, text)
}

/// `rule@pc severity`, in order.
fn short(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| {
            let pc = f.pc.map_or_else(|| "-".to_owned(), |pc| pc.to_string());
            format!("{}@{pc} {}", f.rule, f.severity.name())
        })
        .collect()
}

fn errors(program: &Verified, caps: &Caps) -> Vec<String> {
    let mut all = check(program, caps);
    all.retain(|f| f.severity == Severity::Error);
    short(&all)
}

const PASS: &str = "r0 = 2\nexit\n";

const COUNTER: &str = "
.map counter type=array key=4 value=8 entries=1
  r1 = 0
  *(u32 *)(r10 - 4) = r1
  r2 = r10
  r2 += -4
  r1 = map[counter] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = 1
  lock *(u64 *)(r0 + 0) += r1
out:
  r0 = 2
  exit
";

#[test]
fn every_nic_with_the_hook_takes_a_program_that_passes() {
    let program = program(PASS);
    for name in builtin_names() {
        assert_eq!(errors(&program, &nic(name)), [""; 0], "{name}");
    }
}

#[test]
fn x86_dpu_has_nothing_to_say() {
    assert_eq!(short(&check(&program(PASS), &nic("x86-dpu"))), [""; 0]);
    assert_eq!(short(&check(&program(COUNTER), &nic("x86-dpu"))), [""; 0]);
}

/// nfp.md's worked example 15.3: the card takes exactly this.
#[test]
fn agilio_takes_the_counter() {
    let findings = check(&program(COUNTER), &nic("agilio-cx"));
    assert_eq!(short(&findings), ["image/not-translated@- note"]);
}

#[test]
fn a_finding_says_where_why_and_what_to_do() {
    let text = "
  r1 = 0
  r2 = 5
  r2 %= 3
  call bpf_ktime_get_ns
  r0 = 2
  exit
";
    let findings = check(&program(text), &nic("agilio-cx"));
    assert_eq!(
        short(&findings),
        [
            "image/not-translated@- note",
            "isa/not-on-nic@2 error",
            "helper/not-on-nic@3 error",
        ]
    );
    let modulo = &findings[1];
    assert_eq!(modulo.subject, "mod64_imm");
    assert_eq!(modulo.message, "agilio-cx does not execute `mod64_imm`");
    assert!(modulo.why.starts_with("the driver has "), "{}", modulo.why);
    assert!(modulo.why.contains("key `driver.isa.excluded_opcodes`"));
    assert!(modulo.help.contains("shifts and masks"));
    assert_eq!(modulo.line, Some(4));
    let time = &findings[2];
    assert_eq!(time.message, "bpf_ktime_get_ns cannot run on agilio-cx");
    assert!(
        time.why
            .starts_with("the device declares bpf_map_lookup_elem, ")
    );
    assert!(
        time.why
            .contains("(profiles/agilio-cx.toml, key `helpers`; source: nic-firmware")
    );
}

#[test]
fn instructions_that_no_path_reaches_do_not_count() {
    let text = "
  r0 = 2
  r1 = 0
  if r1 == 0 goto out
  r0 %= 3
out:
  exit
";
    let program = program(text);
    assert_eq!(errors(&program, &nic("agilio-cx")), [""; 0]);
}

#[test]
fn new_instructions_name_the_flag_of_the_compiler() {
    let text = "
  r1 = 7
  r0 = (s8)r1
  r0 = 2
  exit
";
    let findings = check(&program(text), &nic("agilio-cx"));
    assert_eq!(short(&findings)[1], "isa/too-new@1 error");
    assert_eq!(findings[1].help, "compile with -mcpu=v3");
    assert_eq!(
        findings[1].message,
        "`movsx8_64` is of CPU version v4, agilio-cx takes up to v3"
    );
    assert_eq!(errors(&program(text), &nic("netdevsim")), [""; 0]);
}

#[test]
fn groups_include_their_32_bit_halves_and_single_opcodes_are_exceptions() {
    let text = "
  w1 = 8
  w1 /= 2
  w1 *= 3
  if w1 > 3 goto out
  r1 = 1
out:
  r0 = 2
  exit
";
    assert_eq!(
        errors(&program(text), &nic("hbpf")),
        ["isa/not-on-nic@3 error"]
    );
    let small = with("hbpf", &["isa.groups=base64", "isa.excluded_opcodes="]);
    assert_eq!(
        errors(&program(text), &small),
        ["isa/not-on-nic@1 error", "isa/not-on-nic@2 error"]
    );
    let one = with(
        "hbpf",
        &["isa.groups=base64", "isa.extra_opcodes+=mul32_imm"],
    );
    assert_eq!(
        errors(&program(text), &one),
        ["isa/not-on-nic@1 error", "isa/not-on-nic@3 error"]
    );
}

/// hBPF 23cccc7, tests/data/err-div-by-zero-reg.test: the core stops.
#[test]
fn a_divisor_that_can_be_zero_stops_some_cores() {
    let text = "
  r2 = *(u32 *)(r1 + 16)
  r0 = 7
  r0 /= r2
  exit
";
    let guarded = text.replace("  r0 /=", "  if r2 == 0 goto +1\n  r0 /=");
    assert_eq!(
        errors(&program(text), &nic("hbpf")),
        ["isa/division-by-zero@2 error"]
    );
    assert_eq!(errors(&program(&guarded), &nic("hbpf")), [""; 0]);
    let unknown = with("hbpf", &["isa.division_by_zero=unknown"]);
    assert_eq!(
        short(&check(&program(text), &unknown)),
        ["isa/division-by-zero@2 warning"]
    );
    let zero = with("hbpf", &["isa.division_by_zero=zero"]);
    assert_eq!(errors(&program(text), &zero), [""; 0]);
}

#[test]
fn atomics_are_told_from_other_instructions() {
    let text = COUNTER.replace(
        "lock *(u64 *)(r0 + 0) += r1",
        "r1 = atomic_fetch_add((u64 *)(r0 + 0), r1)",
    );
    assert_eq!(
        errors(&program(&text), &nic("agilio-cx")),
        ["atomic/not-on-nic@9 error"]
    );
    assert!(
        errors(&program(COUNTER), &nic("hbpf")).contains(&"atomic/not-on-nic@9 error".to_owned())
    );
}

#[test]
fn what_is_not_known_is_a_warning() {
    let unsure = with(
        "x86-dpu",
        &["helpers=unknown", "map.types=unknown", "isa.groups=unknown"],
    );
    let findings = check(&program(COUNTER), &unsure);
    assert!(findings.iter().all(|f| f.severity == Severity::Warning));
    for rule in ["helper/not-on-nic", "map/type", "isa/not-on-nic"] {
        assert!(findings.iter().any(|f| f.rule == rule), "{rule}");
    }
    assert!(
        findings
            .iter()
            .any(|f| f.message == "whether x86-dpu has bpf_map_lookup_elem is not known")
    );
}

/// A lookup in a map, with 64 bytes of zeros as key.
fn map_program(map: &str) -> Verified {
    let mut text = format!(".map counter {map}\nr1 = 0\n");
    for at in 1..=8 {
        text += &format!("*(u64 *)(r10 - {}) = r1\n", 8 * at);
    }
    text += "r2 = r10\nr2 += -64\nr1 = map[counter] ll\ncall bpf_map_lookup_elem\n";
    program(&(text + PASS))
}

#[test]
fn maps_are_held_against_every_limit() {
    for (map, nic_name, settings, expected) in [
        (
            "type=percpu_array key=4 value=8 entries=1",
            "agilio-cx",
            &[][..],
            &["map/type@11 error"][..],
        ),
        (
            "type=hash key=60 value=8 entries=1",
            "agilio-cx",
            &[],
            &["map/key-size@11 error", "map/pair-size@11 error"],
        ),
        (
            "type=array key=4 value=60 entries=1",
            "agilio-cx",
            &[],
            &["map/pair-size@11 error", "map/value-size@11 error"],
        ),
        // 4 and 57 bytes are rounded up to 8 and 64: 72 of 64.
        ("type=array key=4 value=56 entries=1", "agilio-cx", &[], &[]),
        (
            "type=array key=4 value=8 entries=3",
            "netdevsim",
            &[],
            &["map/entries@11 error"],
        ),
        // No kernel creates such a map either: BPF_MAP_CREATE answers EINVAL.
        (
            "type=array key=4 value=8 entries=0",
            "x86-dpu",
            &[],
            &["map/entries@11 error"],
        ),
        (
            "type=array key=4 value=8 entries=2048001",
            "agilio-cx",
            &[],
            &["map/total@11 error"],
        ),
        (
            "type=array key=4 value=8 entries=100",
            "x86-dpu",
            &["map.total_bytes={value=1599, unit=\"bytes\", scope=\"all-maps\", granule=16}"],
            &["map/total@11 error"],
        ),
        (
            "type=array key=4 value=8 entries=100",
            "x86-dpu",
            &["map.total_bytes={value=1600, unit=\"bytes\", scope=\"all-maps\", granule=16}"],
            &[],
        ),
        (
            "type=array key=4 value=8 entries=1",
            "x86-dpu",
            &["map.count=0"],
            &["map/count@11 error"],
        ),
        (
            "type=hash key=4 value=8 entries=1 flags=1",
            "netdevsim",
            &[],
            &["map/flags@11 error"],
        ),
    ] {
        let caps = with(nic_name, settings);
        assert_eq!(
            errors(&map_program(map), &caps),
            expected,
            "{map} on {nic_name}"
        );
    }
}

#[test]
fn a_nic_without_maps_says_type_helper_and_atomic() {
    assert_eq!(
        errors(&program(COUNTER), &nic("hbpf")),
        [
            "stack/too-deep@1 error",
            "map/type@4 error",
            "helper/not-on-nic@6 error",
            "atomic/not-on-nic@9 error"
        ]
    );
}

#[test]
fn the_length_of_an_ebpf_image_is_known_at_once() {
    let long = "r0 = 2\n".repeat(128) + "exit\n";
    let findings = check(&program(&long), &nic("hbpf"));
    assert_eq!(short(&findings), ["image/too-long@128 error"]);
    assert_eq!(
        findings[0].message,
        "the program is 129 slots long, hbpf has 128"
    );
    let fits = "r0 = 2\n".repeat(127) + "exit\n";
    assert_eq!(errors(&program(&fits), &nic("hbpf")), [""; 0]);
    let rows = check(&program(PASS), &nic("hxdp-netfpga"));
    assert_eq!(
        rows[0].message,
        "whether the image fits into 256 rows is known only after translation"
    );
}

#[test]
fn calls_and_loops_are_found_where_they_are() {
    let calling = program(
        "
main:
  r6 = 1
  call inner
  r0 = 2
  exit
inner:
  r0 = 0
  exit
",
    );
    let looping = program(
        "
  r1 = 10
again:
  r1 += -1
  if r1 != 0 goto again
  r0 = 2
  exit
",
    );
    let caps = with("x86-dpu", &["loops=none", "calls.frames=1"]);
    assert_eq!(errors(&calling, &caps), ["calls/too-deep@1 error"]);
    assert_eq!(errors(&looping, &caps), ["loops/not-on-nic@2 error"]);
    assert_eq!(errors(&calling, &nic("x86-dpu")), [""; 0]);
    assert_eq!(errors(&looping, &nic("x86-dpu")), [""; 0]);
}

#[test]
fn a_backward_jump_alone_is_no_loop() {
    let text = "
  goto down
up:
  r0 = 2
  exit
down:
  goto up
";
    assert_eq!(
        errors(&program(text), &with("x86-dpu", &["loops=none"])),
        [""; 0]
    );
}

#[test]
fn return_codes_are_judged_where_they_are_chosen() {
    let text = "
  call bpf_get_prandom_u32
  r1 = r0
  r0 = 4
  if r1 == 0 goto out
  r0 = 3
out:
  exit
";
    let findings = check(&program(text), &nic("agilio-cx"));
    assert_eq!(
        short(&findings),
        ["image/not-translated@- note", "action/not-on-nic@2 error"]
    );
    assert_eq!(findings[1].subject, "XDP_REDIRECT");
    assert_eq!(findings[1].line, Some(4));
    assert_eq!(
        findings[1].message,
        "the program returns XDP_REDIRECT (4), on which agilio-cx does not act"
    );
    // A return of an inner function is no verdict.
    let inner = "
main:
  call inner
  r0 = 1
  exit
inner:
  r0 = 4
  exit
";
    assert_eq!(errors(&program(inner), &nic("agilio-cx")), [""; 0]);
    // An unknown code aborts, which the card does as well.
    assert_eq!(
        errors(&program("r0 = 77\nexit\n"), &nic("agilio-cx")),
        [""; 0]
    );
    let only_drop = with("x86-dpu", &["actions.xdp=XDP_DROP"]);
    assert_eq!(
        errors(&program(PASS), &only_drop),
        ["action/not-on-nic@0 error"]
    );
}

const PACKET: &str = "
  r2 = *(u32 *)(r1 + 0)
  r3 = *(u32 *)(r1 + 4)
  r4 = r2
  r4 += 100
  if r4 > r3 goto out
  r5 = *(u16 *)(r2 + 12)
  r5 = *(u8 *)(r2 + 99)
out:
  r0 = 2
  exit
";

#[test]
fn the_window_is_held_against_how_far_an_access_reaches() {
    let program = program(PACKET);
    assert_eq!(errors(&program, &nic("agilio-cx")), [""; 0]);
    let short_window = with("agilio-cx", &["packet.window_bytes=96"]);
    let findings = check(&program, &short_window);
    assert_eq!(
        short(&findings),
        ["image/not-translated@- note", "packet/window@6 error"]
    );
    assert_eq!(
        findings[1].message,
        "the access can reach byte 99 of a frame, agilio-cx lets programs reach 96"
    );
    assert!(
        findings[1]
            .why
            .starts_with("the device declares a window of 96 bytes")
    );
    let punts = with(
        "x86-dpu",
        &["packet.window_bytes=99", "packet.beyond_window=punt"],
    );
    assert_eq!(short(&check(&program, &punts)), ["packet/window@6 note"]);
    // The longest frame ends before the window does.
    let small_frames = with(
        "x86-dpu",
        &["packet.window_bytes=96", "packet.frame_max_bytes=96"],
    );
    assert_eq!(errors(&program, &small_frames), [""; 0]);
    assert_eq!(usage(&program).packet_bytes, 100);
}

#[test]
fn context_fields_are_held_against_what_the_nic_fills() {
    let text = "
  r2 = *(u32 *)(r1 + 12)
  r0 = 2
  exit
";
    let program = program(text);
    let findings = check(&program, &nic("agilio-cx"));
    assert_eq!(
        short(&findings),
        ["image/not-translated@- note", "ctx/field@0 error"]
    );
    assert_eq!(findings[1].subject, "ingress_ifindex");
    assert_eq!(errors(&program, &nic("hxdp-netfpga")), [""; 0]);
}

#[test]
fn room_before_and_behind_a_frame_is_counted() {
    for (call, by, nic_name, expected) in [
        (
            "bpf_xdp_adjust_head",
            -100,
            "agilio-cx",
            "packet/headroom@1 error",
        ),
        ("bpf_xdp_adjust_head", -84, "agilio-cx", ""),
        ("bpf_xdp_adjust_head", 14, "agilio-cx", ""),
        ("bpf_xdp_adjust_head", -216, "x86-dpu", ""),
        (
            "bpf_xdp_adjust_head",
            -20,
            "hxdp-netfpga",
            "packet/headroom@1 warning",
        ),
        // It fails on the host as well.
        ("bpf_xdp_adjust_head", -217, "x86-dpu", ""),
        (
            "bpf_xdp_adjust_tail",
            8,
            "agilio-cx",
            "packet/tailroom@1 error",
        ),
        ("bpf_xdp_adjust_tail", -8, "agilio-cx", ""),
        ("bpf_xdp_adjust_tail", 8, "x86-dpu", ""),
    ] {
        let program = program(&format!("r2 = {by}\ncall {call}\nr0 = 2\nexit\n"));
        let mut findings = check(&program, &nic(nic_name));
        findings.retain(|f| f.severity != Severity::Note);
        let found = short(&findings).join(" ");
        assert_eq!(found, expected, "{call} by {by} on {nic_name}");
    }
}

#[test]
fn key_and_value_are_where_the_nic_reads_them() {
    // Two halves of 2 bytes: the kernel takes a key there, the card does not.
    let program = program(
        &COUNTER
            .replace(
                "*(u32 *)(r10 - 4) = r1",
                "*(u16 *)(r10 - 6) = r1\n*(u16 *)(r10 - 4) = r1",
            )
            .replace("+= -4", "+= -6"),
    );
    assert_eq!(
        errors(&program, &nic("agilio-cx")),
        ["helper/constraint@7 error"]
    );
    let from_packet = self::program(
        "
.map counter type=hash key=4 value=8 entries=1
  r2 = *(u32 *)(r1 + 0)
  r3 = *(u32 *)(r1 + 4)
  r4 = r2
  r4 += 14
  if r4 > r3 goto out
  r1 = map[counter] ll
  call bpf_map_lookup_elem
out:
  r0 = 2
  exit
",
    );
    let findings = check(&from_packet, &nic("agilio-cx"));
    assert!(
        findings.iter().any(|f| f.message
            == "the key of bpf_map_lookup_elem lies in the packet, agilio-cx takes it only from: stack"),
        "{:?}",
        short(&findings)
    );
}

#[test]
fn stores_to_values_and_the_stack_are_held_against_the_nic() {
    let store = program(&COUNTER.replace("lock *(u64 *)(r0 + 0) += r1", "*(u64 *)(r0 + 0) = r1"));
    assert_eq!(
        errors(&store, &nic("agilio-cx")),
        ["map/value-write@9 error"]
    );
    let spill = program("r1 = 3\n*(u64 *)(r10 - 8) = r1\nr0 = 2\nexit\n");
    let findings = check(&spill, &nic("hbpf"));
    assert_eq!(short(&findings), ["stack/too-deep@1 error"]);
}

#[test]
fn a_finding_names_the_users_own_profile() {
    let text = caps::builtin_text("hbpf").unwrap();
    let own = Caps::from_toml("./nics/mine.toml", text).unwrap();
    assert_eq!(own.name, "mine");
    let findings = check(&program(COUNTER), &own);
    assert!(findings[0].message.contains("mine has"), "{findings:?}");
    assert!(
        findings[0]
            .why
            .contains("(./nics/mine.toml, key `stack.bytes`;")
    );
}

#[test]
fn a_key_at_several_places_of_the_stack_is_only_a_warning() {
    let program = program(
        "
.map counter type=hash key=4 value=8 entries=1
  r7 = r1
  call bpf_get_prandom_u32
  r1 = 0
  *(u32 *)(r10 - 4) = r1
  *(u32 *)(r10 - 8) = r1
  r2 = r10
  r2 += -4
  if r0 == 0 goto look
  r2 = r10
  r2 += -8
look:
  r1 = map[counter] ll
  call bpf_map_lookup_elem
  r0 = 2
  exit
",
    );
    let mut findings = check(&program, &nic("agilio-cx"));
    findings.retain(|f| f.severity != Severity::Note);
    assert_eq!(short(&findings), ["helper/constraint@12 warning"]);
}

#[test]
fn each_frame_of_a_chain_is_rounded_up() {
    let program = program(
        "
main:
  r1 = 3
  *(u64 *)(r10 - 8) = r1
  call inner
  r0 = 2
  exit
inner:
  r0 = 0
  *(u64 *)(r10 - 16) = r0
  exit
",
    );
    assert_eq!(
        errors(&program, &with("agilio-cx", &["stack.bytes=128"])),
        [""; 0]
    );
    let findings = check(&program, &with("agilio-cx", &["stack.bytes=64"]));
    assert_eq!(short(&findings)[1], "stack/too-deep@6 error");
    assert_eq!(
        findings[1].message,
        "the program needs 128 bytes of stack, agilio-cx has 64"
    );
    assert_eq!(usage(&program).stack_bytes, 24);
    assert_eq!(usage(&program).call_depth, 2);
}

#[test]
fn flags_must_be_the_constant_that_the_nic_takes() {
    let text = "
.map events type=perf_event_array key=4 value=4 entries=1
  r6 = r1
  r1 = 7
  *(u64 *)(r10 - 8) = r1
  r1 = r6
  r2 = map[events] ll
  r3 = FLAGS ll
  r4 = r10
  r4 += -8
  r5 = 8
  call bpf_perf_event_output
  r0 = 2
  exit
";
    let caps = with(
        "x86-dpu",
        &["helper.bpf_perf_event_output.flags=0xffffffff"],
    );
    let other = program(&text.replace("FLAGS ll", "0"));
    let findings = check(&other, &caps);
    assert_eq!(short(&findings), ["helper/constraint@10 error"]);
    assert_eq!(
        findings[0].message,
        "the flags of bpf_perf_event_output are 0x0"
    );
    assert_eq!(findings[0].help, "pass BPF_F_CURRENT_CPU");
    for load in ["w3 = -1", "r3 = 0xffffffff ll"] {
        let current = program(&text.replace("r3 = FLAGS ll", load));
        assert_eq!(errors(&current, &caps), [""; 0]);
    }
}

#[test]
fn hooks_that_the_nic_does_not_have() {
    let tc = program_of(Some(Hook::TC), "r0 = 0\nexit\n");
    assert_eq!(errors(&tc, &nic("hbpf"))[0], "hook/not-on-nic@- error");
    let raw = program_of(Some(Hook::Raw { memory_bytes: 8 }), "r0 = 0\nexit\n");
    assert_eq!(errors(&raw, &nic("x86-dpu")), ["hook/raw@- error"]);
}

#[test]
fn a_helper_that_only_the_verifier_knows() {
    let text = "call bpf_get_current_pid_tgid\nr0 = 0\nexit\n";
    let program = program_of(Some(Hook::TC), text);
    let findings = errors(&program, &nic("x86-dpu"));
    assert_eq!(findings, ["helper/no-body@0 error"]);
}

#[test]
fn netdevsim_says_that_it_never_runs_a_program() {
    let findings = check(&program(PASS), &nic("netdevsim"));
    assert_eq!(short(&findings), ["nic/never-runs@- note"]);
}

#[test]
fn every_rule_has_a_page_and_every_finding_a_rule() {
    for rule in caps::rules::RULES {
        let page = caps::explain(rule.id).unwrap_or_else(|| panic!("{} has no page", rule.id));
        assert!(page.starts_with(&format!("# {}\n", rule.id)), "{}", rule.id);
        for part in ["## Meaning", "## Why", "## What to change", "## Example"] {
            assert!(page.contains(part), "{}: {part}", rule.id);
        }
    }
    assert!(caps::rules::RULES.is_sorted_by_key(|rule| rule.id));
    assert_eq!(caps::explain("no/such-rule"), None);
    for caps in builtin_names().iter().map(|name| nic(name)) {
        for finding in check(&program(COUNTER), &caps) {
            assert!(
                caps::rules::RULES.iter().any(|r| r.id == finding.rule),
                "{}",
                finding.rule
            );
            assert!(!finding.why.is_empty());
        }
    }
}

#[test]
fn usage_counts_what_the_program_takes() {
    let usage = usage(&program(COUNTER));
    assert_eq!(usage.insns, 12);
    assert_eq!(usage.maps, 1);
    assert_eq!(usage.map_entries, 1);
    assert_eq!(usage.map_bytes, 12);
    assert_eq!(usage.helpers, ["bpf_map_lookup_elem"]);
    assert!(usage.opcodes.contains(&"atomic64_add"));
    assert_eq!(usage.loops, 0);
}

/// The programs in `programs/`, which are as real as those that people run.
fn own_programs() -> Vec<(String, Verified)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "o" || e == "bpf"))
        .collect();
    files.sort();
    let options = LoadOptions {
        queues: 8,
        ..LoadOptions::default()
    };
    let mut programs = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let set = load(&name, &std::fs::read(&file).unwrap(), &options)
            .unwrap_or_else(|error| panic!("{error}"));
        for program in set.programs {
            let title = format!("{name} {}", program.name);
            // Whether all of them are safe is not judged here.
            if let Ok(verified) = verify(Arc::new(program), verifier::Options::default()) {
                programs.push((title, verified));
            }
        }
    }
    programs
}

#[test]
fn x86_dpu_takes_every_program_of_our_own() {
    let caps = nic("x86-dpu");
    let programs = own_programs();
    assert!(programs.len() >= 14);
    for (name, program) in &programs {
        assert_eq!(errors(program, &caps), [""; 0], "{name}");
    }
}

#[test]
fn every_finding_on_a_compiled_program_has_a_line_and_a_reason() {
    for (name, program) in &own_programs() {
        for nic_name in builtin_names() {
            for finding in check(program, &nic(nic_name)) {
                assert!(!finding.why.is_empty(), "{name} on {nic_name}");
                if finding.severity == Severity::Error && finding.pc.is_some() {
                    assert!(finding.line.is_some(), "{name} on {nic_name}: {finding:?}");
                }
            }
        }
    }
}
