//! `nicbed explain`

use serde_json::json;

use super::output::Output;
use crate::error::{Error, Status};
use crate::rules;

pub(super) fn run(rule: Option<&str>, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    match rule {
        None if json => output.json(&json!({
            "schema": "nicbed/explain/1",
            "rules": rules::all().collect::<Vec<_>>(),
        }))?,
        None => {
            for id in rules::all() {
                output.print(&format!("{id}\n"))?;
            }
        }
        Some(id) => {
            let Some(page) = rules::page(id) else {
                return Err(Error::usage(format!("no rule is named {id}"))
                    .help("nicbed explain without a rule lists all"));
            };
            if json {
                output.json(&json!({
                    "schema": "nicbed/explain/1", "rule": id, "page": page,
                }))?;
            } else {
                output.print(page)?;
            }
        }
    }
    Ok(Status::Ok)
}
