//! Running one test on one NIC.

use std::sync::Arc;

use bpf::ProgramSet;
use bpf::run::Environment;
use caps::Caps;

use super::expect::{Expected, Failure};
use super::format::{File, Packet, ReferenceName, Test};
use super::packet;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::replay::lanes::Processed;
use crate::seeds::Seeds;
use crate::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};

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
    /// Otherwise: with the packet (from 0 over the whole test) where it was one.
    Failed(Vec<(Option<u64>, Failure)>),
    /// NIC and reference did not do the same.
    Disagreed(String),
    /// It could not be run.
    Error(Status, String),
}

/// Runs a test on a NIC.
pub fn run(case: &Case<'_>) -> Ended {
    match try_run(case) {
        Ok(ended) => ended,
        Err(error) => Ended::Error(error.status, error.to_string()),
    }
}

fn settings(file: &File) -> Settings {
    let environment = Environment {
        seed: file.seed,
        ports: file.ports.clone(),
        ..Environment::default()
    };
    Settings {
        queues: Some(file.queues),
        // Tests run side by side; each by itself is small.
        threads: 1,
        reference: match file.reference {
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

fn try_run(case: &Case<'_>) -> Result<Ended, Error> {
    let mut testbed = Testbed::new(Arc::clone(&case.nic), settings(case.file))?;
    let decision = testbed.load_with(case.set, case.program, Some(case.seeds))?;
    let first = decision.findings.iter().find(|f| f.is_error());
    let reason = first.map(|f| (f.rule.clone(), f.message.clone()));
    let offloads = decision.outcome == Verdict::Offload;
    if let Some(failure) = placed(case, offloads, reason) {
        return Ok(match failure {
            None => Ended::Passed,
            Some((rule, _)) if rule == "load/no-engine" => Ended::Error(
                Status::Environment,
                format!("{} has no engine on this machine", case.nic_name),
            ),
            Some((_, failure)) => Ended::Failed(vec![(None, failure)]),
        });
    }
    testbed.apply(&case.test.seeds(case.file_name)?)?;
    let maps: Vec<String> = case.set.maps.iter().map(|m| m.name.clone()).collect();
    let mut failures = Vec::new();
    let (mut number, mut now) = (0_u64, 0);
    for (at, packet) in case.test.packets.iter().enumerate() {
        let place = |why: String| {
            let name = &case.test.name;
            Error::input(format!(
                "{}: test `{name}`, packet {at}: {why}",
                case.file_name
            ))
        };
        let expected = Expected::new(packet).map_err(place)?;
        let frames = frames(packet, case.captured.get(at)).map_err(place)?;
        for frame in &frames {
            now = packet.at_ns.or(frame.arrival_ns).unwrap_or(now);
            let mut seen = false;
            let mut sink = |got: &Processed<'_>| {
                seen = true;
                let found = expected.outcome(got, &maps)?;
                failures.extend(found.into_iter().map(|failure| (Some(number), failure)));
                Ok(())
            };
            let frame = FrameIn {
                arrival_ns: now,
                port: packet.port,
                bytes: &frame.bytes,
            };
            testbed.feed([frame], &mut sink).map_err(|e| {
                if e.status == Status::Input {
                    place(e.to_string())
                } else {
                    e
                }
            })?;
            if !seen {
                let failure = Failure::new(
                    "program",
                    "runs on the packet",
                    "never sees it: too short, too long, or no port of the NIC's",
                );
                failures.push((Some(number), failure));
            }
            number += 1;
        }
        if let Some(maps) = testbed.nic_maps() {
            let found = expected.maps(maps).map_err(place)?;
            let last = number.checked_sub(1);
            failures.extend(found.into_iter().map(|failure| (last, failure)));
        }
    }
    let report = testbed.finish()?;
    if report.disagrees() {
        let findings = report.decision.findings.iter().filter(|f| f.is_error());
        let text: Vec<String> = findings
            .map(|f| format!("{}: {}", f.rule, f.message))
            .collect();
        return Ok(Ended::Disagreed(text.join("\n")));
    }
    Ok(if failures.is_empty() {
        Ended::Passed
    } else {
        Ended::Failed(failures)
    })
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
