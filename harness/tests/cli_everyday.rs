//! What one uses every day: help with an example, completions that shells load, man pages, the
//! version, colour.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use std::collections::BTreeMap;
use std::process::Command;

use clap::CommandFactory as _;
use harness::cli::args::Cli;

use cli::{Sandbox, program};

/// All commands that do something, by their words.
fn commands() -> BTreeMap<String, clap::Command> {
    let mut root = Cli::command();
    root.build();
    let mut found = BTreeMap::new();
    let mut left = vec![("nicbed".to_owned(), root)];
    while let Some((path, command)) = left.pop() {
        for sub in command.get_subcommands() {
            if !sub.is_hide_set() && sub.get_name() != "help" {
                left.push((format!("{path} {}", sub.get_name()), sub.clone()));
            }
        }
        if path == "nicbed" || !command.has_subcommands() {
            found.insert(path, command);
        }
    }
    found
}

#[test]
fn every_command_says_what_it_is_for_and_gives_an_example() {
    for (path, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let first = help.lines().next().unwrap();
        assert!(
            first.ends_with('.') && first.len() <= 100,
            "{path}: {first}"
        );
        let examples: Vec<&str> = help
            .lines()
            .filter(|l| l.starts_with("Example: "))
            .collect();
        assert_eq!(examples.len(), 1, "{path}:\n{help}");
        assert!(examples[0].contains(&path), "{path}: {}", examples[0]);
    }
}

/// The words of an example are a command line that parses.
#[test]
fn examples_parse() {
    for (path, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let example = help
            .lines()
            .find_map(|l| l.strip_prefix("Example: "))
            .unwrap();
        let example = example.split(" | ").last().unwrap();
        let words = example.split(" > ").next().unwrap().split(' ');
        let parsed = <Cli as clap::Parser>::try_parse_from(words);
        assert!(parsed.is_ok(), "{path}: {example}: {:?}", parsed.err());
    }
}

#[test]
fn shells_load_the_completions() {
    let sandbox = Sandbox::new("everyday_completions");
    // Each loads the file, and then says what it would complete `nicbed ch` with, or at least
    // that there is something for it.
    let shells = [
        (
            "bash",
            vec![
                "-c",
                "source ./bash && COMP_WORDS=(nicbed ch) COMP_CWORD=1 && \
                        _nicbed nicbed ch nicbed && echo ${COMPREPLY[@]}",
            ],
        ),
        (
            "zsh",
            vec![
                "-f",
                "-c",
                "autoload -U compinit && compinit -u -d ./dump && source ./zsh && \
                              (( $+functions[_nicbed] )) && echo $_comps[nicbed] check",
            ],
        ),
        (
            "fish",
            vec![
                "--no-config",
                "-c",
                "source ./fish && complete -C 'nicbed ch'",
            ],
        ),
    ];
    for (shell, words) in shells {
        let script = sandbox.nicbed(&["completions", shell]).status(0).stdout;
        sandbox.write(shell, script);
        let ran = Command::new(shell)
            .args(&words)
            .current_dir(sandbox.path("."))
            .env("HOME", sandbox.path("."))
            .output();
        let Ok(ran) = ran else {
            #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
            let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
            assert!(!required.contains("shells"), "NICBED_REQUIRE names shells");
            println!("skipped: needs {shell}");
            continue;
        };
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        assert!(ran.status.success() && err.is_empty(), "{shell}: {err}");
        assert!(out.contains("check"), "{shell}: {out}");
    }
}

#[test]
fn every_command_has_a_man_page_with_its_options() {
    let sandbox = Sandbox::new("everyday_man");
    sandbox.nicbed(&["man", "pages"]).status(0);
    for (path, command) in commands() {
        let name = format!("pages/{}.1", path.replace(' ', "-"));
        let page = String::from_utf8(sandbox.read(&name)).unwrap();
        assert!(page.contains(".TH "), "{name}");
        for option in command.get_arguments().filter_map(|a| a.get_long()) {
            let written = option.replace('-', "\\-");
            assert!(
                page.contains(&format!("\\-\\-{written}")),
                "{name}: --{option}"
            );
        }
    }
    assert!(!sandbox.path("pages/nicbed-worker.1").exists());
    let alone = sandbox.nicbed(&["man"]).status(0);
    assert!(alone.out().contains(".TH nicbed 1"));
    sandbox.write("file", "");
    sandbox.nicbed(&["man", "file"]).status(3).says(&["file"]);
}

#[test]
fn the_version_says_what_it_was_built_from() {
    let sandbox = Sandbox::new("everyday_version");
    let version = concat!("nicbed ", env!("CARGO_PKG_VERSION"), "\n");
    for flag in ["--version", "-V"] {
        assert_eq!(sandbox.nicbed(&[flag]).status(0).out(), version);
    }
    let ran = sandbox.nicbed(&["--version", "--verbose"]).status(0);
    assert!(ran.out().starts_with(version));
    for row in [
        "commit ",
        "rustc      rustc 1.",
        "target ",
        "BPF ",
        "backends ",
        "NICs ",
    ] {
        assert!(ran.out().contains(row), "{row}\n{}", ran.out());
    }
    let json = sandbox
        .nicbed(&["--version", "--verbose", "-j"])
        .status(0)
        .json();
    assert_eq!(json["schema"], "nicbed/version/1");
    assert!(
        json["nics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|nic| nic == "hbpf")
    );
    sandbox
        .nicbed(&["--verbose"])
        .status(2)
        .says(&["--version"]);
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let sandbox = Sandbox::new("everyday_colour");
    let object = program("drop.o");
    let coloured = |more: &[&str], environment: &[(&str, &str)]| {
        let mut args = vec!["check", &object, "--nic", "hbpf"];
        args.extend(more);
        let ran = sandbox.nicbed_with(&args, environment, b"").status(0);
        ran.out().contains('\x1b')
    };
    assert!(!coloured(&[], &[]));
    assert!(!coloured(&["--color", "auto"], &[]));
    assert!(!coloured(&["--color", "never"], &[]));
    assert!(coloured(&["--color", "always"], &[]));
    // Who says so on the command line means it.
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&[], &[("NO_COLOR", "1")]));
}
