//! What a NIC's driver is told, when, and what becomes of what it says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;

use bpf::finding::Severity;
use bpf::map::MapDef;
use bpf::{Finding, Hook, Stage};
use isa::ebpf::Insn;
use verifier::facts::{RegKind, Region};
use verifier::{DeviceHooks, Options, Summary, Visit, verify};

/// Notes every call, and refuses what it is asked to.
#[derive(Default)]
struct Driver {
    told: Vec<String>,
    refuse: &'static str,
}

impl Driver {
    fn say(&mut self, what: &str) -> Vec<Finding> {
        let refused = !self.refuse.is_empty() && what.starts_with(self.refuse);
        self.told.push(what.to_owned());
        let words = format!("the firmware cannot do this: {what}");
        let finding = Finding::error("test/refused", Stage::Verify, "", words);
        if refused { vec![finding] } else { Vec::new() }
    }
}

impl DeviceHooks for Driver {
    fn instruction(&mut self, visit: &Visit<'_>) -> Vec<Finding> {
        match visit.insn {
            Insn::Load { .. } => {
                let access = visit.facts.access.unwrap();
                if access.region == Region::Ctx {
                    return Vec::new();
                }
                self.say(&format!(
                    "load {} {:?} {}",
                    visit.pc, access.region, access.max
                ))
            }
            Insn::Exit => {
                let r0 = visit.facts.registers[0];
                assert_eq!(r0.kind, RegKind::Scalar);
                self.say(&format!("exit {:?}", r0.range.as_constant()))
            }
            _ => Vec::new(),
        }
    }

    fn finalize(&mut self, summary: &Summary<'_>) -> Vec<Finding> {
        assert_eq!(summary.stats.call_depth, 2);
        self.say(&format!(
            "finalize frames {:?} packet {:?}",
            summary.frames, summary.packet_end
        ))
    }

    fn branch_hardwired(&mut self, pc: usize, taken: bool) -> Vec<Finding> {
        self.say(&format!("hardwired {pc} {taken}"))
    }

    fn removed(&mut self, pcs: std::ops::Range<usize>) -> Vec<Finding> {
        self.say(&format!("removed {pcs:?}"))
    }

    fn map(&mut self, map: &MapDef) -> Vec<Finding> {
        self.say(&format!("map {}", map.name))
    }

    fn attach(&mut self, port: u32) -> Vec<Finding> {
        self.say(&format!("attach {port}"))
    }

    fn learned(&self) -> Vec<u64> {
        vec![self.told.len() as u64]
    }
}

const PROGRAM: &str = "\
    .map a type=array key=4 value=8 entries=1
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 34
    r0 = 1
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 + 33)
    r6 = 1
    if r6 == 1 goto on
    r0 = 7
    r0 = 8
on:
    call f
    r0 = 2
out:
    exit
f:
    *(u64 *)(r10 - 16) = 0
    r0 = 0
    exit
";

fn told(refuse: &'static str) -> (Vec<String>, Vec<Finding>, Vec<u64>) {
    let program = Arc::new(support::assemble(PROGRAM, Hook::XDP));
    let mut driver = Driver {
        refuse,
        ..Driver::default()
    };
    let options = Options {
        device: Some(&mut driver),
        port: Some(3),
        ..Options::default()
    };
    let verified = verify(program, options).unwrap_or_else(|r| panic!("{r}"));
    let (findings, device) = (verified.findings().to_vec(), verified.device.clone());
    (driver.told, findings, device)
}

#[test]
fn every_hook_is_called_in_its_order() {
    let (told, findings, device) = told("");
    assert_eq!(
        told,
        [
            "map a",
            "load 6 Packet 33",
            "exit Some(0)",
            // With 1 the path is cut here: as visited, not over all paths.
            "exit Some(2)",
            "hardwired 8 true",
            "removed 9..11",
            "finalize frames [0, 16] packet Some(34)",
            "attach 3",
        ]
    );
    assert_eq!(findings, []);
    assert_eq!(device, [told.len() as u64]);
}

#[test]
fn a_refusal_keeps_the_drivers_words_and_exploration_goes_on() {
    for refuse in [
        "map",
        "load",
        "exit",
        "hardwired",
        "removed",
        "finalize",
        "attach",
    ] {
        let (told, findings, _) = told(refuse);
        assert_eq!(told.len(), 8, "{refuse}: {told:?}");
        assert!(!findings.is_empty(), "{refuse}");
        for finding in &findings {
            let words = format!("the firmware cannot do this: {refuse}");
            assert!(finding.message.starts_with(&words), "{}", finding.message);
            assert_eq!(
                (finding.stage, finding.severity),
                (Stage::Verify, Severity::Error)
            );
        }
    }
}
