//! Embeds the conformance cases in `conformance/`: adding one is adding a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
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
