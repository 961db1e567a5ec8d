//! What clang writes and what LLVM's tools make of it, where they are installed.

use isa::ebpf::{CallTarget, CpuVersion, Insn, NoSymbols, Wide, decode, encode, parse_asm};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Instructions of many kinds, one function that calls another, and a global variable.
const SOURCE: &str = r#"
typedef unsigned long long u64;
typedef unsigned int u32;
u64 shared;
static __attribute__((noinline)) long callee(long a, long b, u32 c) {
    if (a < b) return a / 3 + (u64)b % 7;
    if ((int)c >= -5) return (u32)a / c;
    return (signed char)a + (short)b * 5;
}
__attribute__((section("xdp"))) int entry(u32 *ctx) {
    u64 sum = shared;
    __sync_fetch_and_add(&shared, 1);
    for (u32 i = 0; i < ctx[3]; i++) {
        sum += callee(ctx[0], sum, ctx[1]);
        sum ^= __builtin_bswap32(ctx[2]) | (u64)((unsigned short *)ctx)[9] << 13;
        if (sum == 0x1122334455667788ull) break;
        sum = -sum;
    }
    __asm__ volatile("r3 = 7; r3 s>>= 1; if r3 > 5 goto 1f;\n\tr3 = -r3; 1: %0 += r3" : "+r"(sum) :: "r3");
    ((volatile unsigned char *)ctx)[40] = 7;
    ctx[5] = sum >> 32;
    return ((u64 (*)(u64))5)(sum) < sum;
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"#;

/// Runs a tool, or says that it is missing: `None`, unless `NICBED_REQUIRE` names clang.
fn tool(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {errors}");
            Some(output.stdout)
        }
        Err(error) => {
            let required = std::env::var_os("NICBED_REQUIRE").unwrap_or_default();
            let required = required
                .to_string_lossy()
                .split(',')
                .any(|name| name == "clang");
            assert!(
                !required,
                "NICBED_REQUIRE names clang, but {program}: {error}"
            );
            println!("skipped: needs clang ({program}: {error})");
            None
        }
    }
}

/// A directory of the test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// References of an instruction taken back to what stands in an object before linking.
fn unlinked(insn: &Insn) -> Insn {
    match *insn {
        Insn::LoadWide {
            dst,
            value: Wide::Map(_),
        } => Insn::LoadWide {
            dst,
            value: Wide::Value(0),
        },
        Insn::Call(CallTarget::Local { .. }) => Insn::Call(CallTarget::Local { offset: -1 }),
        other => other,
    }
}

#[test]
fn clangs_assembly_gives_clangs_object() {
    let work = directory("ebpf-clang");
    let path = |name: &str| work.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("source.c"), SOURCE).unwrap();
    for version in ["v1", "v2", "v3", "v4"] {
        let cpu = format!("-mcpu={version}");
        let common = ["-target", "bpfel", &cpu, "-O2", "-g", "-w", "-o"];
        let [listing, object] = [path("source.s"), path("source.o")];
        for (output, kind) in [(&listing, "-S"), (&object, "-c")] {
            let source = path("source.c");
            let arguments = [&common[..], &[output, kind, &source]].concat();
            if tool("clang-19", &arguments).is_none() {
                return;
            }
        }
        let text = std::fs::read_to_string(&listing).unwrap();
        let assembly = parse_asm(&text, &NoSymbols).unwrap();
        assert_eq!(assembly.license.as_deref(), Some("GPL"));
        let mut rows = BTreeSet::new();
        for section in &assembly.sections {
            let output = path("section.bin");
            let dump = format!("--dump-section={}={output}", section.name);
            if tool("llvm-objcopy-19", &[&dump, &object, "/dev/null"]).is_none() {
                return;
            }
            let insns = decode(&std::fs::read(&output).unwrap()).unwrap();
            let ours = &assembly.insns[section.start..section.end];
            let [ours, theirs]: [Vec<Insn>; 2] =
                [ours, &insns[..]].map(|insns| insns.iter().map(unlinked).collect());
            assert_eq!(
                encode(&ours).unwrap(),
                encode(&theirs).unwrap(),
                "{version}"
            );
            rows.extend(
                theirs
                    .iter()
                    .map(|insn| (insn.row().cpu(), insn.row().mnemonic())),
            );
        }
        let (newest, _) = rows.last().unwrap();
        assert!(
            *newest <= CpuVersion::from_name(version).unwrap(),
            "{version}: {rows:?}"
        );
        // Each version brings what the table says it brings (v2 only adds jumps).
        assert_eq!(newest.name(), version, "{rows:?}");
    }
}

#[test]
fn the_golden_file_is_what_its_script_makes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ebpf.sh");
    if tool("llvm-mc-19", &["--version"]).is_none() {
        return;
    }
    if let Some(made) = tool("bash", &[script]) {
        assert_eq!(
            String::from_utf8(made).unwrap(),
            include_str!("../golden/ebpf.tsv")
        );
    }
}
