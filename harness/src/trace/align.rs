//! Two recorded runs side by side.

use std::collections::BTreeSet;

use bpf::trace::{REGISTERS, Step, Value};
use serde::Serialize;

/// What differs between the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Differs {
    /// Which instruction comes next.
    Control,
    /// What a register holds.
    Register(usize),
    /// What a store left in memory.
    Memory,
}

/// One instruction on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// On the NIC; `None` if it has no code there, or that side has ended.
    pub nic: Option<Step>,
    /// On the reference.
    pub reference: Option<Step>,
    /// The registers that the instruction has written, on each side with its new values; taken
    /// from the next instruction that ran there.
    pub wrote: [Vec<(usize, Value)>; 2],
    /// In what the two sides differ after the instruction, and did not before it.
    pub differs: Vec<Differs>,
}

/// Puts the steps of both sides side by side. `coded` has the (program, pc) that have code of
/// their own on the NIC; `written` gives the registers that an instruction writes.
pub(super) fn align(
    coded: &BTreeSet<(u32, usize)>,
    written: &dyn Fn(u32, usize) -> u16,
    nic: Vec<Step>,
    reference: Vec<Step>,
) -> Vec<Row> {
    let wrote = [wrote(&nic, written), wrote(&reference, written)];
    let mut sides = wrote.into_iter();
    let mut nic = nic
        .into_iter()
        .zip(sides.next().unwrap_or_default())
        .peekable();
    let mut reference = reference
        .into_iter()
        .zip(sides.next().unwrap_or_default())
        .peekable();
    let mut rows: Vec<Row> = Vec::new();
    let mut apart = false;
    loop {
        let at = |step: &Step| (step.program, step.pc);
        let (n, r) = (
            nic.peek().map(|(s, _)| at(s)),
            reference.peek().map(|(s, _)| at(s)),
        );
        let uncoded = !apart && n != r && r.is_some_and(|r| !coded.contains(&r));
        let (left, right) = match (n, r) {
            (None, None) => break,
            _ if uncoded => (None, reference.next()),
            _ => (nic.next(), reference.next()),
        };
        // A side that has ended early shows in the outcome; what the other does is shown alone.
        let mut differs = Vec::new();
        if !apart && !uncoded && n != r {
            apart = true;
            blame(&mut rows, &mut differs, Differs::Control);
        }
        let (left, left_wrote) = left.unzip();
        let (right, right_wrote) = right.unzip();
        if let (Some(left), Some(right), false) = (&left, &right, apart) {
            for register in registers(left, right) {
                blame(&mut rows, &mut differs, Differs::Register(register));
            }
            if !same_memory(left, right) {
                differs.push(Differs::Memory);
            }
        }
        rows.push(Row {
            nic: left,
            reference: right,
            wrote: [
                left_wrote.unwrap_or_default(),
                right_wrote.unwrap_or_default(),
            ],
            differs,
        });
    }
    only_new(&mut rows);
    rows
}

/// What was seen before an instruction is what the one before it did; at the entry it is the
/// entry's own.
fn blame(rows: &mut [Row], first: &mut Vec<Differs>, differs: Differs) {
    let row = rows.iter_mut().rev().find(|row| row.nic.is_some());
    let into = row.map_or(first, |row| &mut row.differs);
    if !into.contains(&differs) {
        into.push(differs);
    }
}

/// A register that differs goes on differing: only where it began is worth telling.
fn only_new(rows: &mut [Row]) {
    let mut before: Vec<Differs> = Vec::new();
    for row in rows {
        let now = row.differs.clone();
        row.differs
            .retain(|d| *d == Differs::Memory || !before.contains(d));
        // An instruction that the NIC has no code for is not seen there.
        if row.nic.is_some() || !now.is_empty() {
            before = now;
        }
    }
}

/// For each step the registers that it has written, as the next step shows them.
fn wrote(steps: &[Step], written: &dyn Fn(u32, usize) -> u16) -> Vec<Vec<(usize, Value)>> {
    let next = steps.iter().skip(1).map(Some).chain([None]);
    steps
        .iter()
        .zip(next)
        .map(|(step, next)| {
            let Some(next) = next else {
                return Vec::new();
            };
            let set = written(step.program, step.pc);
            (0..REGISTERS)
                .filter(|r| set & (1 << r) != 0)
                .map(|r| (r, next.registers[r]))
                .collect()
        })
        .collect()
}

/// The registers that differ before an instruction, among those whose contents are known.
fn registers(nic: &Step, reference: &Step) -> Vec<usize> {
    let known = |value: Value| value != Value::Unknown;
    (0..REGISTERS)
        .filter(|r| {
            let (a, b) = (nic.registers[*r], reference.registers[*r]);
            known(a) && known(b) && a != b
        })
        .collect()
}

fn same_memory(nic: &Step, reference: &Step) -> bool {
    let (Some(a), Some(b)) = (&nic.stored, &reference.stored) else {
        return true;
    };
    // Nothing was read where the run ended with the store.
    let read = !a.bytes.is_empty() && !b.bytes.is_empty();
    let both = |a: Option<[u8; 8]>, b: Option<[u8; 8]>| a.zip(b).is_none_or(|(a, b)| a == b);
    !read || (a.bytes == b.bytes && both(a.before, b.before) && both(a.after, b.after))
}
