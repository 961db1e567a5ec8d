//! Comparing what schedules lead to.

use std::collections::{BTreeMap, BTreeSet};

use bpf::finding::{Finding, Severity, Stage};
use bpf::map::{MapDef, MapError, MapId, MapSet};
use bpf::run::{Batch, RedirectTarget, Verdict};
use bpf::{Hook, Program};
use cpu_reference::Reference;
use verifier::Verified;

use super::schedule::{self, Logged, Plan};
use super::{MOST_POINTS, MOST_SCHEDULES, Packet, Races, pairs};
use crate::compare::return_code;
use crate::mapdiff;
use crate::replay::access::{Access, Points};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    verdict: Verdict,
    r0: Option<u64>,
    frame: Vec<u8>,
    meta: Vec<u8>,
    redirect: Option<RedirectTarget>,
}

/// What a schedule led to.
struct Led {
    ends: [End; 2],
    log: Vec<Logged>,
}

/// Where a finding is: its rule and both accesses, by program and pc.
type Place = (&'static str, (u32, usize), (u32, usize));

pub(super) struct Judge<'a> {
    programs: &'a [&'a Verified],
    hook: &'a Hook,
    points: &'a Points,
    reference: &'a dyn Reference,
    defs: Vec<MapDef>,
    before: MapSet,
    serial: [MapSet; 2],
    found: BTreeMap<Place, Finding>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        programs: &'a [&'a Verified],
        hook: &'a Hook,
        points: &'a Points,
        reference: &'a dyn Reference,
    ) -> Result<Judge<'a>, MapError> {
        let maps = reference.maps();
        Ok(Judge {
            programs,
            hook,
            points,
            reference,
            defs: maps.iter().map(|m| m.def().clone()).collect(),
            before: maps.snapshot()?,
            serial: [maps.snapshot()?, maps.snapshot()?],
            found: BTreeMap::new(),
        })
    }

    pub(super) fn findings(self) -> Vec<Finding> {
        self.found.into_values().collect()
    }

    /// Explores the schedules of a pair; the maps are as they were afterwards.
    pub(super) fn pair(&mut self, a: &Packet, b: &Packet, races: &mut Races) {
        let maps = self.reference.maps();
        self.before.copy_from(maps);
        let packets = [a, b];
        let serial = [0, 1].map(|first| {
            let result = self.run(&vec![(first, None), (1 - first, None)], packets);
            self.serial[first].copy_from(maps);
            result
        });
        races.schedules += 2;
        self.order(packets, &serial);
        for first in [0, 1] {
            for plan in plans(first, &serial[first].log, races) {
                if races.schedules >= MOST_SCHEDULES {
                    races.cut = true;
                    break;
                }
                races.schedules += 1;
                let result = self.run(&plan, packets);
                self.hold(packets, &serial, &result);
            }
        }
        maps.copy_from(&self.before);
    }

    /// Runs one schedule from the state before the pair.
    fn run(&self, plan: &Plan, packets: [&Packet; 2]) -> Led {
        self.reference.maps().copy_from(&self.before);
        let mut batches = packets.map(pairs::batch);
        let log = schedule::run(self.reference, self.points, plan, &mut batches);
        Led {
            ends: batches.map(|batch| self.end(&batch)),
            log,
        }
    }

    fn end(&self, batch: &Batch) -> End {
        let outcome = batch.outcome(0, self.hook);
        End {
            verdict: outcome.verdict,
            r0: return_code(&outcome),
            frame: outcome.frame.to_vec(),
            meta: outcome.meta.to_vec(),
            redirect: outcome.redirect,
        }
    }

    /// Holds the result of a schedule against those of the serial ones.
    fn hold(&mut self, packets: [&Packet; 2], serial: &[Led; 2], result: &Led) {
        let maps = self.reference.maps();
        let ends_differ = serial.iter().all(|s| s.ends != result.ends);
        let differs = |serial: &MapSet| -> Option<MapId> {
            let differences = mapdiff::compare(&self.defs, maps, serial);
            let mut shared = differences.iter().filter_map(|d| maps.by_name(&d.map));
            shared.find(|map| self.points.shared.contains(map))
        };
        let lost = differs(&self.serial[0]).filter(|_| differs(&self.serial[1]).is_some());
        let numbers = packets.map(|packet| packet.arrival.number);
        if let Some(map) = lost {
            let name = self.name(map);
            if let Some(place) = lost_update(&result.log, map) {
                let message = format!(
                    "an update of map {name} is lost where packets {} and {} run at the same time",
                    numbers[0], numbers[1]
                );
                self.note("race/lost-update", Severity::Warning, &message, place);
            } else if let Some(place) = meeting(&result.log, Some(map)) {
                let message = format!(
                    "map {name} ends as neither order of packets {} and {} leaves it, where they \
                     run at the same time",
                    numbers[0], numbers[1]
                );
                self.note("race/state", Severity::Warning, &message, place);
            }
        }
        if ends_differ && let Some(place) = meeting(&result.log, None) {
            let message = format!(
                "packets {} and {} become {} and {} where they run at the same time, which neither \
                 order gives",
                numbers[0],
                numbers[1],
                result.ends[0].verdict.name(),
                result.ends[1].verdict.name(),
            );
            self.note("race/verdict", Severity::Warning, &message, place);
        }
    }

    /// Notes where outcomes depend on which packet comes first.
    fn order(&mut self, packets: [&Packet; 2], serial: &[Led; 2]) {
        let Some(who) = (0..2).find(|who| serial[0].ends[*who] != serial[1].ends[*who]) else {
            return;
        };
        if let Some((first, second)) = meeting(&serial[0].log, None) {
            let ends = [0, 1].map(|first: usize| serial[first].ends[who].verdict.name());
            let message = format!(
                "what becomes of packet {} ({} or {}) depends on whether packet {} of another \
                 queue comes first",
                packets[who].arrival.number,
                ends[0],
                ends[1],
                packets[1 - who].arrival.number,
            );
            self.note("race/order", Severity::Note, &message, (first, second));
        }
    }

    fn name(&self, map: MapId) -> String {
        self.defs
            .get(map)
            .map_or_else(String::new, |d| d.name.clone())
    }

    fn program(&self, access: &Access) -> Option<&Program> {
        let program = self.programs.get(access.program as usize)?;
        Some(program.program().as_ref())
    }

    /// `insn 12 (fw.c:40: counter++)`
    fn place(&self, access: &Access) -> String {
        let program = self.program(access);
        let line = program.and_then(|p| p.source.line_at(access.pc));
        let file = program.and_then(|p| p.source.place_at(access.pc));
        match (line, file) {
            (Some(line), Some((file, number))) => {
                format!("insn {} ({file}:{number}: {})", access.pc, line.text.trim())
            }
            _ => format!("insn {}", access.pc),
        }
    }

    fn note(
        &mut self,
        rule: &'static str,
        severity: Severity,
        message: &str,
        (one, other): (&Access, &Access),
    ) {
        let place = (rule, (one.program, one.pc), (other.program, other.pc));
        if self.found.contains_key(&place) {
            return;
        }
        let name = self.name(one.map);
        let mut finding = Finding::new(rule, severity, Stage::Behaviour, name.clone(), message);
        if let Some(program) = self.program(one) {
            finding = finding.at(one.pc, &program.source);
        }
        let finding = finding
            .why(format!(
                "{} {} map {name}; before that packet goes on, another queue's {} {} it",
                self.place(one),
                one.does.verb(),
                self.place(other),
                other.does.verb(),
            ))
            .help(if rule == "race/order" {
                "if that is not meant, keep the state per flow in one queue, or per CPU"
            } else {
                "make the change one atomic operation, keep the state per CPU, or see that one \
                 queue alone has it"
            });
        self.found.insert(place, finding);
    }
}

/// The schedules in which `first` begins, and is interrupted once, or the other too. Switches
/// that no access to a map of both follows change nothing.
fn plans(first: usize, serial: &[Logged], races: &mut Races) -> Vec<Plan> {
    let second = 1 - first;
    let maps = |who: usize| -> BTreeSet<MapId> {
        let own = serial.iter().filter(|(w, _)| *w == who);
        own.map(|(_, access)| access.map).collect()
    };
    let common: BTreeSet<MapId> = maps(0).intersection(&maps(1)).copied().collect();
    let mut points = |who: usize| -> Vec<usize> {
        let own = serial.iter().filter(|(w, _)| *w == who).enumerate();
        let mut points: Vec<usize> = own
            .filter(|(_, (_, access))| common.contains(&access.map))
            .map(|(number, _)| number)
            .collect();
        races.cut |= points.len() > MOST_POINTS;
        points.truncate(MOST_POINTS);
        points
    };
    let (firsts, seconds) = (points(first), points(second));
    let mut plans = Vec::new();
    // A switch before the first access of all is the other serial schedule.
    for i in firsts.into_iter().skip(1) {
        plans.push(vec![(first, Some(i)), (second, None), (first, None)]);
        for j in seconds.iter().skip(1) {
            plans.push(vec![
                (first, Some(i)),
                (second, Some(*j)),
                (first, None),
                (second, None),
            ]);
        }
    }
    plans
}

/// A packet's read of a map and another's write of the same after it, where the former goes on to
/// write it too.
fn lost_update(log: &[Logged], map: MapId) -> Option<(&Access, &Access)> {
    crossings(log, Some(map)).find_map(|(at, later)| {
        let ((who, read), (_, write)) = (&log[at], &log[later]);
        let mut rest = log[later + 1..].iter();
        let overwrites = rest.any(|(w, a)| w == who && a.does.writes() && a.conflicts(write));
        (read.does.reads() && write.does.writes() && overwrites).then_some((read, write))
    })
}

/// The two accesses in which packets meet: one that reads and the other's write after it, if there
/// are such; else the first two that conflict. Of this map, if one is named.
fn meeting(log: &[Logged], map: Option<MapId>) -> Option<(&Access, &Access)> {
    let both = |(at, later): (usize, usize)| (&log[at].1, &log[later].1);
    crossings(log, map)
        .map(both)
        .find(|(read, write)| read.does.reads() && write.does.writes())
        .or_else(|| crossings(log, map).next().map(both))
}

/// Indices of the pairs of accesses of different packets that conflict, in order.
fn crossings(log: &[Logged], map: Option<MapId>) -> impl Iterator<Item = (usize, usize)> {
    let of = move |access: &Access| map.is_none_or(|map| access.map == map);
    let firsts = log.iter().enumerate().filter(move |(_, (_, a))| of(a));
    firsts.flat_map(move |(at, (who, access))| {
        let later = log.iter().enumerate().skip(at + 1);
        later
            .filter(move |(_, (other, second))| other != who && access.conflicts(second))
            .map(move |(later, _)| (at, later))
    })
}
