//! `nicbed pcap`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use pcaps::generate::{Distribution, Generator, Mix, Spec};
use pcaps::info::{Flows, Summary};
use pcaps::write::{InterfaceInfo, PacketOptions, PcapngWriter, Section, WriteError};
use serde_json::{Value, json};

use super::args::{GenArgs, PcapCommand};
use super::output::Output;
use crate::error::{Error, Status};

pub(super) fn run(what: &PcapCommand, output: &mut Output) -> Result<Status, Error> {
    match what {
        PcapCommand::Info { file } => info(file, output),
        PcapCommand::Gen(args) => generate(args, output),
    }
}

fn info(file: &Path, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let name = file.display();
    let fail = |e: pcaps::ReadError| Error::input(format!("{name}: {e}"));
    let mut reader = pcaps::CaptureReader::open(file).map_err(fail)?;
    let summary = Summary::of(&mut reader).map_err(fail)?;
    for warning in &summary.warnings {
        output.warn(&format!("{name}: {warning}"));
    }
    if json {
        output.json(&info_json(&name.to_string(), &summary))?;
    } else {
        output.print(&info_text(&name.to_string(), &summary))?;
    }
    Ok(Status::Ok)
}

fn flows(flows: &Flows) -> (u64, bool) {
    match *flows {
        Flows::Exactly(n) => (n, true),
        Flows::MoreThan(n) => (n, false),
    }
}

fn info_json(name: &str, summary: &Summary) -> Value {
    let (flow_count, exact) = flows(&summary.flows);
    json!({
        "schema": "nicbed/pcap-info/1",
        "file": name,
        "format": summary.format.to_string(),
        "packets": summary.packets,
        "captured_bytes": summary.captured_bytes,
        "wire_bytes": summary.wire_bytes,
        "cut": summary.cut,
        "first_ns": summary.times_ns.map(|t| t.0),
        "last_ns": summary.times_ns.map(|t| t.1),
        "backwards": summary.backwards,
        "interfaces": summary.interfaces.iter().map(|(interface, packets)| json!({
            "name": interface.name, "link": interface.link.to_string(),
            "snaplen": interface.snaplen, "packets": packets,
        })).collect::<Vec<_>>(),
        "lengths": summary.lengths.as_ref().map(|l| json!({
            "min": l.min, "median": l.median, "max": l.max,
        })),
        "protocols": summary.protocols.iter()
            .map(|(p, n)| (p.name(), *n)).collect::<BTreeMap<_, _>>(),
        "flows": flow_count,
        "flows_exact": exact,
        "warnings": summary.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn info_text(name: &str, summary: &Summary) -> String {
    let mut text = String::new();
    let (flow_count, exact) = flows(&summary.flows);
    let _ = writeln!(text, "{name}: {}", summary.format);
    let _ = writeln!(
        text,
        "  packets   {} ({} bytes captured, {} on the wire, {} cut short)",
        summary.packets, summary.captured_bytes, summary.wire_bytes, summary.cut
    );
    if let Some((first, last)) = summary.times_ns {
        let seconds = last.saturating_sub(first) as f64 / 1e9;
        let _ = writeln!(
            text,
            "  time      {seconds:.6} s from {first} ns, {} packets go backwards",
            summary.backwards
        );
    }
    if let Some(lengths) = &summary.lengths {
        let _ = writeln!(
            text,
            "  lengths   {} to {} bytes, median {}",
            lengths.min, lengths.max, lengths.median
        );
    }
    let more = if exact { "" } else { "more than " };
    let _ = writeln!(text, "  flows     {more}{flow_count}");
    for (interface, packets) in &summary.interfaces {
        let _ = writeln!(
            text,
            "  interface {} {}, {packets} packets",
            interface.name.as_deref().unwrap_or("-"),
            interface.link
        );
    }
    let protocols: Vec<String> = summary
        .protocols
        .iter()
        .map(|(p, n)| format!("{} {n}", p.name()))
        .collect();
    let _ = writeln!(text, "  protocols {}", protocols.join(", "));
    text
}

fn generate(args: &GenArgs, output: &mut Output) -> Result<Status, Error> {
    let mix: Mix = args
        .mix
        .parse()
        .map_err(|e| Error::usage(format!("--mix {}: {e}", args.mix)))?;
    let distribution: Distribution = args
        .distribution
        .parse()
        .map_err(|e| Error::usage(format!("--distribution {}: {e}", args.distribution)))?;
    let mut spec = Spec::new(mix, args.packets);
    spec.flows = args.flows;
    spec.distribution = distribution;
    spec.seed = args.seed;
    let generator = Generator::new(spec).map_err(|e| Error::usage(e.to_string()))?;
    let name = args.output.display();
    let fail = |e: &dyn std::fmt::Display| Error::input(format!("{name}: cannot write: {e}"));
    if args.output.as_os_str() == "-" {
        let mut out = BufWriter::new(std::io::stdout().lock());
        generator.write_pcap(&mut out).map_err(|e| fail(&e))?;
        out.flush().map_err(|e| fail(&e))?;
        return Ok(Status::Ok);
    }
    let mut out = BufWriter::new(File::create(&args.output).map_err(|e| fail(&e))?);
    let packets = if args.output.extension().is_some_and(|e| e == "pcapng") {
        write_pcapng(generator, &mut out)
    } else {
        generator.write_pcap(&mut out)
    }
    .map_err(|e| fail(&e))?;
    out.flush().map_err(|e| fail(&e))?;
    if output.is_json()? {
        output.json(&json!({
            "schema": "nicbed/pcap-gen/1", "file": name.to_string(), "packets": packets,
        }))?;
    }
    Ok(Status::Ok)
}

fn write_pcapng(mut generator: Generator, to: impl std::io::Write) -> Result<u64, WriteError> {
    let section = Section {
        application: Some("nicbed"),
        ..Section::default()
    };
    let mut writer = PcapngWriter::new(to, &section)?;
    let interface = writer.add_interface(&InterfaceInfo::ETHERNET)?;
    let (mut frame, mut packets) = (Vec::new(), 0);
    while let Some(stamp) = generator.next_into(&mut frame) {
        let options = PacketOptions::default();
        writer.write(
            interface,
            stamp.time_ns,
            stamp.original_len,
            &frame,
            &options,
        )?;
        packets += 1;
    }
    writer.finish()?;
    Ok(packets)
}
