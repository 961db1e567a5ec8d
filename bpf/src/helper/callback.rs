//! Helpers that call functions of the program: what they do from call to call.
//!
//! Such a helper runs no code. An engine calls [`begin`], runs the function that the
//! [`Callback`] names with the arguments of each [`Turn`], and hands r0 back, until the helper is
//! done. So the engine's own calls, limits and traces hold for callbacks too. Results are those of
//! Linux 6.18; the kernel documentation describes `bpf_loop` and `bpf_for_each_map_elem`. One thing
//! differs: where Linux knows that the flags are 0 it makes a loop of the call, which compares the
//! count as 64 bits, and whose `-E2BIG` has zeroes in the upper half. Here both are as documented.

use super::Machine;
use super::map::map_of;
use crate::map::{Elements, Errno};
use crate::run::TrapCause;

/// `bpf_for_each_map_elem`.
const FOR_EACH: u32 = 164;
/// `bpf_loop`.
const LOOP: u32 = 181;

/// Most turns of a loop (`BPF_MAX_LOOPS` of Linux).
const MAX_LOOPS: u32 = 8 * 1024 * 1024;

/// Whether helper `id` calls functions of the program: engines run it by [`begin`], not by
/// [`call`](super::call).
pub const fn calls_back(id: u32) -> bool {
    matches!(id, FOR_EACH | LOOP)
}

/// A helper that is calling a function of the program.
#[derive(Debug)]
pub struct Callback {
    /// The function, as the program named it.
    pub function: u64,
    /// The program's own argument of each call.
    context: u64,
    /// Calls so far.
    done: u32,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Nothing: r0 was known before the first call.
    Nothing {
        r0: u64,
    },
    Loop {
        turns: u32,
    },
    Elements {
        /// The map as the program named it.
        handle: u64,
        left: Elements,
        /// The key of the element that the function looks at.
        key: Vec<u8>,
    },
}

/// What a [`Callback`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It calls the function with these arguments, r1 to r5.
    Call([u64; 5]),
    /// It is done: r0 of the helper.
    Done(u64),
}

/// Begins helper `id` with the registers r1 to r5.
///
/// # Errors
/// [`TrapCause::BadHelper`] if it calls no functions; [`TrapCause::BadMap`] if the map is none or
/// has no elements to go through.
pub fn begin<M: Machine>(id: u32, machine: &M, args: [u64; 5]) -> Result<Callback, TrapCause> {
    match id {
        LOOP => {
            let [turns, function, context, flags, _] = args;
            let turns = turns as u32;
            let work = if flags != 0 {
                failed(Errno::Einval)
            } else if turns > MAX_LOOPS {
                failed(Errno::E2big)
            } else {
                Work::Loop { turns }
            };
            Ok(Callback::new(function, context, work))
        }
        FOR_EACH => {
            let [handle, function, context, flags, _] = args;
            let (_, map) = map_of(machine, handle)?;
            let work = if flags == 0 {
                Work::Elements {
                    handle,
                    left: map.elements().ok_or(TrapCause::BadMap { value: handle })?,
                    key: Vec::new(),
                }
            } else {
                failed(Errno::Einval)
            };
            Ok(Callback::new(function, context, work))
        }
        id => Err(TrapCause::BadHelper { id }),
    }
}

fn failed(errno: Errno) -> Work {
    Work::Nothing { r0: errno.to_r0() }
}

impl Callback {
    fn new(function: u64, context: u64, work: Work) -> Callback {
        Callback {
            function,
            context,
            done: 0,
            work,
        }
    }

    /// What comes next. `result` is r0 of the call before, `None` at first; the program will find
    /// the bytes of [`Callback::key`] at `key`.
    ///
    /// # Errors
    /// [`TrapCause::BadMap`] if the map is none.
    pub fn turn<M: Machine>(
        &mut self,
        machine: &M,
        result: Option<u64>,
        key: u64,
    ) -> Result<Turn, TrapCause> {
        let stops = result.is_some_and(|r0| r0 != 0);
        let args = match &mut self.work {
            Work::Nothing { r0 } => return Ok(Turn::Done(*r0)),
            Work::Loop { turns } if stops || self.done == *turns => None,
            Work::Loop { .. } => Some([u64::from(self.done), self.context, 0, 0, 0]),
            Work::Elements { .. } if stops => None,
            Work::Elements {
                handle,
                left,
                key: bytes,
            } => {
                let (id, map) = map_of(machine, *handle)?;
                left.next(map, machine.cpu()).map(|(found, at)| {
                    *bytes = found;
                    let value = machine.value_address(id, at);
                    [*handle, key, value, self.context, 0]
                })
            }
        };
        let Some(args) = args else {
            return Ok(Turn::Done(u64::from(self.done)));
        };
        self.done += 1;
        Ok(Turn::Call(args))
    }

    /// The key of the element that the function looks at; empty for helpers without keys. Its
    /// address changes with every turn.
    pub fn key(&self) -> &[u8] {
        match &self.work {
            Work::Elements { key, .. } => key,
            Work::Nothing { .. } | Work::Loop { .. } => &[],
        }
    }
}
