//! Every built-in profile reads, says where each fact is from, and survives the ways to write
//! it; a wrong profile is refused with place and help.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::fmt::Write as _;

use caps::{Bound, Caps, CostClass, Trust, Value, apply_set, builtin, builtin_names};
use proptest::prelude::*;

fn nic(name: &str) -> Caps {
    builtin(name).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_profiles_are_there() {
    assert_eq!(
        builtin_names(),
        [
            "agilio-cx",
            "agilio-full",
            "bluefield3-dpa",
            "hbpf",
            "hxdp-netfpga",
            "netdevsim",
            "x86-dpu"
        ]
    );
}

#[test]
fn every_fact_has_a_source() {
    for name in builtin_names() {
        let caps = nic(name);
        assert_eq!(caps.name, *name);
        for (key, fact) in caps.facts() {
            assert!(fact.source.len() > 10, "{name}: {key} has no source");
            if fact.source.starts_with("modelled") {
                assert_eq!(fact.trust, Trust::Modelled, "{name}: {key}");
            }
        }
    }
}

#[test]
fn toml_text_reads_back_to_the_same() {
    for name in builtin_names() {
        let caps = nic(name);
        let text = caps.to_toml();
        let again = Caps::from_toml(&format!("profiles/{name}.toml"), &text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, caps);
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn json_and_text_hold_every_fact() {
    for name in builtin_names() {
        let caps = nic(name);
        let json = serde_json::to_value(&caps).unwrap();
        let text = caps.to_text();
        for (key, fact) in caps.facts() {
            assert!(text.contains(&fact.source), "{name}: {key}");
            assert_eq!(json["facts"][key]["source"], fact.source.as_str());
        }
    }
    let json = serde_json::to_value(nic("hbpf")).unwrap();
    assert_eq!(json["facts"]["image.length"]["value"], 128);
    assert_eq!(json["facts"]["image.length"]["unit"], "slots");
    assert_eq!(json["facts"]["model.clock_hz"]["by"], "model");
}

/// Linux 6.18: what BPF_PROG_TEST_RUN shows a program in an empty network namespace.
#[test]
fn x86_dpu_has_the_environment_of_a_test_run() {
    let caps = nic("x86-dpu");
    let packet = caps.packet();
    assert_eq!(packet.headroom, Bound::Known(bpf::run::XDP_HEADROOM as u64));
    assert_eq!(packet.headroom_usable, Bound::Known(216));
    assert_eq!(
        packet.frame_max,
        Bound::Known(bpf::run::XDP_MAX_LINEAR as u64)
    );
    assert_eq!(
        packet.frame_min,
        Bound::Known(bpf::run::XDP_MIN_FRAME as u64)
    );
    assert_eq!(caps.model().ports, Bound::Known(1));
    assert_eq!(caps.model().queues_default, 8);
    assert!(!caps.costs().is_known());
    assert_eq!(caps.backend, "x86_64");
}

/// hBPF 23cccc7, doc/opcodes.md.
#[test]
fn hbpf_has_the_published_costs() {
    let costs = nic("hbpf").costs();
    for (class, cycles) in [
        (CostClass::Alu, Some(1)),
        (CostClass::Shift, Some(4)),
        (CostClass::Divide, Some(68)),
        (CostClass::Wide, Some(2)),
        (CostClass::LoadB, Some(14)),
        (CostClass::StoreH, Some(17)),
        (CostClass::StoreDw, Some(23)),
        (CostClass::Exit, Some(1)),
        (CostClass::Atomic, None),
    ] {
        assert_eq!(costs.cycles(class), cycles, "{class:?}");
    }
    assert_eq!(nic("hbpf").stack_bytes(), Bound::Known(0));
}

#[test]
fn netdevsim_never_runs_a_program_in_reality() {
    assert!(!nic("netdevsim").model().executes);
    assert!(nic("agilio-cx").model().executes);
}

/// The profile of a NIC with one line replaced.
fn edited(name: &str, from: &str, to: &str) -> Result<Caps, caps::ProfileError> {
    let text = caps::builtin_text(name).unwrap();
    assert!(text.contains(from), "{name} has no {from}");
    Caps::from_toml("my/nic.toml", &text.replacen(from, to, 1))
}

fn line_of(name: &str, text: &str) -> usize {
    let all = caps::builtin_text(name).unwrap();
    all.lines().position(|l| l.contains(text)).unwrap() + 1
}

#[test]
fn a_wrong_profile_says_file_line_and_what_is_allowed() {
    let window = line_of("hbpf", "window_bytes");
    let length = line_of("hbpf", "value = 128");
    let types = line_of("agilio-cx", "types = ");
    let hooks = line_of("hbpf", "hooks = ");
    for (name, from, to, expected) in [
        (
            "hbpf",
            "window_bytes =",
            "windw_bytes =",
            format!(
                "my/nic.toml:{window}: unknown key `packet.windw_bytes`; did you mean packet.window_bytes?"
            ),
        ),
        (
            "hbpf",
            "window_bytes = { value = 2024",
            "window_bytes = { value = -1",
            format!(
                "my/nic.toml:{window}: `packet.window_bytes` is -1, allowed is 0 to 16777216 or \"unlimited\" or \"unknown\""
            ),
        ),
        (
            "hbpf",
            "window_bytes = { value = 2024",
            "window_bytes = { value = true",
            format!(
                "my/nic.toml:{window}: `packet.window_bytes` is boolean, expected 0 to 16777216 or \"unlimited\" or \"unknown\""
            ),
        ),
        (
            "hbpf",
            "value = 128, unit = \"slots\"",
            "value = 128, unit = \"slot\"",
            format!(
                "my/nic.toml:{length}: `image.length` has no unit `slot`; allowed is insns, rows, slots, bytes"
            ),
        ),
        (
            "hbpf",
            "value = 128, unit = \"slots\", scope",
            "value = 128, scope",
            format!("my/nic.toml:{length}: no key `image.length.unit`"),
        ),
        (
            "hbpf",
            "hooks = { value = [\"xdp\", \"raw\"], source",
            "hooks = { value = [\"xdp\", \"raw\"], sauce",
            format!("my/nic.toml:{hooks}: unknown key `hooks.sauce`; did you mean source?"),
        ),
        (
            "hbpf",
            "hooks = { value = [\"xdp\", \"raw\"], source = \"modelled: the core",
            "hooks = { value = [\"xdp\", \"raw\"], source = \"\" } # \"",
            format!("my/nic.toml:{hooks}: `hooks` has no `source`"),
        ),
        (
            "hbpf",
            "frame_min_bytes = { value = 14",
            "frame_min_bytes = { value = 3000",
            "`packet.frame_min_bytes` is 3000, but that is more than packet.frame_max_bytes"
                .to_owned(),
        ),
        (
            "hbpf",
            "exit = { value = 1,",
            "# exit = { value = 1,",
            "my/nic.toml: no key `model.cycles.exit`".to_owned(),
        ),
        (
            "agilio-cx",
            "types = { value = [\"hash\"",
            "types = { value = [\"hsh\"",
            format!("my/nic.toml:{types}: `map.types` has no map type `hsh`; did you mean hash?"),
        ),
        (
            "agilio-cx",
            "[driver.actions]",
            "[actions]",
            "a record of format nfp cannot declare `actions.tc`; write it as `driver.actions.tc`"
                .to_owned(),
        ),
        (
            "agilio-cx",
            "[driver.helper.bpf_map_lookup_elem]",
            "[driver.helper.bpf_map_lookup]",
            "has no helper `bpf_map_lookup`; did you mean bpf_map_lookup_elem".to_owned(),
        ),
        (
            "agilio-cx",
            "backend = \"nfp\"",
            "backend = 3",
            "`backend` is integer, expected text".to_owned(),
        ),
        (
            "agilio-cx",
            "record = \"nfp\"",
            "record = \"tlv\"",
            "allowed is nicbed, nfp".to_owned(),
        ),
        ("agilio-cx", "[stack]", "[stack", "my/nic.toml:".to_owned()),
    ] {
        let error = edited(name, from, to).unwrap_err().to_string();
        assert!(error.contains(&expected), "got  {error}\nwant {expected}");
    }
}

#[test]
fn no_profile_text_panics() {
    let text = caps::builtin_text("agilio-cx").unwrap();
    for cut in (0..text.len()).step_by(37) {
        if text.is_char_boundary(cut) {
            let _ = Caps::from_toml("cut.toml", &text[..cut]);
        }
    }
}

#[test]
fn an_unknown_nic_lists_the_known() {
    let error = builtin("agilio").unwrap_err().to_string();
    assert!(error.starts_with("no NIC is named agilio; known are agilio-cx, "));
}

#[test]
fn set_changes_one_key_with_its_type() {
    let caps = nic("hbpf");
    let set = |text| apply_set(&caps, text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        set("packet.window_bytes=128").packet().window,
        Bound::Known(128)
    );
    assert_eq!(
        set("packet.window_bytes=unlimited").packet().window,
        Bound::Unlimited
    );
    let longer = set("image.length=4096").image_length().unwrap();
    assert_eq!(longer.value, Bound::Known(4096));
    assert_eq!(longer.unit, caps::Unit::Slots, "the unit stays");
    let rows = set("image.length={ value = 9, unit = \"rows\", scope = \"program\" }");
    assert_eq!(rows.image_length().unwrap().unit, caps::Unit::Rows);
    assert!(set("helpers=all").has("helpers", "bpf_redirect"));
    assert!(set("helpers=[\"bpf_redirect\"]").has("helpers", "bpf_redirect"));
    let more = set("map.types=hash,array");
    assert!(more.has("map.types", "array") && !more.has("map.types", "lpm_trie"));
    let less = apply_set(&more, "map.types-=array").unwrap();
    assert!(less.has("map.types", "hash") && !less.has("map.types", "array"));
    assert!(set("helpers+=bpf_redirect").has("helpers", "bpf_redirect"));
    assert_eq!(set("backend=rv64").backend, "rv64");
    let fact = set("map.direct_values=true");
    let fact = fact.fact("map.direct_values").unwrap();
    assert_eq!(fact.value, Value::Flag(true));
    assert_eq!(fact.trust, Trust::Modelled);
    assert_eq!(
        set("model.cycles.exit=5").costs().cycles(CostClass::Exit),
        Some(5)
    );
}

#[test]
fn a_cost_that_is_set_leaves_the_others_unknown() {
    let caps = apply_set(&nic("netdevsim"), "model.cycles.alu=3").unwrap();
    assert_eq!(caps.costs().cycles(CostClass::Alu), Some(3));
    assert_eq!(caps.costs().cycles(CostClass::Mul), None);
    let none = apply_set(&caps, "model.cycles=unknown").unwrap();
    assert!(!none.costs().is_known());
}

#[test]
fn set_refuses_what_a_profile_would() {
    for (name, text, expected) in [
        (
            "hbpf",
            "packet.window=1",
            "--set packet.window: unknown key `packet.window`; did you mean packet.window_bytes",
        ),
        ("hbpf", "cores=2", "did you mean model.cores?"),
        ("hbpf", "helpers", "expected KEY=VALUE"),
        ("hbpf", "model.cores=0", "allowed is 1 to 65536"),
        ("hbpf", "helpers+=bpf_nope", "has no helper `bpf_nope`"),
        ("hbpf", "model.cores+=3", "a list of names for += and -="),
        (
            "hbpf",
            "packet.headroom_usable_bytes=9",
            "that is more than packet.headroom_bytes",
        ),
        (
            "agilio-cx",
            "packet.window_bytes=128",
            "units of 64 bytes, of which 32 are taken off: 32, 96, 160",
        ),
        (
            "agilio-cx",
            "isa.groups=base64",
            "write it as `driver.isa.groups`",
        ),
        (
            "agilio-cx",
            "helpers+=bpf_map_update_elem",
            "needs its helper.NAME.code_address",
        ),
    ] {
        let error = apply_set(&nic(name), text).unwrap_err().to_string();
        assert!(error.contains(expected), "got  {error}\nwant {expected}");
    }
}

/// The table of keys in docs/profiles.md is this one. `BLESS=1` writes it.
#[test]
fn the_guide_to_profiles_lists_every_key() {
    use caps::schema::{Kind, Need, ROWS};
    let mut table = String::from("| key | value | what it says |\n|---|---|---|\n");
    for row in ROWS {
        let layer = match row.need {
            Need::Model | Need::Cost | Need::ModelOptional => "model.",
            Need::Always | Need::Nfp | Need::NfpOptional | Need::Optional => "",
        };
        let words = |words: &[&str]| {
            words
                .iter()
                .fold(String::new(), |text, word| format!("{text}, `{word}`"))
        };
        let value = match row.kind {
            Kind::Number(min, max, or) => format!("{min} to {max}{}", words(or)),
            Kind::Limit(units, scope) => {
                let units: Vec<_> = units.iter().map(|u| u.name()).collect();
                format!("limit in {}, scope {}", units.join(" or "), scope.name())
            }
            Kind::Flag => "`true`, `false`, `unknown`".to_owned(),
            Kind::Choice(list) => words(list)[2..].to_owned(),
            Kind::Names(domain) => format!("list of {}s, `all`, `unknown`", domain.what()),
            Kind::Interval => "[least, largest], `unknown`".to_owned(),
            Kind::Absent => "`unknown`".to_owned(),
        };
        let optional = match row.need {
            Need::Always | Need::Model | Need::Cost => "",
            Need::ModelOptional | Need::Optional => " (optional)",
            Need::Nfp => " (record `nfp`)",
            Need::NfpOptional => " (record `nfp`, optional)",
        };
        let _ = writeln!(
            table,
            "| `{layer}{}` | {value} | {}{optional} |",
            row.key, row.doc
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/profiles.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once("<!-- keys -->\n").unwrap();
    let (old, tail) = rest.split_once("<!-- end of keys -->").unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test asks whether to write its expectation"
    )]
    if std::env::var("BLESS").is_ok() {
        let new = format!("{head}<!-- keys -->\n{table}<!-- end of keys -->{tail}");
        std::fs::write(path, new).unwrap();
    } else {
        assert_eq!(
            old, table,
            "BLESS=1 cargo test -p caps writes docs/profiles.md"
        );
    }
}

#[test]
fn facts_are_listed_by_layer_in_the_order_of_the_schema() {
    let caps = nic("agilio-cx");
    let keys: Vec<_> = caps.facts().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys[..3], ["hooks", "helpers", "image.length"]);
    let at = |key| keys.iter().position(|k| *k == key).unwrap();
    assert!(at("nfp.live_reload") < at("driver.loops"));
    assert!(at("driver.loops") < at("driver.isa.groups"));
    assert!(at("driver.ctx.tc_write") < at("model.packet.headroom_bytes"));
    assert!(at("model.packet.meta_bytes") < at("model.cores"));
}

proptest! {
    #[test]
    fn no_assignment_panics(
        name in proptest::sample::select(builtin_names()),
        key in proptest::sample::select(caps::schema::all_keys()),
        how in "(=|\\+=|-=)",
        value in r#"([0-9a-f"\[\],{}=x. ]{0,12}|unknown|all|unlimited|host|-1|99999999999999999999|\PC{0,8})"#,
    ) {
        let key = key.replace('*', "bpf_map_lookup_elem");
        if let Ok(caps) = apply_set(&nic(name), &format!("{key}{how}{value}")) {
            // What was accepted is a profile like any other.
            let again = Caps::from_toml(&caps.file, &caps.to_toml()).unwrap();
            prop_assert_eq!(again, caps);
        }
    }
}
