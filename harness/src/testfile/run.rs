//! Running one test on one NIC.

use std::fmt::Write as _;
use std::sync::Arc;

use bpf::ProgramSet;
use bpf::helper::Fib;
use bpf::run::Environment;
use caps::Caps;

use super::coverage::{Counting, Coverage, Ran};
use super::expect::{Expected, Failure, Now, first_time};
use super::format::{File, Packet, ReferenceName, Test};
use super::packet;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::replay::lanes::Processed;
use crate::report::Style;
use crate::report::run::difference_text;
use crate::seeds::Seeds;
use crate::testbed::{FrameIn, ReferenceChoice, Settings, Single, Testbed};

/// A frame to send.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Arrival in nanoseconds, where it has one.
    pub arrival_ns: Option<u64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A test on a NIC, with everything read.
#[derive(Debug)]
pub struct Case<'a> {
    /// The file's name.
    pub file_name: &'a str,
    /// The file.
    pub file: &'a File,
    /// The test.
    pub test: &'a Test,
    /// The NIC, by the name that the file has for it.
    pub nic_name: &'a str,
    /// The NIC.
    pub nic: Arc<Caps>,
    /// What it is compared with.
    pub reference: ReferenceName,
    /// Routes.
    pub fib: Option<Fib>,
    /// Whether it is counted what runs.
    pub covered: bool,
    /// The object, loaded for this NIC.
    pub set: &'a ProgramSet,
    /// Name of the program.
    pub program: &'a str,
    /// Maps at the start.
    pub seeds: &'a Seeds,
    /// For each packet with a `pcap` the frames it names.
    pub captured: Vec<Vec<Frame>>,
}

/// How a test ended on a NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed(Vec<Miss>),
    /// NIC and reference did not do the same.
    Disagreed(String),
    /// It was not run, since the machine lacks something.
    Skipped(String),
    /// It could not be run.
    Error(Status, String),
}

/// One thing that is not as expected, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Number of the frame, from 0 over the whole test; `None` before the first.
    pub frame: Option<u64>,
    /// Place of the packet among those of the test.
    pub packet: usize,
    /// What.
    pub failure: Failure,
}

/// What a packet that expects nothing could expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Place of the packet among those of the test.
    pub packet: usize,
    /// What it could say.
    pub now: Vec<Now>,
}

/// A test that was run on a NIC.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub ended: Ended,
    /// What packets that expect nothing could expect: one for each frame.
    pub fresh: Vec<Fresh>,
    /// Frames that ran, by the packets of the test.
    pub frames: Vec<u64>,
    /// What ran, where that is counted.
    pub coverage: Coverage,
}

impl Run {
    /// One that ended before anything ran.
    pub fn ended(ended: Ended) -> Run {
        Run {
            ended,
            fresh: Vec::new(),
            frames: Vec::new(),
            coverage: Coverage::default(),
        }
    }
}

/// Runs a test on a NIC.
pub fn run(case: &Case<'_>) -> Run {
    let mut run = Run::ended(Ended::Passed);
    run.ended = match try_run(case, &mut run) {
        Ok(ended) => ended,
        Err(error) if error.status == Status::Environment => Ended::Skipped(error.to_string()),
        Err(error) => Ended::Error(error.status, error.to_string()),
    };
    run
}

fn settings(case: &Case<'_>) -> Settings {
    let file = case.file;
    let environment = Environment {
        seed: file.seed,
        ports: file.ports.clone(),
        fib: case.fib.clone(),
        linear: file.linear,
    };
    Settings {
        queues: Some(file.queues),
        // Tests run side by side; each by itself is small.
        threads: 1,
        reference: match case.reference {
            ReferenceName::Auto => ReferenceChoice::Auto,
            ReferenceName::Interp => ReferenceChoice::Interp,
            ReferenceName::Rbpf => ReferenceChoice::Rbpf,
            ReferenceName::Kernel => ReferenceChoice::Kernel,
            ReferenceName::None => ReferenceChoice::None,
        },
        environment,
        ..Settings::default()
    }
}

fn try_run(case: &Case<'_>, run: &mut Run) -> Result<Ended, Error> {
    if case.file.linear.is_some() && case.reference == ReferenceName::Kernel {
        return Err(Error::usage(
            "`linear`: a test run of the kernel has linear packets only",
        ));
    }
    let mut testbed = Testbed::new(Arc::clone(&case.nic), settings(case))?;
    let decision = testbed.load_with(case.set, case.program, Some(case.seeds))?;
    let first = decision.findings.iter().find(|f| f.is_error());
    let reason = first.map(|f| (f.rule.clone(), f.message.clone()));
    let offloads = decision.outcome == Verdict::Offload;
    if let Some(failure) = placed(case, offloads, reason) {
        return Ok(match failure {
            None => Ended::Passed,
            Some((rule, _)) if rule == "load/no-engine" => {
                Ended::Skipped(format!("{} has no engine on this machine", case.nic_name))
            }
            Some((_, failure)) => Ended::Failed(vec![Miss {
                frame: None,
                packet: 0,
                failure,
            }]),
        });
    }
    testbed.apply(&case.test.seeds(case.file_name)?)?;
    let programs = testbed.assessments().iter();
    let mut counted: Vec<Ran> = programs
        .map(|assessment| Ran::new(Arc::clone(&assessment.program)))
        .collect();
    let mut course = Course {
        case,
        maps: case.set.maps.iter().map(|m| m.name.clone()).collect(),
        misses: Vec::new(),
        number: 0,
        now: 0,
    };
    for at in 0..case.test.packets.len() {
        course.packet(at, &mut testbed, &mut counted, run)?;
    }
    if case.covered {
        let object = &case.file.object;
        let counted = counted.into_iter();
        let named = counted.map(|ran| ((object.clone(), ran.program.name.clone()), ran));
        run.coverage.programs = named.collect();
    }
    let report = testbed.finish()?;
    if report.disagrees() {
        let findings = report.decision.findings.iter().filter(|f| f.is_error());
        let mut text = String::new();
        for finding in findings {
            _ = writeln!(text, "{}: {}", finding.rule, finding.message);
        }
        for difference in report.first.iter().flat_map(|first| &first.differences) {
            difference_text(&mut text, difference, Style::PLAIN);
        }
        return Ok(Ended::Disagreed(text));
    }
    Ok(if course.misses.is_empty() {
        Ended::Passed
    } else {
        Ended::Failed(course.misses)
    })
}

/// A test on its way.
struct Course<'a> {
    case: &'a Case<'a>,
    /// Names of the maps, by index.
    maps: Vec<String>,
    misses: Vec<Miss>,
    /// Number of the next frame.
    number: u64,
    /// Arrival of the last, in nanoseconds.
    now: u64,
}

impl Course<'_> {
    /// Runs the frames of the packet at a place, and looks at what became of them.
    fn packet(
        &mut self,
        at: usize,
        testbed: &mut Testbed,
        counted: &mut [Ran],
        run: &mut Run,
    ) -> Result<(), Error> {
        let packet = &self.case.test.packets[at];
        let place = |why: String| {
            let name = &self.case.test.name;
            let file = self.case.file_name;
            Error::input(format!("{file}: test `{name}`, packet {at}: {why}"))
        };
        let expected = Expected::new(packet).map_err(place)?;
        let frames = frames(packet, self.case.captured.get(at)).map_err(place)?;
        let mut misses = Vec::new();
        let mut miss = |frame, found: Vec<Failure>| {
            let found = found.into_iter();
            misses.extend(found.map(|failure| Miss {
                frame,
                packet: at,
                failure,
            }));
        };
        for frame in &frames {
            self.now = packet.at_ns.or(frame.arrival_ns).unwrap_or(self.now);
            let number = Some(self.number);
            self.number += 1;
            let mut sink = |got: &Processed<'_>| {
                miss(
                    number,
                    expected.outcome(got, &self.maps).map_err(Error::input)?,
                );
                if packet.expects_nothing() {
                    run.fresh.push(Fresh {
                        packet: at,
                        now: first_time(got, &self.maps),
                    });
                }
                Ok(())
            };
            let mut counting = Counting::new(counted);
            let how = Single {
                queue: packet.queue,
                observer: self.case.covered.then_some(&mut counting),
            };
            let frame = FrameIn {
                arrival_ns: self.now,
                port: packet.port,
                bytes: &frame.bytes,
            };
            let ran = testbed.single(frame, how, &mut sink);
            let ran = ran.map_err(|e| match e.status {
                Status::Input => place(e.to_string()),
                _ => e,
            })?;
            run.coverage.unseen += u64::from(ran == Some(false));
            if ran.is_none() {
                let failure = Failure::new(
                    "program",
                    "runs on the packet",
                    "never sees it: too short, too long, or no port of the NIC's",
                );
                miss(number, vec![failure]);
            }
        }
        if let Some(maps) = testbed.nic_maps() {
            let last = self.number.checked_sub(1);
            miss(last, expected.maps(maps).map_err(place)?);
        }
        self.misses.extend(misses);
        run.frames.push(frames.len() as u64);
        Ok(())
    }
}

/// Whether the test ends with where the program runs: `None` if it goes on, since the NIC takes
/// it as expected; else what is wrong with that, if anything, and the rule.
#[expect(
    clippy::option_option,
    reason = "an end without failure is neither a failure nor none"
)]
fn placed(
    case: &Case<'_>,
    offloads: bool,
    reason: Option<(String, String)>,
) -> Option<Option<(String, Failure)>> {
    let expected = case.file.fallback.get(case.nic_name);
    let (rule, message) = reason.unwrap_or_default();
    match (expected, offloads) {
        (None, true) => None,
        (Some(expected), false) if *expected == rule => Some(None),
        (None, false) => {
            let failure = Failure::new("decision", "offload", format!("{rule}: {message}"));
            Some(Some((rule, failure)))
        }
        (Some(expected), _) => {
            let got = if offloads {
                "offload".to_owned()
            } else {
                format!("{rule}: {message}")
            };
            let failure = Failure::new("decision", format!("fallback for {expected}"), got);
            Some(Some((rule, failure)))
        }
    }
}

fn frames(packet: &Packet, captured: Option<&Vec<Frame>>) -> Result<Vec<Frame>, String> {
    match &packet.send {
        None => Ok(captured.cloned().unwrap_or_default()),
        Some(text) => {
            let bytes = packet::frame(text).map_err(|e| format!("`send`: {e}"))?;
            Ok(vec![Frame {
                arrival_ns: None,
                bytes,
            }])
        }
    }
}
