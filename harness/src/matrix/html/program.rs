//! The section of one program.

use std::collections::{BTreeMap, BTreeSet};

use bpf::Program;
use bpf::finding::Finding;
use isa::Isa;
use isa::ebpf::Insn;
use jit_backends::{Listing, ListingLine};
use maud::{Markup, html};
use verifier::Verified;

use crate::disassembly;
use crate::matrix::{Cell, Row};
use crate::pipeline::Assessment;
use crate::report::facts;

/// Findings of a program, its code, and what each NIC makes of it.
pub(super) fn section(i: usize, row: &Row) -> Markup {
    let assessed: Vec<&Assessment> = row
        .cells
        .iter()
        .filter_map(|cell| cell.assessment.as_deref())
        .collect();
    let findings = distinct(&row.cells);
    let (here, placeless): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|told| told.finding.pc.is_some());
    html! {
        section id={ "p" (i) } {
            h2 { (row.program) " " small { (row.object) @if let Some(hook) = &row.hook { ", " (hook) } } }
            @if let Some(error) = &row.error { p.error { (error) } }
            @if !placeless.is_empty() {
                ul.findings { @for told in &placeless { li { (told.markup()) } } }
            }
            @if let Some(first) = assessed.first() { (code(first, &assessed, &here)) }
        }
    }
}

/// A finding and the NICs it is about.
struct Told<'a> {
    finding: &'a Finding,
    nics: Vec<&'a str>,
}

impl Told<'_> {
    fn markup(&self) -> Markup {
        crate::report::html::finding(self.finding, &self.nics.join(", "))
    }
}

/// What is found on several NICs alike is told once.
fn distinct(cells: &[Cell]) -> Vec<Told<'_>> {
    let mut known: BTreeMap<(&str, &str, Option<usize>, &str), usize> = BTreeMap::new();
    let mut told: Vec<Told<'_>> = Vec::new();
    for cell in cells {
        for finding in &cell.findings {
            // Messages name the NIC, so only what does not is the same finding.
            let key = (
                finding.rule.as_str(),
                finding.subject.as_str(),
                finding.pc,
                finding.message.as_str(),
            );
            if let Some(at) = known.get(&key) {
                told[*at].nics.push(&cell.nic);
            } else {
                known.insert(key, told.len());
                told.push(Told {
                    finding,
                    nics: vec![&cell.nic],
                });
            }
        }
    }
    told
}

/// The machine code of one NIC, by the pc that a line is shown at.
struct Column<'a> {
    nic: &'a str,
    listing: Listing,
}

impl Column<'_> {
    /// Lines of the instruction at `pc`; those of several instructions stand at the first.
    fn at(&self, pc: usize) -> impl Iterator<Item = &ListingLine> {
        self.listing
            .lines
            .iter()
            .filter(move |line| line.pcs.first() == Some(&pc))
    }

    fn glue(&self) -> impl Iterator<Item = &ListingLine> {
        self.listing.lines.iter().filter(|line| line.pcs.is_empty())
    }
}

/// Machine code that is not eBPF itself.
fn columns<'a>(assessed: &[&'a Assessment]) -> Vec<Column<'a>> {
    assessed
        .iter()
        .filter_map(|assessment| {
            let image = assessment.image.as_ref().filter(|i| i.isa != Isa::Ebpf)?;
            let backend = jit_backends::by_name(&assessment.nic.backend)?;
            Some(Column {
                nic: &assessment.nic.name,
                listing: backend.disassemble(image),
            })
        })
        .collect()
}

fn code(first: &Assessment, assessed: &[&Assessment], findings: &[Told<'_>]) -> Markup {
    let program = &*first.program;
    let verified = first.verified.as_deref();
    let columns = columns(assessed);
    let pcs: Vec<usize> = (0..program.insns.len())
        .filter(|pc| program.insns[*pc] != Insn::WideTail)
        .collect();
    let starts: BTreeSet<usize> = program.subprograms.iter().map(|s| s.start).collect();
    let width = 3 + columns.len();
    html! {
        div.wide {
            table.code {
                thead {
                    tr {
                        th { "C" } th { "pc" } th { "eBPF" }
                        @for column in &columns { th { (column.nic) } }
                    }
                }
                tbody {
                    @for (n, &pc) in pcs.iter().enumerate() {
                        @if starts.contains(&pc) && program.subprograms.len() > 1 {
                            @if let Some(s) = program.subprograms.iter().find(|s| s.start == pc) {
                                tr.first { td colspan=(width) { b { (s.name) } } }
                            }
                        }
                        (line(program, verified, &columns, pc, n.checked_sub(1).map(|n| pcs[n])))
                        @for told in findings.iter().filter(|told| told.finding.pc == Some(pc)) {
                            tr.at { td colspan=(width) { (told.markup()) } }
                        }
                    }
                    @if columns.iter().any(|column| column.glue().next().is_some()) {
                        tr.first {
                            td.c.dim { "entry, exit and what serves several instructions" } td {} td {}
                            @for column in &columns { td { (lines(column.glue())) } }
                        }
                    }
                }
            }
        }
    }
}

fn line(
    program: &Program,
    verified: Option<&Verified>,
    columns: &[Column<'_>],
    pc: usize,
    before: Option<usize>,
) -> Markup {
    let source = program.source.line_at(pc);
    let same = before.is_some_and(|before| {
        program.source.line_at(before).map(|l| (l.file, l.line)) == source.map(|l| (l.file, l.line))
    });
    let reachable = verified.is_none_or(|v| v.facts(pc).reachable);
    let hover = verified.map(|v| facts::line(v, pc));
    html! {
        tr.first[!same].dead[!reachable] {
            td.c {
                @if let Some(source) = source.filter(|_| !same) {
                    span.dim { (source.line) " " } (source.text.trim_end())
                }
            }
            td.dim { (pc) }
            td.insn title=[hover] { (disassembly::insn(program, pc)) }
            @for column in columns { td { (lines(column.at(pc))) } }
        }
    }
}

fn lines<'a>(lines: impl Iterator<Item = &'a ListingLine>) -> Markup {
    html! {
        @for (i, line) in lines.enumerate() {
            @if i > 0 { br; }
            span.dim { (format!("{:4x} ", line.offset)) } (line.text)
        }
    }
}
