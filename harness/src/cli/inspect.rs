//! `nicbed inspect`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bpf::ProgramSet;
use serde_json::{Value, json};

use super::args::InspectArgs;
use super::input;
use super::output::Output;
use crate::error::{Error, Status};
use crate::report::Table;

pub(super) fn run(args: &InspectArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let mut status = Status::Ok;
    let mut results = Vec::new();
    for path in &args.objects {
        match input::object(path, &args.load, 1) {
            Err(error) => {
                status = status.worst(error.status);
                if !json {
                    output.error(&error);
                }
                results.push(json!({
                    "object": path.display().to_string(), "error": error.to_string(),
                }));
            }
            Ok(set) if json => results.push(object_json(&set)),
            Ok(set) => output.print(&object_text(&set, output))?,
        }
    }
    if json {
        output.json(&json!({ "schema": "nicbed/inspect/1", "results": results }))?;
    }
    Ok(status)
}

fn helper_name(id: u32) -> String {
    bpf::helper::name(id).map_or_else(|| format!("helper {id}"), str::to_owned)
}

fn object_json(set: &ProgramSet) -> Value {
    json!({
        "object": set.object,
        "programs": set.programs.iter().map(|program| {
            let usage = program.usage();
            json!({
                "name": program.name,
                "section": program.section,
                "hook": program.hook.name(),
                "insns": program.insns.len(),
                "license": program.license,
                "cpu": usage.cpu.map(|c| c.to_string()),
                "groups": usage.groups.iter().map(|(g, n)| (g.name(), *n)).collect::<BTreeMap<_, _>>(),
                "backward_jumps": usage.backward_jumps,
                "atomics": usage.atomics,
                "helpers": usage.helpers.keys().map(|id| helper_name(*id)).collect::<Vec<_>>(),
                "maps": usage.maps.keys()
                    .filter_map(|m| Some(program.maps.get(*m)?.name.as_str())).collect::<Vec<_>>(),
                "subprograms": program.subprograms.iter().map(|s| json!({
                    "name": s.name, "start": s.start, "end": s.end,
                })).collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>(),
        "maps": set.maps.iter().map(|map| json!({
            "name": map.name,
            "type": map.kind.name(),
            "key_size": map.key_size,
            "value_size": map.value_size,
            "max_entries": map.max_entries,
            "flags": map.flags,
        })).collect::<Vec<_>>(),
        "globals": set.programs.first().map(|p| p.globals.iter().map(|g| json!({
            "name": g.name, "map": set.maps[g.map].name, "offset": g.offset, "size": g.size,
        })).collect::<Vec<_>>()),
        "refused": set.refused.iter().map(|r| json!({
            "name": r.name, "section": r.section, "finding": r.finding,
        })).collect::<Vec<_>>(),
        "notes": set.notes,
    })
}

fn object_text(set: &ProgramSet, output: &Output) -> String {
    let style = output.style;
    let mut text = format!("{}\n", style.head(&set.object));
    for program in &set.programs {
        let usage = program.usage();
        let _ = writeln!(
            text,
            "  {} (section {}, hook {}): {} insns, CPU {}, license {}",
            style.head(&program.name),
            program.section,
            program.hook,
            program.insns.len(),
            usage.cpu.map_or_else(String::new, |c| c.to_string()),
            program.license.as_deref().unwrap_or("none")
        );
        let list = |items: Vec<String>| {
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        let groups = usage
            .groups
            .iter()
            .map(|(g, n)| format!("{} {n}", g.name()))
            .collect();
        let _ = writeln!(text, "    instructions  {}", list(groups));
        let helpers = usage.helpers.keys().map(|id| helper_name(*id)).collect();
        let _ = writeln!(text, "    helpers       {}", list(helpers));
        let maps = usage
            .maps
            .keys()
            .filter_map(|m| Some(program.maps.get(*m)?.name.clone()))
            .collect();
        let _ = writeln!(text, "    maps          {}", list(maps));
        if program.subprograms.len() > 1 {
            let functions = program.subprograms[1..]
                .iter()
                .map(|s| s.name.clone())
                .collect();
            let _ = writeln!(text, "    calls         {}", list(functions));
        }
    }
    if !set.maps.is_empty() {
        let mut table = Table::new(&["  map", "type", "key", "value", "entries", "flags"]);
        for map in set.maps.iter() {
            table.row([
                format!("  {}", map.name),
                map.kind.to_string(),
                map.key_size.to_string(),
                map.value_size.to_string(),
                map.max_entries.to_string(),
                format!("{:#x}", map.flags),
            ]);
        }
        let _ = write!(text, "{table}");
    }
    for refused in &set.refused {
        let _ = writeln!(
            text,
            "  {} (section {}): {}",
            refused.name,
            refused.section,
            style.warn(&refused.finding.message)
        );
    }
    for note in &set.notes {
        let _ = writeln!(text, "  note: {}", note.message);
    }
    text
}
