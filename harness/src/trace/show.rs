//! A trace as text and as JSON.

use std::fmt::Write as _;

use bpf::Program;
use bpf::trace::{Place, Step, Stored, Value};
use serde_json::{Value as Json, json};

use super::{Differs, Part, Row, Trace};
use crate::compare::Difference;
use crate::disassembly;
use crate::mapdiff::hex;
use crate::report::Style;

/// Width of the column with the instruction.
const INSN: usize = 44;

impl Trace {
    /// The trace as text: C line, instruction, what it wrote on each side (once, where both agree).
    pub fn to_text(&self, style: Style) -> String {
        let mut t = String::new();
        let _ = writeln!(
            t,
            "{} {} (queue {}, {} bytes)",
            style.head("trace of packet"),
            self.packet.number,
            self.packet.queue,
            self.packet.frame.len()
        );
        for why in self.silent.iter().flatten() {
            let _ = writeln!(t, "  {why}");
        }
        let first = self.first();
        let mut shown_line = None;
        for (index, row) in self.rows.iter().enumerate() {
            let Some(step) = row.nic.as_ref().or(row.reference.as_ref()) else {
                continue;
            };
            let Some(part) = self.programs.get(step.program as usize) else {
                continue;
            };
            self.line_text(&mut t, step, part, &mut shown_line, style);
            row_text(&mut t, row, step, self.names(part), style);
            if first == Some(index) {
                self.first_text(&mut t, index, part, style);
            }
        }
        for (side, more) in ["NIC", "reference"].iter().zip(self.left_out) {
            if more > 0 {
                let _ = writeln!(t, "  and {more} more instructions on the {side}");
            }
        }
        let verdict = if self.silent.iter().any(Option::is_some) {
            "one side alone: nothing to hold it against"
        } else if first.is_some() {
            "the sides part where it is marked"
        } else {
            "both sides did the same, instruction by instruction"
        };
        let _ = writeln!(t, "  {verdict}");
        if !self.differences.is_empty() {
            let fields: Vec<&str> = self.differences.iter().map(Difference::field).collect();
            let _ = writeln!(t, "  the outcomes differ in {}", fields.join(", "));
        }
        t
    }

    fn line_text(
        &self,
        t: &mut String,
        step: &Step,
        part: &Part,
        shown: &mut Option<(u32, usize, u32)>,
        style: Style,
    ) {
        let source = &part.program.source;
        let Some(line) = source.line_at(step.pc) else {
            return;
        };
        let here = (step.program, line.file, line.line);
        if shown.replace(here) == Some(here) {
            return;
        }
        let file = source.files.get(line.file).map_or("?", String::as_str);
        let program = if self.programs.len() > 1 {
            format!("{}: ", part.program.name)
        } else {
            String::new()
        };
        let text = format!("; {program}{file}:{}  {}", line.line, line.text.trim());
        let _ = writeln!(t, "{}", style.dim(text.trim_end()));
    }

    /// Where the sides part: both register files before the next instruction, and the NIC's code.
    fn first_text(&self, t: &mut String, index: usize, part: &Part, style: Style) {
        let row = &self.rows[index];
        let what: Vec<String> = row.differs.iter().map(|d| d.text()).collect();
        let _ = writeln!(
            t,
            "{} in {}",
            style.bad("       ^ first difference:"),
            what.join(", ")
        );
        let next = self.rows.get(index + 1..).unwrap_or_default();
        let sides = [
            ("nic", next.iter().find_map(|r| r.nic.as_ref())),
            ("reference", next.iter().find_map(|r| r.reference.as_ref())),
        ];
        for (name, step) in sides {
            let Some(step) = step else {
                let _ = writeln!(t, "         {name:<10} has ended");
                continue;
            };
            let registers: Vec<String> = self
                .names(part)
                .registers(step)
                .map(|(register, value)| format!("{register}={value}"))
                .collect();
            let _ = writeln!(
                t,
                "         {name:<10} at insn {}: {}",
                step.pc,
                registers.join(" ")
            );
        }
        for line in self.code(index) {
            let _ = writeln!(t, "         {line}");
        }
    }

    fn names<'a>(&self, part: &'a Part) -> Names<'a> {
        Names {
            program: &part.program,
            headroom: self.packet.headroom as i64,
        }
    }

    /// The NIC's code of a row's instruction, as its listing has it.
    pub fn code(&self, row: usize) -> Vec<String> {
        let Some(step) = self.rows.get(row).and_then(|row| row.nic.as_ref()) else {
            return Vec::new();
        };
        let part = self.programs.get(step.program as usize);
        let Some((part, image)) = part.and_then(|t| Some((t, t.image.as_ref()?))) else {
            return Vec::new();
        };
        let Some(backend) = jit_backends::by_name(&part.backend) else {
            return Vec::new();
        };
        backend
            .disassemble(image)
            .lines
            .iter()
            .filter(|line| line.pcs.contains(&step.pc))
            .map(|line| {
                format!(
                    "{:>6x}: {:<24} {}",
                    line.offset,
                    hex(&line.bytes),
                    line.text
                )
            })
            .collect()
    }

    /// Where the sides part, as JSON: the instruction, both register files before the next one,
    /// and the NIC's code; null where they do not.
    pub fn first_json(&self) -> Json {
        let Some(index) = self.first() else {
            return Json::Null;
        };
        let row = &self.rows[index];
        let step = row.nic.as_ref().or(row.reference.as_ref());
        let Some((step, part)) = step.and_then(|step| {
            let part = self.programs.get(step.program as usize)?;
            Some((step, part))
        }) else {
            return Json::Null;
        };
        let next = self.rows.get(index + 1..).unwrap_or_default();
        let after = |step: Option<&Step>| {
            step.map(|step| {
                json!({
                    "pc": step.pc,
                    "registers": object(self.names(part).registers(step)),
                })
            })
        };
        json!({
            "pc": step.pc,
            "insn": insn(&part.program, step.pc),
            "differs": row.differs.iter().map(|d| d.text()).collect::<Vec<_>>(),
            "nic": after(next.iter().find_map(|r| r.nic.as_ref())),
            "reference": after(next.iter().find_map(|r| r.reference.as_ref())),
            "code": self.code(index),
        })
    }

    /// The trace as JSON.
    pub fn to_json(&self) -> Json {
        let steps: Vec<Json> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({
            "packet": self.packet.number,
            "queue": self.packet.queue,
            "frame": hex(&self.packet.frame),
            "steps": steps,
            "left_out": { "nic": self.left_out[0], "reference": self.left_out[1] },
            "silent": { "nic": self.silent[0], "reference": self.silent[1] },
            "first": self.first().map(|index| json!({
                "step": index,
                "code": self.code(index),
            })),
            "differences": self.differences.iter().map(Difference::field).collect::<Vec<_>>(),
        })
    }

    fn row_json(&self, row: &Row) -> Json {
        let Some(step) = row.nic.as_ref().or(row.reference.as_ref()) else {
            return Json::Null;
        };
        let Some(part) = self.programs.get(step.program as usize) else {
            return Json::Null;
        };
        let program = &part.program;
        let names = self.names(part);
        let place = program.source.place_at(step.pc);
        let side = |step: Option<&Step>, wrote: &[(usize, Value)]| {
            step.map(|step| {
                json!({
                    "pc": step.pc,
                    "code_offset": step.code_offset,
                    "registers": object(names.registers(step)),
                    "wrote": object(wrote.iter()
                        .filter(|(_, v)| *v != Value::Unknown)
                        .map(|(r, v)| (format!("r{r}"), names.value(*v)))),
                    "stored": step.stored.as_ref().map(|s| json!({
                        "at": names.stored_at(s),
                        "bytes": hex(&s.bytes),
                    })),
                })
            })
        };
        json!({
            "program": program.name,
            "pc": step.pc,
            "depth": step.depth,
            "insn": insn(program, step.pc),
            "file": place.map(|(file, _)| file),
            "line": place.map(|(_, line)| line),
            "nic": side(row.nic.as_ref(), &row.wrote[0]),
            "reference": side(row.reference.as_ref(), &row.wrote[1]),
            "differs": row.differs.iter().map(|d| d.text()).collect::<Vec<_>>(),
        })
    }
}

impl Differs {
    fn text(self) -> String {
        match self {
            Differs::Control => "control".to_owned(),
            Differs::Register(number) => format!("r{number}"),
            Differs::Memory => "memory".to_owned(),
        }
    }
}

fn object(entries: impl Iterator<Item = (String, String)>) -> serde_json::Map<String, Json> {
    entries
        .map(|(key, value)| (key, Json::from(value)))
        .collect()
}

fn row_text(t: &mut String, row: &Row, step: &Step, names: Names<'_>, style: Style) {
    let indent = "  ".repeat(step.depth as usize);
    let text = format!("{:>5}: {indent}{}", step.pc, insn(names.program, step.pc));
    let sides = [row.nic.as_ref(), row.reference.as_ref()];
    let did = |side: usize| sides[side].map(|step| names.did(step, &row.wrote[side]));
    let same_pc = match sides {
        [Some(a), Some(b)] => (a.program, a.pc) == (b.program, b.pc),
        _ => true,
    };
    let both = match (did(0), did(1)) {
        (Some(nic), Some(reference)) if !same_pc => {
            let other = sides[1].map_or(0, |s| s.pc);
            format!("nic {nic} | reference at insn {other} {reference}")
        }
        (Some(nic), Some(_)) if row.differs.is_empty() => nic,
        (Some(nic), Some(reference)) => format!("nic {nic} | reference {reference}"),
        (Some(nic), None) => format!("nic {nic}"),
        (None, Some(reference)) => format!("reference {reference} (no code on the NIC)"),
        (None, None) => String::new(),
    };
    let line = format!("{text:<INSN$} {both}");
    let line = line.trim_end();
    let line = if row.differs.is_empty() {
        line.to_owned()
    } else {
        style.bad(line)
    };
    let _ = writeln!(t, "{line}");
}

fn insn(program: &Program, pc: usize) -> String {
    if pc < program.insns.len() {
        disassembly::insn(program, pc)
    } else {
        "?".to_owned()
    }
}

/// What values are called in a program and a packet.
#[derive(Clone, Copy)]
struct Names<'a> {
    program: &'a Program,
    /// Bytes of room before the frame as it came in.
    headroom: i64,
}

impl Names<'_> {
    /// What an instruction wrote.
    fn did(&self, step: &Step, wrote: &[(usize, Value)]) -> String {
        let known = wrote.iter().filter(|(_, v)| *v != Value::Unknown);
        let mut did: Vec<String> = known
            .map(|(r, v)| format!("r{r} = {}", self.value(*v)))
            .collect();
        if let Some(stored) = &step.stored {
            let what = match stored.bytes.as_slice() {
                [] => "an address".to_owned(),
                bytes => hex(bytes),
            };
            did.push(format!("[{}] = {what}", self.stored_at(stored)));
        }
        did.join(", ")
    }

    fn stored_at(&self, stored: &Stored) -> String {
        let at = stored.place.map(|at| self.value(Value::At(at)));
        at.unwrap_or_else(|| "?".to_owned())
    }

    fn registers(&self, step: &Step) -> impl Iterator<Item = (String, String)> {
        let known = (0..step.registers.len()).filter(|r| step.registers[*r] != Value::Unknown);
        known.map(|r| (format!("r{r}"), self.value(step.registers[r])))
    }

    /// A value as text: a number, or where an address leads.
    fn value(&self, value: Value) -> String {
        let plus = |offset: i64| match offset {
            0 => String::new(),
            n if n < 0 => format!("-{}", n.unsigned_abs()),
            n => format!("+{n}"),
        };
        let map = |map: usize| {
            let def = self.program.maps.get(map);
            def.map_or_else(|| format!("map {map}"), |def| def.name.clone())
        };
        match value {
            Value::Unknown => "–".to_owned(),
            Value::Number(number) => format!("{number:#x}"),
            Value::Nowhere => "nowhere".to_owned(),
            Value::At(Place::Context { offset }) => format!("ctx{}", plus(offset)),
            Value::At(Place::Packet { offset }) => {
                format!("packet{}", plus(offset - self.headroom))
            }
            Value::At(Place::Stack { frame: 0, offset }) => format!("fp{}", plus(offset)),
            Value::At(Place::Stack { frame, offset }) => format!("fp[{frame}]{}", plus(offset)),
            Value::At(Place::Value { map: id, at }) => format!("{}[{at:#x}]", map(id)),
            Value::At(Place::Map { map: id }) => map(id),
        }
    }
}
