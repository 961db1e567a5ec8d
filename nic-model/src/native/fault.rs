//! Faults of native code that runs in this process: the handler of their signals, and what is
//! told of them.
//!
//! A fault whose instruction lies in the code that this thread is running takes the way out that
//! the run loop left ([`enter::catch`](super::enter::catch)); any other goes to whoever handled
//! the signal before. Worker processes have a handler of their own, in `worker/report.rs`, and
//! tell the same.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use bpf::fault::{Area, Fault, Held};
use libc::{c_int, c_void, siginfo_t, ucontext_t};

use super::enter::WayOut;

/// Signals that a processor's exceptions become.
pub(super) const SIGNALS: [c_int; 5] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
];

/// The registers that are told, by their place in `gregs` (`sys/ucontext.h`).
pub(super) const REGISTERS: [(&str, c_int); 17] = [
    ("rax", libc::REG_RAX),
    ("rbx", libc::REG_RBX),
    ("rcx", libc::REG_RCX),
    ("rdx", libc::REG_RDX),
    ("rsi", libc::REG_RSI),
    ("rdi", libc::REG_RDI),
    ("rbp", libc::REG_RBP),
    ("rsp", libc::REG_RSP),
    ("r8", libc::REG_R8),
    ("r9", libc::REG_R9),
    ("r10", libc::REG_R10),
    ("r11", libc::REG_R11),
    ("r12", libc::REG_R12),
    ("r13", libc::REG_R13),
    ("r14", libc::REG_R14),
    ("r15", libc::REG_R15),
    ("rip", libc::REG_RIP),
];

/// What a thread that runs native code leaves for the handler.
pub(super) struct Landing {
    /// Where to go on. First, since assembly fills it.
    pub(super) way_out: WayOut,
    /// Whether an address lies in the code that is run.
    pub(super) owns: *const dyn Fn(u64) -> bool,
    /// What the handler saw.
    pub(super) seen: Option<Seen>,
}

/// What a handler saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The signal.
    pub(super) signal: c_int,
    /// The address whose access failed, if that was the reason.
    pub(super) address: Option<u64>,
    /// Contents of [`REGISTERS`].
    pub(super) registers: [u64; REGISTERS.len()],
}

impl Seen {
    /// What a handler was given.
    ///
    /// # Safety
    /// The arguments must be those of a signal handler.
    pub(super) unsafe fn new(
        signal: c_int,
        info: *const siginfo_t,
        context: *const ucontext_t,
    ) -> Seen {
        // SAFETY: by contract.
        let gregs = unsafe { &(*context).uc_mcontext.gregs };
        // SAFETY: by contract.
        let info = unsafe { &*info };
        // SAFETY: every signal's information is long enough; below only those count whose
        // information is an address.
        let address = unsafe { info.si_addr() } as u64;
        Seen {
            signal,
            address: matches!(signal, libc::SIGSEGV | libc::SIGBUS).then_some(address),
            registers: REGISTERS.map(|(_, at)| gregs[at as usize] as u64),
        }
    }

    /// Address of the instruction that was stopped: after a breakpoint (1 byte) and a system
    /// call (2 bytes) the processor stands behind it.
    pub(super) fn stopped(&self) -> u64 {
        let rip = self.registers[REGISTERS.len() - 1];
        match self.signal {
            libc::SIGTRAP => rip.wrapping_sub(1),
            libc::SIGSYS => rip.wrapping_sub(2),
            _ => rip,
        }
    }

    /// The same in words that are the same in every run.
    pub(super) fn told(&self, places: &(impl Iterator<Item = Place> + Clone)) -> Told {
        let held = |value| held(places.clone(), value);
        (self.address.map(held), self.registers.map(held))
    }
}

/// The address whose access failed, and the contents of [`REGISTERS`].
pub(super) type Told = (Option<Held>, [Held; REGISTERS.len()]);

/// The same with the names of the registers, for code of `program`.
pub(super) fn named(program: u32, told: Option<&Told>) -> Fault {
    let names = REGISTERS.iter().map(|(name, _)| (*name).to_owned());
    let (address, registers) = told.map_or((None, Vec::new()), |(address, registers)| {
        (*address, names.zip(*registers).collect())
    });
    Fault {
        program,
        address,
        registers,
    }
}

/// Where something known lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// What.
    pub(super) area: Area,
    /// First address that is told as a distance, inaccessible pages included.
    pub(super) start: u64,
    /// Just past the last.
    pub(super) end: u64,
    /// What distances are counted from.
    pub(super) base: u64,
}

/// What a value in a register means. Linux puts programs, their heaps and their libraries into
/// two narrow ranges, at random; what points there and to nothing known is not told.
fn held(mut places: impl Iterator<Item = Place>, value: u64) -> Held {
    let near = places.find(|p| p.start <= value && value < p.end);
    match (near, value >> 40) {
        (Some(place), _) => Held::Near {
            area: place.area,
            offset: value.wrapping_sub(place.base) as i64,
        },
        (None, 0x55 | 0x56 | 0x7e | 0x7f) => Held::Engine,
        (None, _) => Held::Number(value),
    }
}

thread_local! {
    /// What this thread runs.
    static LANDING: Cell<*mut Landing> = const { Cell::new(null_mut()) };
}

/// Says what this thread runs, until the next call; null for nothing.
pub(super) fn land(landing: *mut Landing) {
    LANDING.set(landing);
}

/// Who handled each signal before.
static BEFORE: [AtomicPtr<libc::sigaction>; SIGNALS.len()] =
    [const { AtomicPtr::new(null_mut()) }; SIGNALS.len()];

/// Handles the signals from now on; once a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
            if let Some(old) = handle(*signal, on_fault) {
                before.store(Box::into_raw(Box::new(old)), Ordering::Release);
            }
        }
    });
}

/// A signal's handler.
pub(super) type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Makes `handler` handle `signal`, on the thread's other stack if it has one; gives who handled
/// it before.
pub(super) fn handle(signal: c_int, handler: Handler) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure is all zero, which is a value of it.
    let new = unsafe { action.assume_init_mut() };
    new.sa_sigaction = handler as usize;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the structures are valid, and the handler is one for `SA_SIGINFO`.
    let failed = unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) } != 0;
    // SAFETY: zero at first, and filled where the call did not fail.
    (!failed).then(|| unsafe { old.assume_init() })
}

/// Leaves the code of this thread, or passes the signal on.
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let landing = LANDING.get();
    if !landing.is_null() {
        let context = context.cast::<ucontext_t>();
        // SAFETY: these are the handler's arguments.
        let seen = unsafe { Seen::new(signal, info, context) };
        // SAFETY: what the thread runs stays where it is until it is replaced, and the thread
        // itself waits for this handler.
        let landing = unsafe { &mut *landing };
        // SAFETY: as above.
        let owns = unsafe { &*landing.owns };
        if owns(seen.stopped()) {
            landing.seen = Some(seen);
            // SAFETY: the handler's argument.
            let gregs = unsafe { &mut (*context).uc_mcontext.gregs };
            gregs[libc::REG_RAX as usize] = 1;
            gregs[libc::REG_RSP as usize] = landing.way_out.rsp as i64;
            gregs[libc::REG_RIP as usize] = landing.way_out.rip as i64;
            return;
        }
    }
    pass_on(signal, info, context);
}

fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let before = SIGNALS
        .iter()
        .position(|s| *s == signal)
        .map_or(null(), |at| BEFORE[at].load(Ordering::Acquire));
    if before.is_null() {
        return default_action(signal);
    }
    // SAFETY: it was boxed when the handler was installed, and lives for ever.
    let before = unsafe { &*before };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => default_action(signal),
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler with this flag is of this type.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            // SAFETY: these are a handler's arguments.
            unsafe { handler(signal, info, context) };
        }
        handler => {
            // SAFETY: a handler without the flag is of this type.
            let handler =
                unsafe { std::mem::transmute::<usize, unsafe extern "C" fn(c_int)>(handler) };
            // SAFETY: this is a handler's argument.
            unsafe { handler(signal) };
        }
    }
}

/// The instruction is run again, and then the signal ends the process.
fn default_action(signal: c_int) {
    // SAFETY: the default action of a signal can always be set.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
