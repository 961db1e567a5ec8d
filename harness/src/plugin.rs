//! The public conformance suite's plugin protocol, so that its runner tests any side.
//!
//! The runner starts the plugin for each case: its memory in hexadecimal is the first argument,
//! if it has any; the program's bytes in hexadecimal, or with `--elf` those of an object, come on
//! stdin. The plugin prints r0 in hexadecimal and exits with 0, or exits with another status and
//! says why.

use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use bpf::{Hook, Program};
use isa::ebpf::decode;

use crate::conformance::{Case, Expected, MOST_MEMORY, Stop, execute, raw_program};
use crate::error::Error;
use crate::side::Side;

/// What the runner asks.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The program's bytes, or an object's, as hexadecimal digits.
    pub program: &'a str,
    /// The memory's bytes.
    pub memory: &'a str,
    /// Whether the program is an object.
    pub is_elf: bool,
    /// The hook; that of the object's section if `None`, else none: r1 is the memory, r2 its
    /// length.
    pub hook: Option<Hook>,
}

/// r0 at the program's exit: all 64 bits, 32 where it has a hook; or why there is none.
///
/// # Errors
/// If the request is malformed.
pub fn answer(request: &Request<'_>, side: &Side<'_>) -> Result<Result<u64, String>, Error> {
    let memory = bytes("memory", request.memory)?;
    if memory.len() > MOST_MEMORY {
        return Err(Error::input(format!(
            "memory: {} bytes, at most {MOST_MEMORY}",
            memory.len()
        )));
    }
    let code = bytes("program", request.program)?;
    let raw = Hook::Raw {
        memory_bytes: memory.len() as u32,
    };
    let program = if request.is_elf {
        object(&code, request.hook.clone(), raw)?
    } else {
        let insns = decode(&code).map_err(|e| Error::input(format!("program: {e}")))?;
        if insns.is_empty() {
            return Err(Error::input("program: there is no instruction"));
        }
        let program = raw_program("plugin", insns, memory.len(), &[]);
        match &request.hook {
            Some(hook) => Program {
                hook: hook.clone(),
                ..program
            },
            None => program,
        }
    };
    let has_hook = !matches!(program.hook, Hook::Raw { .. });
    let case = Case {
        file: "plugin".to_owned(),
        program: Arc::new(program),
        memory,
        expected: Expected::Error,
        ticks: None,
        undecodable: None,
    };
    Ok(match execute(&case, side).end {
        Ok(r0) if has_hook => Ok(u64::from(r0 as u32)),
        Ok(r0) => Ok(r0),
        Err(Stop::NotTaken(why) | Stop::Halted(why) | Stop::Trapped(why)) => Err(why),
    })
}

/// The first program of an object. One whose section means nothing has no hook.
fn object(bytes: &[u8], hook: Option<Hook>, raw: Hook) -> Result<Program, Error> {
    let options = LoadOptions {
        hook,
        ..LoadOptions::default()
    };
    let read = |options| load("plugin.o", bytes, options).map_err(|e| Error::input(e.to_string()));
    let set = read(&options)?;
    if let Some(program) = set.programs.into_iter().next() {
        return Ok(program);
    }
    let name = set.refused.first().map(|refused| refused.name.clone());
    let set = read(&LoadOptions {
        hook: Some(raw),
        program: name,
        ..LoadOptions::default()
    })?;
    set.programs
        .into_iter()
        .next()
        .ok_or_else(|| Error::input("program: the object has none"))
}

/// Bytes as two hexadecimal digits each, with or without space between them.
fn bytes(what: &str, text: &str) -> Result<Vec<u8>, Error> {
    let mut digits = Vec::with_capacity(text.len());
    for (index, found) in text.chars().enumerate() {
        match found.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if found.is_whitespace() => {}
            None => {
                return Err(Error::input(format!(
                    "{what}: character {} is `{}`, not a hexadecimal digit",
                    index + 1,
                    found.escape_default()
                )));
            }
        }
    }
    if digits.len() % 2 != 0 {
        return Err(Error::input(format!(
            "{what}: an odd number of hexadecimal digits"
        )));
    }
    Ok(digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}
