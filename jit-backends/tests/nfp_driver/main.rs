//! What the Agilio's driver answers, one file a case: assembly whose guilty lines carry, as
//! comments, the driver's words, taken from the description of `nfp-drv-kmods` 7728618f3622.
//!
//! | comment | meaning |
//! |---|---|
//! | `; stops ERRNO: WORDS` | the driver refuses here, and looks no further |
//! | `; also ERRNO: WORDS` | it would refuse here too |
//! | `; wrong: WORDS` | it accepts this and breaks it |
//! | `; warns: WORDS` | it warns |
//! | `;; finally stops ERRNO: WORDS` | it refuses the program as a whole |
//!
//! Several on one line are parted by ` | `. Words stand with the prefix with which a user sees
//! them; where the driver has none, `-` stands there. A file without any is accepted. Header,
//! TOML in lines `;;! `: `nic` (else agilio-cx), `set`, `hook` (else xdp), `after` (cases that
//! are loaded before), `attached` (the hook of a running program).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::finding::{Finding, Severity};
use bpf::object::{LoadOptions, load};
use bpf::{Hook, Program};
use jit_backends::{Backend, Loaded, nfp};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use verifier::{Options, Verified, verify};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Header {
    nic: Option<String>,
    set: Vec<String>,
    hook: Option<String>,
    after: Vec<String>,
    attached: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nfp_driver/cases")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        let Some(name) = path.file_stem().map(|s| s.to_string_lossy().into_owned()) else {
            continue;
        };
        trials.push(Trial::test(name.clone(), move || run(&name)));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(name: &str) -> Result<(), Failed> {
    let text = read(name)?;
    let expected = expectations(&text);
    let mut found: Vec<String> = answer(name, &text)?.findings().iter().map(shown).collect();
    let mut wanted = expected;
    found.sort();
    wanted.sort();
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "expected\n  {}\nfound\n  {}",
        wanted.join("\n  "),
        found.join("\n  ")
    )
    .into())
}

fn read(name: &str) -> Result<String, Failed> {
    let path = folder().join(format!("{name}.bpf"));
    std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn header(text: &str) -> Result<Header, Failed> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(";;! "));
    toml::from_str(&lines.collect::<Vec<_>>().join("\n")).map_err(|e| e.to_string().into())
}

fn program(name: &str, text: &str, hook: Hook) -> Result<Arc<Program>, Failed> {
    let options = LoadOptions {
        hook: Some(hook),
        ..LoadOptions::default()
    };
    let set = load(&format!("{name}.bpf"), text.as_bytes(), &options).map_err(|e| e.to_string())?;
    let first = set.programs.first().ok_or("no program")?;
    Ok(Arc::new(first.clone()))
}

/// Verifies a case with the driver's hooks, after the cases that it names.
fn answer(name: &str, text: &str) -> Result<Verified, Failed> {
    let header = header(text)?;
    let hook = |name: Option<&str>| match name {
        Some("tc") => Hook::TC,
        _ => Hook::XDP,
    };
    let nic = header.nic.as_deref().unwrap_or("agilio-cx");
    let mut caps = caps::builtin(nic).map_err(|e| e.to_string())?;
    for change in &header.set {
        caps = caps::apply_set(&caps, change).map_err(|e| e.to_string())?;
    }
    let mut loaded = Loaded {
        attached: header.attached.as_deref().map(|name| hook(Some(name))),
        ..Loaded::default()
    };
    for before in &header.after {
        loaded.add(&answer(before, &read(before)?)?);
    }
    let program = program(name, text, hook(header.hook.as_deref()))?;
    let mut hooks = nfp::Nfp.hooks(&caps, &loaded).ok_or("no checks")?;
    let options = Options {
        device: Some(hooks.as_mut()),
        port: Some(1),
        device_bound: true,
        log: false,
    };
    verify(program, options).map_err(|rejection| rejection.to_string().into())
}

/// `LINE KIND ERRNO: WORDS`, for each comment.
fn expectations(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(whole) = line.strip_prefix(";; finally ") {
            all.push(format!("- {}", whole.trim_end()));
            continue;
        }
        let Some((_, comment)) = line.split_once("; ").filter(|_| !line.starts_with(';')) else {
            continue;
        };
        for part in comment.split(" | ") {
            if ["stops ", "also ", "wrong: ", "warns: "]
                .iter()
                .any(|kind| part.starts_with(kind))
            {
                all.push(format!("{} {}", index + 1, part.trim_end()));
            }
        }
    }
    all
}

fn shown(finding: &Finding) -> String {
    let place = finding
        .line
        .map_or_else(|| "-".to_owned(), |line| line.to_string());
    match &finding.driver {
        Some(answer) => {
            let kind = if answer.stops { "stops" } else { "also" };
            let words = if answer.text.is_empty() {
                "-"
            } else {
                &answer.text
            };
            format!("{place} {kind} {}: {words}", answer.errno)
        }
        None if finding.severity == Severity::Warning => {
            format!("{place} warns: {}", finding.message)
        }
        None => format!("{place} wrong: {}", finding.message),
    }
}
