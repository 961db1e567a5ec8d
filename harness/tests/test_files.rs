//! `nicbed test`: the tests beside our programs, and what a test that fails says.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use cli::{Sandbox, capture, program, root, text};

fn content(sandbox: &Sandbox, name: &str) -> String {
    String::from_utf8(sandbox.read(name)).unwrap()
}

/// A test file of icmp_echo, with these lines as its packet.
fn echo(packet: &str) -> String {
    let object = program("icmp_echo.o");
    format!(
        "object = {object:?}\nnics = [\"netdevsim\"]\n[[test]]\nname = \"one\"\n[[test.packet]]\n{packet}\n"
    )
}

#[test]
fn the_tests_of_our_programs_pass() {
    let sandbox = Sandbox::new("test_files_programs");
    let programs = text(&root().join("programs"));
    let one = sandbox
        .nicbed(&["test", &programs, "--threads", "1"])
        .status(0);
    let four = sandbox
        .nicbed(&["test", &programs, "--threads", "4"])
        .status(0);
    assert_eq!(one.stdout, four.stdout, "whatever the number of threads");
    let json = sandbox.nicbed(&["test", &programs, "-j"]).status(0).json();
    assert_eq!(json["schema"], "nicbed/test/1");
    assert_eq!(json["passed"], json["of"]);
    let filtered = sandbox.nicbed(&["test", &programs, "-j", "--filter", "has a tag"]);
    let filtered = filtered.status(0).json();
    assert_eq!(filtered["of"], 2, "{filtered}");
}

/// Linux runs the same tests: what they expect is not only what we make of it.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which tools a run may not go without"
)]
fn the_tests_of_our_programs_pass_with_the_kernel() {
    let sandbox = Sandbox::new("test_files_kernel");
    let programs = text(&root().join("programs"));
    let ran = sandbox.nicbed(&["test", &programs, "--reference", "kernel", "-j"]);
    let json = ran.json();
    let results = json["results"].as_array().unwrap();
    let of = |word: &str| results.iter().filter(|r| r["result"] == word).count();
    if of("skipped") == results.len() {
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(!required.contains("kernel"), "NICBED_REQUIRE: {json}");
        println!("skipped: needs kernel ({})", results[0]["error"]);
        return;
    }
    ran.status(0);
    assert_eq!(of("passed"), results.len(), "{json}");
}

#[test]
fn a_difference_is_told_by_layer_and_field() {
    let sandbox = Sandbox::new("test_files_difference");
    let file = echo(
        "send = 'eth / ipv4 ttl=9 / icmp type=8'\nverdict = 'XDP_PASS'\nchecksums = true\n\
         out = 'eth src=02:00:00:00:00:02 dst=02:00:00:00:00:01 / ipv4 ttl=63 src=10.0.0.2 \
         dst=10.0.0.1 / icmp type=0'",
    );
    sandbox.write("a.nicbed.toml", file);
    let ran = sandbox.nicbed(&["test", "."]).status(1);
    // The program sets the TTL to 64; the difference of one in the header's ninth byte is one of
    // 0x0100 in its checksum.
    for line in [
        "verdict: expected XDP_PASS, got XDP_TX",
        "ipv4.ttl: expected 63, got 64",
        "ipv4.checksum: expected 0x67df, got 0x66df",
        "0010  expected   00 1c 00 00 00 00 3f 01 67 df",
        "got        00 1c 00 00 00 00 40 01 66 df",
        "0 of 1 passed, 1 failed",
    ] {
        assert!(ran.out().contains(line), "{line}\n{}", ran.out());
    }
    let junit = sandbox
        .nicbed(&["test", ".", "--format", "junit"])
        .status(1);
    assert!(
        junit
            .out()
            .contains("<failure message=\"verdict: expected XDP_PASS")
    );
}

#[test]
fn what_is_ignored_is_not_compared() {
    let sandbox = Sandbox::new("test_files_ignore");
    let packet = "send = 'eth / ipv4 ttl=9 / icmp type=8 id=7'\nignore = IGNORE\n\
                  out = 'eth src=02:00:00:00:00:02 dst=02:00:00:00:00:01 / ipv4 ttl=63 \
                  src=10.0.0.2 dst=10.0.0.1 / icmp type=0 id=7'";
    let with = |ignore: &str| {
        sandbox.write("a.nicbed.toml", echo(&packet.replace("IGNORE", ignore)));
        sandbox.nicbed(&["test", "a.nicbed.toml"])
    };
    with("['ipv4.ttl', 'ipv4.checksum']").status(0);
    with("['22..26']").status(0);
    with("['ipv4.ttl']").status(1);
}

#[test]
fn errors_of_a_file_name_line_or_place() {
    let sandbox = Sandbox::new("test_files_errors");
    let check = |content: String, parts: &[&str]| {
        sandbox.write("a.nicbed.toml", content);
        let ran = sandbox.nicbed(&["test", "."]).status(3);
        for part in parts {
            assert!(ran.out().contains(part), "{part}\n{}", ran.out());
        }
    };
    check(
        echo("sent = '00'"),
        &["a.nicbed.toml:6", "unknown field `sent`"],
    );
    check(
        echo("verdict = 'XDP_TX'"),
        &["test `one`, packet 0", "`send` or `pcap`"],
    );
    check(
        echo("send = 'eth / ipx'"),
        &["packet 0: `send`", "no layer `ipx`"],
    );
    check(
        echo("send = 'eth'\nverdict = 'TX'"),
        &["there is no TX", "XDP_TX"],
    );
    check(
        echo("send = 'eth / ipv4'\n[[test.packet.maps.none]]\nkey = 0\nabsent = true"),
        &["there is no map none"],
    );
    check(
        echo("send = 'eth'").replace("icmp_echo.o", "nothing.o"),
        &["nothing.o", "cannot read"],
    );
    sandbox
        .nicbed(&["test", "a.nicbed.toml", "--filter", "nothing"])
        .status(2);
}

#[test]
fn a_nic_that_does_not_take_the_program_fails_the_test() {
    let sandbox = Sandbox::new("test_files_fallback");
    let file = echo("send = 'eth'").replace("netdevsim", "agilio-cx");
    let file = file.replace("icmp_echo.o", "vlan.o");
    let file = format!("program = \"vlan_push\"\n{file}");
    sandbox.write("a.nicbed.toml", &file);
    let ran = sandbox.nicbed(&["test", "."]).status(1);
    assert!(
        ran.out()
            .contains("decision: expected offload, got ctx/field"),
        "{}",
        ran.out()
    );
    // The profile does not name the port a frame came in on among the fields that it fills.
    let file = format!("fallback = {{ agilio-cx = \"ctx/field\" }}\n{file}");
    sandbox.write("a.nicbed.toml", file);
    sandbox.nicbed(&["test", "."]).status(0);
}

#[test]
fn update_writes_what_was_got_and_keeps_the_rest() {
    let sandbox = Sandbox::new("test_files_update");
    let object = program("icmp_echo.o");
    let before = format!(
        "# Ours.\nobject = {object:?} # here\nnics = [\"netdevsim\", \"x86-dpu\"]\n\n\
         [[test]]\nname = \"one\"\n\n[[test.packet]]\n# A ping.\n\
         send = 'eth / ipv4 ttl=9 / icmp'\nverdict = 'XDP_PASS'   # not so\n\n\
         [[test.packet]]\nsend = 'eth / ipv4 / udp'\n"
    );
    sandbox.write("a.nicbed.toml", &before);
    let ran = sandbox.nicbed(&["test", "."]).status(1);
    assert!(ran.out().contains("verdict: expected XDP_PASS, got XDP_TX"));
    assert_eq!(
        content(&sandbox, "a.nicbed.toml"),
        before,
        "nothing is written"
    );
    let ran = sandbox.nicbed(&["test", ".", "--update"]).status(0);
    assert!(ran.out().contains("-verdict = 'XDP_PASS'   # not so"));
    let after = before.replace(
        "verdict = 'XDP_PASS'   # not so",
        "verdict = \"XDP_TX\"   # not so",
    ) + "verdict = \"XDP_PASS\"\nout = \"same\"\n";
    assert_eq!(content(&sandbox, "a.nicbed.toml"), after);
    sandbox.nicbed(&["test", "."]).status(0);
}

#[test]
fn update_does_not_write_what_frames_differ_in() {
    let sandbox = Sandbox::new("test_files_update_part");
    let capture = capture("all.pcap");
    let before = echo(&format!("pcap = {capture:?}\nverdict = 'XDP_TX'"));
    sandbox.write("a.nicbed.toml", &before);
    let ran = sandbox.nicbed(&["test", ".", "--update"]).status(1);
    let err = &ran.stderr;
    assert!(
        err.contains("verdict: not every frame and NIC makes the same of it"),
        "{err}"
    );
    assert_eq!(content(&sandbox, "a.nicbed.toml"), before);
}

#[test]
fn coverage_is_told_by_line_and_branch() {
    let sandbox = Sandbox::new("test_files_coverage");
    // pc 0 to 4 on lines 1 to 5: the jump is taken for frames that begin with 0.
    sandbox.write(
        "first.bpf",
        "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr0 = 2\nr4 = r2\nr4 += 14\n\
         if r4 > r3 goto +3\nr5 = *(u8 *)(r2 + 0)\nif r5 == 0 goto +1\nr0 = 1\nexit\n",
    );
    sandbox.write(
        "a.nicbed.toml",
        "object = 'first.bpf'\nhook = 'xdp'\nnics = ['netdevsim']\n[[test]]\nname = 'one'\n\
         [[test.packet]]\nsend = 'eth'\nverdict = 'XDP_DROP'\n\
         [[test.packet]]\nsend = 'eth'\nverdict = 'XDP_DROP'\n",
    );
    let args = ["test", ".", "--coverage", "lcov=c.info"];
    sandbox.nicbed(&args).status(0);
    let tracefile = content(&sandbox, "c.info");
    for line in [
        "SF:./first.bpf",
        "FNF:1",
        "FNH:1",
        "BRDA:6,0,0,2",
        "BRDA:6,0,1,0",
        "BRDA:8,0,0,2",
        "BRF:4",
        "BRH:2",
        "DA:1,2",
        "DA:9,2",
        "LF:10",
        "LH:10",
        "end_of_record",
    ] {
        assert!(tracefile.lines().any(|l| l == line), "{line}\n{tracefile}");
    }
    let text = sandbox
        .nicbed(&["test", ".", "--coverage", "text"])
        .status(0);
    assert!(
        text.out().contains(
            "10 of 10 instructions (100.0 %), 10 of 10 lines (100.0 %), 2 of 4 branches (50.0 %)"
        ),
        "{}",
        text.out()
    );
}

#[test]
fn bits_and_layers_of_a_frame_are_masked() {
    let sandbox = Sandbox::new("test_files_masks");
    let with = |out: &str, more: &str| {
        let packet = format!("send = 'eth / ipv4 ttl=9 / icmp id=7'\nout = '{out}'\n{more}");
        sandbox.write("a.nicbed.toml", echo(&packet));
        sandbox.nicbed(&["test", "a.nicbed.toml"])
    };
    // icmp_echo swaps addresses, sets the TTL to 64 and the type to 0.
    let digits = "020000000001 020000000002 0800 4500001c00000000 40 01 ???? 0a000002 0a000001 \
                  00 00 ???? 0007 0000";
    with(digits, "").status(0);
    with(&digits.replace("40 01", "?1 01"), "").status(1);
    with(
        &digits.replace("40 01", "41 01"),
        "ignore = ['ipv4.ttl&0x01']",
    )
    .status(0);
    with(
        &digits.replace("40 01", "41 01"),
        "ignore = ['ipv4.ttl&0x02']",
    )
    .status(1);
}

#[test]
fn structures_are_told_and_written_by_their_members() {
    let sandbox = Sandbox::new("test_files_members");
    let object = program("counters.o");
    sandbox.write(
        "a.nicbed.toml",
        format!(
            "object = {object:?}\nnics = ['x86-dpu']\n[[test]]\nname = 'one'\n[[test.packet]]\n\
             send = 'eth / arp'\n[[test.packet.maps.counters]]\nkey = 256\n\
             values = [{{ packets = 7, bytes = 42 }}]\n"
        ),
    );
    let ran = sandbox.nicbed(&["test", "."]).status(1);
    let told = "expected {\"bytes\":42,\"packets\":7}, got {\"bytes\":42,\"packets\":1}";
    assert!(ran.out().contains(told), "{}", ran.out());
    sandbox.nicbed(&["test", ".", "--update"]).status(0);
    let after = content(&sandbox, "a.nicbed.toml");
    assert!(
        after.contains("values = [{ bytes = 42, packets = 1 }]"),
        "{after}"
    );
}

/// The blocks of the guide between fences of this kind.
fn fenced(page: &str, kind: &str) -> Vec<String> {
    let start = format!("```{kind}\n");
    let blocks = page.split(&start).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which tools a run may not go without"
)]
fn the_guide_prints_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/testing-your-program.md")).unwrap();
    let sandbox = Sandbox::new("test_files_guide");
    sandbox.write("drop53.c", &fenced(&page, "c")[0]);
    sandbox.write("drop53.nicbed.toml", &fenced(&page, "toml")[0]);
    let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let folder = sandbox.path("");
    let clang = std::process::Command::new("clang-19")
        .args(["-O2", "-g", "--target=bpf", &include])
        .args(["-c", "drop53.c", "-o", "drop53.o"])
        .current_dir(&folder)
        .status();
    if !clang.is_ok_and(|status| status.success()) {
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(!required.contains("clang"), "NICBED_REQUIRE names clang");
        println!("skipped: needs clang");
        return;
    }
    let mut commands = 0;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("    $ nicbed ") else {
            continue;
        };
        let words: Vec<&str> = command.split(' ').collect();
        let ran = sandbox.nicbed(&words);
        // Results are told on stdout, what was written on stderr.
        let got = format!("{}{}", ran.out(), ran.stderr);
        let here = text(&std::fs::canonicalize(&folder).unwrap());
        let got = got.replace(here.trim_end_matches('/'), "/home/you");
        let mut rest = got.lines().map(str::trim_end);
        while let Some(line) = lines.next_if(|l| l.is_empty() || l.starts_with("    ")) {
            let line = line.trim_start_matches(' ').trim_end();
            let is = |got: &str| got.trim_start() == line;
            assert!(
                line == "…" || line.is_empty() || rest.any(is),
                "`{command}` does not print `{line}` there, but\n{got}"
            );
        }
        commands += 1;
    }
    assert_eq!(commands, 3);
}
