//! What bad input gets: an error that names the file and what was expected, and the exit status
//! of its kind. Never a panic, a signal or a hang. Real objects, captures, profiles and seeds
//! are cut and changed (seeded, so a failure can be repeated), in this process where that is
//! quicker and by the command where the whole path counts.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use caps::Caps;
use cli::{Ran, Random, Sandbox, capture, objects, program, programs_of, root};
use harness::pipeline;
use jit_backends::Loaded;

/// Every NIC, the emulated one without its limits.
fn nics() -> Vec<Arc<Caps>> {
    caps::builtin_names()
        .iter()
        .map(|name| Arc::new(caps::builtin(name).unwrap()))
        .collect()
}

/// File ranges of the instructions in an object.
fn code(object: &[u8]) -> Vec<std::ops::Range<usize>> {
    use object::{Object as _, ObjectSection as _, SectionKind};
    let file = object::File::parse(object).unwrap();
    file.sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .filter_map(|section| section.file_range())
        .map(|(start, size)| start as usize..(start + size) as usize)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Takes an object as far as it gets on every NIC; says whether a program was accepted.
fn assess(name: &str, bytes: &[u8], nics: &[Arc<Caps>]) -> bool {
    let set = match load(name, bytes, &LoadOptions::default()) {
        Ok(set) => set,
        Err(error) => {
            assert!(error.to_string().contains(name), "{error}");
            return false;
        }
    };
    let mut accepted = false;
    for program in &set.programs {
        let program = Arc::new(program.clone());
        for nic in nics {
            let assessment = pipeline::assess(&program, nic, &Loaded::default());
            accepted |= assessment.verified.is_some();
        }
    }
    accepted
}

#[test]
fn changed_instructions_go_as_far_as_they_get_on_every_nic() {
    let nics = nics();
    let mut random = Random(0x5eed_0001);
    let (mut accepted, mut rejected) = (0, 0);
    for name in objects() {
        let bytes = std::fs::read(program(&format!("{name}.o"))).unwrap();
        let code = code(&bytes);
        for _ in 0..40 {
            let mut changed = bytes.clone();
            let range = code[random.below(code.len())].clone();
            let part = random.mutated(&bytes[range.clone()]);
            changed[range].copy_from_slice(&part);
            if assess(&name, &changed, &nics[..]) {
                accepted += 1;
            } else {
                rejected += 1;
            }
        }
    }
    assert!(accepted > 10 && rejected > 100, "{accepted} {rejected}");
}

#[test]
fn objects_cut_anywhere_have_an_answer() {
    for name in objects() {
        let bytes = std::fs::read(program(&format!("{name}.o"))).unwrap();
        for length in (0..bytes.len()).step_by(131) {
            assert!(!assess(&name, &bytes[..length], &[]), "{name} {length}");
        }
    }
}

/// Mutants of which some run for real: in the worst case they would take the process down, so
/// the command runs them.
#[test]
fn the_command_survives_changed_objects() {
    let sandbox = Sandbox::new("malformed_objects");
    let mut random = Random(0x5eed_0002);
    let mut statuses = std::collections::BTreeMap::new();
    for name in objects() {
        let bytes = std::fs::read(program(&format!("{name}.o"))).unwrap();
        let entry = programs_of(&name).remove(0);
        let code = code(&bytes);
        for round in 0..24 {
            let mut changed = bytes.clone();
            if round < 20 {
                let range = code[random.below(code.len())].clone();
                let part = random.mutated(&bytes[range.clone()]);
                changed[range].copy_from_slice(&part);
            } else {
                changed = random.mutated(&bytes);
            }
            let file = sandbox.write(&format!("{name}-{round}.o"), changed);
            let args = [
                "run",
                &file,
                "--program",
                &entry,
                "--nic",
                "x86-dpu",
                "--pcap",
                &capture("all.pcap"),
            ];
            let ran = sandbox.nicbed(&args);
            assert!(
                ran.status != 5,
                "{}: NIC and reference disagree\n{}",
                ran.line,
                ran.out()
            );
            // Its name is gone only where anything may have changed.
            assert!(ran.status != 2 || round >= 20, "{ran:?}");
            *statuses.entry(ran.status).or_insert(0) += 1;
            std::fs::remove_file(sandbox.path(&file)).unwrap();
        }
    }
    assert!(statuses[&0] > 20 && statuses[&1] > 5, "{statuses:?}");
}

#[test]
fn random_bytes_are_no_object() {
    let sandbox = Sandbox::new("malformed_random");
    let mut random = Random(0x5eed_0003);
    for round in 0..24 {
        let mut bytes: Vec<u8> = (0..=random.below(3000))
            .map(|_| random.next() as u8)
            .collect();
        if round % 3 == 0 {
            bytes.splice(0..0, *b"\x7fELF\x02\x01\x01\0");
        }
        let name = ["a.o", "a.bpf", "a.s", "a.bin", "a.hex"][round % 5];
        let file = sandbox.write(name, bytes);
        let ran = sandbox.nicbed(&["verify", &file]);
        // Raw instructions are none of a known opcode, or a program that is not safe.
        assert!(
            ran.status == 3 || (name == "a.bin" && ran.status == 1),
            "{ran:?}"
        );
        if ran.status == 3 {
            ran.says(&[name]);
        }
    }
}

#[test]
fn files_that_are_no_objects_are_named() {
    let sandbox = Sandbox::new("malformed_files");
    sandbox.write("empty.o", b"");
    std::fs::create_dir(sandbox.path("folder.o")).unwrap();
    let pass = std::fs::read(program("pass.o")).unwrap();
    sandbox.write("cut.o", &pass[..700]);
    sandbox.write("text.bpf", b"r0 = nonsense\n");
    sandbox.write("latin.bpf", b"; caf\xe9\nr0 = 2\nexit\n");
    for command in ["inspect", "verify", "check", "jit", "run"] {
        let with = |file: &str| {
            let mut args = vec![command.to_owned(), file.to_owned()];
            if matches!(command, "check" | "jit" | "run") {
                args.extend(["--nic".to_owned(), "x86-dpu".to_owned()]);
            }
            if command == "run" {
                args.extend(["--pcap".to_owned(), capture("udp.pcap")]);
            }
            sandbox.nicbed(&args).status(3)
        };
        with("empty.o").says(&["empty.o", "the file is empty", "expected an ELF object"]);
        with("folder.o").says(&["folder.o", "directory"]);
        with("none.o").says(&["none.o", "cannot read", "No such file"]);
        with("cut.o").says(&["cut.o", "offset", "truncated"]);
        with("text.bpf").says(&["text.bpf", "nonsense"]);
        with("latin.bpf").says(&["latin.bpf", "UTF-8"]);
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at..at + width]);
    u64::from_le_bytes(word) as usize
}

/// Offset of the header of the section with this name.
fn header(bytes: &[u8], name: &str) -> usize {
    let table = number(bytes, 40, 8);
    let strings = number(bytes, table + number(bytes, 62, 2) * 64 + 24, 8);
    (0..number(bytes, 60, 2))
        .map(|index| table + index * 64)
        .find(|header| {
            let at = strings + number(bytes, *header, 4);
            bytes[at..].starts_with(format!("{name}\0").as_bytes())
        })
        .unwrap()
}

#[test]
fn sections_that_overlap_or_go_in_circles_are_refused() {
    let sandbox = Sandbox::new("malformed_sections");
    let bytes = std::fs::read(program("firewall.o")).unwrap();
    let put = |at: usize, value: u64| {
        let mut changed = bytes.clone();
        changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
        changed
    };
    let (xdp, maps) = (header(&bytes, "xdp"), header(&bytes, ".maps"));
    let start = number(&bytes, xdp + 24, 8) as u64;
    // Two sections in the same bytes of the file.
    let file = sandbox.write("overlap.o", put(maps + 24, start + 8));
    sandbox
        .nicbed(&["inspect", &file])
        .status(3)
        .says(&["overlap.o", ".maps", "xdp"]);
    // The section table inside a section, so that headers are described by what they describe.
    let file = sandbox.write("circle.o", put(40, start));
    sandbox
        .nicbed(&["inspect", &file])
        .status(3)
        .says(&["circle.o", "offset"]);
    // A section of 2^40 bytes.
    let file = sandbox.write("huge.o", put(xdp + 32, 1 << 40));
    sandbox
        .nicbed(&["inspect", &file])
        .status(3)
        .says(&["huge.o", "offset"]);
    // Relocations for themselves: `sh_info` names their own section.
    let relocations = header(&bytes, ".relxdp");
    let own = (relocations - number(&bytes, 40, 8)) / 64;
    let mut changed = bytes.clone();
    changed[relocations + 44..relocations + 48].copy_from_slice(&(own as u32).to_le_bytes());
    let file = sandbox.write("own.o", changed);
    let ran = sandbox.nicbed(&["verify", &file]);
    assert!(matches!(ran.status, 1 | 3), "{ran:?}");
}

/// A legacy map definition is plain numbers in the file: type, key, value, entries.
#[test]
fn maps_without_bound_are_refused_without_being_made() {
    let sandbox = Sandbox::new("malformed_maps");
    let object = root().join("bpf/tests/objects/legacy_5.o");
    let mut bytes = std::fs::read(object).unwrap();
    let at = number(&bytes, header(&bytes, "maps") + 24, 8);
    for (field, value) in [(8, 1_u32 << 20), (12, 1 << 20)] {
        bytes[at + field..at + field + 4].copy_from_slice(&value.to_le_bytes());
    }
    let file = sandbox.write("terabyte.o", bytes);
    sandbox
        .nicbed(&["inspect", &file])
        .status(3)
        .says(&["terabyte.o", "map", "1099511627776"]);

    let firewall = program("firewall.o");
    let run = |entries: &str| {
        let map = format!("blocklist.max_entries={entries}");
        let args = ["run", &firewall, "--nic", "x86-dpu", "--pcap"];
        let mut args: Vec<String> = args.map(str::to_owned).to_vec();
        args.extend([capture("udp.pcap"), "--map".to_owned(), map]);
        sandbox.nicbed(&args)
    };
    run("1099511627776")
        .status(2)
        .says(&["--map blocklist.max_entries=1099511627776", "4294967295"]);
    // Too large for this NIC: an answer, not an error.
    let ran = run("4294967295").status(1);
    assert!(
        ran.out().contains("load/map") && ran.out().contains("blocklist"),
        "{ran:?}"
    );
    run("-1").status(2);
    run("many").status(2).says(&["many is not a number"]);
    sandbox
        .nicbed(&["verify", &firewall, "--map", "nosuch.max_entries=5"])
        .status(2)
        .says(&["firewall.o", "nosuch", "blocklist"]);
    sandbox
        .nicbed(&["verify", &firewall, "--map", "nonsense"])
        .status(2)
        .says(&["--map nonsense", "NAME=VALUE"]);
}

#[test]
fn an_object_without_a_program_says_so() {
    let sandbox = Sandbox::new("malformed_no_program");
    let bytes = std::fs::read(program("pass.o")).unwrap();
    // Without the flag of instructions the section is data.
    let mut changed = bytes.clone();
    changed[header(&bytes, "xdp") + 8] &= !4;
    let file = sandbox.write("data.o", changed);
    for command in [
        vec!["verify", &file],
        vec!["check", &file, "--nic", "x86-dpu"],
        vec![
            "run",
            &file,
            "--nic",
            "x86-dpu",
            "--pcap",
            &capture("udp.pcap"),
        ],
    ] {
        sandbox
            .nicbed(&command)
            .status(3)
            .says(&["data.o", "no program"]);
    }
}

#[test]
fn changed_captures_have_an_answer() {
    let mut random = Random(0x5eed_0004);
    let (mut whole, mut broken) = (0, 0);
    for name in ["all.pcap", "tcp.pcap", "recorded.pcap", "malformed.pcap"] {
        let bytes = std::fs::read(capture(name)).unwrap();
        for round in 0..150 {
            let mut changed = random.mutated(&bytes);
            if round % 3 == 0 {
                // Into the headers of file and records.
                let at = random.below(60);
                changed[at] = random.next() as u8;
            }
            changed.truncate(bytes.len() - random.below(200));
            match read_all(&changed) {
                Ok(packets) => {
                    assert!(packets <= bytes.len(), "{packets}");
                    whole += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("offset"), "{text}");
                    broken += 1;
                }
            }
        }
    }
    assert!(whole > 100 && broken > 50, "{whole} {broken}");
}

fn read_all(bytes: &[u8]) -> Result<usize, pcaps::ReadError> {
    let mut reader = pcaps::CaptureReader::new(bytes)?;
    let mut packets = 0;
    while let Some(chunk) = reader.chunk()? {
        packets += chunk.count();
    }
    Ok(packets)
}

fn replay(sandbox: &Sandbox, file: &str) -> Ran {
    let firewall = program("firewall.o");
    sandbox.nicbed(&["run", &firewall, "--nic", "x86-dpu", "--pcap", file])
}

#[test]
fn the_command_survives_changed_captures() {
    let sandbox = Sandbox::new("malformed_captures");
    let bytes = std::fs::read(capture("all.pcap")).unwrap();
    let mut random = Random(0x5eed_0005);
    for _ in 0..30 {
        let mut changed = random.mutated(&bytes);
        let at = random.below(100);
        changed[at] = random.next() as u8;
        let file = sandbox.write("changed.pcap", changed);
        let ran = replay(&sandbox, &file);
        assert!(matches!(ran.status, 0 | 3), "{ran:?}");
        if ran.status == 3 {
            assert!(
                ran.stderr.contains("offset") || ran.stderr.contains("at byte"),
                "{ran:?}"
            );
            ran.says(&["changed.pcap"]);
        }
    }
}

#[test]
fn a_capture_that_ends_mid_record_is_replayed_with_a_warning() {
    let sandbox = Sandbox::new("malformed_cut");
    let bytes = std::fs::read(capture("udp.pcap")).unwrap();
    // A header of 24 bytes, then records of 16 + 64.
    for (length, packets) in [
        (24 + 80 * 9 + 1, 9),
        (24 + 80 * 9 + 40, 9),
        (24 + 80 * 10 - 1, 9),
    ] {
        let file = sandbox.write("cut.pcap", &bytes[..length]);
        let ran = replay(&sandbox, &file).status(0).says(&[
            "warning: cut.pcap",
            &format!("{packets} packets"),
            &format!("offset {}", 24 + 80 * 9),
        ]);
        assert!(ran.out().contains(&format!("{packets} packets")), "{ran:?}");
    }
    let file = sandbox.write("whole.pcap", &bytes[..24 + 80 * 10]);
    let ran = replay(&sandbox, &file).status(0);
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    let file = sandbox.write("header.pcap", &bytes[..24]);
    replay(&sandbox, &file).status(0);
}

#[test]
fn what_is_no_capture_is_an_error_with_offset_and_value() {
    let sandbox = Sandbox::new("malformed_garbage");
    sandbox.write("garbage.pcap", b"GET / HTTP/1.1\r\n\r\n");
    replay(&sandbox, "garbage.pcap").status(3).says(&[
        "garbage.pcap",
        "offset 0",
        "47 45 54 20",
        "expected",
    ]);
    sandbox
        .nicbed(&["pcap", "info", "garbage.pcap"])
        .status(3)
        .says(&["garbage.pcap", "47 45 54 20"]);
    sandbox.write("empty.pcap", b"");
    replay(&sandbox, "empty.pcap")
        .status(3)
        .says(&["empty.pcap", "empty"]);
    replay(&sandbox, "none.pcap")
        .status(3)
        .says(&["none.pcap", "No such file"]);
    replay(&sandbox, ".").status(3).says(&["directory"]);
    let mut wifi = std::fs::read(capture("udp.pcap")).unwrap();
    wifi[20] = 105;
    sandbox.write("wifi.pcap", wifi);
    replay(&sandbox, "wifi.pcap")
        .status(3)
        .says(&["wifi.pcap: packet 0 at byte 24 is of IEEE802_11 (105), not Ethernet"]);
}

#[test]
fn outputs_that_cannot_be_written_are_errors() {
    let sandbox = Sandbox::new("malformed_outputs");
    let (blocklist, capture) = (program("blocklist.o"), capture("all.pcap"));
    for option in ["--outcomes", "--maps-out", "--out"] {
        for (path, why) in [
            ("/dev/full", "No space left"),
            ("no/folder", "No such file"),
            (".", "directory"),
        ] {
            let args = [
                "run", &blocklist, "--nic", "x86-dpu", "--pcap", &capture, option, path,
            ];
            sandbox
                .nicbed(&args)
                .status(3)
                .says(&[&format!("{path}: cannot write"), why]);
        }
    }
    sandbox
        .nicbed(&["pcap", "gen", "-o", "/dev/full"])
        .status(3)
        .says(&["/dev/full: cannot write"]);
}

#[test]
fn profiles_with_mistakes_say_file_line_and_what_is_allowed() {
    let sandbox = Sandbox::new("malformed_profiles");
    let good = caps::builtin("netdevsim").unwrap().to_toml();
    let pass = program("pass.o");
    let check = |name: &str, text: &[u8]| {
        let file = sandbox.write(name, text);
        sandbox.nicbed(&["check", &pass, "--nic", &format!("./{file}")])
    };
    check("good.toml", good.as_bytes()).status(0);
    check("empty.toml", b"")
        .status(3)
        .says(&["empty.toml", "summary"]);
    let line = good.lines().count() + 1;
    check("open.toml", format!("{good}x = [\n").as_bytes())
        .status(3)
        .says(&[&format!("open.toml:{line}")]);
    let wrong_key = good.replacen("loops =", "lops =", 1);
    let line = 1 + wrong_key
        .lines()
        .position(|l| l.starts_with("lops"))
        .unwrap();
    check("key.toml", wrong_key.as_bytes())
        .status(3)
        .says(&[&format!("key.toml:{line}"), "lops"]);
    let wrong_value = good.replacen("value = \"bounded\"", "value = \"sometimes\"", 1);
    let line = 1 + wrong_value
        .lines()
        .position(|l| l.contains("sometimes"))
        .unwrap();
    check("value.toml", wrong_value.as_bytes())
        .status(3)
        .says(&[&format!("value.toml:{line}"), "sometimes", "bounded"]);
    check("latin.toml", b"summary = \"caf\xe9\"")
        .status(3)
        .says(&["latin.toml", "UTF-8"]);
    sandbox
        .nicbed(&["check", &pass, "--nic", "./none.toml"])
        .status(3)
        .says(&["none.toml", "No such file"]);
    let record = sandbox.write("record", b"nothing of the kind");
    sandbox
        .nicbed(&["check", &pass, "--nic", "x86-dpu", "--record", &record])
        .status(3)
        .says(&["record", "expected"]);
}

#[test]
fn changed_profiles_and_records_have_an_answer() {
    let mut random = Random(0x5eed_0006);
    let bytes = std::fs::read(program("firewall.o")).unwrap();
    let set = load("firewall.o", &bytes, &LoadOptions::default()).unwrap();
    let firewall = Arc::new(set.programs[0].clone());
    let (mut read, mut refused) = (0, 0);
    for name in caps::builtin_names() {
        let nic = caps::builtin(name).unwrap();
        let (toml, record) = (nic.to_toml(), nic.to_record());
        for _ in 0..40 {
            let text = random.mutated(toml.as_bytes());
            let changed = match Caps::from_toml("my.toml", &String::from_utf8_lossy(&text)) {
                Ok(changed) => changed,
                Err(error) => {
                    assert!(error.to_string().contains("my.toml"), "{error}");
                    refused += 1;
                    continue;
                }
            };
            read += 1;
            pipeline::assess(&firewall, &Arc::new(changed), &Loaded::default());
        }
        for round in 0..60 {
            let mut blob = random.mutated(&record);
            if round % 4 == 0 {
                blob.truncate(random.below(record.len()));
            }
            if let Ok(changed) = nic.with_record(&blob) {
                read += 1;
                pipeline::assess(&firewall, &Arc::new(changed), &Loaded::default());
            } else {
                refused += 1;
            }
        }
    }
    assert!(read > 50 && refused > 50, "{read} {refused}");
}

#[test]
fn seeds_and_routes_with_mistakes_are_named() {
    let sandbox = Sandbox::new("malformed_seeds");
    let (firewall, capture) = (program("firewall.o"), capture("udp.pcap"));
    let run = |option: &str, text: &str| {
        let file = sandbox.write("given.json", text);
        let args = [
            "run", &firewall, "--nic", "x86-dpu", "--pcap", &capture, option, &file,
        ];
        sandbox.nicbed(&args).status(3).says(&["given.json"])
    };
    run("--maps", "").says(&["line 1"]);
    run("--maps", "{\"maps\": {\n\"blocklist\": 7}}").says(&["line 2"]);
    run("--maps", "{\"mops\": {}}").says(&["mops", "maps"]);
    run("--maps", "{\"maps\": {\"nosuch\": []}}").says(&["nosuch", "blocklist"]);
    run("--maps", "{\"globals\": {\"nosuch\": 1}, \"maps\": {}}").says(&["nosuch"]);
    let entry = |entry: &str| format!("{{\"maps\": {{\"blocklist\": [{entry}]}}}}");
    run("--maps", &entry("{\"value\": {\"id\": 1}}")).says(&["blocklist, entry 0", "a `key`"]);
    run("--maps", &entry("{\"key\": \"00\", \"value\": 1}")).says(&[
        "blocklist, entry 0",
        "1 bytes",
        "16",
    ]);
    run("--maps", &entry("{\"key\": {}, \"value\": {\"idd\": 1}}")).says(&[
        "blocklist, entry 0",
        "idd",
        "id, action",
    ]);
    run(
        "--maps",
        &entry("{\"key\": {\"sport\": 70000}, \"value\": 1}"),
    )
    .says(&["blocklist, entry 0", ".sport", "70000"]);
    run("--fib", "{\"rotes\": []}").says(&["rotes", "routes"]);
    run("--fib", "[").says(&["line 1"]);
}

#[test]
fn changed_seeds_have_an_answer() {
    let mut random = Random(0x5eed_0007);
    for name in ["firewall", "nat", "steer", "tenants"] {
        let bytes = std::fs::read(program(&format!("{name}.o"))).unwrap();
        let set = load(name, &bytes, &LoadOptions::default()).unwrap();
        let maps = bpf::map::MapSet::for_program_set(&set.maps, 4, bpf::map::Placement::Private);
        let maps = maps.unwrap();
        let text = std::fs::read(program(&format!("seeds/{name}.json"))).unwrap();
        for _ in 0..80 {
            let changed = random.mutated(&text);
            let seeds = harness::seeds::Seeds::parse(name, &String::from_utf8_lossy(&changed));
            let result = seeds.and_then(|seeds| seeds.apply(&maps, &|_| None));
            if let Err(error) = result {
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
    let fib = std::fs::read(program("seeds/router.fib.json")).unwrap();
    for _ in 0..200 {
        let changed = random.mutated(&fib);
        let _ = bpf::helper::Fib::from_json(&String::from_utf8_lossy(&changed));
    }
}

#[test]
fn bad_invocations_are_told_with_what_would_do() {
    let sandbox = Sandbox::new("malformed_invocations");
    let (pass, capture) = (program("pass.o"), capture("udp.pcap"));
    let run = |more: &[&str]| {
        let mut args = vec!["run", &pass, "--nic", "x86-dpu", "--pcap", &capture];
        args.extend(more);
        sandbox.nicbed(&args).status(2)
    };
    run(&["--queues", "0"]).says(&["--queues", "1..=1024"]);
    run(&["--threads", "100000"]).says(&["--threads", "0..=1024"]);
    run(&["--order", "sideways"]).says(&["per-queue", "arrival"]);
    run(&["--reference", "oracle"]).says(&["interp", "kernel"]);
    run(&["--program", "nosuch"]).says(&["pass.o", "nosuch", "pass"]);
    run(&["--global", "nosuch=1"]).says(&["pass.o", "nosuch"]);
    run(&["--global", "nonsense"]).says(&["--global nonsense", "NAME=VALUE"]);
    run(&["--maps-at", "soon=x.json"]).says(&["--maps-at", "soon"]);
    run(&["--set", "nosuch=1"]).says(&["--set", "nosuch"]);
    run(&["--set", "map.entries=many"]).says(&["--set", "many", "unlimited"]);
    run(&["--nosuch"]).says(&["--nosuch"]);
    sandbox.nicbed(&["nosuch"]).status(2).says(&["nosuch"]);
    sandbox.nicbed(&["run", &pass]).status(2).says(&["--nic"]);
    sandbox
        .nicbed(&["check", &pass, "--nic", "nosuch"])
        .status(2)
        .says(&["nosuch", "x86-dpu", "agilio-cx"]);
    sandbox
        .nicbed(&["explain", "no/rule"])
        .status(2)
        .says(&["no/rule"]);
    sandbox
        .nicbed(&["jit", &program("classifier.o"), "--nic", "x86-dpu"])
        .status(2)
        .says(&["--program", "classifier", "dns"]);
    let nat = program("nat.o");
    sandbox
        .nicbed(&["verify", &nat, "--global", "outside_addr=somewhere"])
        .status(2)
        .says(&["outside_addr", "somewhere", "a number from 0 to 4294967295"]);
    let junk = sandbox.write("junk.btf", b"no types at all, but text");
    sandbox
        .nicbed(&["verify", &pass, "--btf", &junk])
        .status(3)
        .says(&["junk.btf", "magic"]);
}
