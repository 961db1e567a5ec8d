//! `nicbed jit`

use std::fmt::Write as _;
use std::sync::Arc;

use jit_backends::{Listing, Loaded};
use serde_json::json;

use super::args::{Emit, JitArgs};
use super::input;
use super::output::Output;
use crate::decide::Verdict;
use crate::disassembly;
use crate::error::{Error, Status};
use crate::pipeline;
use crate::report::render_finding;

pub(super) fn run(args: &JitArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()? || args.emit == Emit::Json;
    let nic = input::nic(&args.nic.nic, &args.nic.what_if)?;
    let set = input::object(&args.object, &args.load, nic.model().queues_default)?;
    let program = Arc::new(input::one_program(&set, &args.load)?.clone());
    let outside = input::backend(args.backend.as_deref(), &nic)?;
    let backend = match &outside {
        Some(outside) => Some(outside.as_ref()),
        None => jit_backends::by_name(&nic.backend),
    };
    let assessment = pipeline::assess_with(&program, &nic, &Loaded::default(), backend);
    if args.emit == Emit::Question
        && let Some(verified) = &assessment.verified
    {
        output.json(&crate::exec::question(verified, &nic))?;
        return Ok(Status::Ok);
    }
    let (Some(image), Some(backend)) = (&assessment.image, backend) else {
        if json {
            output.json(&json!({
                "schema": "nicbed/jit/1",
                "program": program.name,
                "nic": nic.name,
                "verdict": assessment.decision.outcome.name(),
                "findings": assessment.decision.findings,
                "isa": null, "words": [], "listing": [],
            }))?;
        } else {
            for finding in &assessment.decision.findings {
                output.print(&render_finding(
                    finding,
                    &set.object,
                    Some(&program),
                    output.style,
                ))?;
            }
        }
        return Ok(Status::Negative);
    };
    let listing = backend.disassemble(image);
    if listing.lines.iter().map(|l| l.bytes.len()).sum::<usize>() != image.code.len() {
        return Err(Error::input(format!(
            "the listing of {} ends before its code does",
            program.name
        ))
        .help("this is a fault of nicbed: please report it with the object"));
    }
    let lines = || listing.lines.iter().map(|l| crate::mapdiff::hex(&l.bytes));
    let words = || {
        crate::words::words(image, &nic, args.unrelocated)
            .unwrap_or_else(|| Ok(lines().collect()))
            .map_err(|e| {
                Error::input(format!("{} cannot be loaded: {e}", program.name))
                    .help("--unrelocated prints the words before loading")
            })
    };
    if json {
        let line = |pc: Option<&usize>| {
            pc.and_then(|pc| program.source.place_at(*pc))
                .map(|(_, line)| line)
        };
        output.json(&json!({
            "schema": "nicbed/jit/1",
            "program": program.name,
            "nic": nic.name,
            "isa": image.isa.name(),
            "words": words()?,
            "listing": listing.lines.iter().map(|l| json!({
                "offset": l.offset,
                "text": l.text,
                "pc": l.pcs.first(),
                "pcs": l.pcs,
                "line": line(l.pcs.first()),
            })).collect::<Vec<_>>(),
            "removed": image.removed.iter()
                .map(|(pc, why)| json!({ "pc": pc, "why": why })).collect::<Vec<_>>(),
        }))?;
    } else {
        match args.emit {
            Emit::Bin => output.print_bytes(&image.code)?,
            Emit::Hex => {
                output.print(&(words()?.join("\n") + "\n"))?;
            }
            Emit::Listing | Emit::Json | Emit::Question => {
                output.print(&side_by_side(&program, &listing, output))?;
            }
        }
    }
    Ok(if assessment.decision.outcome == Verdict::Offload {
        Status::Ok
    } else {
        Status::Negative
    })
}

/// C line, then each eBPF instruction with the code it became.
fn side_by_side(program: &bpf::Program, listing: &Listing, output: &Output) -> String {
    let mut text = String::new();
    let mut shown_line = None;
    let mut shown_pcs: Option<&[usize]> = None;
    for line in &listing.lines {
        let repeated = shown_pcs == Some(&line.pcs);
        shown_pcs = Some(&line.pcs);
        let place = line.pcs.first().and_then(|pc| program.source.line_at(*pc));
        if let Some(place) = place.filter(|p| Some((p.file, p.line)) != shown_line) {
            shown_line = Some((place.file, place.line));
            let file = program
                .source
                .files
                .get(place.file)
                .map_or("?", String::as_str);
            let shown = format!("; {file}:{}  {}", place.line, place.text.trim());
            let _ = writeln!(text, "{}", output.style.dim(shown.trim_end()));
        }
        let ebpf: Vec<String> = if repeated {
            Vec::new()
        } else {
            line.pcs
                .iter()
                .filter(|pc| !matches!(program.insns[**pc], isa::ebpf::Insn::WideTail))
                .map(|pc| format!("{pc:>5}: {}", disassembly::insn(program, *pc)))
                .collect()
        };
        for extra in ebpf.iter().take(ebpf.len().saturating_sub(1)) {
            let _ = writeln!(text, "{extra}");
        }
        let last = ebpf.last().map_or("", String::as_str);
        let _ = writeln!(text, "{last:<48} {:>6x}: {}", line.offset, line.text);
    }
    text
}
