//! Queues side by side give the answer of arrival order, for any number of threads.
//!
//! Each program is replayed in arrival order, which is the expectation, and as the testbed decides,
//! with one thread and with several: outcomes, maps and reports must be equal. Programs write what
//! they find in maps into the packet, so that a difference in any map shows.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::ProgramSet;
use bpf::object::{LoadOptions, load};
use harness::outcomes::outcome_json;
use harness::replay::chunk::CHUNK_FRAMES;
use harness::replay::order::Order;
use harness::replay::watched::FEWEST_THREADS;
use harness::seeds::Seeds;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};
use pcaps::generate::{Distribution, Generator, Mix, Spec};
use serde_json::{Value, json};

/// How often each is replayed with more threads than this machine has cores.
const REPEATS: usize = 2;

/// Chunks of each capture.
const CHUNKS: usize = 3;

/// Sets r6 to the packet, r8 to the IP identification (random in every packet), and the key at
/// r10-8 to the flow.
const START: &str = "
    r6 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r0 = 2
    r2 = r6
    r2 += 42
    if r2 > r3 goto out
    r8 = *(u16 *)(r6 + 18)
    r1 = *(u32 *)(r6 + 26)
    r2 = *(u32 *)(r6 + 30)
    r2 <<= 32
    r1 ^= r2
    r2 = *(u32 *)(r6 + 34)
    r2 <<= 16
    r1 ^= r2
    *(u64 *)(r10 - 8) = r1
    *(u64 *)(r10 - 16) = 1
";

/// Writes r7 into the packet.
const END: &str = "
    *(u32 *)(r6 + 0) = r7
    r0 = 2
    out:
    exit
";

/// Key: a few bits of the IP identification, the same in all queues.
fn shared_key(mask: u32) -> String {
    format!("r1 = r8\n r1 &= {mask}\n *(u64 *)(r10 - 8) = r1\n")
}

/// `helper(m, &key, &value, flags)`
fn call(helper: &str, flags: u32) -> String {
    format!(
        "r1 = map[m] ll\n r2 = r10\n r2 += -8\n r3 = r10\n r3 += -16\n r4 = {flags}\n call bpf_map_{helper}\n"
    )
}

/// Counts packets by key; a new key begins with 1.
fn counting(key: &str) -> String {
    format!(
        "{key}
         {}
         r7 = 0
         if r0 == 0 goto new
         r7 = *(u64 *)(r0 + 0)
         r7 += 1
         *(u64 *)(r0 + 0) = r7
         goto done
         new:
         {}
         r7 = r0
         done:
",
        call("lookup_elem", 0),
        call("update_elem", 0)
    )
}

/// Looks a key up, then inserts it in every so many-th packet.
fn late(key: &str, rare: u32) -> String {
    format!(
        "{key}
         {}
         r7 = 7
         if r0 == 0 goto missed
         r7 = *(u64 *)(r0 + 0)
         missed:
         r1 = r8
         r1 &= {rare}
         if r1 != {rare} goto done
         *(u64 *)(r10 - 16) = r8
         {}
         done:
",
        call("lookup_elem", 0),
        call("update_elem", 0)
    )
}

fn source(map: &str, body: &str) -> String {
    format!(".map m {map}\n{START}{body}{END}")
}

/// Frames of a generated capture with their arrival times.
fn capture(mix: Mix, flows: u32, chunks: usize) -> Vec<(u64, Vec<u8>)> {
    let packets = (chunks * CHUNK_FRAMES) as u64;
    let mut spec = Spec::new(mix, packets);
    spec.flows = flows;
    spec.distribution = Distribution::Zipf;
    spec.gap_ns = 10_000;
    let mut generator = Generator::new(spec).unwrap();
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    while let Some(stamp) = generator.next_into(&mut frame) {
        frames.push((stamp.time_ns, frame.clone()));
    }
    frames
}

/// What a run comes to.
struct Run {
    outcomes: Vec<String>,
    maps: Value,
    report: Value,
    watched: bool,
    redone: u64,
}

fn run(
    set: &ProgramSet,
    seeds: Option<&Seeds>,
    frames: &[(u64, Vec<u8>)],
    how: (Option<Order>, usize),
) -> Run {
    run_against(ReferenceChoice::Interp, set, seeds, frames, how)
}

fn run_against(
    reference: ReferenceChoice,
    set: &ProgramSet,
    seeds: Option<&Seeds>,
    frames: &[(u64, Vec<u8>)],
    (order, threads): (Option<Order>, usize),
) -> Run {
    let caps = Arc::new(caps::builtin("x86-dpu").unwrap());
    let settings = Settings {
        order,
        threads,
        reference,
        ..Settings::default()
    };
    let mut testbed = Testbed::new(caps, settings).unwrap();
    let entry = &set.programs[0].name;
    testbed.load_with(set, entry, seeds).unwrap();
    assert!(testbed.is_running(), "{:?}", testbed.decision());
    let names: Vec<String> = set.maps.iter().map(|m| m.name.clone()).collect();
    let mut outcomes = Vec::new();
    let frames = frames.iter().map(|(arrival_ns, bytes)| FrameIn {
        arrival_ns: *arrival_ns,
        port: 1,
        bytes,
    });
    testbed
        .feed(frames, &mut |packet| {
            outcomes.push(outcome_json(packet, &names).to_string());
            Ok(())
        })
        .unwrap();
    let maps = harness::seeds::dump(set, testbed.nic_maps().unwrap(), |_| None);
    let report = testbed.finish().unwrap();
    assert!(!report.disagrees(), "{:?}", report.first);
    let mut json = report.to_json();
    json.as_object_mut().unwrap().remove("throughput");
    json["replay"].as_object_mut().unwrap().remove("threads");
    Run {
        outcomes,
        maps: serde_json::to_value(&maps).unwrap(),
        report: json,
        watched: report.watched,
        redone: report.redone,
    }
}

/// Holds outcomes and maps of two runs against each other.
fn same(expected: &Run, found: &Run, what: &str) {
    let mut pairs = expected.outcomes.iter().zip(&found.outcomes);
    assert_eq!(pairs.find(|(a, b)| a != b), None, "{what}");
    assert_eq!(expected.outcomes.len(), found.outcomes.len(), "{what}");
    assert_eq!(expected.maps, found.maps, "{what}");
}

/// Replays in every way, and gives whether maps were watched and how many of so many chunks were
/// redone, at least and at most over all runs.
fn check(
    what: &str,
    set: &ProgramSet,
    seeds: Option<&Seeds>,
    frames: &[(u64, Vec<u8>)],
) -> (bool, u64, u64) {
    let expected = run(set, seeds, frames, (Some(Order::Arrival), 2));
    let one = run(set, seeds, frames, (None, 1));
    let (mut least, mut most) = (u64::MAX, 0);
    let verdicts = |run: &Run| run.report["replay"]["verdicts"].clone();
    same(&expected, &one, &format!("{what}, 1 thread"));
    assert_eq!(verdicts(&expected), verdicts(&one));
    for threads in std::iter::once(2).chain([7; REPEATS]) {
        let found = run(set, seeds, frames, (None, threads));
        same(&expected, &found, &format!("{what}, {threads} threads"));
        assert_eq!(one.report, found.report, "{what}, {threads} threads");
        if threads >= FEWEST_THREADS {
            least = least.min(found.redone);
            most = most.max(found.redone);
        }
    }
    (one.watched, least, most)
}

/// How often chunks are expected to be redone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redone {
    /// Not where each flow stays in its queue.
    Never,
    /// Where queues meet.
    Some,
    /// Maps cannot be watched, or need not be.
    NotWatched,
}

fn case(what: &str, map: &str, body: &str, redone: Redone) {
    let text = source(map, body);
    let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
    let mut all = (u64::MAX, 0);
    // What stands where ports would be in IPv6 frames of the last does not tell flows apart.
    for (mix, flows) in [(Mix::Udp, 500), (Mix::Udp, 20), (Mix::Tcp, 60)] {
        let frames = capture(mix, flows, CHUNKS);
        let (watched, least, most) = check(what, &set, None, &frames);
        assert_eq!(watched, redone != Redone::NotWatched, "{what}");
        assert!(
            redone != Redone::Never || mix != Mix::Udp || most == 0,
            "{what}"
        );
        all = (all.0.min(least), all.1.max(most));
    }
    match redone {
        Redone::Never => {}
        Redone::NotWatched => assert_eq!(all.1, 0, "{what}"),
        Redone::Some => assert!(all.1 > 0 && all.0 < CHUNKS as u64, "{what}: {all:?}"),
    }
}

#[test]
fn a_map_that_nobody_writes_needs_no_watch() {
    let body = call("lookup_elem", 0) + "r7 = r0\n r7 = 5\n";
    case(
        "read only",
        "type=hash key=8 value=8 entries=64",
        &body,
        Redone::NotWatched,
    );
}

#[test]
fn values_per_cpu_need_no_watch_but_their_keys_do() {
    let array = "type=percpu_array key=8 value=8 entries=4";
    let body = counting(&shared_key(3)).replace("*(u64 *)(r10 - 8)", "*(u32 *)(r10 - 8)");
    // Elements are always there: the branch that inserts is an update of the own slot.
    let body = body.replace(&call("update_elem", 0), "r0 = 1\n");
    case(
        "per-CPU array",
        &array.replace("key=8", "key=4"),
        &body,
        Redone::NotWatched,
    );
    case(
        "per-CPU hash, shared keys",
        "type=percpu_hash key=8 value=8 entries=64",
        &counting(&shared_key(3)),
        Redone::Some,
    );
}

#[test]
fn flows_in_a_map_that_evicts() {
    case(
        "flows, room for all",
        "type=lru_hash key=8 value=8 entries=4096",
        &counting(""),
        Redone::Never,
    );
    case(
        "flows, room for few",
        "type=lru_hash key=8 value=8 entries=16",
        &counting(""),
        Redone::Some,
    );
    case(
        "flows per CPU, room for few",
        "type=lru_percpu_hash key=8 value=8 entries=16",
        &counting(""),
        Redone::Some,
    );
}

#[test]
fn the_order_of_uses_that_queues_share_decides_what_is_evicted_later() {
    // 64 keys, each inserted now and then, and room for 60.
    case(
        "shared uses",
        "type=lru_hash key=8 value=8 entries=60",
        &late(&shared_key(63), 0x3ff),
        Redone::Some,
    );
}

#[test]
fn keys_that_queues_share() {
    case(
        "shared counters",
        "type=hash key=8 value=8 entries=8",
        &counting(&shared_key(3)),
        Redone::Some,
    );
    case(
        "two readers and a late write",
        "type=hash key=8 value=8 entries=8",
        &late(&shared_key(0), 0x1fff),
        Redone::Some,
    );
    case(
        "a miss before another queue's insert",
        "type=hash key=8 value=8 entries=8192",
        &late(&shared_key(0xfff), 0xff),
        Redone::Some,
    );
}

#[test]
fn a_map_filled_to_the_brim() {
    case(
        "full",
        "type=hash key=8 value=8 entries=100",
        &counting(""),
        Redone::Some,
    );
    let shrinks = format!(
        "r1 = r8
         r1 &= 3
         if r1 != 0 goto keep
         {}
         r7 = r0
         goto end
         keep:
         {}
         r7 = r0
         end:
",
        call("delete_elem", 0),
        call("update_elem", 1)
    );
    case(
        "full and deleted from",
        "type=hash key=8 value=8 entries=30",
        &shrinks,
        Redone::Some,
    );
    case(
        "deleted from, room for all",
        "type=hash key=8 value=8 entries=4096",
        &shrinks,
        Redone::Never,
    );
}

#[test]
fn a_value_used_after_its_key_was_deleted_needs_arrival_order() {
    let body = format!(
        "{}
         r7 = 0
         if r0 == 0 goto new
         r9 = r0
         {}
         {}
         r7 = *(u64 *)(r9 + 0)
         goto done
         new:
         {}
         done:
",
        call("lookup_elem", 0),
        call("delete_elem", 0),
        shared_key(0xff) + &call("update_elem", 0),
        call("update_elem", 0)
    );
    case(
        "stale",
        "type=hash key=8 value=8 entries=4096",
        &body,
        Redone::NotWatched,
    );
}

/// Puts r1, as `key` leaves it, where the key of an array's element is.
fn index(key: &str) -> String {
    format!("{key}\n *(u32 *)(r10 - 8) = r1\n")
}

/// The keys of array elements: those that queues share, and their own.
const SHARED_INDEX: &str = "r1 = r8\n r1 &= 3";
const OWN_INDEX: &str = "call bpf_get_smp_processor_id\n r1 = r0";

const ARRAY: &str = "type=array key=4 value=8 entries=64";

/// In one packet of many: counts in element 7, a constant that native code knows.
fn rarely_element_7() -> String {
    format!(
        "r7 = 0
         r1 = r8
         r1 &= 0xfff
         if r1 != 0xfff goto done
         *(u32 *)(r10 - 8) = 7
         {}
         if r0 == 0 goto done
         r7 = *(u64 *)(r0 + 0)
         r7 += 1
         *(u64 *)(r0 + 0) = r7
         done:
",
        call("lookup_elem", 0)
    )
}

#[test]
fn elements_of_arrays_are_cells() {
    let counted = |key: &str| {
        // Elements are always there: nothing is inserted.
        counting(&index(key)).replace(&call("update_elem", 0), "r0 = 1\n")
    };
    case("shared", ARRAY, &counted(SHARED_INDEX), Redone::Some);
    case("own", ARRAY, &counted(OWN_INDEX), Redone::Never);
    case("constant", ARRAY, &rarely_element_7(), Redone::Some);
}

#[test]
fn native_code_marks_elements_by_itself() {
    let shared = counting(&index(SHARED_INDEX));
    for (what, body) in [("shared", shared), ("constant", rarely_element_7())] {
        let text = source(ARRAY, &body);
        let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
        let frames = capture(Mix::Udp, 500, CHUNKS);
        let alone = |how| run_against(ReferenceChoice::None, &set, None, &frames, how);
        let expected = alone((Some(Order::Arrival), 1));
        let found = alone((None, 7));
        same(&expected, &found, what);
        assert!(found.watched && found.redone > 0, "{what}");
    }
}

#[test]
fn arrays_that_are_reached_without_a_mark_need_arrival_order() {
    // Lookups are inlined where the program itself does not store into the array.
    let updated = index(SHARED_INDEX)
        + &call("lookup_elem", 0)
        + "r7 = 0\n if r0 == 0 goto done\n r7 = *(u64 *)(r0 + 0)\n done:\n"
        + "*(u64 *)(r10 - 16) = r8\n"
        + &call("update_elem", 0);
    case("updated", ARRAY, &updated, Redone::NotWatched);
    let added = index(SHARED_INDEX)
        + &call("lookup_elem", 0)
        + "r7 = 0\n if r0 == 0 goto done\n r1 = 1\n lock *(u64 *)(r0 + 0) += r1\n"
        + "r7 = *(u64 *)(r0 + 0)\n done:\n";
    case("added and read", ARRAY, &added, Redone::NotWatched);
}

#[test]
fn additions_that_nobody_reads_commute() {
    let body = format!(
        "{}
         {}
         r7 = 0
         if r0 == 0 goto new
         r1 = 1
         lock *(u64 *)(r0 + 0) += r1
         goto done
         new:
         {}
         done:
",
        shared_key(3),
        call("lookup_elem", 0),
        call("update_elem", 1)
    );
    case(
        "additions",
        "type=hash key=8 value=8 entries=8",
        &body,
        Redone::Some,
    );
}

#[test]
fn a_more_specific_prefix_is_inserted_late() {
    // The key is 16 or 32 bits of the destination.
    let body = format!(
        "*(u32 *)(r10 - 8) = 32
         r1 = *(u32 *)(r6 + 30)
         *(u32 *)(r10 - 4) = r1
         {}
         r7 = 7
         if r0 == 0 goto missed
         r7 = *(u64 *)(r0 + 0)
         missed:
         r1 = r8
         r1 &= 0x3ffe
         if r1 != 0x3ffe goto done
         r1 = r8
         r1 &= 1
         r1 <<= 4
         r1 += 16
         *(u32 *)(r10 - 8) = r1
         *(u64 *)(r10 - 16) = r8
         {}
         done:
",
        call("lookup_elem", 0),
        call("update_elem", 0)
    );
    case(
        "prefixes",
        "type=lpm_trie key=8 value=8 entries=64 flags=1",
        &body,
        Redone::Some,
    );
}

#[test]
fn queues_and_stacks_are_one_cell() {
    for kind in ["queue", "stack"] {
        let body = "r7 = 0
             *(u64 *)(r10 - 8) = r8
             r1 = r8
             r1 &= 0x3fff
             if r1 == 0x3fff goto push
             if r1 != 0x3ffe goto done
             r1 = map[m] ll
             r2 = r10
             r2 += -8
             call bpf_map_pop_elem
             r7 = *(u64 *)(r10 - 8)
             goto done
             push:
             r1 = map[m] ll
             r2 = r10
             r2 += -8
             r3 = 0
             call bpf_map_push_elem
             r7 = r0
             done:
";
        let map = format!("type={kind} key=0 value=8 entries=4");
        case(kind, &map, body, Redone::Some);
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// A program of `programs/` with its seeds, if there are any.
fn program(name: &str) -> (ProgramSet, Option<Seeds>) {
    let object = std::fs::read(programs().join(format!("{name}.o"))).unwrap();
    let plain = load(name, &object, &LoadOptions::default()).unwrap();
    let seeds = std::fs::read_to_string(programs().join(format!("seeds/{name}.json")))
        .ok()
        .map(|text| Seeds::parse(name, &text).unwrap());
    let options = LoadOptions {
        globals: seeds
            .as_ref()
            .map(|s| s.globals(&plain.programs[0].globals))
            .unwrap_or_default(),
        ..LoadOptions::default()
    };
    (load(name, &object, &options).unwrap(), seeds)
}

#[test]
fn programs_with_state() {
    for (name, watched) in [
        ("nat", true),
        ("rate_limiter", true),
        ("heavy_hitter", true),
        // Globals in .bss and .data.
        ("flow_slots", false),
        ("link_meter", false),
    ] {
        let (set, seeds) = program(name);
        for (mix, flows) in [(Mix::Tcp, 30), (Mix::Tcp, 2000), (Mix::All, 100)] {
            let frames = capture(mix, flows, CHUNKS);
            let (found, _, _) = check(name, &set, seeds.as_ref(), &frames);
            assert_eq!(found, watched, "{name}");
        }
    }
}

/// The frame that answers an IPv4 frame of TCP or UDP without options: addresses and ports the
/// other way round.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let ports = frame.len() >= 42 && frame[12..15] == [8, 0, 0x45] && [6, 17].contains(&frame[23]);
    ports.then(|| {
        let mut answer = frame.to_vec();
        answer[26..30].copy_from_slice(&frame[30..34]);
        answer[30..34].copy_from_slice(&frame[26..30]);
        answer[34..36].copy_from_slice(&frame[36..38]);
        answer[36..38].copy_from_slice(&frame[34..36]);
        answer
    })
}

#[test]
fn answers_to_translated_packets_come_in_on_other_queues() {
    let (set, seeds) = program("nat");
    let frames = capture(Mix::Udp, 200, 1);
    let field = |outcome: &str, name: &str| -> Value {
        serde_json::from_str::<Value>(outcome).unwrap()[name].clone()
    };
    let sent = run(&set, seeds.as_ref(), &frames, (Some(Order::Arrival), 1));
    let mut both = Vec::new();
    let mut answers = Vec::new();
    for ((time, frame), outcome) in frames.iter().zip(&sent.outcomes) {
        both.push((*time, frame.clone()));
        let queue = field(outcome, "queue");
        let translated = field(outcome, "frame");
        let bytes: Vec<u8> = translated
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect();
        if let Some(answer) = answer(&bytes) {
            answers.push((both.len(), queue));
            both.push((*time, answer));
        }
    }
    assert!(answers.len() > 1000, "{}", answers.len());
    check("nat and its answers", &set, seeds.as_ref(), &both);
    let answered = run(&set, seeds.as_ref(), &both, (None, 7));
    let back = answers.iter().filter(|(at, queue)| {
        let outcome = &answered.outcomes[*at];
        !field(outcome, "frame").is_null() && field(outcome, "queue") != *queue
    });
    assert!(back.count() > 500);
    let met = &answered.report["replay"]["first_met"];
    assert!(
        ["outbound", "inbound"].contains(&met["map"].as_str().unwrap()),
        "{met}"
    );
}

#[test]
fn the_report_names_where_queues_meet_first() {
    let set = load(
        "counter.bpf",
        include_bytes!("../../programs/counter.bpf"),
        &LoadOptions::default(),
    )
    .unwrap();
    let frames = capture(Mix::Udp, 20, 1);
    let all = [1, 7].map(|threads| run(&set, None, &frames, (None, threads)));
    assert_eq!(all[0].report, all[1].report);
    // Slot 9 stores what another queue then loads in slot 7.
    let met = &all[0].report["replay"]["first_met"];
    assert_eq!(met["map"], "counter");
    let [first, second] = [&met["accesses"][0], &met["accesses"][1]];
    assert_eq!(
        (&first["pc"], &first["does"]),
        (&json!(9), &json!("writes"))
    );
    assert_eq!(
        (&second["pc"], &second["does"]),
        (&json!(7), &json!("reads"))
    );
    assert_ne!(first["queue"], second["queue"]);
    // Per CPU nothing meets.
    let (set, seeds) = program("counters");
    let apart = run(&set, seeds.as_ref(), &frames, (None, 7));
    assert_eq!(apart.report["replay"]["first_met"], Value::Null);
}
