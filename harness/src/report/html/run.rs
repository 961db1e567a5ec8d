//! The page of a run. What may differ between two equal runs stands in one section of its own,
//! `measured`, at the end.

use bpf::map::json::{EntryJson, MapsJson};
use maud::{Markup, html};

use super::plot::{self, Bar, grouped};
use super::record::Record;
use super::{packet, page};
use crate::report::run::Report;

/// Elements of a map, and flows, that are shown.
const MOST: usize = 64;
/// Characters of a value that are shown.
const LONGEST: usize = 160;

/// The page; `maps` are the NIC's maps at the end, where a program ran.
pub fn render(report: &Report, record: &Record, maps: Option<&MapsJson>) -> String {
    let title = format!("nicbed: {} on {}", report.program, report.nic.name);
    let heading = format!("{} on {}", report.program, report.nic.name);
    let body = html! {
        (findings(report))
        @if report.packets > 0 {
            (verdicts(report, record))
            (rates(report))
            (compared(report, record))
            (hosted(report, record))
        }
        @if let Some(maps) = maps { (contents(maps)) }
        @if report.packets > 0 { (measured(report)) }
    };
    page(&title, &heading, &summary(report), &body)
}

fn summary(report: &Report) -> Markup {
    let outcome = report.decision.outcome.name();
    html! {
        p { (report.nic.summary) }
        p.decision {
            "Decision: " span class=(outcome) { (outcome) }
            @if let Some(stage) = report.decision.stage { " (" (stage.name()) " stage)" }
        }
        @if let Some(image) = &report.image {
            p {
                (grouped(image.instructions as u64)) " instructions, "
                (grouped(image.code.len() as u64)) " bytes, by backend " (report.nic.backend)
            }
        }
    }
}

fn findings(report: &Report) -> Markup {
    html! {
        @if !report.decision.findings.is_empty() {
            section id="findings" {
                h2 { "Findings" }
                ul.findings {
                    @for finding in &report.decision.findings {
                        @let place = match (&finding.file, finding.line, finding.pc) {
                            (Some(file), Some(line), _) => format!("{file}:{line}"),
                            (_, _, Some(pc)) => format!("insn {pc}"),
                            _ => String::new(),
                        };
                        li { (super::finding(finding, &place)) }
                    }
                }
            }
        }
    }
}

fn verdicts(report: &Report, record: &Record) -> Markup {
    let (step_ns, series) = record.over_time();
    let ran = report.ran().max(1);
    html! {
        section id="verdicts" {
            h2 { "Verdicts" }
            p {
                (grouped(report.packets)) " packets, " (grouped(report.bytes)) " bytes, "
                (report.queues) @if report.queues == 1 { " queue" } @else { " queues" }
                ", " (report.order.name()) " order"
            }
            @if !series.is_empty() { (plot::stacked(&series, step_ns)) }
            table.sums {
                @for (name, count) in &report.verdicts {
                    tr {
                        th { (name) } td.n { (grouped(*count)) }
                        td.n { (format!("{:.1} %", *count as f64 * 100.0 / ran as f64)) }
                    }
                }
                @for (why, count) in &report.not_run {
                    tr { th { "not run: " (why.name()) } td.n { (grouped(*count)) } td {} }
                }
            }
        }
    }
}

/// What the model says; nothing where it says nothing.
fn rates(report: &Report) -> Markup {
    let mut bars = Vec::new();
    for (label, colour, value) in [
        ("predicted", 1, report.predicted_mpps()),
        ("by the cores alone", 3, report.cores_mpps()),
        ("line rate", 6, report.line_rate_mpps()),
    ] {
        bars.extend(value.map(|value| Bar {
            label,
            colour,
            value,
        }));
    }
    html! {
        section id="rates" {
            h2 { "Predicted rate" }
            @if !bars.is_empty() { (plot::bars(&bars, "Mpps")) }
            p { (bound(report)) }
        }
    }
}

/// What bounds the predicted rate.
fn bound(report: &Report) -> String {
    let Some(cores) = report.cores_mpps() else {
        return "The profile of this NIC gives no costs of instructions, so no rate is predicted."
            .to_owned();
    };
    let cycles = report.cycles.unwrap_or_default();
    match report.line_rate_mpps() {
        Some(line) if line <= cores => {
            format!(
                "Bound by the line: its cores would do {cores:.2} Mpps at {cycles:.1} cycles a packet."
            )
        }
        _ => format!("Bound by the cores, at {cycles:.1} cycles a packet on average."),
    }
}

fn compared(report: &Report, record: &Record) -> Markup {
    let Some(reference) = report.reference else {
        return html! {};
    };
    html! {
        section id="compared" {
            h2 { "Compared with " (reference) }
            p {
                (grouped(report.compared)) " packets: "
                @if report.mismatched == 0 { span.offload { "none differs" } }
                @else { span.rejected { (grouped(report.mismatched)) " differ" } }
                @match &report.map_differences {
                    Some(d) if d.is_empty() => { "; maps equal" }
                    Some(d) => { "; " span.rejected { (d.len()) " map elements differ" } }
                    None => { "; maps not compared" }
                }
            }
            @if !report.not_compared.is_empty() {
                ul { @for untold in &report.not_compared { li { "not compared: " (untold.what) ": " (untold.why) } } }
            }
            @for mismatch in &record.mismatches { (packet::section(mismatch)) }
            @if report.mismatched > record.mismatches.len() as u64 {
                p.dim { "The first " (record.mismatches.len()) " of " (grouped(report.mismatched)) " are shown." }
            }
            @if let Some(differences) = report.map_differences.as_deref().filter(|d| !d.is_empty()) {
                h3 { "Map elements that differ" }
                div.wide {
                    table.mono {
                        thead { tr { th { "map" } th { "key" } th { "NIC" } th { "reference" } } }
                        @for d in differences.iter().take(MOST) {
                            tr {
                                td { (d.map) } td { (hex(Some(&d.key))) }
                                td.differs { (hex(d.nic.as_deref())) } td.differs { (hex(d.reference.as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Flows whose packets the host ran; nothing where there are none.
fn hosted(report: &Report, record: &Record) -> Markup {
    let flows = record.flows();
    if flows.is_empty() {
        return html! {};
    }
    let share = 100.0 * report.punted_share();
    html! {
        section id="host" {
            h2 { "On the host" }
            p {
                (grouped(report.punted)) " packets were handed up (" (format!("{share:.1} %")) "), "
                (grouped(report.on_host)) " ran there after a fallback."
            }
            table {
                thead { tr { th { "flow" } th { "handed up" } th { "after a fallback" } th { "bytes" } } }
                @for (flow, n) in flows.iter().take(MOST) {
                    tr {
                        td.mono { (flow) } td.n { (grouped(n.punted)) }
                        td.n { (grouped(n.fallen_back)) } td.n { (grouped(n.bytes)) }
                    }
                }
            }
            @let left = flows.len().saturating_sub(MOST);
            @let more = record.other_flows.punted + record.other_flows.fallen_back;
            @if left > 0 || more > 0 {
                p.dim { (grouped(left as u64)) " more flows, and " (grouped(more)) " packets that were not told apart." }
            }
        }
    }
}

fn contents(maps: &MapsJson) -> Markup {
    html! {
        @if !maps.maps.is_empty() || !maps.globals.is_empty() {
            section id="maps" {
                h2 { "Maps after the last packet" }
                @if !maps.globals.is_empty() {
                    h3 { "Globals" }
                    table.mono {
                        @for (name, value) in &maps.globals { tr { th { (name) } td { (short(&value.to_string())) } } }
                    }
                }
                @for (name, elements) in &maps.maps {
                    h3 { (name) " " small { (grouped(elements.len() as u64)) " elements" } }
                    @if !elements.is_empty() {
                        div.wide {
                            table.mono {
                                thead { tr { th { "key" } th { "value" } } }
                                @for element in elements.iter().take(MOST) {
                                    tr {
                                        td { (element.key.as_ref().map_or("–".to_owned(), |k| short(&k.to_string()))) }
                                        td { (short(&value(element))) }
                                    }
                                }
                            }
                        }
                    }
                    @if elements.len() > MOST { p.dim { "The first " (MOST) " are shown; " code { "--maps-out" } " writes all." } }
                }
            }
        }
    }
}

/// The value of an element, whatever its map holds.
fn value(element: &EntryJson) -> String {
    let mut parts = Vec::new();
    if let Some(value) = &element.value {
        parts.push(value.to_string());
    }
    for (cpu, value) in element.values.iter().flatten().enumerate() {
        parts.push(format!("cpu {cpu}: {value}"));
    }
    parts.extend(element.program.iter().map(|p| format!("program {p}")));
    parts.extend(element.map.iter().map(|m| format!("map {m}")));
    parts.extend(element.ifindex.map(|i| format!("ifindex {i}")));
    parts.join(", ")
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || "absent".to_owned(),
        |bytes| short(&crate::mapdiff::hex(bytes)),
    )
}

/// What this machine took; it differs from run to run.
fn measured(report: &Report) -> Markup {
    let mut bars = Vec::new();
    for (label, colour, value) in [
        ("NIC engine", 3, report.emulated_mpps()),
        ("reference", 6, report.reference_mpps()),
    ] {
        bars.extend(value.map(|value| Bar {
            label,
            colour,
            value,
        }));
    }
    html! {
        section id="measured" {
            h2 { "Measured on this machine" }
            @if !bars.is_empty() { (plot::bars(&bars, "Mpps")) }
            p.dim {
                "Packets a second of the simulation on one core, with " (report.threads)
                @if report.threads == 1 { " thread" } @else { " threads" }
                ". It says how fast this test ran, nothing about the NIC, and differs from run to run."
            }
        }
    }
}
