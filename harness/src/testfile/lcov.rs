//! What ran of programs, by C line: as text to read, and as a tracefile of lcov
//! (`geninfo(1)`, "FILES").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::coverage::{Coverage, Ran};
use crate::report::Style;

/// What ran of a source file.
#[derive(Clone, Debug, Default)]
struct Source<'a> {
    /// For each line with instructions: how often the one that ran most often ran, and the text.
    lines: BTreeMap<u32, (u64, &'a str)>,
    /// For each function, by name: first line, how often entered.
    functions: BTreeMap<&'a str, (u32, u64)>,
    /// For each conditional jump, by line, program and pc: how often it went on and jumped.
    branches: BTreeMap<(u32, &'a str, usize), [u64; 2]>,
}

/// Instructions of all programs without lines, and those that ran.
fn sources(coverage: &Coverage) -> BTreeMap<&str, Source<'_>> {
    let mut sources: BTreeMap<&str, Source<'_>> = BTreeMap::new();
    for ((_, name), ran) in &coverage.programs {
        let places = &ran.program.source;
        for pc in ran.pcs() {
            let Some((file, number)) = places.place_at(pc) else {
                continue;
            };
            let source = sources.entry(file).or_default();
            let text = places.line_at(pc).map_or("", |line| line.text.trim_end());
            let line = source.lines.entry(number).or_insert((0, text));
            line.0 = line.0.max(ran.counts[pc]);
            if let Some(ways) = ran.ways.get(&pc) {
                source.branches.insert((number, name, pc), *ways);
            }
        }
        for (function, entered) in ran.program.subprograms.iter().zip(&ran.entered) {
            if let Some((file, line)) = places.place_at(function.start) {
                let functions = &mut sources.entry(file).or_default().functions;
                // Programs of one object may share a function.
                let sum = functions.entry(&function.name).or_insert((line, 0));
                sum.1 += entered;
            }
        }
    }
    sources
}

/// The tracefile. A branch is a conditional jump: block 0, and two numbers, on and jumped.
pub fn tracefile(coverage: &Coverage) -> String {
    let mut text = String::new();
    for (file, source) in sources(coverage) {
        _ = writeln!(text, "TN:nicbed\nSF:{file}");
        for (name, (line, _)) in &source.functions {
            _ = writeln!(text, "FN:{line},{name}");
        }
        for (name, (_, entered)) in &source.functions {
            _ = writeln!(text, "FNDA:{entered},{name}");
        }
        let entered = source.functions.values().filter(|(_, n)| *n > 0).count();
        _ = writeln!(text, "FNF:{}\nFNH:{entered}", source.functions.len());
        let mut taken = 0;
        let mut at: BTreeMap<u32, usize> = BTreeMap::new();
        for ((line, ..), ways) in &source.branches {
            let number = at.entry(*line).or_default();
            for way in ways {
                taken += usize::from(*way > 0);
                let way = match ways {
                    [0, 0] => "-".to_owned(),
                    _ => way.to_string(),
                };
                _ = writeln!(text, "BRDA:{line},0,{number},{way}");
                *number += 1;
            }
        }
        _ = writeln!(text, "BRF:{}\nBRH:{taken}", 2 * source.branches.len());
        for (line, (count, _)) in &source.lines {
            _ = writeln!(text, "DA:{line},{count}");
        }
        let hit = source.lines.values().filter(|(n, _)| *n > 0).count();
        _ = writeln!(text, "LF:{}\nLH:{hit}\nend_of_record", source.lines.len());
    }
    text
}

/// What is to be read: sums for each program, and every line of every file with how often it ran
/// and which ways of jumps were never gone.
pub fn text(coverage: &Coverage, style: Style) -> String {
    let mut text = String::new();
    for ((object, name), ran) in &coverage.programs {
        _ = writeln!(text, "{}", style.head(&format!("{object}: {name}")));
        _ = writeln!(text, "  {}", sums(ran));
    }
    for (file, source) in sources(coverage) {
        _ = writeln!(text, "\n{}", style.head(file));
        for (number, (count, line)) in &source.lines {
            let count = match count {
                0 => style.bad("  never"),
                count => format!("{count:7}"),
            };
            let missed = missed(&source, *number);
            let missed = missed.map_or_else(String::new, |m| format!("  {}", style.warn(&m)));
            // The object may hold no text.
            let line = format!("{count} {number:5}  {}{missed}", tabs(line));
            _ = writeln!(text, "{}", line.trim_end());
        }
    }
    if coverage.unseen > 0 {
        _ = writeln!(
            text,
            "\n{} packets ran where nothing shows instructions; they are not counted",
            coverage.unseen
        );
    }
    text
}

fn sums(ran: &Ran) -> String {
    let part = |what: &str, hit: usize, all: usize| {
        let share = if all == 0 {
            String::new()
        } else {
            format!(" ({:.1} %)", 100.0 * hit as f64 / all as f64)
        };
        format!("{hit} of {all} {what}{share}")
    };
    let ran_at = |pc: &usize| ran.counts[*pc] > 0;
    let places = |pcs: &mut dyn Iterator<Item = usize>| {
        let lines: BTreeSet<_> = pcs
            .filter_map(|pc| ran.program.source.place_at(pc))
            .collect();
        lines.len()
    };
    let ways: Vec<u64> = ran.ways.values().flatten().copied().collect();
    [
        part(
            "instructions",
            ran.pcs().filter(ran_at).count(),
            ran.pcs().count(),
        ),
        part(
            "lines",
            places(&mut ran.pcs().filter(ran_at)),
            places(&mut ran.pcs()),
        ),
        part(
            "branches",
            ways.iter().filter(|n| **n > 0).count(),
            ways.len(),
        ),
    ]
    .join(", ")
}

/// What of a line's conditional jumps never happened, if they ran at all.
fn missed(source: &Source<'_>, line: u32) -> Option<String> {
    let of_line = (line, "", 0)..(line + 1, "", 0);
    let ways: Vec<&[u64; 2]> = source
        .branches
        .range(of_line)
        .map(|(_, ways)| ways)
        .collect();
    let ran = ways.iter().filter(|ways| ways.iter().any(|n| *n > 0));
    let half = ran.filter(|ways| ways.contains(&0)).count();
    (half > 0).then(|| match ways.len() {
        1 => "[its jump always went the same way]".to_owned(),
        all => format!("[{half} of {all} jumps always went the same way]"),
    })
}

fn tabs(line: &str) -> String {
    line.replace('\t', "    ")
}
