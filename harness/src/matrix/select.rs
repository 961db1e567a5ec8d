//! Which cells are shown, in which order, with which columns; in the words of veristat.
//!
//! * columns: `object,program,insns`
//! * order: `insns` or `insns^` ascending, `insnsv` descending; several separated by commas
//! * filters: a glob on `object/program`, object or program (`xdp_*`, `!*debug*`), or a column
//!   compared with a value (`insns>100`, `verdict=fallback`). A cell is shown if it matches some
//!   glob (if there are any), no negated one, and every comparison.

use std::cmp::Ordering;

use super::{Binding, Cell, Matrix, Row};
use crate::error::Error;

/// A value in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
    /// Nothing is known.
    None,
}

impl Value {
    /// As text; empty where nothing is known.
    pub fn text(&self) -> String {
        match self {
            Value::Number(n) => n.to_string(),
            Value::Word(word) => word.clone(),
            Value::None => String::new(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Number(_) => 0,
            Value::Word(_) => 1,
            Value::None => 2,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::Word(a), Value::Word(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How a column gets its value.
type Of = fn(&Row, &Cell) -> Value;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, as `--columns`, `--sort` and `--filter` take it and as the head shows it.
    pub name: &'static str,
    /// What it shows, for the documentation.
    pub about: &'static str,
    of: Of,
}

impl Column {
    /// The column's value of a cell.
    pub fn value(&self, row: &Row, cell: &Cell) -> Value {
        (self.of)(row, cell)
    }
}

fn usage(cell: &Cell, of: fn(&caps::Usage) -> u64) -> Value {
    cell.assessment
        .as_ref()
        .and_then(|a| a.usage.as_ref())
        .map_or(Value::None, |usage| Value::Number(of(usage)))
}

fn room(cell: &Cell, key: &str, left: bool) -> Value {
    let Some(room) = cell.rooms.iter().find(|room| room.key == key) else {
        return Value::None;
    };
    let value = if left {
        room.left().map(|left| left.max(0) as u64)
    } else {
        room.used
    };
    value.map_or(Value::None, Value::Number)
}

fn word(text: impl Into<String>) -> Value {
    Value::Word(text.into())
}

fn optional(text: Option<impl Into<String>>) -> Value {
    text.map_or(Value::None, |text| Value::Word(text.into()))
}

/// Every column.
pub const COLUMNS: [Column; 21] = [
    column("object", "object as named", |row, _| word(&row.object)),
    column("program", "program", |row, _| word(&row.program)),
    column("hook", "xdp or tc", |row, _| optional(row.hook.clone())),
    column("nic", "NIC", |_, cell| word(&cell.nic)),
    column("verdict", "offload, fallback or rejected", |_, cell| {
        word(cell.verdict.name())
    }),
    column("stage", "the stage that decided", |_, cell| {
        optional(cell.stage.map(bpf::finding::Stage::name))
    }),
    column("rule", "rule of the first error", |_, cell| {
        match cell.binding() {
            Some(Binding::Finding(finding)) => word(&finding.rule),
            _ => Value::None,
        }
    }),
    column("binds", "first error or tightest limit", |_, cell| {
        optional(cell.binding().map(|b| b.short()))
    }),
    column("errors", "findings that are errors", |_, cell| {
        Value::Number(cell.errors() as u64)
    }),
    column("insns", "slots of the linked program", |_, cell| {
        usage(cell, |u| u.insns as u64)
    }),
    column(
        "reachable_insns",
        "instructions that a path reaches",
        |_, cell| usage(cell, |u| u.reachable_insns as u64),
    ),
    column(
        "image",
        "length of the image, in the limit's unit",
        |_, cell| room(cell, "image.length", false),
    ),
    column("image_left", "what is left of the code store", |_, cell| {
        room(cell, "image.length", true)
    }),
    column("image_bytes", "length of the image in bytes", |_, cell| {
        cell.assessment
            .as_ref()
            .and_then(|a| a.image.as_ref())
            .map_or(Value::None, |image| Value::Number(image.code.len() as u64))
    }),
    column("stack", "bytes of stack", |_, cell| {
        usage(cell, |u| u.stack_bytes)
    }),
    column("stack_left", "what is left of the stack", |_, cell| {
        room(cell, "stack.bytes", true)
    }),
    column("maps", "maps", |_, cell| usage(cell, |u| u.maps as u64)),
    column("map_entries", "entries of all maps", |_, cell| {
        usage(cell, |u| u.map_entries)
    }),
    column("map_bytes", "bytes of all maps", |_, cell| {
        usage(cell, |u| u.map_bytes)
    }),
    column("map_entries_left", "entries left on the NIC", |_, cell| {
        room(cell, "map.total_entries", true)
    }),
    column(
        "packet_bytes",
        "bytes of a frame it can touch",
        |_, cell| usage(cell, |u| u.packet_bytes),
    ),
];

const fn column(name: &'static str, about: &'static str, of: Of) -> Column {
    Column { name, about, of }
}

fn find(option: &str, name: &str) -> Result<Column, Error> {
    COLUMNS
        .iter()
        .find(|column| column.name == name)
        .copied()
        .ok_or_else(|| {
            let names: Vec<_> = COLUMNS.iter().map(|c| c.name).collect();
            Error::usage(format!("{option}: there is no column {name}"))
                .help(format!("columns: {}", names.join(", ")))
        })
}

/// What is shown of a matrix.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Columns, if any were asked for.
    pub columns: Vec<Column>,
    order: Vec<(Column, bool)>,
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
enum Filter {
    Glob {
        pattern: String,
        negated: bool,
    },
    Compare {
        column: Column,
        op: Op,
        value: Value,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Comparison signs, longer ones first.
const OPS: [(&str, Op); 8] = [
    ("!=", Op::NotEqual),
    ("<>", Op::NotEqual),
    ("<=", Op::LessEqual),
    (">=", Op::GreaterEqual),
    ("==", Op::Equal),
    ("=", Op::Equal),
    ("<", Op::Less),
    (">", Op::Greater),
];

impl Selection {
    /// Reads what `--columns`, `--sort` and `--filter` say.
    ///
    /// # Errors
    /// A column that does not exist, with the names of those that do.
    pub fn parse(emit: &[String], sort: &[String], filters: &[String]) -> Result<Selection, Error> {
        let mut selection = Selection::default();
        for name in emit {
            selection.columns.push(find("--columns", name)?);
        }
        for key in sort {
            let (name, descending) = match key.strip_suffix(['v', '>']) {
                // `v` is a suffix only where the whole is no column.
                Some(name) if COLUMNS.iter().all(|c| c.name != key) => (name, true),
                _ => (key.trim_end_matches(['^', '<']), false),
            };
            selection.order.push((find("--sort", name)?, descending));
        }
        for filter in filters {
            selection.filters.push(parse_filter(filter)?);
        }
        Ok(selection)
    }

    /// Whether a cell is shown.
    pub fn shows(&self, row: &Row, cell: &Cell) -> bool {
        let mut globs = 0;
        let mut matched = false;
        for filter in &self.filters {
            match filter {
                Filter::Glob { pattern, negated } => {
                    let hit = matches_program(pattern, row);
                    if *negated && hit {
                        return false;
                    }
                    if !negated {
                        globs += 1;
                        matched |= hit;
                    }
                }
                Filter::Compare { column, op, value } => {
                    if !compare(&column.value(row, cell), *op, value) {
                        return false;
                    }
                }
            }
        }
        globs == 0 || matched
    }

    /// The matrix with the cells that are shown; rows in the order asked for, by the first cell
    /// that is shown. Rows without anything to check stay where no filter is given.
    #[must_use]
    pub fn apply(&self, matrix: Matrix) -> Matrix {
        let mut rows: Vec<Row> = matrix
            .rows
            .into_iter()
            .filter_map(|mut row| {
                let had = !row.cells.is_empty();
                let cells = std::mem::take(&mut row.cells);
                let shown: Vec<Cell> = cells
                    .into_iter()
                    .filter(|cell| self.shows(&row, cell))
                    .collect();
                row.cells = shown;
                (!row.cells.is_empty() || !had && self.filters.is_empty()).then_some(row)
            })
            .collect();
        rows.sort_by(|a, b| self.order_of(a, b));
        Matrix {
            nics: matrix.nics,
            rows,
        }
    }

    fn order_of(&self, a: &Row, b: &Row) -> Ordering {
        for (column, descending) in &self.order {
            let value = |row: &Row| {
                row.cells
                    .first()
                    .map_or(Value::None, |cell| column.value(row, cell))
            };
            let (a, b) = (value(a), value(b));
            // What is not known stands last in either direction.
            let order = match (a == Value::None, b == Value::None) {
                (false, false) if *descending => b.cmp(&a),
                _ => a.cmp(&b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn parse_filter(text: &str) -> Result<Filter, Error> {
    for (sign, op) in OPS {
        let Some((name, value)) = text.split_once(sign) else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        let column = find("--filter", name.trim())?;
        let value = value.trim();
        let value = match value.parse() {
            Ok(number) => Value::Number(number),
            Err(_) if value.is_empty() => Value::None,
            Err(_) => word(value),
        };
        return Ok(Filter::Compare { column, op, value });
    }
    let (negated, pattern) = match text.strip_prefix('!') {
        Some(pattern) => (true, pattern),
        None => (false, text),
    };
    if pattern.is_empty() {
        return Err(Error::usage("--filter: the pattern is empty"));
    }
    Ok(Filter::Glob {
        pattern: pattern.to_owned(),
        negated,
    })
}

fn compare(has: &Value, op: Op, wanted: &Value) -> bool {
    if let (Op::Equal | Op::NotEqual, Value::Word(has), Value::Word(pattern)) = (op, has, wanted) {
        return glob(pattern, has) == (op == Op::Equal);
    }
    let order = has.cmp(wanted);
    // A number is neither more nor less than a word or nothing.
    let same_kind = has.rank() == wanted.rank();
    match op {
        Op::Equal => order == Ordering::Equal,
        Op::NotEqual => order != Ordering::Equal,
        Op::Less => same_kind && order == Ordering::Less,
        Op::LessEqual => same_kind && order != Ordering::Greater,
        Op::Greater => same_kind && order == Ordering::Greater,
        Op::GreaterEqual => same_kind && order != Ordering::Less,
    }
}

fn matches_program(pattern: &str, row: &Row) -> bool {
    let file = row.object.rsplit('/').next().unwrap_or(&row.object);
    let both = format!("{file}/{}", row.program);
    let path = format!("{}/{}", row.object, row.program);
    [file, &row.object, &row.program, &both, &path]
        .iter()
        .any(|text| glob(pattern, text))
}

/// `*` stands for any text, `?` for one character.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_a_shell_does() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("xdp_*", "xdp_main", true),
            ("xdp_*", "tc_main", false),
            ("*_?.o", "a_1.o", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab_", false),
            ("?", "", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn nothing_is_known_last_in_either_direction() {
        assert!(Value::Number(7) < Value::None);
        assert!(compare(&Value::Number(7), Op::Greater, &Value::Number(6)));
        assert!(!compare(&Value::None, Op::Greater, &Value::Number(6)));
        assert!(compare(&Value::None, Op::Equal, &Value::None));
    }

    #[test]
    fn a_wrong_column_is_named_with_those_that_exist() {
        let error = Selection::parse(&[], &["insn".into()], &[]).unwrap_err();
        assert!(error.to_string().contains("no column insn"), "{error}");
        assert!(error.help_text().unwrap().contains("reachable_insns"));
        assert!(Selection::parse(&[], &["insnsv".into(), "image^".into()], &[]).is_ok());
    }
}
