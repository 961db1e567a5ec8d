//! The demo: `nicbed` without a command.

use std::sync::Arc;

use bpf::object::{self, LoadOptions};
use pcaps::CaptureReader;

use super::args::WhatIfArgs;
use super::input;
use super::output::Output;
use super::run::status;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::report::render_finding;
use crate::seeds::Seeds;
use crate::testbed::{FrameIn, Settings, Testbed};

/// An embedded program, its seeds, and what it is.
struct Example {
    name: &'static str,
    object: &'static [u8],
    seeds: &'static str,
    what: &'static str,
}

const EXAMPLES: [Example; 2] = [
    Example {
        name: "programs/firewall.o",
        object: include_bytes!("../../../programs/firewall.o"),
        seeds: include_str!("../../../programs/seeds/firewall.json"),
        what: "a firewall: 5-tuple blocklist, then longest prefix",
    },
    Example {
        name: "programs/load_balancer.o",
        object: include_bytes!("../../../programs/load_balancer.o"),
        seeds: include_str!("../../../programs/seeds/load_balancer.json"),
        what: "a load balancer: consistent hashing, IPIP encapsulation",
    },
];

/// The embedded capture: every mix of the generator.
const CAPTURE: &[u8] = include_bytes!("../../../pcaps/data/all.pcap");

/// What the demo lifts of netdevsim, which in reality holds maps of two entries and runs
/// nothing.
const LIFTED: [&str; 4] = [
    "map.types=all",
    "map.flags=all",
    "map.entries=unlimited",
    "map.direct_values=true",
];

pub(super) fn run(output: &mut Output) -> Result<Status, Error> {
    if output.is_json()? {
        return Err(Error::usage("the demo prints text")
            .help("nicbed run OBJECT --nic NIC --pcap FILE -j gives JSON"));
    }
    output.print(
        "nicbed: would this XDP program run on that NIC, and would it do what the CPU does?\n\
         Each program below is verified, checked against a NIC's capabilities, translated, loaded\n\
         into the simulated NIC, fed a capture, and compared with a CPU reference packet by packet.\n\n",
    )?;
    let mut worst = Status::Ok;
    for example in &EXAMPLES {
        output.print(&format!(
            "{}\n",
            output
                .style
                .head(&format!("── {}: {}", example.name, example.what))
        ))?;
        worst = worst.worst(replay(example, "x86-dpu", &[], output)?);
        worst = worst.worst(replay(example, "netdevsim", &LIFTED, output)?);
        refuse(example, "agilio-cx", output)?;
    }
    output.print(
        "Now yours:  nicbed check your_xdp.o --nic all\n            \
         nicbed run your_xdp.o --nic x86-dpu --pcap your.pcap\n",
    )?;
    Ok(worst)
}

fn load(example: &Example, queues: u32) -> Result<(bpf::ProgramSet, Seeds), Error> {
    let options = LoadOptions {
        queues,
        ..LoadOptions::default()
    };
    let set = object::load(example.name, example.object, &options)
        .map_err(|e| Error::input(format!("{}: {e}", example.name)))?;
    Ok((set, Seeds::parse("seeds", example.seeds)?))
}

fn replay(
    example: &Example,
    nic: &str,
    what_if: &[&str],
    output: &Output,
) -> Result<Status, Error> {
    let what_if = WhatIfArgs {
        set: what_if.iter().map(|s| (*s).to_owned()).collect(),
        driver_exact: false,
        record: None,
    };
    let caps = input::nic(nic, &what_if)?;
    if !what_if.set.is_empty() {
        output.print(&format!(
            "  what if {nic} had: --set {}\n",
            what_if.set.join(" --set ")
        ))?;
    }
    if jit_backends::by_name(&caps.backend)
        .and_then(|b| nic_model::engine_for(b.isa()))
        .is_none()
    {
        output.print(&format!(
            "  {nic}: no engine for {} on this machine\n",
            caps.backend
        ))?;
        return Ok(Status::Ok);
    }
    let (set, seeds) = load(example, caps.model().queues_default)?;
    let mut testbed = Testbed::new(Arc::clone(&caps), Settings::default())?;
    let program = set
        .programs
        .first()
        .map(|p| p.name.clone())
        .unwrap_or_default();
    testbed.load_with(&set, &program, Some(&seeds))?;
    let mut reader =
        CaptureReader::new(CAPTURE).map_err(|e| Error::input(format!("the capture: {e}")))?;
    while let Some(chunk) = reader
        .chunk()
        .map_err(|e| Error::input(format!("the capture: {e}")))?
    {
        for record in chunk {
            let full = testbed.push(FrameIn {
                arrival_ns: record.meta.arrival_ns,
                port: 1,
                bytes: record.data,
            });
            if full {
                testbed.flush(&mut |_| Ok(()))?;
            }
        }
    }
    let assessed = testbed
        .assessments()
        .first()
        .map(|a| Arc::clone(&a.program));
    let report = testbed.finish()?;
    output.print(&report.to_text(output.style))?;
    for finding in report.decision.findings.iter().filter(|f| f.is_error()) {
        output.print(&render_finding(
            finding,
            example.name,
            assessed.as_deref(),
            output.style,
        ))?;
    }
    output.print("\n")?;
    Ok(status(&report))
}

fn refuse(example: &Example, nic: &str, output: &Output) -> Result<(), Error> {
    let caps = input::nic(nic, &WhatIfArgs::default())?;
    let (set, _) = load(example, 1)?;
    for program in &set.programs {
        let program = Arc::new(program.clone());
        let assessment = crate::pipeline::assess(&program, &caps, &jit_backends::Loaded::default());
        let decision = &assessment.decision;
        let errors = decision.findings.iter().filter(|f| f.is_error()).count();
        output.print(&format!(
            "{} on {} ({}): {}, {errors} reasons\n",
            output.style.head(&program.name),
            caps.name,
            caps.summary,
            match decision.outcome {
                Verdict::Offload => output.style.good("offload"),
                _ => output.style.warn(decision.outcome.name()),
            }
        ))?;
        for finding in decision.findings.iter().filter(|f| f.is_error()).take(3) {
            output.print(&render_finding(
                finding,
                example.name,
                Some(&program),
                output.style,
            ))?;
        }
        if errors > 3 {
            output.print(&format!(
                "  and {} more: nicbed check {} --nic {nic}\n",
                errors - 3,
                example.name
            ))?;
        }
    }
    output.print("\n")
}
