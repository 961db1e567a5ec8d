//! The grid of actions: what a program can do, alone and one after the other, on every engine.
//!
//! Each action is a few lines of assembly and what they must do to packet, metadata, counters and
//! events, said by hand. Every action runs alone, and every pair of them in both orders; those that
//! end the program come second. The README shows the grid, and this test holds it to that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use cpu_reference::Rbpf;

use crate::case::Case;
use crate::engines::{self, Engine};
use crate::fact::to_hex;

/// Engines in the order of the grid's columns.
const COLUMNS: [Engine; 5] = [
    Engine::Interp,
    Engine::Rbpf,
    Engine::Kernel,
    Engine::X86,
    Engine::Ebpf,
];
/// What the counter `words[0]` holds at first.
const SEED: u64 = 0x1234_5678_9abc_def1;

/// What a run must leave.
struct Expected {
    packet: Vec<u8>,
    meta: Vec<u8>,
    /// By index in the map `words`.
    words: BTreeMap<usize, u64>,
    /// Facts about events and redirects, in order.
    facts: Vec<String>,
    r0: u32,
}

/// One action.
struct Action {
    name: &'static str,
    /// The map that it needs.
    map: &'static str,
    /// Its instructions; `@` in a label stands for the place in the program. r6 is the context, r9
    /// the value of `words`.
    text: String,
    effect: Box<dyn Fn(&mut Expected)>,
    /// Whether it ends the program, leaving r0.
    ends: bool,
}

fn action(
    name: &'static str,
    map: &'static str,
    text: impl Into<String>,
    effect: impl Fn(&mut Expected) + 'static,
) -> Action {
    Action {
        name,
        map,
        text: text.into(),
        effect: Box::new(effect),
        ends: false,
    }
}

fn verdict(name: &'static str, map: &'static str, text: &str, r0: u32) -> Action {
    Action {
        ends: true,
        ..action(name, map, format!("{text}\n  exit"), move |e| e.r0 = r0)
    }
}

/// Writes 4 bytes at an offset of the packet.
fn write(offset: usize, value: u32) -> String {
    format!(
        "  r1 = *(u32 *)(r6 + 0)
  r2 = *(u32 *)(r6 + 4)
  r3 = r1
  r3 += {}
  if r3 > r2 goto out@
  *(u32 *)(r1 + {offset}) = {value:#x}
out@:",
        offset + 4
    )
}

/// Puts `value` into an element and adds what is read back to a counter. The key is 1, behind a
/// prefix length where there is one.
fn element(counter: usize, update: bool, value: u64) -> String {
    let key = "  *(u64 *)(r10 - 8) = 1
  *(u32 *)(r10 - 8) = 32
  *(u32 *)(r10 - 4) = 1";
    let key = if update {
        key
    } else {
        "  *(u32 *)(r10 - 8) = 1"
    };
    let change = if update {
        format!(
            "  *(u64 *)(r10 - 16) = {value}
  r1 = map[MAP] ll
  r2 = r10
  r2 += -8
  r3 = r10
  r3 += -16
  r4 = 0
  call bpf_map_update_elem"
        )
    } else {
        format!(
            "  r1 = map[MAP] ll
  r2 = r10
  r2 += -8
  call bpf_map_lookup_elem
  if r0 == 0 goto out@
  r1 = {value}
  *(u64 *)(r0 + 0) = r1"
        )
    };
    format!(
        "{key}
{change}
  r1 = map[MAP] ll
  r2 = r10
  r2 += -8
  call bpf_map_lookup_elem
  if r0 == 0 goto out@
  r1 = *(u64 *)(r0 + 0)
  r2 = *(u64 *)(r9 + {})
  r2 += r1
  *(u64 *)(r9 + {}) = r2
out@:",
        8 * counter,
        8 * counter
    )
}

/// Pushes a value, pops it, and adds it to a counter.
fn through(counter: usize, value: u64) -> String {
    format!(
        "  *(u64 *)(r10 - 16) = {value}
  r1 = map[MAP] ll
  r2 = r10
  r2 += -16
  r3 = 0
  call bpf_map_push_elem
  *(u64 *)(r10 - 16) = 0
  r1 = map[MAP] ll
  r2 = r10
  r2 += -16
  call bpf_map_pop_elem
  r1 = *(u64 *)(r10 - 16)
  r2 = *(u64 *)(r9 + {})
  r2 += r1
  *(u64 *)(r9 + {}) = r2",
        8 * counter,
        8 * counter
    )
}

/// An action on a map whose text names it `MAP`.
fn on_map(
    name: &'static str,
    map: &'static str,
    text: &str,
    effect: impl Fn(&mut Expected) + 'static,
) -> Action {
    let of = map.split(' ').nth(1).unwrap_or("");
    action(name, map, text.replace("MAP", of), effect)
}

fn counted(counter: usize, value: u64) -> impl Fn(&mut Expected) {
    move |expected| {
        let word = expected.words.entry(counter).or_insert(0);
        *word = word.wrapping_add(value);
    }
}

fn actions() -> Vec<Action> {
    let arithmetic = "  r1 = *(u64 *)(r9 + 0)
  r1 *= 7
  w2 = w1
  r2 <<= 33
  r1 ^= r2
  r1 s>>= 3
  r2 = *(u64 *)(r9 + 64)
  r2 += r1
  *(u64 *)(r9 + 64) = r2";
    let by_hand = {
        let product = SEED.wrapping_mul(7);
        let low = (product & 0xffff_ffff) << 33;
        ((product ^ low).cast_signed() >> 3).cast_unsigned()
    };
    let metadata = "  r1 = r6
  r2 = -4
  call bpf_xdp_adjust_meta
  r1 = *(u32 *)(r6 + 8)
  r2 = *(u32 *)(r6 + 0)
  r3 = r1
  r3 += 4
  if r3 > r2 goto out@
  *(u32 *)(r1 + 0) = 0x11223344
out@:";
    let head = format!(
        "  r1 = r6\n  r2 = -4\n  call bpf_xdp_adjust_head\n{}",
        write(0, 0x5566_7788)
    );
    let event = "  *(u64 *)(r10 - 16) = 0x77";
    let ring = format!(
        "{event}
  r1 = map[MAP] ll
  r2 = r10
  r2 += -16
  r3 = 8
  r4 = 0
  call bpf_ringbuf_output"
    );
    let perf = format!(
        "{event}
  r1 = r6
  r2 = map[MAP] ll
  r3 = 0xffffffff ll
  r4 = r10
  r4 += -16
  r5 = 4
  call bpf_perf_event_output"
    );
    let put = |offset: usize, value: u32| {
        move |e: &mut Expected| e.packet[offset..offset + 4].copy_from_slice(&value.to_le_bytes())
    };
    vec![
        action("arithmetic", "", arithmetic, counted(8, by_hand)),
        action("change metadata", "", metadata, |e| {
            e.meta.splice(0..0, [0x44, 0x33, 0x22, 0x11]);
        }),
        action(
            "change header",
            "",
            write(2, 0xaabb_ccdd),
            put(2, 0xaabb_ccdd),
        ),
        action(
            "change payload",
            "",
            write(40, 0x0102_0304),
            put(40, 0x0102_0304),
        ),
        action("grow at the head", "", head, |e| {
            e.packet.splice(0..0, [0x88, 0x77, 0x66, 0x55]);
        }),
        action(
            "cut at the tail",
            "",
            "  r1 = r6\n  r2 = -4\n  call bpf_xdp_adjust_tail",
            |e| e.packet.truncate(e.packet.len() - 4),
        ),
        on_map(
            "array",
            ".map a type=array key=4 value=8 entries=2",
            &element(9, false, 3),
            counted(9, 3),
        ),
        on_map(
            "percpu_array",
            ".map pa type=percpu_array key=4 value=8 entries=2",
            &element(10, false, 4),
            counted(10, 4),
        ),
        on_map(
            "hash",
            ".map h type=hash key=8 value=8 entries=2",
            &element(11, true, 5),
            counted(11, 5),
        ),
        on_map(
            "percpu_hash",
            ".map ph type=percpu_hash key=8 value=8 entries=2",
            &element(12, true, 6),
            counted(12, 6),
        ),
        on_map(
            "lru_hash",
            ".map l type=lru_hash key=8 value=8 entries=64",
            &element(13, true, 7),
            counted(13, 7),
        ),
        on_map(
            "lpm_trie",
            ".map t type=lpm_trie key=8 value=8 entries=2 flags=1",
            &element(14, true, 8),
            counted(14, 8),
        ),
        on_map(
            "queue",
            ".map q type=queue key=0 value=8 entries=2",
            &through(15, 9),
            counted(15, 9),
        ),
        on_map(
            "stack",
            ".map s type=stack key=0 value=8 entries=2",
            &through(16, 10),
            counted(16, 10),
        ),
        on_map("ringbuf", ".map r type=ringbuf entries=4096", &ring, |e| {
            e.facts.push("event r = \"77 00 00 00 00 00 00 00\"".into());
        }),
        on_map(
            "perf_event_array",
            ".map p type=perf_event_array key=4 value=4 entries=1",
            &perf,
            |e| e.facts.push("event p = \"77 00 00 00\"".into()),
        ),
        verdict("pass", "", "  r0 = 2", 2),
        verdict("drop", "", "  r0 = 1", 1),
        verdict("tx", "", "  r0 = 3", 3),
        verdict("aborted", "", "  r0 = 0", 0),
        verdict("redirect", "", "  r1 = 1\n  r2 = 0\n  call bpf_redirect", 4),
        verdict(
            "redirect by devmap",
            ".map d type=devmap key=4 value=4 entries=2",
            "  r1 = map[d] ll\n  r2 = 0\n  r3 = 0\n  call bpf_redirect_map",
            4,
        ),
        verdict(
            "tail call",
            ".map j type=prog_array key=4 value=4 entries=2",
            "  r1 = r6\n  r2 = map[j] ll\n  r3 = 1\n  call bpf_tail_call\n  r0 = 1",
            3,
        ),
    ]
}

/// The program that does these actions one after the other, with its facts.
fn case(actions: &[&Action]) -> Result<Case, String> {
    let mut expected = Expected {
        packet: (0..64).collect(),
        meta: Vec::new(),
        words: BTreeMap::new(),
        facts: Vec::new(),
        r0: 2,
    };
    let mut text = format!(
        ";;! packet = \"{}\"\n;;! words = [\"{SEED:#x}\"]\n",
        to_hex(&expected.packet)
    );
    let has = |name: &str| actions.iter().any(|action| action.name == name);
    if has("redirect by devmap") {
        text.push_str(";;! maps.d = [{ key = 0, ifindex = 1 }]\n");
    }
    text.push_str(".map words type=array key=4 value=192 entries=1\n");
    // The map that a tail call goes through, by its index.
    let (mut maps, mut jumps) = (1, 0);
    for (index, action) in actions.iter().enumerate() {
        if !action.map.is_empty() && actions[..index].iter().all(|other| other.map != action.map) {
            let _ = writeln!(text, "{}", action.map);
            jumps = maps;
            maps += 1;
        }
    }
    text.push_str(".license GPL\n.section xdp\nentry:\n  r6 = r1\n  r9 = map[words][0] ll\n");
    for (index, action) in actions.iter().enumerate() {
        let _ = writeln!(text, "{}", action.text.replace('@', &index.to_string()));
        (action.effect)(&mut expected);
    }
    if !actions.last().is_some_and(|action| action.ends) {
        text.push_str("  r0 = 2\n  exit\n");
    }
    if has("tail call") {
        let _ = writeln!(text, ".section {jumps}/1\ntarget:\n  r0 = 3\n  exit");
    }
    let _ = writeln!(text, ";; expect r0 = {}", expected.r0);
    let _ = writeln!(text, ";; expect packet = \"{}\"", to_hex(&expected.packet));
    let _ = writeln!(text, ";; expect meta = \"{}\"", to_hex(&expected.meta));
    for (index, word) in &expected.words {
        let _ = writeln!(text, ";; expect words[{index}] = {word:#x}");
    }
    let target = if has("redirect by devmap") {
        "map d 0"
    } else if has("redirect") {
        "ifindex 1"
    } else {
        "none"
    };
    let _ = writeln!(text, ";; expect redirect = {target}");
    // Rings are drained after the packet, so the others come first.
    expected.facts.sort();
    for fact in expected.facts {
        let _ = writeln!(text, ";; expect {fact}");
    }
    let name = actions
        .iter()
        .map(|a| a.name)
        .collect::<Vec<_>>()
        .join(", ");
    Case::read(&name, &text).map_err(|errors| format!("{name}: {}\n{text}", errors.join("\n")))
}

/// How often actions ran as they must, and how often they ran.
#[derive(Clone, Copy, Default)]
struct Count {
    alone: Option<bool>,
    right: u32,
    pairs: u32,
}

/// Runs everything. The grid, all that is wrong, and whether the machine lacks an engine.
fn grid() -> (String, Vec<String>, bool) {
    let actions = actions();
    let mut problems = Vec::new();
    let mut lacks = false;
    let mut rows = vec![[Count::default(); COLUMNS.len()]; actions.len()];
    for (row, first) in actions.iter().enumerate() {
        let pairs = actions.iter().filter(|_| !first.ends);
        let programs = std::iter::once(vec![first]).chain(pairs.map(|second| vec![first, second]));
        for program in programs {
            let case = match case(&program) {
                Ok(case) => case,
                Err(error) => {
                    problems.push(error);
                    continue;
                }
            };
            let mut all = case.programs.programs.iter();
            let on_rbpf = all.all(|p| Rbpf::supports(p).is_ok());
            for (column, engine) in COLUMNS.into_iter().enumerate() {
                let count = &mut rows[row][column];
                count.pairs += u32::from(program.len() == 2);
                if engine == Engine::Rbpf && !on_rbpf {
                    continue;
                }
                let Some(wrong) = engines::on(engine, &case) else {
                    lacks = true;
                    continue;
                };
                if program.len() == 1 {
                    count.alone = Some(wrong.is_empty());
                } else {
                    count.right += u32::from(wrong.is_empty());
                }
                problems.extend(
                    wrong
                        .iter()
                        .map(|w| format!("{} on {engine}: {w}", case.name)),
                );
            }
        }
    }
    let mut text = "| action |".to_owned();
    for engine in COLUMNS {
        let _ = write!(text, " {engine} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(COLUMNS.len()));
    for (action, counts) in actions.iter().zip(rows) {
        let _ = write!(text, "| {} |", action.name);
        for count in counts {
            let alone = match count.alone {
                None => "–",
                Some(true) => "yes",
                Some(false) => "no",
            };
            let _ = match count.pairs {
                0 => write!(text, " {alone} |"),
                pairs => write!(text, " {alone}, {}/{pairs} |", count.right),
            };
        }
        text.push('\n');
    }
    (text, problems, lacks)
}

/// The test: everything runs as it must, and the README shows this grid.
pub(crate) fn check() -> Result<(), String> {
    let (grid, problems, lacks) = grid();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    if lacks {
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    if readme.contains(&grid) {
        Ok(())
    } else {
        Err(format!("README.md does not show this grid:\n\n{grid}"))
    }
}
