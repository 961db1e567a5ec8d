//! Constant texts that helpers are given: format strings, and what is compared with.

use bpf::helper::valid_format;

use super::describe;
use crate::domain::{Kind, State, Value};
use crate::platform::Platform;
use crate::report::{Problem, Rule};

/// The text that `pointer` in register `reg` points to, with its NUL.
///
/// # Errors
/// It is no text in memory that nobody can change.
pub(super) fn constant<'a>(
    platform: &Platform<'a>,
    reg: usize,
    pointer: &Value,
) -> Result<&'a [u8], Problem> {
    let problem = |message: String| {
        Problem::new(Rule::HelperArg, message)
            .why(format!("r{reg} is {}", describe(platform, pointer)))
            .help("give it a string constant, which the compiler puts into .rodata")
    };
    let Kind::MapValue {
        map,
        or_null: false,
    } = pointer.kind
    else {
        return Err(problem(format!("R{reg} is no string constant")));
    };
    let Some(bytes) = platform.frozen(map) else {
        return Err(problem(format!("R{reg} does not point to a readonly map")));
    };
    if pointer.range.as_constant().is_none() {
        return Err(problem(format!("R{reg} is not a constant address")));
    }
    let start = usize::try_from(pointer.min_offset()).ok();
    let Some(text) = start.and_then(|at| bytes.get(at..)) else {
        return Err(Problem::new(
            Rule::MapValueBounds,
            format!("the string in R{reg} starts outside the value"),
        ));
    };
    match text.iter().position(|b| *b == 0) {
        Some(end) => Ok(&text[..=end]),
        None => Err(problem("string is not zero-terminated".to_owned())),
    }
}

/// What `bpf_snprintf` is given: the format in r3 fits the arguments, of which r5 has the bytes.
pub(super) fn format(platform: &Platform<'_>, state: &State) -> Result<(), Problem> {
    let regs = &state.top.regs;
    // Of a length that is not known the kernel goes by the bits that are.
    let bytes = regs[5].range.bits.value;
    if !bytes.is_multiple_of(8) {
        return Err(Problem::new(
            Rule::HelperArg,
            format!("bpf_snprintf is given {bytes} bytes of arguments, which are 8 bytes each"),
        )
        .about("bpf_snprintf"));
    }
    let text = constant(platform, 3, &regs[3])?;
    if valid_format(text, (bytes / 8) as usize) {
        return Ok(());
    }
    Err(Problem::new(Rule::HelperArg, "Invalid format string")
        .about("bpf_snprintf")
        .why(format!(
            "{:?} with {} arguments",
            String::from_utf8_lossy(&text[..text.len() - 1]),
            bytes / 8
        ))
        .help(
            "known are %d %i %u %x %X with l or ll, %c %s %p and its kernel forms, flags and a \
             width; each takes an argument",
        ))
}
