//! Every rule that a finding can name has a page, every page is of a rule, and the example in a
//! page of the verifier is rejected for that very rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use bpf::object::{self, LoadOptions};

/// Source files whose literals of the form `area/name` are no rules.
const NOT_RULES: &[(&str, &str)] = &[("bpf/src/object/section.rs", "names of ELF sections")];

#[test]
fn every_rule_in_the_sources_has_a_page_and_every_page_a_rule() {
    let rules = rules();
    assert!(rules.len() > 60, "the scan finds too little: {rules:?}");
    let pages: BTreeSet<&str> = harness::rules::all().collect();
    let without: Vec<_> = rules
        .iter()
        .filter(|(rule, _)| !pages.contains(rule.as_str()))
        .collect();
    assert!(
        without.is_empty(),
        "rules without a page docs/rules/AREA/NAME.md, and a file that names each: {without:#?}"
    );
    let unused: Vec<_> = pages
        .iter()
        .filter(|page| !rules.contains_key(**page))
        .collect();
    assert!(
        unused.is_empty(),
        "pages of rules that nothing names: {unused:?}"
    );
}

#[test]
fn pages_have_one_form() {
    for rule in harness::rules::all() {
        let page = harness::rules::page(rule).unwrap();
        assert!(page.starts_with(&format!("# {rule}\n")), "{rule}: title");
        let parts: Vec<&str> = page.lines().filter(|l| l.starts_with("## ")).collect();
        assert_eq!(
            parts,
            ["## Meaning", "## Why", "## What to change", "## Example"],
            "{rule}"
        );
        let lines = page.lines().count();
        assert!(lines <= 50, "{rule}: {lines} lines are too many to read");
        assert!(page.contains("```"), "{rule}: the example shows nothing");
    }
}

#[test]
fn the_example_of_each_page_of_the_verifier_is_rejected_for_that_rule() {
    for rule in verifier::report::RULES {
        let page = harness::rules::page(rule.id).unwrap_or_else(|| panic!("{}: no page", rule.id));
        let text = block(page, "bpf").unwrap_or_else(|| panic!("{}: no example", rule.id));
        let set = object::load("example.bpf", text.as_bytes(), &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{}: {e}", rule.id));
        let program = Arc::new(set.programs[0].clone());
        let finding = match harness::pipeline::verify(&program) {
            Ok(_) => panic!("{}: the example is accepted", rule.id),
            Err(rejection) => rejection.finding,
        };
        assert_eq!(finding.rule, rule.id, "{}", finding.message);
    }
}

/// All rules, each with a file that names it.
fn rules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut rules = BTreeMap::new();
    for rule in caps::rules::RULES {
        rules.insert(rule.id.to_owned(), "caps/src/rules.rs".to_owned());
    }
    for rule in verifier::report::RULES {
        rules.insert(rule.id.to_owned(), "verifier/src/report.rs".to_owned());
    }
    let mut files = Vec::new();
    for folder in fs::read_dir(&root).expect("the workspace is there") {
        let folder = folder.expect("a folder of the workspace").path();
        sources(&folder.join("src"), &mut files).expect("sources are readable");
    }
    assert!(files.len() > 100, "the sources are not where they were");
    for path in files {
        let name = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let is_test = path.file_stem().is_some_and(|s| s == "tests");
        if is_test || NOT_RULES.iter().any(|(file, _)| *file == name) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        // What stands in the tests of a module may be made up.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for literal in code.lines().filter(|l| !is_comment(l)).flat_map(literals) {
            if is_rule(literal) {
                rules
                    .entry(literal.to_owned())
                    .or_insert_with(|| name.clone());
            }
        }
    }
    rules
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The string literals of a line, as far as rules go: no escapes, no raw strings.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// Whether a text has the form `area/name`: words of small letters and digits, joined by `-`.
fn is_rule(text: &str) -> bool {
    let words = |part: &str| {
        part.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
    };
    text.split_once('/')
        .is_some_and(|(area, name)| words(area) && words(name))
}

/// The first fenced block of this language.
fn block<'a>(page: &'a str, language: &str) -> Option<&'a str> {
    let start = page.split_once(&format!("```{language}\n"))?.1;
    Some(start.split_once("\n```")?.0)
}

#[test]
fn rules_are_told_from_other_literals() {
    let line =
        r#"    Finding::error("helper/not-on-nic", Stage::Caps, "a b/c", "x/Y"), "nicbed/run/1""#;
    let found: Vec<&str> = literals(line).filter(|l| is_rule(l)).collect();
    assert_eq!(found, ["helper/not-on-nic"]);
}
