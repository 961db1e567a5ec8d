//! `nicbed nic`

use serde_json::json;

use super::args::{Format, NicCommand, WhatIfArgs};
use super::input;
use super::output::Output;
use crate::error::{Error, Status};
use crate::mapdiff::hex;
use crate::report::Table;

pub(super) fn run(what: &NicCommand, output: &mut Output) -> Result<Status, Error> {
    match what {
        NicCommand::List => list(output),
        NicCommand::Show { nic, set } => show(nic, set, output),
    }
}

fn list(output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let mut table = Table::new(&["NIC", "backend", "engine", "summary"]);
    let mut rows = Vec::new();
    for name in caps::builtin_names() {
        let nic = input::nic(name, &WhatIfArgs::default())?;
        let backend = jit_backends::by_name(&nic.backend);
        let engine = backend.and_then(|b| nic_model::engine_for(b.isa()));
        let state = match (backend, engine) {
            (None, _) => "no backend yet",
            (Some(_), None) => "none on this machine",
            (Some(_), Some(_)) => "yes",
        };
        table.row([
            nic.name.clone(),
            nic.backend.clone(),
            state.to_owned(),
            nic.summary.clone(),
        ]);
        rows.push(json!({
            "name": nic.name, "backend": nic.backend, "summary": nic.summary,
            "vendor": nic.vendor, "has_backend": backend.is_some(),
            "has_engine": engine.is_some(),
        }));
    }
    if json {
        output.json(&json!({ "schema": "nicbed/nic-list/1", "nics": rows }))?;
    } else {
        output.print(&table.to_string())?;
    }
    Ok(Status::Ok)
}

fn show(name: &str, set: &[String], output: &mut Output) -> Result<Status, Error> {
    let nic = input::nic(
        name,
        &WhatIfArgs {
            set: set.to_vec(),
            driver_exact: false,
            record: None,
        },
    )?;
    match output.format {
        Format::Toml => output.print(&nic.to_toml())?,
        Format::Tlv => output.print(&format!("{}\n", hex(&nic.to_record())))?,
        Format::Json => {
            let mut value = json!({ "schema": "nicbed/nic-show/1" });
            value["nic"] = serde_json::to_value(nic.as_ref())
                .map_err(|e| Error::input(format!("{name}: {e}")))?;
            output.json(&value)?;
        }
        _ => {
            // Refuses the forms that are other commands'.
            output.is_json()?;
            output.print(&nic.to_text())?;
        }
    }
    Ok(Status::Ok)
}
