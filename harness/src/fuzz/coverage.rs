//! [`Coverage`]: which instructions, operands and helpers the programs had.

use std::collections::BTreeMap;

use bpf::generate::{CONDITIONS, OPERATIONS};
use bpf::helper;
use isa::ebpf::{AluOp, CallTarget, Insn, Operand, Reg, Row, Width, table};
use serde_json::{Value, json};
use verifier::Verified;

/// Second operands at which operations change their mind, by bit: 0, 1, -1, the smallest and the
/// greatest number of the width; for shifts 0, 1 and the width less one.
const EDGES: [&str; 5] = ["0", "1", "-1", "min", "max"];
const SHIFT_EDGES: [&str; 3] = ["0", "1", "width-1"];

/// What programs had, at places that some path reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Occurrences by row of the instruction table.
    rows: Vec<u64>,
    /// Second operands known to be at an edge, by row: a bit for each edge.
    edges: Vec<u8>,
    /// Calls by helper.
    helpers: BTreeMap<u32, u64>,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage {
            rows: vec![0; table().len()],
            edges: vec![0; table().len()],
            helpers: BTreeMap::new(),
        }
    }
}

/// The second operand of an operation or a comparison; `None` for moves, where it has no edge.
fn second(insn: &Insn) -> Option<(Width, Operand, Option<AluOp>)> {
    match *insn {
        Insn::Alu { op, width, src, .. } if op != AluOp::Mov => Some((width, src, Some(op))),
        Insn::Branch { width, src, .. } => Some((width, src, None)),
        _ => None,
    }
}

fn shifts(op: Option<AluOp>) -> bool {
    matches!(op, Some(AluOp::Lsh | AluOp::Rsh | AluOp::Arsh))
}

/// The edges that an instruction's second operand can be at.
fn names(insn: &Insn) -> &'static [&'static str] {
    match second(insn) {
        None => &[],
        Some((_, _, op)) if shifts(op) => &SHIFT_EDGES,
        Some(_) => &EDGES,
    }
}

/// Whether Linux takes an edge: a constant divisor of 0 it refuses.
fn is_admitted(insn: &Insn, edge: &str) -> bool {
    let divides = matches!(
        second(insn),
        Some((
            _,
            Operand::Imm(_),
            Some(AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod)
        ))
    );
    !(divides && edge == "0")
}

/// Which edge a number is at.
fn edge(width: Width, op: Option<AluOp>, value: u64) -> Option<u8> {
    let (value, bits) = match width {
        Width::W32 => (i64::from(value as i32), 32),
        Width::W64 => (value as i64, 64),
    };
    if shifts(op) {
        return match value {
            0 | 1 => Some(value as u8),
            n if n == bits - 1 => Some(2),
            _ => None,
        };
    }
    let (min, max) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    match value {
        0 | 1 => Some(value as u8),
        -1 => Some(2),
        n if n == min => Some(3),
        n if n == max => Some(4),
        // Immediates have 32 bits.
        n if n == i64::from(i32::MIN) => Some(3),
        n if n == i64::from(i32::MAX) => Some(4),
        _ => None,
    }
}

impl Coverage {
    /// Adds a program.
    pub fn program(&mut self, verified: &Verified) {
        for (pc, insn) in verified.program().insns.iter().enumerate() {
            let facts = verified.facts(pc);
            if !facts.reachable || *insn == Insn::WideTail {
                continue;
            }
            let row = insn.row().index();
            self.rows[row] += 1;
            if let Insn::Call(CallTarget::Helper(id)) = insn {
                *self.helpers.entry(*id).or_default() += 1;
            }
            let Some((width, operand, op)) = second(insn) else {
                continue;
            };
            let value = match operand {
                Operand::Imm(imm) => Some(i64::from(imm) as u64),
                Operand::Reg(reg) => facts.registers.get(reg.index()).and_then(|fact| {
                    let scalar = fact.kind == verifier::facts::RegKind::Scalar;
                    scalar.then(|| fact.range.as_constant()).flatten()
                }),
            };
            if let Some(edge) = value.and_then(|value| edge(width, op, value)) {
                self.edges[row] |= 1 << edge;
            }
        }
    }

    /// Adds those of others.
    pub fn add(&mut self, other: &Coverage) {
        for (a, b) in self.rows.iter_mut().zip(&other.rows) {
            *a += b;
        }
        for (a, b) in self.edges.iter_mut().zip(&other.edges) {
            *a |= b;
        }
        for (id, count) in &other.helpers {
            *self.helpers.entry(*id).or_default() += count;
        }
    }

    /// Instructions that a program of a packet hook can have: seen, and the names of the others.
    pub fn instructions(&self) -> (usize, Vec<&'static str>) {
        let rows = table().iter().filter(|row| is_possible(row));
        let missing: Vec<&'static str> = rows
            .clone()
            .filter(|row| self.rows[row.index()] == 0)
            .map(Row::mnemonic)
            .collect();
        (rows.count() - missing.len(), missing)
    }

    /// Edges of second operands: seen, and those that were not, as `add64_imm min`.
    pub fn edges(&self) -> (usize, Vec<String>) {
        let mut seen = 0;
        let mut missing = Vec::new();
        for insn in operations() {
            let row = insn.row();
            for (bit, name) in names(&insn).iter().enumerate() {
                if self.edges[row.index()] & (1 << bit) != 0 {
                    seen += 1;
                } else if is_admitted(&insn, name) {
                    missing.push(format!("{} {name}", row.mnemonic()));
                }
            }
        }
        (seen, missing)
    }

    /// Calls by helper's name.
    pub fn helpers(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let calls = self.helpers.iter();
        calls.map(|(id, count)| (helper::name(*id).unwrap_or("?"), *count))
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let (instructions, without) = self.instructions();
        let (edges, edges_without) = self.edges();
        json!({
            "instructions": {
                "seen": instructions,
                "of": instructions + without.len(),
                "missing": without,
            },
            "operand_edges": {
                "seen": edges,
                "of": edges + edges_without.len(),
                "missing": edges_without,
            },
            "helpers": self.helpers().collect::<BTreeMap<_, _>>(),
        })
    }
}

/// An instruction of each row whose second operand has edges.
fn operations() -> impl Iterator<Item = Insn> {
    let operands = [Operand::Imm(0), Operand::Reg(Reg::R1)];
    let forms = [Width::W64, Width::W32]
        .into_iter()
        .flat_map(move |width| operands.map(|src| (width, src)));
    let dst = Reg::R0;
    forms.flat_map(move |(width, src)| {
        let alu = OPERATIONS.into_iter().map(move |op| Insn::Alu {
            op,
            width,
            dst,
            src,
        });
        let branches = CONDITIONS.into_iter().map(move |cond| Insn::Branch {
            cond,
            width,
            dst,
            src,
            offset: 0,
        });
        alu.chain(branches)
    })
}

/// Whether a program of XDP, as its loader hands it on, can have an instruction of the row.
fn is_possible(row: &Row) -> bool {
    let name = row.mnemonic();
    let absent = [
        "ldabs",
        "ldind",
        "callx",
        "call_kfunc",
        "lddw_map_fd",
        "lddw_btf_id",
        "lddw_function",
    ];
    !absent.iter().any(|start| name.starts_with(start))
}
