//! What a backend program answers.

use bpf::finding::{Finding, Stage};
use isa::ebpf::{CallTarget, Insn};
use isa::{CodeRange, Image, Isa, Relocation, RelocationKind, Resources, Symbol};
use serde::Deserialize;
use serde_json::Value;
use verifier::Verified;

/// Why an answer gives no image.
pub(super) enum Wrong {
    /// The backend refuses the program.
    Refused(Vec<Finding>),
    /// The answer has not the form of one.
    Malformed(String),
}

/// Why an answer does not say what the backend is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    /// It has another form.
    #[error("what it says of itself is not understood: {0}")]
    Form(#[from] serde_json::Error),
    /// There is no such set.
    #[error("there is no instruction set {0}; there are {1}")]
    Isa(String, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    isa: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    image: Option<ImageJson>,
    #[serde(default)]
    refused: Vec<RefusedJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageJson {
    code: String,
    instructions: usize,
    #[serde(default)]
    entry: usize,
    #[serde(default)]
    relocations: Vec<RelocationJson>,
    #[serde(default)]
    source_map: Vec<RangeJson>,
    #[serde(default)]
    removed: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelocationJson {
    at: usize,
    kind: String,
    #[serde(default)]
    target: u8,
    symbol: SymbolJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum SymbolJson {
    Helper(u32),
    Map(usize),
    MapValues { map: usize, offset: u64 },
    Runtime(u32),
    Code(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeJson {
    start: usize,
    end: usize,
    #[serde(default)]
    lane: u8,
    pcs: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedJson {
    message: String,
    pc: Option<usize>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    help: String,
}

/// The instruction set that a backend says it is for.
pub(super) fn isa(answer: &Value) -> Result<Isa, Unknown> {
    let Description { isa } = Description::deserialize(answer)?;
    let known = Isa::ALL.into_iter();
    known
        .clone()
        .find(|known| known.name() == isa)
        .ok_or_else(|| {
            let names: Vec<&str> = known.map(Isa::name).collect();
            Unknown::Isa(isa, names.join(", "))
        })
}

/// The image that a backend made of a program.
pub(super) fn image(answer: &Value, isa: Isa, verified: &Verified) -> Result<Image, Wrong> {
    let malformed = |why: &dyn std::fmt::Display| Wrong::Malformed(why.to_string());
    let answer = Answer::deserialize(answer).map_err(|e| malformed(&e))?;
    let Some(image) = answer.image else {
        return Err(refusal(answer.refused, verified));
    };
    let code = bytes(&image.code)
        .ok_or_else(|| malformed(&"`code` is not an even number of hexadecimal digits"))?;
    if image.entry >= code.len() {
        return Err(malformed(&"`entry` lies behind the code"));
    }
    let mut relocations = image
        .relocations
        .iter()
        .map(relocation)
        .collect::<Result<Vec<_>, _>>()?;
    relocations.sort_by_key(|relocation| relocation.at);
    let source_map = source_map(image.source_map, code.len()).map_err(|why| malformed(&why))?;
    let resources = resources(verified, &relocations);
    let mut removed = image.removed;
    removed.sort_unstable();
    Ok(Image {
        isa,
        instructions: image.instructions,
        relocations,
        entry: image.entry,
        resources,
        source_map,
        removed: removed
            .into_iter()
            .map(|pc| (pc, "left out by the backend"))
            .collect(),
        notes: Vec::new(),
        code,
    })
}

fn refusal(refused: Vec<RefusedJson>, verified: &Verified) -> Wrong {
    if refused.is_empty() {
        return Wrong::Malformed("there is neither `image` nor `refused`".to_owned());
    }
    let program = verified.program();
    let findings = refused.into_iter().map(|refused| {
        let finding = Finding::error("backend/refused", Stage::Translate, "", refused.message);
        let finding = finding.why(refused.why).help(refused.help);
        match refused.pc.filter(|pc| *pc < program.insns.len()) {
            Some(pc) => finding.at(pc, &program.source),
            None => finding,
        }
    });
    let mut findings: Vec<Finding> = findings.collect();
    findings.sort_by_key(|finding| finding.pc);
    Wrong::Refused(findings)
}

fn relocation(json: &RelocationJson) -> Result<Relocation, Wrong> {
    let kind = match json.kind.as_str() {
        "absolute64" => RelocationKind::Absolute64,
        "absolute32" => RelocationKind::Absolute32,
        "ebpf_wide" => RelocationKind::EbpfWide,
        "target" => RelocationKind::Target(json.target),
        other => {
            let known = "absolute64, absolute32, ebpf_wide, target";
            return Err(Wrong::Malformed(format!(
                "`{other}` is no kind of relocation; there are {known}"
            )));
        }
    };
    Ok(Relocation {
        at: json.at,
        kind,
        symbol: match &json.symbol {
            SymbolJson::Helper(id) => Symbol::Helper(*id),
            SymbolJson::Map(map) => Symbol::Map(*map),
            SymbolJson::MapValues { map, offset } => Symbol::MapValues {
                map: *map,
                offset: *offset,
            },
            SymbolJson::Runtime(number) => Symbol::Runtime(*number),
            SymbolJson::Code(at) => Symbol::Code(*at),
        },
    })
}

/// The ranges in order, with what nobody named as glue.
fn source_map(mut given: Vec<RangeJson>, end: usize) -> Result<Vec<CodeRange>, String> {
    given.sort_by_key(|range| (range.start, range.lane));
    let mut ranges = Vec::new();
    let mut covered = 0;
    for mut range in given {
        let again = ranges.last().map(|r: &CodeRange| (r.start, r.end));
        let lanes = range.lane > 0 && again == Some((range.start, range.end));
        if range.end > end || range.start >= range.end || range.start < covered && !lanes {
            return Err(format!(
                "`source_map`: {}..{} is empty, lies behind the code or overlaps another range",
                range.start, range.end
            ));
        }
        if range.start > covered {
            ranges.push(glue(covered, range.start));
        }
        covered = range.end;
        range.pcs.sort_unstable();
        ranges.push(CodeRange {
            start: range.start,
            end: range.end,
            lane: range.lane,
            pcs: range.pcs,
        });
    }
    if covered < end {
        ranges.push(glue(covered, end));
    }
    Ok(ranges)
}

fn glue(start: usize, end: usize) -> CodeRange {
    CodeRange {
        start,
        end,
        lane: 0,
        pcs: Vec::new(),
    }
}

/// What the program needs is known from the program; its maps are those that the code names.
fn resources(verified: &Verified, relocations: &[Relocation]) -> Resources {
    let program = verified.program();
    let mut maps: Vec<usize> = relocations
        .iter()
        .filter_map(|relocation| match relocation.symbol {
            Symbol::Map(map) | Symbol::MapValues { map, .. } => Some(map),
            _ => None,
        })
        .collect();
    maps.sort_unstable();
    maps.dedup();
    let mut helpers: Vec<u32> = program
        .insns
        .iter()
        .filter_map(|insn| match insn {
            Insn::Call(CallTarget::Helper(id)) => Some(*id),
            _ => None,
        })
        .collect();
    helpers.sort_unstable();
    helpers.dedup();
    let name = |map: &usize| program.maps.get(*map).map(|map| map.name.clone());
    Resources {
        stack_bytes: verified.stats().stack_bytes as usize,
        map_names: maps.iter().filter_map(name).collect(),
        maps,
        helpers,
        device: verified.device.clone(),
        frozen: jit_backends::frozen(program),
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    pairs.collect()
}
