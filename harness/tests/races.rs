//! Schedules in which packets of different queues meet in maps.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use harness::races::Races;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};
use pcaps::generate::{Generator, Mix, Spec};

fn explore_on(text: &str, queues: u32) -> Races {
    let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
    let settings = Settings {
        reference: ReferenceChoice::Interp,
        queues: Some(queues),
        ..Settings::default()
    };
    let nic = Arc::new(caps::builtin("x86-dpu").unwrap());
    let mut testbed = Testbed::new(nic, settings).unwrap();
    testbed.load(&set, &set.programs[0].name).unwrap();
    let mut generator = Generator::new(Spec::new(Mix::Udp, 200)).unwrap();
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    while let Some(stamp) = generator.next_into(&mut frame) {
        frames.push((stamp.time_ns, frame.clone()));
    }
    let frames = frames.iter().map(|(arrival_ns, bytes)| FrameIn {
        arrival_ns: *arrival_ns,
        port: 1,
        bytes,
    });
    testbed.races(None, frames).unwrap()
}

fn explore(text: &str) -> Races {
    let races = explore_on(text, 4);
    // The same again, to the byte.
    let again = explore_on(text, 4);
    assert_eq!(races.to_json(), again.to_json());
    races
}

/// Rules found, each with the slot of the access that is named first.
fn found(races: &Races) -> Vec<(&str, Option<usize>)> {
    races
        .findings
        .iter()
        .map(|f| (f.rule.as_str(), f.pc))
        .collect()
}

/// r0 = the element 0 of an array `m`, or the end.
const LOOKUP: &str = "
    *(u32 *)(r10 - 4) = 0
    r1 = map[m] ll
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    r1 = r0
    r0 = 2
    if r1 == 0 goto out
";

const ARRAY: &str = ".map m type=array key=4 value=8 entries=1\n";

#[test]
fn a_racy_counter_loses_an_update() {
    let text = format!(
        "{ARRAY}{LOOKUP}
         r2 = *(u64 *)(r1 + 0)
         r2 += 1
         *(u64 *)(r1 + 0) = r2
         out:
         exit
"
    );
    let races = explore(&text);
    // Slot 9 loads, slot 11 stores.
    assert_eq!(found(&races), [("race/lost-update", Some(9))]);
    assert!(races.findings[0].why.contains("insn 11"), "{races:?}");
    assert!(races.schedules > 2);
    assert_eq!(races.maps, ["m"]);
}

#[test]
fn an_atomic_counter_is_clean() {
    let text = format!(
        "{ARRAY}{LOOKUP}
         r2 = 1
         lock *(u64 *)(r1 + 0) += r2
         out:
         exit
"
    );
    let races = explore(&text);
    assert_eq!(found(&races), []);
    // Additions that nobody reads need no schedules at all.
    assert_eq!((races.maps.len(), races.schedules), (0, 0));
}

#[test]
fn a_ticket_depends_on_the_order_alone() {
    // One atomic step gives each packet its number; packets of even number pass.
    let text = format!(
        "{ARRAY}{LOOKUP}
         r2 = 1
         r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)
         r2 &= 1
         r0 = r2
         r0 += 1
         out:
         exit
"
    );
    assert_eq!(found(&explore(&text)), [("race/order", Some(10))]);
}

#[test]
fn two_packets_that_check_then_act_both_find_nothing() {
    // The first packet of a key passes, later ones are dropped.
    let text = "
        .map m type=hash key=4 value=8 entries=2
        *(u32 *)(r10 - 4) = 7
        *(u64 *)(r10 - 16) = 1
        r1 = map[m] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        r6 = 1
        if r0 != 0 goto out
        r1 = map[m] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 0
        call bpf_map_update_elem
        r6 = 2
        out:
        r0 = r6
        exit
    ";
    let races = explore(text);
    // The lookup in slot 6 misses; the other queue's update is in slot 16.
    let verdict = races.findings.iter().find(|f| f.rule == "race/verdict");
    let verdict = verdict.unwrap();
    assert_eq!(verdict.pc, Some(6));
    assert!(verdict.why.contains("insn 16"), "{}", verdict.why);
    let atomic = text.replace("r4 = 0", "r4 = 1").replace(
        "r6 = 2\n",
        "r6 = 1\n        if r0 != 0 goto out\n        r6 = 2\n",
    );
    let races = explore(&atomic);
    assert!(races.schedules > 2);
    let rules: Vec<&str> = races.findings.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(rules, ["race/order"]);
}

#[test]
fn a_token_bucket_gives_its_last_token_twice() {
    // One token is spent; the value is the number spent.
    let text = format!(
        "{ARRAY}{LOOKUP}
         r2 = *(u64 *)(r1 + 0)
         r0 = 1
         if r2 >= 1 goto out
         r2 += 1
         *(u64 *)(r1 + 0) = r2
         r0 = 2
         out:
         exit
"
    );
    let races = explore(&text);
    let verdict = races.findings.iter().find(|f| f.rule == "race/verdict");
    let verdict = verdict.unwrap();
    assert!(verdict.message.contains("XDP_PASS and XDP_PASS"));
    assert_eq!(verdict.pc, Some(9));
    assert!(verdict.why.contains("insn 13"), "{}", verdict.why);
}

#[test]
fn values_per_cpu_and_a_single_queue_have_no_schedules() {
    let racy = format!(
        "{ARRAY}{LOOKUP}
         r2 = *(u64 *)(r1 + 0)
         r2 += 1
         *(u64 *)(r1 + 0) = r2
         out:
         exit
"
    );
    let races = explore_on(&racy, 1);
    assert_eq!((races.pairs, races.schedules), (0, 0));
    let races = explore(&racy.replace("type=array", "type=percpu_array"));
    assert_eq!((races.maps.len(), races.schedules), (0, 0));
}
