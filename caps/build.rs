//! Embeds every profile in `profiles/` and every rule page in `docs/rules/`: adding a NIC or a
//! rule's page is adding one file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());

    let mut profiles = Vec::new();
    files(&root.join("profiles"), "toml", &mut profiles)?;
    let mut text = String::new();
    let names: Vec<String> = profiles.iter().map(|p| stem(p)).collect();
    let _ = writeln!(text, "const NAMES: &[&str] = &{names:?};");
    let _ = writeln!(text, "const PROFILES: &[(&str, &str)] = &[");
    for (name, path) in names.iter().zip(&profiles) {
        let _ = writeln!(
            text,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        );
    }
    let _ = writeln!(text, "];");
    fs::write(out.join("profiles.rs"), text)?;

    // A page lies at docs/rules/AREA/NAME.md or docs/rules/AREA-NAME.md.
    let pages_root = root.join("../docs/rules");
    let mut pages = Vec::new();
    files(&pages_root, "md", &mut pages)?;
    let mut text = String::new();
    let mut rows: Vec<(String, String)> = pages
        .iter()
        .filter(|path| stem(path) != "README")
        .map(|path| {
            let rule = match path.parent().filter(|parent| *parent != pages_root) {
                Some(parent) => format!("{}/{}", stem(parent), stem(path)),
                None => stem(path).replacen('-', "/", 1),
            };
            (rule, path.display().to_string())
        })
        .collect();
    rows.sort();
    let _ = writeln!(text, "const PAGES: &[(&str, &str)] = &[");
    for (rule, path) in rows {
        let _ = writeln!(text, "    ({rule:?}, include_str!({path:?})),");
    }
    let _ = writeln!(text, "];");
    fs::write(out.join("rule_pages.rs"), text)
}

/// All files below `folder` with this extension, sorted; a folder that is not there has none.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files(&path, extension, found)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            println!("cargo::rerun-if-changed={}", path.display());
            found.push(path);
        }
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default()
}
