//! Stepping through native code: the image's own bytes run, one machine instruction at a time.
//!
//! The trap flag makes the processor raise `SIGTRAP` after each machine instruction of this
//! thread. Where the next one is the first of an eBPF instruction, as the image's source map
//! says, the observer is shown the registers. Nothing is added to the code, so what is seen is
//! what the emitted instructions did.
//!
//! The observer runs inside the signal's handler. That is safe as any call is: it is called only
//! between two instructions of generated code, so it never interrupts an allocation or a lock.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use bpf::run::Batch;
use bpf::trace::{Moment, Observer, Place, REGISTERS, Region};
use isa::x86_64::abi::RunState;

use super::Program;
use super::machine::Run;
use crate::{MAX_PROGRAMS, ProgramId};

/// The processor's trap flag.
const TRAP_FLAG: i64 = 0x100;

/// Where the saved machine registers lie, by the number that instructions encode.
const SAVED: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Number of the stack pointer and of the first argument.
const RSP: usize = 4;
const RDI: usize = 7;

thread_local! {
    /// What looks at this thread's steps; null while nothing does.
    static STEPPER: Cell<*mut Stepper<'static>> = const { Cell::new(std::ptr::null_mut()) };
}

/// One trace of this process at a time: the handler of the signal is the process's.
static ONE: Mutex<()> = Mutex::new(());

/// What is known while a thread steps.
struct Stepper<'a> {
    /// Address, length and program of all code that may run.
    code: Vec<(u64, u64, &'a Program)>,
    observer: &'a mut dyn Observer,
    /// The run state, once code was entered.
    state: u64,
    /// The stack pointer at entry: the program's stack lies below.
    stack: u64,
    failed: bool,
}

/// Runs the program on every frame of the batch with an observer; false if the system gives no
/// handler for the signal.
pub(super) fn run(program: &Program, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let table = program.programs.upgrade();
    let others = (0..MAX_PROGRAMS as u32)
        .map_while(|id| table.as_ref()?.get(ProgramId(id)))
        .filter_map(|linked| linked.as_any().downcast_ref::<Program>());
    let code = others
        .chain(std::iter::once(program))
        .map(|p| (p.pages.address(0) as u64, p.code_len as u64, p))
        .collect();
    let mut stepper = Stepper {
        code,
        observer,
        state: 0,
        stack: 0,
        failed: false,
    };
    let Some(before) = install() else {
        return false;
    };
    STEPPER.set((&raw mut stepper).cast());
    set_trap_flag();
    super::run::run(program, batch);
    STEPPER.set(std::ptr::null_mut());
    clear_trap_flag();
    restore(&before);
    !stepper.failed
}

/// Makes [`on_trap`] the handler; gives what was there before.
fn install() -> Option<libc::sigaction> {
    // SAFETY: the structure is plain data for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_trap as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both structures are filled and live; the handler has the signature that the flags
    // promise.
    let failed = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, &raw mut before) } != 0;
    (!failed).then_some(before)
}

fn restore(before: &libc::sigaction) {
    // SAFETY: what the system gave us is a valid action.
    let _ = unsafe { libc::sigaction(libc::SIGTRAP, before, std::ptr::null_mut()) };
}

fn set_trap_flag() {
    // SAFETY: the stack is balanced; the flag only makes this thread signal after each
    // instruction, and the handler is there.
    unsafe {
        std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
    }
}

fn clear_trap_flag() {
    // SAFETY: the stack is balanced.
    unsafe {
        std::arch::asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq");
    }
}

/// The signal's handler. The processor has cleared the trap flag for it; the flags that it
/// returns to decide whether stepping goes on.
extern "C" fn on_trap(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the context of the interrupted thread, which nothing else uses.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let saved = &mut context.uc_mcontext.gregs;
    let stepper = STEPPER.get();
    if stepper.is_null() {
        saved[libc::REG_EFL as usize] &= !TRAP_FLAG;
        return;
    }
    // SAFETY: `run` put it there and waits until this thread is done with it; the thread was
    // interrupted in code that does not use it.
    let stepper = unsafe { &mut *stepper };
    let machine = SAVED.map(|at| saved[at as usize] as u64);
    let at = saved[libc::REG_RIP as usize] as u64;
    // A panic must not unwind through the handler.
    let seen = catch_unwind(AssertUnwindSafe(|| stepper.step(at, &machine)));
    stepper.failed |= seen.is_err();
}

impl Stepper<'_> {
    fn step(&mut self, at: u64, machine: &[u64; 16]) {
        let found = self
            .code
            .iter()
            .find(|(start, len, _)| at.wrapping_sub(*start) < *len);
        let Some(&(start, _, program)) = found else {
            return;
        };
        let offset = (at - start) as usize;
        if self.state == 0 && offset == program.entry {
            (self.state, self.stack) = (machine[RDI], machine[RSP]);
        }
        let Ok(index) = program
            .starts
            .binary_search_by_key(&offset, |(start, _)| *start)
        else {
            return;
        };
        let mut registers = [0; REGISTERS];
        for (value, number) in registers.iter_mut().zip(program.registers) {
            *value = machine[usize::from(number & 15)];
        }
        self.observer.before(&Now {
            program,
            pc: program.starts[index].1,
            offset,
            registers,
            state: self.state,
            stack: machine[RSP]..self.stack,
        });
    }
}

struct Now<'a> {
    program: &'a Program,
    pc: usize,
    offset: usize,
    registers: [u64; REGISTERS],
    state: u64,
    stack: std::ops::Range<u64>,
}

impl Now<'_> {
    /// The frame's area: its address and length.
    fn area(&self) -> (u64, u64) {
        if self.state == 0 {
            return (0, 0);
        }
        // SAFETY: the run loop gave the code this state, and neither it nor the code runs now.
        let state = unsafe { &*(self.state as *const RunState) };
        // SAFETY: the run loop set `host` to its `Run`, as above.
        let run = unsafe { &*(state.host as *const Run<'_>) };
        (run.area as u64, run.area_len as u64)
    }

    /// The map whose memory holds an address, and the byte in it. One past the end counts too.
    fn value_at(&self, address: u64) -> Option<(usize, u64, u64)> {
        self.program.maps.iter().find_map(|entry| {
            let memory = entry.map.memory();
            let at = address.checked_sub(memory.address())?;
            let len = memory.len() as u64;
            (at <= len).then_some((entry.id, at, len))
        })
    }

    /// Whether all bytes lie in the packet's area, the stack in use or a map.
    fn owns(&self, address: u64, len: u64) -> bool {
        let Some(end) = address.checked_add(len) else {
            return false;
        };
        let (area, area_len) = self.area();
        (address >= area && end <= area + area_len)
            || (address >= self.stack.start && end <= self.stack.end)
            || self
                .value_at(address)
                .is_some_and(|(_, at, size)| at + len <= size)
    }
}

impl Moment for Now<'_> {
    fn program(&self) -> u32 {
        self.program.id.0
    }

    fn pc(&self) -> usize {
        self.pc
    }

    fn code_offset(&self) -> Option<usize> {
        Some(self.offset)
    }

    fn registers(&self) -> [u64; REGISTERS] {
        self.registers
    }

    fn resolve(&self, region: Region, address: u64) -> Option<Place> {
        match region {
            Region::Context => Some(Place::Context {
                offset: address.wrapping_sub(self.state) as i64,
            }),
            Region::Packet => Some(Place::Packet {
                offset: address.wrapping_sub(self.area().0) as i64,
            }),
            Region::Value => self
                .value_at(address)
                .map(|(map, at, _)| Place::Value { map, at: at as i64 }),
            Region::Map => {
                let entry = self.program.maps.iter().find(|e| e.handle() == address);
                entry.map(|e| Place::Map { map: e.id })
            }
            Region::Unknown | Region::Number | Region::Stack => None,
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let owns = self.owns(address, into.len() as u64);
        if owns {
            super::machine::copy_from_shared(address, into);
        }
        owns
    }
}
