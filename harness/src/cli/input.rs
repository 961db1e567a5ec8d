//! Reading what the user names: objects, NICs, seeds. Every error names the file.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bpf::object::LoadOptions;
use bpf::{Hook, Program, ProgramSet, Refused};
use caps::Caps;
use jit_backends::Backend;

use super::args::{HookArg, LoadArgs, WhatIfArgs};
use crate::error::Error;
use crate::exec::{self, Exec};
use crate::pipeline;

/// Largest object that is read, in bytes.
const MAX_OBJECT: u64 = 256 << 20;

/// Largest JSON, TOML or record file that is read, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let fail = |e: std::io::Error| Error::input(format!("{}: cannot read: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(Error::input(format!(
            "{}: larger than {} MiB, which no such file is",
            path.display(),
            limit >> 20
        )));
    }
    Ok(bytes)
}

/// Reads routes for `bpf_fib_lookup`.
pub(super) fn fib(path: &Path) -> Result<bpf::helper::Fib, Error> {
    let text = read_text(path)?;
    bpf::helper::Fib::from_json(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
}

/// Reads a text file.
pub(super) fn read_text(path: &Path) -> Result<String, Error> {
    String::from_utf8(read(path, MAX_TEXT)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::input(format!("{}: byte {at} is not UTF-8 text", path.display()))
    })
}

/// Loads an object as the options say.
pub(super) fn object(path: &Path, args: &LoadArgs, queues: u32) -> Result<ProgramSet, Error> {
    let bytes = read(path, MAX_OBJECT)?;
    let btf = match args.btf.as_deref() {
        None => None,
        Some("kernel") => Some(kernel_btf()?),
        Some(file) => {
            let bytes = read(Path::new(file), MAX_OBJECT)?;
            bpf::btf::Btf::parse(&bytes).map_err(|e| Error::input(format!("{file}: {e}")))?;
            Some(bytes)
        }
    };
    let mut options = LoadOptions {
        queues,
        ..LoadOptions::default()
    };
    options.btf = btf.as_deref();
    options.hook = args.hook.map(hook);
    options.program.clone_from(&args.program);
    for global in &args.globals {
        let (name, value) = assignment("--global", global)?;
        options.globals.push((name.to_owned(), value.to_owned()));
    }
    for map in &args.maps {
        let (name, value) = assignment("--map", map)?;
        if let Some(name) = name.strip_suffix(".max_entries") {
            let entries = value.parse().map_err(|_e: std::num::ParseIntError| {
                Error::usage(format!(
                    "--map {map}: {value} is not a number of entries from 0 to {}",
                    u32::MAX
                ))
            })?;
            options.map_entries.push((name.to_owned(), entries));
        } else {
            options.raw_maps.push((name.to_owned(), value.to_owned()));
        }
    }
    let name = path.display().to_string();
    bpf::object::load(&name, &bytes, &options).map_err(|e| {
        if e.is_of_options() {
            Error::usage(e.to_string())
        } else {
            Error::input(e.to_string())
        }
    })
}

pub(super) fn hook(arg: HookArg) -> Hook {
    match arg {
        HookArg::Xdp => Hook::XDP,
        HookArg::XdpFrags => Hook::Xdp {
            attach: bpf::hook::XdpAttach::Device,
            frags: true,
        },
        HookArg::Tc => Hook::TC,
    }
}

/// Splits NAME=VALUE.
pub(super) fn assignment<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Error> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Error::usage(format!("{option} {text}: expected NAME=VALUE")))
}

fn kernel_btf() -> Result<Vec<u8>, Error> {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    read(path, MAX_OBJECT).map_err(|e| {
        Error::environment(format!("--btf kernel: {e}"))
            .help("this kernel has no BTF; give a file with --btf FILE")
    })
}

/// The program that `run` and `jit` take: the one named, else the only one.
pub(super) fn one_program<'a>(set: &'a ProgramSet, args: &LoadArgs) -> Result<&'a Program, Error> {
    let names = || {
        set.programs
            .iter()
            .map(|p| format!("{} ({})", p.name, p.section))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = &args.program {
        return set.find(name).ok_or_else(|| {
            if let Some(refused) = refused_by_name(set, name) {
                return cannot_take(set, refused);
            }
            let error = Error::usage(format!("{} has no program {name}", set.object));
            if set.programs.is_empty() {
                error.help("it has no program with a packet hook; nicbed inspect shows all")
            } else {
                error.help(format!("programs: {}", names()))
            }
        });
    }
    match &set.programs[..] {
        [only] => Ok(only),
        [] => Err(no_program(set)),
        _ => Err(Error::usage(format!("{} has several programs", set.object))
            .help(format!("choose one with --program: {}", names()))),
    }
}

/// Why an object yields nothing to run.
fn no_program(set: &ProgramSet) -> Error {
    if let Some(refused) = set.refused.iter().find(|r| has_hook(r)) {
        return cannot_take(set, refused);
    }
    let error = Error::input(format!("{} has no program with a packet hook", set.object));
    match set.refused.first() {
        Some(refused) => error.help(format!(
            "{} in section {}: {}",
            refused.name, refused.section, refused.finding.message
        )),
        None => error.help("a program is a function in an executable section, such as \"xdp\""),
    }
}

/// Whether a program that the loader refuses would run on a NIC otherwise.
pub(super) fn has_hook(refused: &Refused) -> bool {
    !refused.finding.rule.starts_with("object/hook-")
}

fn refused_by_name<'a>(set: &'a ProgramSet, name: &str) -> Option<&'a Refused> {
    let by_name = set.refused.iter().find(|r| r.name == name);
    by_name.or_else(|| set.refused.iter().find(|r| r.section == name))
}

fn cannot_take(set: &ProgramSet, refused: &Refused) -> Error {
    Error::input(format!(
        "{}: program {} in section {} cannot be taken: {}",
        set.object, refused.name, refused.section, refused.finding.message
    ))
    .help(refused.finding.help.clone())
}

/// The programs that `verify` and `check` take: all, or those that `--program` names.
pub(super) struct Chosen<'a> {
    pub(super) programs: Vec<Arc<Program>>,
    /// What the loader refuses; programs of other kinds among them, unless one is named.
    pub(super) refused: Vec<&'a Refused>,
}

pub(super) fn programs<'a>(set: &'a ProgramSet, args: &LoadArgs) -> Result<Chosen<'a>, Error> {
    if let Some(name) = &args.program {
        let refused = refused_by_name(set, name).filter(|r| has_hook(r));
        return match refused {
            Some(refused) if set.find(name).is_none() => Ok(Chosen {
                programs: Vec::new(),
                refused: vec![refused],
            }),
            _ => Ok(Chosen {
                programs: vec![Arc::new(one_program(set, args)?.clone())],
                refused: Vec::new(),
            }),
        };
    }
    if set.programs.is_empty() && !set.refused.iter().any(has_hook) {
        return Err(no_program(set));
    }
    Ok(Chosen {
        programs: set.programs.iter().cloned().map(Arc::new).collect(),
        refused: set.refused.iter().collect(),
    })
}

/// A NIC by its built-in name or the path of its profile, with the what-ifs applied.
pub(super) fn nic(name: &str, what_if: &WhatIfArgs) -> Result<Arc<Caps>, Error> {
    let is_path = name.contains('/') || Path::new(name).extension().is_some_and(|e| e == "toml");
    let mut nic = if is_path {
        let text = read_text(Path::new(name))?;
        Caps::from_toml(name, &text).map_err(|e| Error::input(e.to_string()))?
    } else {
        caps::builtin(name).map_err(|e| {
            Error::usage(e.to_string())
                .help("nicbed nic list shows all; a profile of your own is given by its path")
        })?
    };
    if let Some(record) = &what_if.record {
        let bytes = read(record, MAX_TEXT)?;
        nic = nic
            .with_record(&bytes)
            .map_err(|e| Error::input(format!("{}: {e}", record.display())))?;
    }
    let exact = what_if.driver_exact.then_some("driver.exact=true");
    for set in what_if.set.iter().map(String::as_str).chain(exact) {
        nic = caps::apply_set(&nic, set).map_err(|e| Error::usage(e.to_string()))?;
    }
    pipeline::read_capabilities(&Arc::new(nic)).map_err(|e| Error::input(format!("{name}: {e}")))
}

/// The backend that `--backend` puts in place of the NIC's own; `None` where it is the NIC's own.
pub(super) fn backend(name: Option<&str>, nic: &Caps) -> Result<Option<Arc<dyn Backend>>, Error> {
    let Some(name) = name.filter(|name| *name != nic.backend) else {
        return Ok(None);
    };
    let Some(program) = name.strip_prefix(exec::PREFIX) else {
        return Err(Error::usage(format!(
            "{} is a NIC of backend {}, not of {name}",
            nic.name, nic.backend
        ))
        .help(format!(
            "a program takes the place of its backend by {}PROGRAM",
            exec::PREFIX
        )));
    };
    let backend = Exec::start(Path::new(program))?;
    backend.fits(nic)?;
    Ok(Some(Arc::new(backend)))
}

/// All NICs that a list names.
pub(super) fn nics(names: &[String], what_if: &WhatIfArgs) -> Result<Vec<Arc<Caps>>, Error> {
    let mut nics = Vec::new();
    for name in names {
        if name == "all" {
            for name in caps::builtin_names() {
                nics.push(nic(name, what_if)?);
            }
        } else {
            nics.push(nic(name, what_if)?);
        }
    }
    Ok(nics)
}
