//! Embeds the conformance cases in `conformance/`: adding one is adding a file. Tells the binary
//! what it was built from, for `nicbed --version --verbose`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    built_from(&root);
    let root = root.join("conformance");
    let mut cases = Vec::new();
    files(&root, &mut cases)?;
    let mut text = String::from("const EMBEDDED: &[(&str, &str)] = &[\n");
    for path in &cases {
        let name = path.strip_prefix(&root).unwrap_or(path).display();
        let (name, path) = (name.to_string(), path.display().to_string());
        let _ = writeln!(text, "    ({name:?}, include_str!({path:?})),");
    }
    text.push_str("];\n");
    fs::write(out.join("conformance.rs"), text)
}

/// Sets what `env!` reads: compiler, target, and where it is known the commit. That is what the
/// variable `NICBED_COMMIT` says, else in a release build what `.git` says, read as files: a build
/// needs no git, and a development build is not made anew by a commit.
fn built_from(package: &Path) {
    let variable = |name: &str| {
        let value = env::var_os(name).unwrap_or_default();
        value.to_string_lossy().into_owned()
    };
    let version = Command::new(variable("RUSTC")).arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    println!(
        "cargo::rustc-env=NICBED_RUSTC={}",
        version.unwrap_or_default()
    );
    println!("cargo::rustc-env=NICBED_TARGET={}", variable("TARGET"));
    println!("cargo::rerun-if-env-changed=NICBED_COMMIT");
    if variable("NICBED_COMMIT").is_empty()
        && variable("PROFILE") == "release"
        && let Some(commit) = commit(&package.join("../.git"))
    {
        println!("cargo::rustc-env=NICBED_COMMIT={commit}");
    }
}

/// The commit that a git folder has checked out.
fn commit(git: &Path) -> Option<String> {
    let read = |name: &str| {
        let path = git.join(name);
        let text = fs::read_to_string(&path).ok()?;
        println!("cargo::rerun-if-changed={}", path.display());
        Some(text)
    };
    let head = read("HEAD")?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned());
    };
    let packed = || {
        let all = read("packed-refs")?;
        let line = all
            .lines()
            .find(|line| line.ends_with(&format!(" {name}")))?;
        line.split(' ').next().map(str::to_owned)
    };
    read(name)
        .or_else(packed)
        .map(|text| text.trim().to_owned())
}

/// All cases below `folder`, sorted.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "data") {
            found.push(path);
        }
    }
    Ok(())
}
