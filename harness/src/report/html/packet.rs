//! A packet that differs: field by field, and as bytes.

use maud::{Markup, html};

use super::record::Mismatch;
use crate::compare::Difference;
use crate::report::{Style, hexdump_difference};
use crate::testfile::layers::dissect;

/// A field of a layer as it came in, as the NIC left it, and as the reference did.
struct Row {
    layer: String,
    field: &'static str,
    sides: [Option<String>; 3],
}

impl Row {
    fn differs(&self) -> bool {
        self.sides[1] != self.sides[2]
    }

    fn is_changed(&self) -> bool {
        self.sides[0] != self.sides[1] || self.differs()
    }
}

/// All known fields of three frames. A layer that stands twice has a number behind its name.
fn rows(frames: [&[u8]; 3]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (side, frame) in frames.into_iter().enumerate() {
        let found = dissect(frame);
        for (at, layer) in found.iter().enumerate() {
            let name = layer.layer.name;
            let before = found[..at].iter().filter(|f| f.layer.name == name).count();
            let name = match before {
                0 => name.to_owned(),
                n => format!("{name} {}", n + 1),
            };
            let bytes = &frame[layer.start..layer.end];
            for field in layer.layer.fields {
                let text = field.get(bytes).map(|number| field.text(number));
                let known = rows
                    .iter()
                    .position(|r| r.layer == name && r.field == field.name);
                let at = known.unwrap_or_else(|| {
                    rows.push(Row {
                        layer: name.clone(),
                        field: field.name,
                        sides: [None, None, None],
                    });
                    rows.len() - 1
                });
                rows[at].sides[side] = text;
            }
        }
    }
    rows
}

/// The flow of a frame: its addresses, and ports where it has them.
pub(super) fn flow(frame: &[u8]) -> String {
    let found = dissect(frame);
    let ends = |layer: &str, from: &str, to: &str| {
        let layer = found.iter().rev().find(|f| f.layer.name == layer)?;
        let bytes = &frame[layer.start..layer.end];
        let text = |name: &str| {
            let field = layer.layer.field(name)?;
            Some(field.text(field.get(bytes)?))
        };
        Some((text(from)?, text(to)?))
    };
    let ports = ["tcp", "udp"]
        .into_iter()
        .find_map(|name| Some((name, ends(name, "sport", "dport")?)));
    let addresses = ["ipv4", "ipv6"]
        .into_iter()
        .find_map(|name| Some((name, ends(name, "src", "dst")?)));
    match (addresses, ports) {
        (Some((_, (from, to))), Some((name, (sport, dport)))) => {
            format!("{name} {from} {sport} → {to} {dport}")
        }
        (Some((name, (from, to))), None) => format!("{name} {from} → {to}"),
        (None, _) => match ends("eth", "src", "dst") {
            Some((from, to)) => format!("eth {from} → {to}"),
            None => "no Ethernet".to_owned(),
        },
    }
}

/// The section of one packet.
pub(super) fn section(mismatch: &Mismatch) -> Markup {
    let all = rows([&mismatch.original, &mismatch.nic, &mismatch.reference]);
    let plain = Style::PLAIN;
    let bytes: Vec<String> = mismatch
        .original
        .chunks(16)
        .enumerate()
        .map(|(i, row)| {
            let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
            format!("{:04x}  {}", i * 16, hex.join(" "))
        })
        .collect();
    html! {
        h3 id={ "packet" (mismatch.packet) } { "Packet " (mismatch.packet) " (queue " (mismatch.queue) ")" }
        ul { @for difference in &mismatch.differences { li { (difference.brief()) } } }
        @if !all.is_empty() {
            div.wide {
                table.mono {
                    thead { tr { th { "layer" } th { "field" } th { "came in" } th { "NIC" } th { "reference" } } }
                    tbody {
                        @for row in &all {
                            tr {
                                td { (row.layer) } td { (row.field) }
                                @for (side, text) in row.sides.iter().enumerate() {
                                    td.differs[row.differs() && side > 0].dim[!row.is_changed()] {
                                        (text.as_deref().unwrap_or("–"))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        @for difference in &mismatch.differences {
            @if let Difference::Frame { nic, reference, .. } = difference {
                p { "The frames that were left:" }
                pre { (hexdump_difference(nic, reference, plain)) }
            }
        }
        p { "The frame as it came in, " (mismatch.original.len()) " bytes:" }
        pre { (bytes.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_side_by_side() {
        let mut sent = vec![0; 34];
        sent[12..14].copy_from_slice(&[0x08, 0x00]);
        sent[14] = 0x45;
        sent[22] = 64;
        sent[23] = 59;
        sent[30..34].copy_from_slice(&[10, 0, 0, 9]);
        let mut lower = sent.clone();
        lower[22] = 63;
        let rows = rows([&sent, &lower, &sent]);
        let differing: Vec<_> = rows.iter().filter(|r| r.differs()).collect();
        assert_eq!(differing.len(), 1);
        assert_eq!(
            (differing[0].layer.as_str(), differing[0].field),
            ("ipv4", "ttl")
        );
        let sides = differing[0].sides.clone().map(Option::unwrap);
        assert_eq!(sides, ["64", "63", "64"]);
        assert_eq!(flow(&sent), "ipv4 0.0.0.0 → 10.0.0.9");
        assert_eq!(flow(&sent[..10]), "no Ethernet");
    }
}
