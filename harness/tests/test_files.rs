//! `nicbed test`: the tests beside our programs, and what a test that fails says.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use cli::{Sandbox, program, root, text};

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
