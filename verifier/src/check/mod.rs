//! Whether an instruction is allowed in a state. Reads the state, never changes it.

mod call;
mod field;
mod function;
mod kernel;
mod legacy;
mod local;
mod mem;
mod object;
mod pointer;
mod text;

use isa::ebpf::{AluOp, Operand, Reg, Wide, Width};

use crate::assertions::{Assertion, Refusal};
use crate::domain::{Kind, MapRef, Reference, Resource, State, Value};
use crate::platform::Platform;
use crate::report::{Problem, Rule};
use crate::transfer::Context;

pub(crate) use function::suitable;

/// Largest offset that arithmetic may give a pointer, either way (kernel: `BPF_MAX_VAR_OFF`).
pub(crate) const MAX_OFFSET: i64 = 1 << 29;

/// Most functions in a chain of calls, the entry included.
pub(crate) const MAX_FRAMES: usize = 8;

/// Holds one assertion against a state.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(cx: &Context<'_>, state: &State, assertion: &Assertion) -> Result<(), Problem> {
    match *assertion {
        Assertion::Readable(reg) => readable(state, reg),
        Assertion::Writable(reg) if reg == Reg::R10 => Err(Problem::new(
            Rule::FramePointer,
            "frame pointer is read only",
        )
        .about("r10")
        .help("copy r10 to another register and change that")),
        Assertion::ShiftAmount { amount, bits } => {
            let raw = matches!(cx.platform.program.hook, bpf::Hook::Raw { .. });
            if raw || (0..bits).contains(&amount) {
                return Ok(());
            }
            Err(
                Problem::new(Rule::Instruction, format!("invalid shift {amount}"))
                    .why(format!("a {bits}-bit shift is by 0 to {}", bits - 1)),
            )
        }
        Assertion::Divisor(0) => {
            Err(Problem::new(Rule::DivisionByZero, "div by zero")
                .why("the divisor is the constant 0"))
        }
        Assertion::Writable(_) | Assertion::Divisor(_) => Ok(()),
        Assertion::Arithmetic {
            op,
            width,
            dst,
            src,
        } => arithmetic(state, op, width, dst, src),
        Assertion::Access {
            base,
            offset,
            size,
            touch,
        } => mem::access(cx, state, base, offset, size.bytes(), touch),
        Assertion::Address(wide) => address(&cx.platform, wide),
        Assertion::LegacyHook => legacy::hook(&cx.platform),
        Assertion::NothingHeld => legacy::nothing_held(state),
        Assertion::ContextIn(reg) => legacy::context_in(state, reg),
        Assertion::ContextUnmoved(reg) => legacy::context_unmoved(state, reg),
        Assertion::Outside(target) => call::outside(cx, state, target),
        Assertion::Function(target) => function::call(cx, state, target),
        Assertion::Return => function::returns(cx, state),
        Assertion::Refused(refusal) => Err(refused(refusal)),
    }
}

fn readable(state: &State, reg: Reg) -> Result<(), Problem> {
    if state.top.regs[reg.index()].kind != Kind::Unknown {
        return Ok(());
    }
    Err(Problem::new(
        Rule::UninitRegister,
        format!(
            "R{} !read_ok: {reg} is read before it is written",
            reg.number()
        ),
    )
    .about(reg.to_string())
    .why("no instruction on this path wrote it; calls leave r1 to r5 unreadable")
    .help(format!("write {reg} on every path that leads here")))
}

/// What a register holds, as the kernel's log writes it.
pub(crate) fn describe(platform: &Platform<'_>, value: &Value) -> String {
    let mut parts = Vec::new();
    match value.kind {
        Kind::Scalar => {
            if let Some(constant) = value.range.as_constant() {
                return format!("the number {}", constant as i64);
            }
        }
        Kind::MapValue { map, .. } | Kind::Map { map, .. } => {
            parts.push(format!("map={}", platform.map_name(map)));
        }
        _ => {}
    }
    if value.kind.is_pointer() && value.off != 0 {
        parts.push(format!("off={}", value.off));
    }
    if value.kind.is_packet() {
        parts.push(format!("r={}", value.extent.bytes()));
    }
    let r = &value.range;
    let varies = value.is_scalar() || r.as_constant() != Some(0);
    if varies && value.kind != Kind::Unknown {
        if r.smin != i64::MIN && r.smin < 0 {
            parts.push(format!("smin={}", r.smin));
        }
        if r.smax != i64::MAX && r.smax as u64 != r.umax {
            parts.push(format!("smax={}", r.smax));
        }
        if r.umin != 0 {
            parts.push(format!("umin={}", r.umin));
        }
        if r.umax != u64::MAX {
            parts.push(format!("umax={}", r.umax));
        }
    }
    format!("{}({})", value.kind.name(), parts.join(","))
}

/// `describe` with the register's name before it.
pub(crate) fn register(platform: &Platform<'_>, state: &State, reg: usize) -> String {
    format!("r{reg} is {}", describe(platform, &state.top.regs[reg]))
}

fn operator(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::Sdiv => "/=",
        AluOp::Mod | AluOp::Smod => "%=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Arsh => "s>>=",
    }
}

/// What arithmetic pointers allow.
fn arithmetic(
    state: &State,
    op: AluOp,
    width: Width,
    dst: Reg,
    src: Operand,
) -> Result<(), Problem> {
    let a = &state.top.regs[dst.index()];
    let constant;
    let b = match src {
        Operand::Reg(reg) => &state.top.regs[reg.index()],
        Operand::Imm(imm) => {
            constant = Value::constant(i64::from(imm) as u64);
            &constant
        }
    };
    let (pointer, number) = match (a.kind.is_pointer(), b.kind.is_pointer()) {
        (false, false) => return Ok(()),
        (true, true) if op == AluOp::Sub => return Ok(()),
        (true, true) => {
            return Err(Problem::new(
                Rule::PointerArithmetic,
                format!("{dst} pointer {} pointer prohibited", operator(op)),
            )
            .why("only the difference of two pointers is a number"));
        }
        (true, false) => (a, b),
        (false, true) => (b, a),
    };
    let kind = pointer.kind;
    let problem = |message: String| Problem::new(Rule::PointerArithmetic, message);
    if width == Width::W32 {
        if op == AluOp::Sub {
            return Ok(());
        }
        return Err(problem(format!(
            "{dst} 32-bit pointer arithmetic prohibited"
        )));
    }
    if kind.or_null() {
        return Err(Problem::new(
            Rule::NullPointer,
            format!(
                "{dst} pointer arithmetic on {} prohibited, null-check it first",
                kind.name()
            ),
        )
        .help("compare the pointer with 0 before adding to it"));
    }
    let constant = number.range.as_constant();
    match kind {
        Kind::PacketEnd => {
            return Err(problem(format!(
                "{dst} pointer arithmetic on pkt_end prohibited"
            )));
        }
        Kind::Socket { .. } => {
            return Err(problem(format!(
                "{dst} pointer arithmetic on {} prohibited",
                kind.name()
            )));
        }
        Kind::Map { .. } if !(constant == Some(0) && op == AluOp::Add) => {
            return Err(problem(format!(
                "{dst} pointer arithmetic on map_ptr prohibited"
            )));
        }
        _ => {}
    }
    sane_offset(kind, number)?;
    match op {
        AluOp::Sub if !a.kind.is_pointer() => {
            return Err(problem(format!(
                "{dst} tried to subtract pointer from scalar"
            )));
        }
        AluOp::Sub if matches!(kind, Kind::Stack { .. }) => {
            return Err(
                problem(format!("{dst} subtraction from stack pointer prohibited"))
                    .help("add a negative constant instead"),
            );
        }
        AluOp::Add | AluOp::Sub => {}
        AluOp::And | AluOp::Or | AluOp::Xor => {
            return Err(problem(format!(
                "{dst} bitwise operator {} on pointer prohibited",
                operator(op)
            )));
        }
        _ => {
            return Err(problem(format!(
                "{dst} pointer arithmetic with {} operator prohibited",
                operator(op)
            )));
        }
    }
    let reaches = |low: i64, high: i64| low > -MAX_OFFSET && high < MAX_OFFSET;
    let (low, high) = if op == AluOp::Sub {
        (
            number.range.smax.saturating_neg(),
            number.range.smin.saturating_neg(),
        )
    } else {
        (number.range.smin, number.range.smax)
    };
    let fits = if constant.is_some() {
        reaches(
            i64::from(pointer.off).saturating_add(low),
            i64::from(pointer.off).saturating_add(high),
        )
    } else {
        let smin = pointer.range.smin.saturating_add(low);
        smin > -MAX_OFFSET && smin < MAX_OFFSET
    };
    if fits {
        Ok(())
    } else {
        Err(problem(format!(
            "{} pointer offset would be {} to {}, outside what is allowed (less than {MAX_OFFSET} either way)",
            kind.name(),
            pointer.min_offset().saturating_add(low),
            pointer.max_offset().saturating_add(high),
        ))
        .help("bound the offset before adding it to the pointer"))
    }
}

/// Whether a number may be added to a pointer at all.
fn sane_offset(kind: Kind, number: &Value) -> Result<(), Problem> {
    let r = &number.range;
    let name = kind.name();
    if let Some(constant) = r.as_constant() {
        let constant = constant as i64;
        if constant <= -MAX_OFFSET || constant >= MAX_OFFSET {
            return Err(Problem::new(
                Rule::PointerArithmetic,
                format!("math between {name} pointer and {constant} is not allowed"),
            ));
        }
        return Ok(());
    }
    if r.smin == i64::MIN {
        return Err(Problem::new(
            Rule::PointerArithmetic,
            format!(
                "math between {name} pointer and register with unbounded min value is not allowed"
            ),
        )
        .why("the number may be any, also a very negative one")
        .help("mask it (`x &= 0xff`) or compare it with its bounds before adding it"));
    }
    if r.smin <= -MAX_OFFSET || r.smin >= MAX_OFFSET {
        return Err(Problem::new(
            Rule::PointerArithmetic,
            format!("value {} makes {name} pointer be out of bounds", r.smin),
        ));
    }
    Ok(())
}

fn address(platform: &Platform<'_>, wide: Wide) -> Result<(), Problem> {
    let known =
        |index: u32| u16::try_from(index).is_ok() && (index as usize) < platform.program.maps.len();
    match wide {
        // That a function starts there was checked by the graph.
        Wide::Value(_) | Wide::Function { .. } => Ok(()),
        Wide::Map(index) if known(index) => Ok(()),
        Wide::MapValue { map, offset } if known(map) => {
            let map = MapRef {
                index: map as u16,
                inner: false,
            };
            let size = platform.value_size(map);
            let direct = platform
                .map(map)
                .is_some_and(|m| m.kind == bpf::map::MapType::Array && m.max_entries == 1);
            if !direct {
                return Err(Problem::new(
                    Rule::Instruction,
                    format!(
                        "the address of a value of map `{}` cannot be loaded",
                        platform.map_name(map)
                    ),
                )
                .why("only arrays of one element have an address known at load"));
            }
            if offset < size && offset < 1 << 29 {
                return Ok(());
            }
            Err(Problem::new(
                Rule::MapValueBounds,
                format!(
                    "direct value offset of {offset} is not allowed, the value has {size} bytes"
                ),
            ))
        }
        Wide::Map(index) | Wide::MapValue { map: index, .. } => Err(Problem::new(
            Rule::Instruction,
            format!("the program has no map {index}"),
        )),
        Wide::MapFd(_) | Wide::MapFdValue { .. } | Wide::BtfId { .. } => Err(Problem::new(
            Rule::Instruction,
            "a file descriptor or kernel variable in a linked program",
        )),
    }
}

/// A reference is still held where the program may end.
fn unreleased(reference: &Reference) -> Problem {
    let pc = reference.pc;
    let (what, help) = match reference.resource {
        Resource::Record => (
            "ring buffer record reserved",
            "call bpf_ringbuf_submit or bpf_ringbuf_discard on every path",
        ),
        Resource::Iterator => (
            "iterator made",
            "call its destroy function on every path (bpf_for does)",
        ),
        Resource::Interrupts => (
            "state of interrupts saved",
            "call bpf_local_irq_restore on every path",
        ),
        Resource::Object => ("object acquired", "release it on every path"),
    };
    Problem::new(
        Rule::Reference,
        format!("the {what} at insn {pc} is not given back on this path"),
    )
    .help(help)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::WideTail => Problem::new(Rule::Instruction, "second half of a wide load"),
        Refusal::CallRegister(reg) => Problem::new(
            Rule::Instruction,
            format!("callx {reg}: calls through a register are accepted by no kernel"),
        ),
        Refusal::Width => {
            Problem::new(Rule::Instruction, "atomic operations are 4 or 8 bytes wide")
        }
    }
}
