//! The findings as SARIF 2.1.0 (OASIS), which code hosts show at the lines.
//!
//! One result a finding; the same finding on several NICs is one result that names them all. A
//! finding with a source line lies in that file, else in the object. Absolute paths are `file`
//! URIs, others are relative to where the command ran.

use std::collections::BTreeMap;

use bpf::finding::{Finding, Severity};
use serde_json::{Value, json};

use super::Matrix;

/// The schema that the document keeps to.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A finding and where it was found: object, program, NICs.
struct Place<'a> {
    object: &'a str,
    program: &'a str,
    finding: &'a Finding,
    nics: Vec<&'a str>,
}

/// The document.
pub fn render(matrix: &Matrix) -> Value {
    let places = places(matrix);
    let mut rules: Vec<&str> = places.iter().map(|p| p.finding.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let unreadable: Vec<Value> = matrix
        .rows
        .iter()
        .filter_map(|row| Some((row, row.error.as_ref()?)))
        .map(|(row, error)| {
            json!({
                "level": "error",
                "message": { "text": error },
                "locations": [ { "physicalLocation": {
                    "artifactLocation": { "uri": uri(&row.object) } } } ],
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [ {
            "tool": { "driver": {
                "name": "nicbed",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| rule_of(rule)).collect::<Vec<_>>(),
            } },
            "invocations": [ {
                "executionSuccessful": unreadable.is_empty(),
                "toolExecutionNotifications": unreadable,
            } ],
            "columnKind": "unicodeCodePoints",
            "results": places.iter().map(|place| result(place, &rules)).collect::<Vec<_>>(),
        } ],
    })
}

fn places(matrix: &Matrix) -> Vec<Place<'_>> {
    let mut places: Vec<Place<'_>> = Vec::new();
    for row in &matrix.rows {
        let mut known: BTreeMap<(&str, &str, Option<usize>), usize> = BTreeMap::new();
        for cell in &row.cells {
            for finding in &cell.findings {
                let key = (finding.rule.as_str(), finding.subject.as_str(), finding.pc);
                if let Some(at) = known.get(&key) {
                    places[*at].nics.push(&cell.nic);
                    continue;
                }
                known.insert(key, places.len());
                places.push(Place {
                    object: &row.object,
                    program: &row.program,
                    finding,
                    nics: vec![&cell.nic],
                });
            }
        }
    }
    places
}

fn rule_of(rule: &str) -> Value {
    let mut value = json!({ "id": rule });
    if let Some(page) = caps::explain(rule) {
        let first = page
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .unwrap_or(rule);
        value["shortDescription"] = json!({ "text": first.trim() });
        value["help"] = json!({ "text": page, "markdown": page });
    }
    value
}

fn result(place: &Place<'_>, rules: &[&str]) -> Value {
    let finding = place.finding;
    let mut text = format!(
        "{} ({} on {})",
        finding.message,
        place.program,
        place.nics.join(", ")
    );
    for (label, part) in [("why", &finding.why), ("help", &finding.help)] {
        if !part.is_empty() {
            text.push_str(&format!("\n{label}: {part}"));
        }
    }
    let physical = match (&finding.file, finding.line) {
        (Some(file), Some(line)) => json!({
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": line.max(1) },
        }),
        _ => json!({ "artifactLocation": { "uri": uri(place.object) } }),
    };
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rules.iter().position(|rule| *rule == finding.rule),
        "level": level(finding.severity),
        "message": { "text": text },
        "locations": [ {
            "physicalLocation": physical,
            "logicalLocations": [ {
                "name": place.program,
                "fullyQualifiedName": format!("{}: {}", place.object, place.program),
                "kind": "function",
            } ],
        } ],
        "properties": {
            "object": place.object,
            "program": place.program,
            "nics": place.nics,
            "stage": finding.stage.name(),
            "subject": finding.subject,
            "pc": finding.pc,
        },
    })
}

/// SARIF's own words are ours.
fn level(severity: Severity) -> &'static str {
    severity.name()
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=@".contains(&byte) {
            uri.push(byte as char);
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("./a b/c.c"), "a%20b/c.c");
        assert_eq!(uri("/x/y%.c"), "file:///x/y%25.c");
        assert_eq!(uri("ü.c"), "%C3%BC.c");
        // A colon in the first segment would be a scheme.
        assert_eq!(uri("a:b.c"), "a%3Ab.c");
    }
}
