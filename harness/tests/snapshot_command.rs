//! `nicbed snapshot`: what changed is told and accepted, hand-written expectations are held, and
//! nothing of the machine is in a snapshot.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use std::path::Path;

use cli::{Sandbox, program};

/// A folder with two objects and a manifest, as a user has it.
fn folder(sandbox: &Sandbox, name: &str, manifest: &str) -> String {
    let dir = sandbox.path(name);
    std::fs::create_dir_all(dir.join("build")).unwrap();
    for object in ["vlan.o", "counters.o"] {
        std::fs::copy(program(object), dir.join("build").join(object)).unwrap();
    }
    std::fs::write(dir.join("snapshot.toml"), manifest).unwrap();
    name.to_owned()
}

const MANIFEST: &str = "\
nics = [\"x86-dpu\", \"agilio-cx\"]

[[object]]
path = \"build/vlan.o\"
nics = [\"hbpf\"]
programs = [\"vlan_pop\"]

[[object]]
path = \"build/counters.o\"
";

fn snapshots(dir: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "snap"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), text)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn what_changed_is_shown_and_accepted() {
    let sandbox = Sandbox::new("snapshot_command");
    let dir = folder(&sandbox, "pinned", MANIFEST);
    let check = ["snapshot", "check", &dir];
    let first = sandbox.nicbed(&check).status(1);
    assert!(first.out().contains("missing  counters.count.x86-dpu.snap"));
    assert!(first.out().contains("3 snapshots, 3 not as they were"));
    sandbox.nicbed(&["snapshot", "accept", &dir]).status(0);
    let names: Vec<String> = snapshots(&sandbox.path(&dir))
        .into_iter()
        .map(|s| s.0)
        .collect();
    assert_eq!(
        names,
        [
            "counters.count.agilio-cx.snap",
            "counters.count.x86-dpu.snap",
            "vlan.vlan_pop.hbpf.snap",
        ]
    );
    let same = sandbox.nicbed(&check).status(0);
    assert_eq!(same.out(), "3 snapshots, 0 not as they were\n");

    // Somebody edits one, another is of a program that is gone.
    let edited = "pinned/counters.count.agilio-cx.snap";
    let text = String::from_utf8(sandbox.read(edited)).unwrap();
    assert!(text.starts_with("count on agilio-cx: fallback\n"));
    sandbox.write(
        edited,
        text.replace("fallback", "offload").replace('\n', "\r\n"),
    );
    sandbox.write("pinned/gone.x.hbpf.snap", "x on hbpf: offload\n");
    let told = sandbox.nicbed(&check).status(1);
    let expected = "\
changed  counters.count.agilio-cx.snap
--- counters.count.agilio-cx.snap
+++ now
@@ -1,4 +1,4 @@
-count on agilio-cx: offload
+count on agilio-cx: fallback
";
    assert!(told.out().starts_with(expected), "{}", told.out());
    assert!(told.out().contains("leftover gone.x.hbpf.snap\n"));
    let json = sandbox
        .nicbed(&["snapshot", "check", &dir, "-j"])
        .status(1)
        .json();
    assert_eq!(json["schema"], "nicbed/snapshot/1");
    assert_eq!(json["results"][0]["state"], "changed");
    assert_eq!(json["results"][3]["state"], "leftover");
    sandbox.nicbed(&["snapshot", "accept", &dir]).status(0);
    sandbox.nicbed(&check).status(0);
    assert!(!sandbox.path("pinned/gone.x.hbpf.snap").exists());
    assert_eq!(String::from_utf8(sandbox.read(edited)).unwrap(), text);
}

#[test]
fn nothing_of_the_machine_is_in_a_snapshot() {
    let sandbox = Sandbox::new("snapshot_machine");
    let text = |name: &str, cores: &str| {
        let dir = folder(&sandbox, name, MANIFEST);
        let args = ["snapshot", "accept", &dir];
        let cores = [("RAYON_NUM_THREADS", cores)];
        sandbox.nicbed_with(&args, &cores, b"").status(0);
        snapshots(&sandbox.path(&dir))
    };
    let here = text("here", "1");
    assert_eq!(here, text("deeper/there", "5"));
    for (name, text) in here {
        for path in ["build/", "programs/", "counters.o", "counters.c"] {
            assert!(!text.contains(path), "{name}: {path}");
        }
    }
}

/// `programs/counters.c` compares the type of a frame with that of IPv4, and its two counters lie
/// 8 bytes apart.
#[test]
fn expectations_in_a_source_hold_or_are_told() {
    let sandbox = Sandbox::new("snapshot_expectations");
    let manifest = "nics = [\"x86-dpu\"]\n[[object]]\npath = \"build/counters.o\"\n";
    let dir = folder(&sandbox, "pinned", manifest);
    sandbox.nicbed(&["snapshot", "accept", &dir]).status(0);
    // Beside the object, under the name that its debug information has.
    let source = "pinned/build/counters.c";
    let holds = "\
// jit x86-dpu: cmp {{e[a-z]+}}, 0x800
// jit-next x86-dpu: je pc_{{[0-9]+}}
// jit-not x86-dpu: push
// jit x86-dpu: {{^}}ret
int count(struct xdp_md *ctx)
";
    sandbox.write(source, holds);
    let check = ["snapshot", "check", &dir];
    let ran = sandbox.nicbed(&check).status(0);
    assert!(
        ran.out().ends_with("; 4 of 4 expectations hold\n"),
        "{}",
        ran.out()
    );

    let wrong = "\
// jit x86-dpu: ret
// jit x86-dpu: cmp {{e[a-z]+}}, 0x800
// jit hbpf: exit
// jit x86-dpu: {{(}}
int count(struct xdp_md *ctx)
";
    sandbox.write(source, wrong);
    let ran = sandbox.nicbed(&check).status(1);
    for told in [
        "counters.c:2: // jit x86-dpu: cmp {{e[a-z]+}}, 0x800\n  no line behind `ret` matches\n",
        "counters.c:3: // jit hbpf: exit\n  snapshot.toml has no NIC hbpf\n",
        "counters.c:4: // jit x86-dpu: {{(}}\n  this is no pattern: ",
        "; 1 of 4 expectations hold\n",
    ] {
        assert!(ran.out().contains(told), "{told}\n{}", ran.out());
    }
    // The manifest may name another source.
    sandbox.write("pinned/mine.c", holds);
    let named = format!("{manifest}source = \"mine.c\"\n");
    sandbox.write("pinned/snapshot.toml", named);
    sandbox.nicbed(&check).status(0);
}

#[test]
fn a_manifest_that_cannot_be_followed_says_why() {
    let sandbox = Sandbox::new("snapshot_malformed");
    sandbox
        .nicbed(&["snapshot", "check", "nowhere"])
        .status(3)
        .says(&["snapshot.toml"]);
    for (manifest, status, says) in [
        ("nics = [\"hbpf\"]\nobject = []\n", 3, "no object"),
        ("[[object]]\npath = \"build/vlan.o\"\n", 3, "has no NIC"),
        ("nic = [\"hbpf\"]\n", 3, "unknown field"),
    ] {
        let dir = folder(&sandbox, "bad", manifest);
        sandbox
            .nicbed(&["snapshot", "check", &dir])
            .status(status)
            .says(&[says]);
    }
    for (manifest, status, says) in [
        (
            "nics = [\"hbpf\"]\n[[object]]\npath = \"none.o\"\n",
            3,
            "none.o",
        ),
        (
            "nics = [\"no\"]\n[[object]]\npath = \"build/vlan.o\"\n",
            2,
            "no",
        ),
        (
            "nics = [\"hbpf\"]\n[[object]]\npath = \"build/vlan.o\"\nprograms = [\"no\"]\n",
            2,
            "no program no",
        ),
    ] {
        let dir = folder(&sandbox, "bad", manifest);
        let ran = sandbox.nicbed(&["snapshot", "check", &dir]).status(status);
        assert!(ran.out().contains(says), "{}", ran.out());
    }
}
