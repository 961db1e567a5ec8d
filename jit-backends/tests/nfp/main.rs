//! The NFP backend against words that the card's own driver made.
//!
//! One file in `golden/` is one test: a program, and the words it must become. A word stands as
//! the driver's dump shows it and, where known, as loaded (start 0x100, done 0x80, `map_lookup`
//! at 0x1000, map id 9). Where a fact says a sequence and no word, it stands as text. Facts:
//! `nfp-drv-kmods` 7728618f3622, run on each of these programs.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use isa::Image;
use isa::nfp::{Place, link};
use jit_backends::{Backend, nfp::Nfp};
use libtest_mimic::{Arguments, Failed, Trial};
use verifier::Options;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nfp/golden");
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let run = move || {
            let text = std::fs::read_to_string(&path)?;
            golden(&text).map_err(|e| Failed::from(e.to_string()))
        };
        trials.push(Trial::test(name.unwrap_or_default(), run));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit();
}

/// A file taken apart.
struct Golden<'a> {
    hook: &'a str,
    program: &'a str,
    /// Where the lines start in the image.
    from: usize,
    lines: Vec<&'a str>,
}

impl Golden<'_> {
    fn read(text: &str) -> Fallible<Golden<'_>> {
        let (head, rest) = text.split_once("-- program\n").ok_or("no program")?;
        let (program, expected) = rest.split_once("-- words").ok_or("no words")?;
        let (from, lines) = expected.split_once('\n').ok_or("no words")?;
        let hook = head.lines().find_map(|l| l.strip_prefix("hook "));
        Ok(Golden {
            hook: hook.ok_or("no hook")?,
            program,
            from: from.trim().strip_prefix("from ").unwrap_or("0").parse()?,
            lines: lines.lines().filter(|l| !l.is_empty()).collect(),
        })
    }
}

fn translate(hook: &str, program: &str) -> Fallible<Image> {
    let options = LoadOptions {
        hook: Some(match hook {
            "tc" => bpf::Hook::TC,
            _ => bpf::Hook::XDP,
        }),
        ..LoadOptions::default()
    };
    let set = load("golden.bpf", program.as_bytes(), &options)?;
    let program = Arc::new(set.programs.first().ok_or("no program")?.clone());
    let verified = verifier::verify(
        program,
        Options {
            device_bound: true,
            ..Options::default()
        },
    )
    .map_err(|e| e.finding.message)?;
    let caps = caps::builtin("agilio-cx")?;
    Ok(Nfp.translate(&verified, &caps)?)
}

fn golden(text: &str) -> Fallible<()> {
    let golden = Golden::read(text)?;
    let image = translate(golden.hook, golden.program)?;
    let listing = Nfp.disassemble(&image);
    let loaded = link(
        &image,
        &Place {
            start: 0x100,
            done: 0x80,
            helper: &|id| (id == 1).then_some(0x1000),
            map: &|_| Some(9),
        },
    )?;
    let dump = image.code.chunks_exact(8).map(|word| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        u64::from_le_bytes(bytes)
    });
    let made: Vec<(u64, u64, &str)> = dump
        .zip(loaded)
        .zip(&listing.lines)
        .map(|((dump, loaded), line)| (dump, loaded, line.text.as_str()))
        .collect();
    let mut wrong = String::new();
    for (index, expected) in golden.lines.iter().enumerate() {
        let Some((dump, loaded, text)) = made.get(golden.from + index) else {
            return Err(format!("the image ends before {expected}").into());
        };
        let shown = format!("{dump:016x} {loaded:013x}");
        let mut fields = expected.split_whitespace();
        let agrees = match (fields.next(), fields.next(), fields.next()) {
            (Some("map"), Some(word), None) => u64::from_str_radix(word, 16)? == *loaded,
            (Some(first), second, None) if first.len() == 16 => {
                let is = |word: &str, made: u64| u64::from_str_radix(word, 16).map(|w| w == made);
                is(first, *dump)? && second.map_or(Ok(true), |word| is(word, *loaded))?
            }
            _ => text.split("  ; ").next() == Some(expected.trim()),
        };
        if !agrees {
            let at = golden.from + index;
            wrong += &format!("{at:>4}: {expected}\n made {shown} {text}\n");
        }
    }
    if golden.from == 0 && made.len() != golden.lines.len() {
        wrong += &format!("{} words, not {}\n", made.len(), golden.lines.len());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}
