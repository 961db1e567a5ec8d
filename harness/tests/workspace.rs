//! What the workspace promises about itself: the two commands of the README work on a fresh
//! clone, and crates depend on each other only in the directions of `docs/architecture.md`.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, TargetKind};

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs")
}

#[test]
fn there_is_exactly_one_binary() {
    let metadata = metadata();
    let binaries: Vec<_> = metadata
        .packages
        .iter()
        .flat_map(|p| &p.targets)
        .filter(|t| t.kind.contains(&TargetKind::Bin))
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(binaries, ["nicbed"], "else `cargo run` asks which one");
}

#[test]
fn no_crate_is_left_out_by_default_members() {
    let metadata = metadata();
    let manifest = std::fs::read_to_string(metadata.workspace_root.join("Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("default-members"),
        "else `cargo test` skips crates silently"
    );
    assert_eq!(metadata.workspace_members.len(), 10);
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("isa", &[][..]),
        ("bpf", &["isa"]),
        ("verifier", &["bpf", "isa"]),
        ("caps", &["verifier", "bpf", "isa"]),
        ("jit-backends", &["verifier", "caps", "bpf", "isa"]),
        ("nic-model", &["bpf", "caps", "isa"]),
        ("cpu-reference", &["bpf", "isa"]),
        ("pcaps", &[]),
    ]
    .into();
    let metadata = metadata();
    let ours: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    for package in &metadata.packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if dependency.kind == DependencyKind::Normal && ours.contains(&name) {
                assert!(
                    allowed.contains(&name),
                    "{} must not depend on {name}",
                    package.name
                );
            }
        }
    }
}
