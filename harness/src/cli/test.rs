//! `nicbed test`

mod files;
mod update;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::ProgramSet;
use bpf::helper::Fib;
use caps::Caps;
use rayon::prelude::*;

use super::args::{CoverageForm, Format, HookArg, LoadArgs, ReferenceArg, TestArgs, WhatIfArgs};
use super::input;
use super::output::Output;
use super::progress::Progress;
use super::run::with_globals;
use crate::error::{Error, Status};
use crate::seeds::Seeds;
use crate::testfile::coverage::Coverage;
use crate::testfile::format::{File, HookName, ReferenceName, Test};
use crate::testfile::lcov;
use crate::testfile::report::{self, Result as Ran};
use crate::testfile::run::{Case, run as run_case};
use files::{beside, captured};

pub(super) fn run(args: &TestArgs, output: &Output) -> Result<Status, Error> {
    if !matches!(output.format, Format::Text | Format::Json | Format::Junit) {
        output.is_json()?;
    }
    let coverage = args.coverage.as_ref();
    let on_stdout = coverage.is_some_and(|coverage| coverage.file.is_none());
    if on_stdout && output.format != Format::Text {
        return Err(Error::usage("--coverage: the result is on stdout already")
            .help("name a file: --coverage lcov=coverage.info"));
    }
    let files = files::below(&args.paths)?;
    let bar = Progress::of(output, files.len() as u64, "files");
    let mut results = run_files(&files, args, &|| bar.done(1))?;
    bar.finish();
    if results.is_empty() {
        return Err(Error::usage("no test is left by --filter")
            .help("it is a part of `file: test [nic]`; without it all run"));
    }
    let text = match output.format {
        Format::Json => None,
        Format::Junit => Some(report::junit(&results)?),
        _ => Some(report::text(&results, output.style)),
    };
    match text {
        None => output.json(&report::json(&results))?,
        // A tracefile is to be nothing else.
        Some(text) if on_stdout && coverage.is_some_and(|c| c.form == CoverageForm::Lcov) => {
            output.talk(&text);
        }
        Some(text) => output.print(&text)?,
    }
    if let Some(coverage) = coverage {
        let mut sum = Coverage::default();
        for result in &mut results {
            sum.add(std::mem::take(&mut result.run.coverage));
        }
        let text = match coverage.form {
            CoverageForm::Text => lcov::text(&sum, output.style),
            CoverageForm::Lcov => lcov::tracefile(&sum),
        };
        match &coverage.file {
            Some(file) => output.file(file, text.as_bytes())?,
            None if coverage.form == CoverageForm::Text => output.print(&format!("\n{text}"))?,
            None => output.print(&text)?,
        }
    }
    if args.update {
        results = update::update(&results, args, output)?;
    }
    Ok(status(&results))
}

fn status(results: &[Ran]) -> Status {
    results
        .iter()
        .fold(Status::Ok, |worst, result| worst.worst(result.status()))
}

/// Runs the tests of files: by file, test, NIC and reference, whoever is done first.
///
/// `done` is called for each file whose tests have run.
fn run_files(
    files: &[PathBuf],
    args: &TestArgs,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Ran>, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .map_err(|e| Error::environment(format!("threads cannot be started: {e}")))?;
    Ok(pool.install(|| {
        let files: Vec<Prepared> = files
            .par_iter()
            .map(|path| Prepared::new(path, args))
            .collect();
        files
            .par_iter()
            .flat_map_iter(|file| {
                let jobs = file.jobs.par_iter().map(|job| file.run(job, args));
                let ran: Vec<Ran> = jobs.collect();
                done();
                ran
            })
            .collect()
    }))
}

/// A file with its objects loaded.
struct Prepared<'a> {
    path: &'a Path,
    name: String,
    file: Option<File>,
    loaded: Vec<Loaded>,
    jobs: Vec<Job>,
}

/// A result that is still to come.
enum Job {
    /// An error that concerns all of a file, or all of it on a NIC.
    Unread(Error),
    /// A test.
    Test {
        /// Place in the file.
        test: usize,
        /// Place among what is loaded.
        loaded: usize,
        reference: ReferenceName,
        /// Whether the name of the test has the reference.
        told: bool,
    },
}

impl Prepared<'_> {
    fn new<'a>(path: &'a Path, args: &TestArgs) -> Prepared<'a> {
        let name = path.display().to_string();
        let mut this = Prepared {
            path,
            file: None,
            loaded: Vec::new(),
            jobs: Vec::new(),
            name,
        };
        match input::read_text(path).and_then(|text| File::parse(&this.name, &text)) {
            Ok(file) => this.take(file, args),
            Err(error) => this.jobs.push(Job::Unread(error)),
        }
        this
    }

    fn take(&mut self, mut file: File, args: &TestArgs) {
        if !args.nic.is_empty() {
            file.nics.clone_from(&args.nic);
        }
        let references: Vec<ReferenceName> = match args.reference.as_slice() {
            [] => file.reference.all().to_vec(),
            chosen => chosen.iter().map(|r| named(*r)).collect(),
        };
        let told = references.len() > 1;
        for nic in &file.nics {
            let wanted = |test: &Test, reference: ReferenceName| {
                let reference = told.then_some(reference.name());
                let name = report::name(&self.name, &test.name, nic, reference);
                args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part))
            };
            let mut jobs = Vec::new();
            for (test, of) in file.tests.iter().enumerate() {
                for reference in references.iter().filter(|r| wanted(of, **r)) {
                    jobs.push(Job::Test {
                        test,
                        loaded: self.loaded.len(),
                        reference: *reference,
                        told,
                    });
                }
            }
            if jobs.is_empty() {
                continue;
            }
            match Loaded::new(self.path, &self.name, &file, nic) {
                Ok(loaded) => {
                    self.loaded.push(loaded);
                    self.jobs.extend(jobs);
                }
                Err(error) => self.jobs.push(Job::Unread(error)),
            }
        }
        self.file = Some(file);
    }

    fn run(&self, job: &Job, args: &TestArgs) -> Ran {
        let (test, loaded, reference, told) = match (job, &self.file) {
            (Job::Unread(error), _) => return Ran::unread(&self.name, error),
            (
                Job::Test {
                    test,
                    loaded,
                    reference,
                    told,
                },
                Some(file),
            ) => (
                (file, &file.tests[*test]),
                &self.loaded[*loaded],
                *reference,
                *told,
            ),
            (Job::Test { .. }, None) => {
                return Ran::unread(&self.name, &Error::input("the file was not read"));
            }
        };
        let (file, test) = test;
        let captured = test
            .packets
            .iter()
            .map(|packet| captured(self.path, packet));
        let captured = match captured.collect::<Result<Vec<_>, _>>() {
            Ok(captured) => captured,
            Err(error) => {
                let error = Error::input(format!("{}: {error}", self.name));
                return Ran::unread(&self.name, &error);
            }
        };
        Ran {
            file: self.name.clone(),
            test: test.name.clone(),
            nic: loaded.nic_name.clone(),
            reference: told.then_some(reference.name()),
            run: run_case(&Case {
                file_name: &self.name,
                file,
                test,
                nic_name: &loaded.nic_name,
                nic: Arc::clone(&loaded.nic),
                reference,
                fib: loaded.fib.clone(),
                covered: args.coverage.is_some(),
                set: &loaded.set,
                program: &loaded.program,
                seeds: &loaded.seeds,
                captured,
            }),
        }
    }
}

/// A file's object, loaded for a NIC.
struct Loaded {
    nic_name: String,
    nic: Arc<Caps>,
    set: ProgramSet,
    program: String,
    seeds: Seeds,
    fib: Option<Fib>,
}

impl Loaded {
    fn new(path: &Path, name: &str, file: &File, nic: &str) -> Result<Loaded, Error> {
        let at = |e: Error| match e.help_text() {
            Some(help) => Error::input(format!("{name}: {e} ({help})")),
            None => Error::input(format!("{name}: {e}")),
        };
        let profile = if Path::new(nic).extension().is_some_and(|e| e == "toml") {
            beside(path, nic).display().to_string()
        } else {
            nic.to_owned()
        };
        let seeds = match &file.maps_file {
            Some(maps) => {
                let maps = beside(path, maps);
                Seeds::parse(&maps.display().to_string(), &input::read_text(&maps)?)?
            }
            None => file.seeds(name)?,
        };
        let fib = match &file.fib {
            None => None,
            Some(fib) => Some(input::fib(&beside(path, fib))?),
        };
        let entries = file.map_entries.iter();
        let mut load = LoadArgs {
            program: file.program.clone(),
            hook: file.hook.map(|hook| match hook {
                HookName::Xdp => HookArg::Xdp,
                HookName::XdpFrags => HookArg::XdpFrags,
                HookName::Tc => HookArg::Tc,
            }),
            btf: file.btf.as_deref().map(|btf| match btf {
                "kernel" => btf.to_owned(),
                file => beside(path, file).display().to_string(),
            }),
            maps: entries
                .map(|(map, n)| format!("{map}.max_entries={n}"))
                .collect(),
            ..LoadArgs::default()
        };
        let object = beside(path, &file.object);
        let mut set = input::object(&object, &load, file.queues).map_err(at)?;
        if seeds.has_globals() {
            load = with_globals(&load, &seeds, &set);
            set = input::object(&object, &load, file.queues).map_err(at)?;
        }
        Ok(Loaded {
            nic_name: nic.to_owned(),
            nic: input::nic(&profile, &WhatIfArgs::default()).map_err(at)?,
            program: input::one_program(&set, &load).map_err(at)?.name.clone(),
            set,
            seeds,
            fib,
        })
    }
}

const fn named(reference: ReferenceArg) -> ReferenceName {
    match reference {
        ReferenceArg::Auto => ReferenceName::Auto,
        ReferenceArg::Interp => ReferenceName::Interp,
        ReferenceArg::Rbpf => ReferenceName::Rbpf,
        ReferenceArg::Kernel => ReferenceName::Kernel,
        ReferenceArg::None => ReferenceName::None,
    }
}
