//! How native code calls the engine: one System V function for each helper.
//!
//! A panic in a helper's body must not unwind through native frames, which have no unwind
//! tables: it is caught here and becomes a trap.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bpf::helper;
use bpf::helper::callback::{self, Turn, calls_back};
use bpf::kfunc;
use bpf::run::TrapCause;
use isa::x86_64::abi::{Entry, Helper, LOAD_OUTSIDE, RunState};

use super::machine::{HostMachine, Run};
use super::{Program, enter};
use crate::ProgramId;

/// `bpf_tail_call`.
const TAIL_CALL_ID: u32 = 12;

/// Runs `body` for the packet of `state`; a trap or panic stops the program.
///
/// # Safety
/// `state` is what the run loop gave to the code that calls.
unsafe fn with_machine(
    id: u32,
    state: *mut RunState,
    body: impl FnOnce(&mut HostMachine<'_, '_>) -> Result<u64, TrapCause>,
) -> u64 {
    // SAFETY: by contract; the run loop and the code hold no reference to it meanwhile.
    let state = unsafe { &mut *state };
    // SAFETY: the run loop set `host` to its `Run` and holds no reference to it meanwhile.
    let run = unsafe { &mut *(state.host as *mut Run<'_>) };
    let mut machine = HostMachine::new(run, state);
    let result = catch_unwind(AssertUnwindSafe(|| body(&mut machine)))
        .unwrap_or(Err(TrapCause::BadHelper { id }));
    match result {
        Ok(r0) => {
            machine.leave(0);
            r0
        }
        Err(cause) => {
            machine.run.trap = Some(cause);
            machine.leave(1);
            0
        }
    }
}

/// The entry of helper `ID`.
unsafe extern "sysv64" fn entry<const ID: u32>(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut RunState,
) -> u64 {
    let args = [r1, r2, r3, r4, r5];
    if calls_back(ID) {
        // SAFETY: native code hands on the state that it was given, and the address of a function
        // of its own where the helper takes one.
        return unsafe { call_back(ID, args, state) };
    }
    // SAFETY: native code hands on the state that it was given.
    unsafe { with_machine(ID, state, |machine| helper::call(ID, machine, args)) }
}

/// A helper that calls functions of the program. Between the calls it has the machine, during
/// them the code has it.
///
/// # Safety
/// `state` is what the run loop gave to the code that calls, and the function that the helper is
/// given is one of the code's own.
unsafe fn call_back(id: u32, args: [u64; 5], state: *mut RunState) -> u64 {
    let mut callback = None;
    // SAFETY: by contract.
    unsafe {
        with_machine(id, state, |machine| {
            callback = Some(callback::begin(id, machine, args)?);
            Ok(0)
        });
    }
    let Some(mut callback) = callback else {
        return 0;
    };
    // The function finds the key here. No key is longer (`MAX_BPF_STACK` of Linux).
    let mut key = [0_u8; 512];
    let mut result = None;
    loop {
        let mut turn = None;
        // SAFETY: by contract.
        unsafe {
            with_machine(id, state, |machine| {
                let address = key.as_ptr() as u64;
                turn = Some(callback.turn(machine, result, address)?);
                Ok(0)
            });
        }
        match turn {
            None => return 0,
            Some(Turn::Done(r0)) => return r0,
            Some(Turn::Call(args)) => {
                for (to, from) in key.iter_mut().zip(callback.key()) {
                    *to = *from;
                }
                let args = &raw const args;
                // SAFETY: by contract; nothing here refers to the state meanwhile.
                result = Some(unsafe { enter::call(args, callback.function, state) });
                // SAFETY: by contract.
                let trap = unsafe { (*state).trap };
                if trap != 0 {
                    return 0;
                }
            }
        }
    }
}

macro_rules! entries {
    ($base:expr; $($ten:literal)*) => {
        [$(
            entry::<{ $base + $ten * 10 + 0 }>,
            entry::<{ $base + $ten * 10 + 1 }>,
            entry::<{ $base + $ten * 10 + 2 }>,
            entry::<{ $base + $ten * 10 + 3 }>,
            entry::<{ $base + $ten * 10 + 4 }>,
            entry::<{ $base + $ten * 10 + 5 }>,
            entry::<{ $base + $ten * 10 + 6 }>,
            entry::<{ $base + $ten * 10 + 7 }>,
            entry::<{ $base + $ten * 10 + 8 }>,
            entry::<{ $base + $ten * 10 + 9 }>,
        )*]
    };
}

/// The entries of all ids that Linux has; helpers without a body trap when they are called.
static ENTRIES: [Helper; 220] =
    entries!(0; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21);

/// The entries of kernel functions.
static KERNEL_FUNCTIONS: [Helper; 60] = entries!(kfunc::BASE; 0 1 2 3 4 5);

/// Address of the entry of a helper or kernel function; `None` where Linux has none.
pub(super) fn helper(id: u32) -> Option<u64> {
    helper::name(id)?;
    let entry = match id.checked_sub(kfunc::BASE) {
        Some(index) => KERNEL_FUNCTIONS.get(index as usize),
        None => ENTRIES.get(id as usize),
    };
    Some(*entry? as usize as u64)
}

/// The tail call: the address to jump to, or 0 where the program goes on.
unsafe extern "sysv64" fn tail_call(
    _ctx: u64,
    map: u64,
    index: u32,
    _r4: u64,
    _r5: u64,
    state: *mut RunState,
) -> u64 {
    // SAFETY: native code hands on the state that it was given.
    let left = unsafe { (*state).tail_calls_left };
    if left == 0 {
        return 0;
    }
    // SAFETY: as above.
    let target = unsafe {
        with_machine(TAIL_CALL_ID, state, |machine| {
            let id = helper::tail_call_target(machine, map, u64::from(index))?;
            Ok(id.map_or(0, |id| address_of(machine.run.programs, id)))
        })
    };
    if target != 0 {
        // SAFETY: as above.
        unsafe { (*state).tail_calls_left = left - 1 };
    }
    target
}

fn address_of(programs: Option<&crate::ProgramTable>, id: u32) -> u64 {
    programs
        .and_then(|table| table.get(ProgramId(id)))
        .and_then(|linked| linked.as_any().downcast_ref::<Program>())
        .map_or(0, |program| program.pages.address(program.entry) as u64)
}

/// The legacy load.
unsafe extern "sysv64" fn load_packet(
    offset: u64,
    size: u64,
    _r3: u64,
    _r4: u64,
    _r5: u64,
    state: *mut RunState,
) -> u64 {
    // SAFETY: native code hands on the state that it was given.
    let state = unsafe { &mut *state };
    // SAFETY: the run loop set `host` to its `Run` and holds no reference to it meanwhile.
    let run = unsafe { &mut *(state.host as *mut Run<'_>) };
    let machine = HostMachine::new(run, state);
    let loaded = machine.load_packet(offset as i32, size as u32);
    machine.leave(if loaded.is_some() { 0 } else { LOAD_OUTSIDE });
    loaded.unwrap_or(0)
}

/// Address of the legacy load's entry.
pub(super) fn load_packet_address() -> u64 {
    load_packet as *const () as u64
}

/// Address of the tail call's entry.
pub(super) fn tail_call_address() -> u64 {
    tail_call as *const () as u64
}

impl Program {
    /// The entry of the code.
    pub(super) fn entry_point(&self) -> Entry {
        let address = self.pages.address(self.entry);
        // SAFETY: the address is in executable pages, and whoever trusted the image promised
        // that a function of this type starts there.
        unsafe { std::mem::transmute::<*const u8, Entry>(address) }
    }
}
