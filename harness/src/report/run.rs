//! The report of a run: the value, its JSON and its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bpf::finding::{Finding, Stage};
use bpf::run::{RedirectTarget, Trap};
use caps::Caps;
use cpu_reference::Untold;
use isa::Image;
use serde_json::{Value, json};

use super::{Style, hexdump_difference};
use crate::compare::Difference;
use crate::decide::{Decision, Verdict};
use crate::mapdiff::{MapDifference, hex};
use crate::replay::lanes::Spent;
use crate::replay::meeting::Meeting;
use crate::replay::order::{Order, OrderReason};
use crate::replay::second::Opinions;

/// Why the NIC's program never saw a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotRun {
    /// Shorter than the NIC hands to programs.
    TooShort,
    /// Longer than the NIC hands to programs.
    TooLong,
    /// The program is not attached to the port it came in on.
    NotAttached,
}

impl NotRun {
    /// Name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            NotRun::TooShort => "too-short",
            NotRun::TooLong => "too-long",
            NotRun::NotAttached => "not-attached",
        }
    }
}

/// The first packet whose outcomes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstMismatch {
    /// Its number, from 0 over all captures.
    pub packet: u64,
    /// Its queue.
    pub queue: u32,
    /// The frame as it came in.
    pub original: Vec<u8>,
    /// Every field that differs.
    pub differences: Vec<Difference>,
}

/// Everything a run has to tell.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the entry program.
    pub program: String,
    /// The NIC.
    pub nic: Arc<Caps>,
    /// The backend that made the image.
    pub backend: String,
    /// The decision.
    pub decision: Decision,
    /// The entry program's image, if it was translated.
    pub image: Option<Arc<Image>>,
    /// Receive queues.
    pub queues: u32,
    /// Threads of this machine.
    pub threads: usize,
    /// Order between queues.
    pub order: Order,
    /// What the order that was asked for gives up; `None` if nothing, or none was asked for.
    pub gives_up: Option<&'static str>,
    /// Where queues met in a map first; `None` if they did not, or it was not looked for.
    pub meeting: Option<Meeting>,
    /// Why arrival order matters for this program; empty if it does not.
    pub order_reasons: Vec<OrderReason>,
    /// Whether queues that share maps ran side by side where watching showed that it could not
    /// matter.
    pub watched: bool,
    /// Chunks redone in arrival order since it could; differs from run to run.
    pub redone: u64,
    /// Frames fed, those not run included.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often the NIC gave each verdict, by the kernel's names.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Frames that the program never saw.
    pub not_run: BTreeMap<NotRun, u64>,
    /// Name of the reference, if there is one.
    pub reference: Option<&'static str>,
    /// What is not compared, since the reference cannot tell it.
    pub not_compared: Vec<Untold>,
    /// What rbpf, as a second opinion, has come to; `None` if it was not asked.
    pub second: Option<Opinions>,
    /// Why it was not asked, where it was to be had.
    pub second_not: Option<String>,
    /// Packets compared.
    pub compared: u64,
    /// Packets whose outcomes differ.
    pub mismatched: u64,
    /// The first of them.
    pub first: Option<FirstMismatch>,
    /// Elements in which the maps differ at the end; `None` if nothing was compared.
    pub map_differences: Option<Vec<MapDifference>>,
    /// Average cycles of the NIC's core per packet, where the profile gives costs.
    pub cycles: Option<f64>,
    /// Time spent; differs from run to run.
    pub spent: Spent,
    /// Packets that the NIC handed to the host.
    pub punted: u64,
    /// Packets that the host ran after a fallback.
    pub on_host: u64,
}

impl Report {
    /// Whether NIC and reference disagree in any packet or map.
    pub fn disagrees(&self) -> bool {
        self.mismatched > 0 || self.map_differences.as_ref().is_some_and(|d| !d.is_empty())
    }

    /// Packets that ran.
    pub fn ran(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// Packets that the NIC handed to the host, as a share of those that ran (0 to 1).
    pub fn punted_share(&self) -> f64 {
        self.punted as f64 / self.ran().max(1) as f64
    }

    /// What is to be said if the NIC makes less than `least` million packets a second: by the
    /// model where the profile gives costs, else by its engine on this machine.
    pub fn too_slow(&self, least: f64) -> Option<Finding> {
        let (rate, how) = match (self.predicted_mpps(), self.emulated_mpps()) {
            (Some(rate), _) => (rate, "the cycles that the profile gives predict"),
            (None, Some(rate)) => (rate, "the profile gives no costs; one core here makes"),
            (None, None) => return None,
        };
        (rate < least).then(|| {
            Finding::error(
                "performance/too-slow",
                Stage::Performance,
                self.nic.name.clone(),
                format!(
                    "{} is slower than {least} million packets a second",
                    self.nic.name
                ),
            )
            .why(format!("{how} {rate:.2}"))
            .help("let the CPU run it, shorten the program's longest path, or lower --min-mpps")
        })
    }

    /// Rate of the NIC's engine on one core of this machine, in million packets per second.
    pub fn emulated_mpps(&self) -> Option<f64> {
        mpps(self.ran(), self.spent.nic)
    }

    /// Rate of the reference on one core of this machine, in million packets per second.
    pub fn reference_mpps(&self) -> Option<f64> {
        mpps(self.compared, self.spent.reference)
    }

    /// What the profile's cores would do at the cycles counted: cores × clock / cycles. Memory
    /// latency and contention are not modelled.
    pub fn cores_mpps(&self) -> Option<f64> {
        let cycles = self.cycles?;
        let cores = self.nic.model().cores.known()?;
        let clock = self.nic.model().clock_hz.known()?;
        Some(cores as f64 * clock as f64 / cycles / 1e6)
    }

    /// The same, capped by line rate.
    pub fn predicted_mpps(&self) -> Option<f64> {
        let rate = self.cores_mpps()?;
        Some(self.line_rate_mpps().map_or(rate, |line| rate.min(line)))
    }

    /// Packets per second that the ports can carry at the capture's mean frame length: frame,
    /// 4 bytes of FCS, 8 of preamble and 12 of gap; in millions.
    pub fn line_rate_mpps(&self) -> Option<f64> {
        let model = self.nic.model();
        let bits = model.ports.known()? as f64 * model.port_bits_per_second.known()? as f64;
        if self.packets == 0 {
            return None;
        }
        let mean = self.bytes as f64 / self.packets as f64;
        Some(bits / ((mean + 24.0) * 8.0) / 1e6)
    }

    /// The document of `nicbed run -j`.
    pub fn to_json(&self) -> Value {
        let decision = &self.decision;
        let not_run: BTreeMap<&str, u64> = self
            .not_run
            .iter()
            .map(|(why, n)| (why.name(), *n))
            .collect();
        json!({
            "schema": "nicbed/run/1",
            "program": self.program,
            "nic": self.nic.name,
            "decision": {
                "outcome": decision.outcome.name(),
                "stage": decision.stage.map(Stage::name),
                "findings": decision.findings,
                "punted_share": self.punted_share(),
            },
            "image": self.image.as_ref().map(|image| json!({
                "backend": self.backend,
                "bytes": image.code.len(),
                "instructions": image.instructions,
            })),
            "replay": {
                "packets": self.packets,
                "bytes": self.bytes,
                "queues": self.queues,
                "threads": self.threads,
                "order": self.order.name(),
                "order_gives_up": self.gives_up,
                "first_met": self.meeting.as_ref().map(Meeting::to_json),
                "order_reasons": self.order_reasons.iter().map(|r| json!({
                    "map": r.map, "pc": r.pc, "what": r.what,
                })).collect::<Vec<_>>(),
                "watched": self.watched,
                "verdicts": self.verdicts,
                "not_run": not_run,
                "punted": self.punted,
                "on_host": self.on_host,
            },
            "compare": {
                "reference": self.reference,
                "not_compared": self.not_compared.iter().map(|u| u.what).collect::<Vec<_>>(),
                "not_compared_why": self.not_compared.iter()
                    .map(|u| (u.what.to_owned(), json!(u.why)))
                    .collect::<serde_json::Map<_, _>>(),
                "second_opinion": self.second.as_ref().map(|s| json!({
                    "reference": "rbpf",
                    "asked": s.asked,
                    "disagreed": s.disagreed,
                    "first": s.first.as_ref().map(|(packet, differences)| json!({
                        "packet": packet,
                        "fields": differences.iter().map(Difference::field).collect::<Vec<_>>(),
                    })),
                    "mismatches_siding_with_nic": s.sides.0,
                    "mismatches_siding_with_reference": s.sides.1,
                })),
                "no_second_opinion": self.second_not,
                "compared": self.compared,
                "mismatched": self.mismatched,
                "maps_equal": self.map_differences.as_ref().map(Vec::is_empty),
                "map_differences": self.map_differences.as_ref().map(|all| {
                    all.iter().map(|d| json!({
                        "map": d.map,
                        "key": hex(&d.key),
                        "nic": d.nic.as_deref().map(hex),
                        "reference": d.reference.as_deref().map(hex),
                    })).collect::<Vec<_>>()
                }),
                "first": self.first.as_ref().map(first_json),
            },
            "throughput": {
                "emulated_mpps": self.emulated_mpps(),
                "reference_mpps": self.reference_mpps(),
                "predicted_mpps": self.predicted_mpps(),
                "line_rate_mpps": self.line_rate_mpps(),
                "redone_chunks": self.redone,
            },
        })
    }

    /// The report for people. Ends with a newline.
    pub fn to_text(&self, style: Style) -> String {
        let mut t = String::new();
        let _ = writeln!(
            t,
            "{} on {} ({})",
            style.head(&self.program),
            self.nic.name,
            self.nic.summary
        );
        if let Some(image) = &self.image {
            let _ = writeln!(
                t,
                "  image      {} {}, {} bytes, by backend {}",
                image.instructions,
                if image.instructions == 1 {
                    "instruction"
                } else {
                    "instructions"
                },
                image.code.len(),
                self.backend
            );
        }
        if self.packets > 0 {
            self.replay_text(&mut t);
        }
        self.compare_text(&mut t, style);
        self.decision_text(&mut t, style);
        t
    }

    fn replay_text(&self, t: &mut String) {
        let _ = writeln!(
            t,
            "  replayed   {} packets, {} bytes, {} {}, {} order",
            self.packets,
            self.bytes,
            self.queues,
            if self.queues == 1 { "queue" } else { "queues" },
            self.order.name()
        );
        if let Some(what) = self.gives_up {
            let _ = writeln!(
                t,
                "             the order was asked for; it gives up {what}"
            );
        }
        for reason in self
            .order_reasons
            .iter()
            .filter(|_| self.watched || self.order == Order::Arrival || self.gives_up.is_some())
        {
            let _ = writeln!(
                t,
                "             queues share map {}{}: {} (insn {})",
                reason.map,
                if self.watched { ", watched" } else { "" },
                reason.what,
                reason.pc
            );
        }
        if let Some(meeting) = &self.meeting {
            let _ = writeln!(t, "             queues meet first in {}", meeting.text());
        }
        for (verdict, count) in &self.verdicts {
            let share = *count as f64 * 100.0 / self.packets as f64;
            let _ = writeln!(t, "  {verdict:<15} {count:>10}  {share:>5.1} %");
        }
        for (where_, count) in [
            ("punted to the host", self.punted),
            ("run by the host after a fallback", self.on_host),
        ] {
            if count > 0 {
                let share = count as f64 * 100.0 / self.ran().max(1) as f64;
                let _ = writeln!(t, "  of them    {count:>14}  {share:>5.1} %  {where_}");
            }
        }
        for (why, count) in &self.not_run {
            let _ = writeln!(t, "  not run    {count:>10}  {}", why.name());
        }
        let rate = |r: Option<f64>| r.map_or_else(|| "–".to_owned(), |r| format!("{r:.2}"));
        let _ = writeln!(
            t,
            "  Mpps       NIC engine {} and reference {} on one core here; predicted {}, line rate {}",
            rate(self.emulated_mpps()),
            rate(self.reference_mpps()),
            rate(self.predicted_mpps()),
            rate(self.line_rate_mpps())
        );
    }

    fn compare_text(&self, t: &mut String, style: Style) {
        let Some(reference) = self.reference else {
            return;
        };
        let maps = match &self.map_differences {
            Some(d) if d.is_empty() => "maps equal".to_owned(),
            Some(d) => format!("{} map elements differ", d.len()),
            None => "maps not compared".to_owned(),
        };
        let mismatched = if self.mismatched == 0 {
            "none differs".to_owned()
        } else {
            style.bad(&format!("{} differ", self.mismatched))
        };
        let _ = writeln!(
            t,
            "  compared   {} packets with {reference}: {mismatched}; {maps}",
            self.compared
        );
        self.second_text(t, style);
        for untold in &self.not_compared {
            let _ = writeln!(
                t,
                "             not compared: {}: {}",
                untold.what, untold.why
            );
        }
        if let Some(first) = &self.first {
            let _ = writeln!(
                t,
                "\n{} {} (queue {})",
                style.bad("first difference: packet"),
                first.packet,
                first.queue
            );
            for difference in &first.differences {
                difference_text(t, difference, style);
            }
            let _ = writeln!(
                t,
                "  the frame as it came in, {} bytes:",
                first.original.len()
            );
            for (i, row) in first.original.chunks(16).enumerate() {
                let bytes: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
                let _ = writeln!(t, "  {:04x}  {}", i * 16, bytes.join(" "));
            }
        }
        for d in self.map_differences.iter().flatten().take(8) {
            let side = |v: &Option<Vec<u8>>| v.as_deref().map_or_else(|| "absent".to_owned(), hex);
            let _ = writeln!(
                t,
                "  map {} key {}\n    nic        {}\n    reference  {}",
                d.map,
                hex(&d.key),
                side(&d.nic),
                side(&d.reference)
            );
        }
    }

    fn second_text(&self, t: &mut String, style: Style) {
        let Some(second) = &self.second else {
            if let Some(why) = &self.second_not {
                let _ = writeln!(t, "             no second opinion by rbpf: {why}");
            }
            return;
        };
        let verdict = match &second.first {
            None => "it agrees".to_owned(),
            Some((packet, differences)) => style.warn(&format!(
                "it disagrees on {}, first on packet {packet} in {}; interp and NIC count",
                second.disagreed,
                differences.first().map_or("nothing", Difference::field)
            )),
        };
        let _ = writeln!(
            t,
            "             rbpf asked about {}: {verdict}",
            second.asked
        );
        if self.mismatched > 0 {
            let _ = writeln!(
                t,
                "             of the packets that differ rbpf sides with the NIC on {}, with the reference on {}",
                second.sides.0, second.sides.1
            );
        }
    }

    fn decision_text(&self, t: &mut String, style: Style) {
        let outcome = match self.decision.outcome {
            Verdict::Offload => style.good("offload"),
            Verdict::Fallback => style.warn("fall back to the CPU"),
            Verdict::Rejected => style.bad("rejected"),
        };
        let stage = self
            .decision
            .stage
            .map(|s| format!(" ({} stage)", s.name()))
            .unwrap_or_default();
        let _ = writeln!(t, "{} {outcome}{stage}", style.head("decision:"));
    }
}

fn mpps(packets: u64, time: std::time::Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (packets > 0 && seconds > 0.0).then(|| packets as f64 / seconds / 1e6)
}

fn first_json(first: &FirstMismatch) -> Value {
    json!({
        "packet": first.packet,
        "queue": first.queue,
        "original": hex(&first.original),
        "differences": first.differences.iter().map(difference_json).collect::<Vec<_>>(),
    })
}

pub(crate) fn difference_json(difference: &Difference) -> Value {
    let (nic, reference) = match difference {
        Difference::Trap { nic, reference } => {
            (json!(trap(nic.as_ref())), json!(trap(reference.as_ref())))
        }
        Difference::Verdict { nic, reference } => (json!(nic.name()), json!(reference.name())),
        Difference::ReturnCode { nic, reference } => (json!(nic), json!(reference)),
        Difference::Redirect { nic, reference } => (redirect(*nic), redirect(*reference)),
        Difference::Frame { nic, reference, .. } | Difference::Meta { nic, reference } => {
            (json!(hex(nic)), json!(hex(reference)))
        }
        Difference::Context { nic, reference, .. } => (json!(nic), json!(reference)),
        Difference::Emitted { nic, reference } => (json!(nic), json!(reference)),
        Difference::Events { nic, reference } => {
            let bytes = |events: &[(bpf::run::EventKind, Vec<u8>)]| -> Vec<String> {
                events.iter().map(|(_, bytes)| hex(bytes)).collect()
            };
            (json!(bytes(nic)), json!(bytes(reference)))
        }
    };
    let mut value = json!({ "field": difference.field(), "nic": nic, "reference": reference });
    if let Difference::Frame { first, .. } = difference {
        value["first_byte"] = json!(first);
    }
    if let Difference::Context { name, .. } = difference {
        value["name"] = json!(name);
    }
    value
}

fn redirect(target: Option<RedirectTarget>) -> Value {
    match target {
        None => Value::Null,
        Some(RedirectTarget::Ifindex { ifindex }) => json!({ "ifindex": ifindex }),
        Some(RedirectTarget::Via { ifindex, via }) => {
            json!({ "ifindex": ifindex, "via": via.name() })
        }
        Some(RedirectTarget::Map { map, key }) => json!({ "map": map, "key": key }),
        Some(RedirectTarget::All { map, .. }) => json!({ "map": map, "key": Value::Null }),
    }
}

fn trap(trap: Option<&Trap>) -> Option<String> {
    trap.map(|t| {
        let at = t.pc.map(|pc| format!(" at insn {pc}")).unwrap_or_default();
        format!("{}{at}", t.cause)
    })
}

pub(crate) fn difference_text(t: &mut String, difference: &Difference, style: Style) {
    let field = difference.field();
    let mut pair = |nic: String, reference: String| {
        let _ = writeln!(
            t,
            "  {field:<10} nic {}, reference {reference}",
            style.bad(&nic)
        );
    };
    let target = |r: &Option<RedirectTarget>| match r {
        None => "none".to_owned(),
        Some(RedirectTarget::Ifindex { ifindex }) => format!("ifindex {ifindex}"),
        Some(RedirectTarget::Via { ifindex, via }) => format!("ifindex {ifindex} ({via})"),
        Some(RedirectTarget::Map { map, key }) => format!("map {map} key {key}"),
        Some(RedirectTarget::All { map, .. }) => format!("every port of map {map}"),
    };
    match difference {
        Difference::Trap { nic, reference } => {
            let side =
                |side: &Option<Trap>| trap(side.as_ref()).unwrap_or_else(|| "no trap".to_owned());
            pair(side(nic), side(reference));
        }
        Difference::Verdict { nic, reference } => {
            pair(nic.name().to_owned(), reference.name().to_owned());
        }
        Difference::ReturnCode { nic, reference } => {
            pair(format!("{nic:#x}"), format!("{reference:#x}"));
        }
        Difference::Redirect { nic, reference } => pair(target(nic), target(reference)),
        Difference::Meta { nic, reference } => pair(hex(nic), hex(reference)),
        Difference::Frame {
            first,
            nic,
            reference,
        } => {
            pair(
                format!("{} bytes", nic.len()),
                format!("{} bytes", reference.len()),
            );
            let _ = writeln!(t, "  first differing byte: {first}");
            t.push_str(&hexdump_difference(nic, reference, style));
        }
        Difference::Context {
            name,
            nic,
            reference,
        } => pair(format!("{name} {nic:#x}"), format!("{reference:#x}")),
        Difference::Emitted { nic, reference } => {
            pair(
                format!("{} copies", nic.len()),
                format!("{} copies", reference.len()),
            );
            for (i, side) in [("nic", nic), ("reference", reference)] {
                for copy in side {
                    let _ = writeln!(t, "    {i:<10} to {} {}", copy.ifindex, hex(&copy.bytes));
                }
            }
        }
        Difference::Events { nic, reference } => {
            pair(
                format!("{} events", nic.len()),
                format!("{} events", reference.len()),
            );
            for (i, side) in [("nic", nic), ("reference", reference)] {
                for (kind, bytes) in side {
                    let _ = writeln!(t, "    {i:<10} {kind:?} {}", hex(bytes));
                }
            }
        }
    }
}
