//! The committed objects of `programs/` are what clang-19 makes of the sources beside them.
//!
//! `programs/build.sh` builds them anew into a directory of its own; code, maps, global data, relocations, symbols and BTF
//! are compared with what is committed, section by section. Without clang only the objects' shape is checked.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// What building needs: the compiler, and the tool that takes DWARF out.
const TOOLS: [&str; 2] = ["clang-19", "llvm-strip-19"];

/// Contents of an object that say what it does, by section; relocations and symbols as text beneath their own names.
type Parts = BTreeMap<String, Vec<u8>>;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// Paths without extension, from `programs/`, of all files there with this extension.
fn names(extension: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for folder in ["", "nfp/"] {
        for entry in fs::read_dir(programs().join(folder))? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new(extension)) {
                let stem = path
                    .file_stem()
                    .and_then(OsStr::to_str)
                    .ok_or("a file name is not UTF-8")?;
                names.push(format!("{folder}{stem}"));
            }
        }
    }
    names.sort();
    Ok(names)
}

fn parts(path: &Path) -> Result<Parts, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let object = object::File::parse(&*bytes)?;
    let mut parts = Parts::new();
    for section in object.sections() {
        let name = section.name()?;
        // Symbols and their names are compared as text, relocations with the section that they patch.
        if !name.is_empty() && ![".strtab", ".symtab"].contains(&name) && !name.starts_with(".rel")
        {
            let mut content = section.data()?.to_vec();
            content.extend(format!("size {} {:?}", section.size(), section.flags()).into_bytes());
            parts.insert(name.to_owned(), content);
        }
        let mut relocations = String::new();
        for (offset, relocation) in section.relocations() {
            writeln!(
                relocations,
                "{offset:#x}: {:?} {:?}",
                relocation.flags(),
                relocation.target()
            )?;
        }
        parts.insert(format!("relocations of {name}"), relocations.into_bytes());
    }
    let mut symbols = String::new();
    for symbol in object.symbols() {
        writeln!(
            symbols,
            "{} {:#x} {} {:?}",
            symbol.name()?,
            symbol.address(),
            symbol.size(),
            symbol.section()
        )?;
    }
    parts.insert("symbols".to_owned(), symbols.into_bytes());
    Ok(parts)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which tools a run may not go without"
)]
fn is_required(what: &str) -> bool {
    std::env::var("NICBED_REQUIRE")
        .is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}

/// The tools' own words on their version, or `None` where one is not installed.
fn version() -> Option<String> {
    let mut version = String::new();
    for tool in TOOLS {
        let output = Command::new(tool)
            .arg("--version")
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        version += String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default();
        version += "\n";
    }
    Some(version)
}

#[test]
fn each_source_has_its_object_and_each_object_its_source() -> Result<(), Box<dyn Error>> {
    assert_eq!(names("c")?, names("o")?);
    Ok(())
}

#[test]
fn objects_keep_btf_and_carry_no_dwarf() -> Result<(), Box<dyn Error>> {
    for name in names("o")? {
        let parts = parts(&programs().join(format!("{name}.o")))?;
        for section in ["license", ".BTF", ".BTF.ext"] {
            assert!(
                parts.contains_key(section),
                "{name}.o has no section {section}"
            );
        }
        let dwarf = parts.keys().find(|section| section.starts_with(".debug"));
        assert_eq!(dwarf, None, "{name}.o");
    }
    Ok(())
}

#[test]
fn objects_are_what_clang_makes_of_the_sources() -> Result<(), Box<dyn Error>> {
    let Some(version) = version() else {
        assert!(
            !is_required("clang"),
            "NICBED_REQUIRE names clang, but {TOOLS:?} are not all installed"
        );
        println!("skipped: needs clang ({})", TOOLS.join(", "));
        return Ok(());
    };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&out)?;
    let status = Command::new("sh")
        .arg(programs().join("build.sh"))
        .arg("--out")
        .arg(&out)
        .status()?;
    assert!(status.success(), "programs/build.sh: {status}");

    let mut differences = Vec::new();
    for name in names("c")? {
        let file = format!("{name}.o");
        let (committed, rebuilt) = (parts(&programs().join(&file))?, parts(&out.join(&file))?);
        let mut sections: Vec<_> = committed.keys().chain(rebuilt.keys()).collect();
        sections.sort();
        sections.dedup();
        sections.retain(|section| committed.get(*section) != rebuilt.get(*section));
        differences.extend(sections.iter().map(|section| format!("{file}: {section}")));
    }
    assert!(
        differences.is_empty(),
        "these differ from what is committed; programs/build.sh writes them anew:\n  {}\nbuilt with\n{version}",
        differences.join("\n  "),
    );
    Ok(())
}
