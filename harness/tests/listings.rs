//! The emitted code of every program of `programs/`, for review: `INSTA_UPDATE=always cargo test
//! -p harness --test listings` rewrites the snapshots, the difference is read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bpf::object::{self, LoadOptions};
use jit_backends::Loaded;

fn listings(nic: &str, object: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../programs")
        .join(object);
    let options = LoadOptions {
        queues: 1,
        ..LoadOptions::default()
    };
    let set = object::load(object, &std::fs::read(path).unwrap(), &options).unwrap();
    let caps = Arc::new(caps::builtin(nic).unwrap());
    let backend = jit_backends::by_name(&caps.backend).unwrap();
    let mut text = String::new();
    for program in &set.programs {
        let program = Arc::new(program.clone());
        let assessment = harness::pipeline::assess(&program, &caps, &Loaded::default());
        let image = assessment.image.unwrap_or_else(|| {
            panic!(
                "{object}: {} has no image: {:?}",
                program.name, assessment.decision.findings
            )
        });
        let listing = backend.disassemble(&image);
        assert_eq!(
            listing.ends_early(&image),
            None,
            "{object}: {}",
            program.name
        );
        let _ = writeln!(text, "{}:", program.name);
        text.push_str(&harness::snapshot::code(&program, &listing, &image));
    }
    text
}

macro_rules! snapshots {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let object = concat!(stringify!($name), ".o");
            insta::assert_snapshot!(stringify!($name), listings("x86-dpu", object));
        })*

        #[test]
        fn every_object_has_a_snapshot() {
            let known = [$(concat!(stringify!($name), ".o"),)*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let is_object = Path::new(&name).extension().is_some_and(|e| e == "o");
                assert!(!is_object || known.contains(&name.as_str()), "{name} has no snapshot");
            }
        }
    };
}

snapshots! {
    blocklist classifier counters drop edge_policy firewall flow_slots heavy_hitter icmp_echo
    ipv6_ext jumbo link_meter load_balancer metadata nat parse_ports pass port_pool rate_limiter
    router sampler_perf sampler_ringbuf steer syn_cookie tc_dscp tc_gateway tc_mirror tenants vlan
}

/// Programs that fit the Agilio, in the text of `isa::nfp`, which its own tests hold against GNU
/// objdump.
#[test]
fn agilio_cx() {
    for name in ["drop", "pass", "icmp_echo", "parse_ports", "blocklist"] {
        let text = listings("agilio-cx", &format!("{name}.o"));
        insta::assert_snapshot!(format!("agilio_cx__{name}"), text);
    }
}
