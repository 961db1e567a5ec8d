//! `docs/cli.md` and the command line say the same: every command has a section that names its
//! options and their values, and no option or command stands there that does not exist.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command, CommandFactory as _};
use harness::cli::args::Cli;

const PAGE: &str = include_str!("../../docs/cli.md");

/// Commands that clap adds.
const OF_CLAP: [&str; 1] = ["help"];

#[test]
fn every_command_and_option_is_documented() {
    let sections = sections();
    let mut missing = Vec::new();
    for (path, command) in leaves() {
        let Some(text) = sections.get(&path) else {
            missing.push(format!("a section whose heading begins `{path}`"));
            continue;
        };
        let text = with_links(text, &sections);
        for arg in command.get_arguments() {
            missing.extend(undocumented(arg, &text, &path));
        }
    }
    assert!(missing.is_empty(), "docs/cli.md lacks:\n{missing:#?}");
}

#[test]
fn no_option_or_command_is_documented_that_does_not_exist() {
    let mut options: BTreeSet<String> = BTreeSet::from(["help".into(), "version".into()]);
    let mut commands = BTreeSet::new();
    for (path, command) in leaves() {
        let mut words = String::new();
        for word in path.split(' ') {
            words = if words.is_empty() {
                word.to_owned()
            } else {
                format!("{words} {word}")
            };
            commands.insert(words.clone());
        }
        for arg in command.get_arguments() {
            options.extend(arg.get_long().map(str::to_owned));
        }
    }
    // Cargo's own options are not ours.
    let unknown: BTreeSet<&str> = PAGE
        .lines()
        .filter(|line| !line.contains("cargo run"))
        .flat_map(long_options)
        .filter(|option| !options.contains(*option))
        .collect();
    assert!(unknown.is_empty(), "docs/cli.md names: {unknown:?}");
    for (heading, _) in sections() {
        if heading.starts_with("nicbed ") {
            assert!(commands.contains(&heading), "docs/cli.md has `{heading}`");
        }
    }
}

/// All commands that do something, by path: `nicbed`, `nicbed nic list`, …
fn leaves() -> BTreeMap<String, Command> {
    let mut command = Cli::command();
    command.build();
    let mut found = BTreeMap::from([("nicbed".to_owned(), command.clone())]);
    collect("nicbed", &command, &mut found);
    found
}

fn collect(path: &str, command: &Command, found: &mut BTreeMap<String, Command>) {
    for sub in command.get_subcommands() {
        if sub.is_hide_set() || OF_CLAP.contains(&sub.get_name()) {
            continue;
        }
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            collect(&path, sub, found);
        } else {
            found.insert(path, sub.clone());
        }
    }
}

/// What of an option the text does not say.
fn undocumented(arg: &Arg, text: &str, path: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(long) = arg.get_long() else {
        if let Some(short) = arg.get_short()
            && !text.contains(&format!("`-{short}"))
        {
            missing.push(format!("{path}: -{short}"));
        }
        return missing;
    };
    if arg.is_hide_set() || ["help", "version"].contains(&long) {
        return missing;
    }
    let Some(line) = text.lines().find(|line| {
        long_options(line)
            .next()
            .is_some_and(|first| first == long && line.starts_with('|'))
    }) else {
        missing.push(format!(
            "{path}: a row of a table that begins with --{long}"
        ));
        return missing;
    };
    for value in arg.get_possible_values() {
        let shown = value.get_name().to_owned();
        if !["true", "false"].contains(&shown.as_str()) && !line.contains(&format!("`{shown}`")) {
            missing.push(format!("{path}: value {shown} of --{long}"));
        }
    }
    missing
}

/// The page by heading: the command that a heading names in code, else the heading's anchor.
fn sections() -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut heading = String::new();
    let mut fenced = false;
    for line in PAGE.lines() {
        fenced ^= line.starts_with("```");
        if line.starts_with('#') && !fenced {
            let title = line.trim_start_matches('#').trim();
            heading = title
                .strip_prefix('`')
                .and_then(|rest| rest.split_once('`'))
                .map_or_else(|| anchor(title), |(command, _)| name(command));
        }
        let text: &mut String = sections.entry(heading.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    sections
}

/// The words of a command line before its first argument.
fn name(command: &str) -> String {
    let words: Vec<&str> = command
        .split(' ')
        .take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        .take_while(|w| !w.starts_with('-'))
        .collect();
    words.join(" ")
}

fn anchor(title: &str) -> String {
    let kept = title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-'].contains(c))
        .collect::<String>();
    kept.replace(' ', "-")
}

/// A section and those that it links to.
fn with_links(text: &str, sections: &BTreeMap<String, String>) -> String {
    let mut all = text.to_owned();
    for link in text.split("(#").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        let section = sections.get(target);
        assert!(section.is_some(), "docs/cli.md links to #{target}");
        all.push_str(section.map_or("", String::as_str));
    }
    // Options that every command takes.
    all.push_str(sections.get("everywhere").map_or("", String::as_str));
    all
}

/// The words after `--`.
fn long_options(text: &str) -> impl Iterator<Item = &str> {
    text.split("--").skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(rest.len());
        (end > 0 && rest.as_bytes()[0].is_ascii_lowercase()).then(|| &rest[..end])
    })
}
