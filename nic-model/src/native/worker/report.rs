//! How a worker tells that it was stopped: the handler of its signals.
//!
//! The handler allocates nothing and takes no lock, since it may have come in the midst of
//! either; it writes the report and ends the process.

use std::ops::Range;
use std::ptr::{null_mut, with_exposed_provenance};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bpf::fault::Area;
use bpf::run::TrapCause;
use isa::x86_64::abi::RunState;
use libc::{c_int, c_void, siginfo_t, ucontext_t};

use super::super::fault::{self, Place, SIGNALS, Seen};
use super::exchange::{Exchange, Status};
use super::wire::Report;

/// Seconds of processor time that one packet may take.
pub(super) const SECONDS: u32 = 1;
/// How often in a second of processor time it is looked at.
const TICKS: u32 = 4;
/// What [`RunState::pc`] holds before the first helper call.
pub(super) const NO_PC: u32 = u32::MAX;

/// What the handler knows of a worker.
#[derive(Debug)]
pub(super) struct Scene {
    /// A mapping of its own.
    pub(super) exchange: Exchange,
    /// Where code lies, by program.
    pub(super) code: Vec<Range<u64>>,
    /// What registers can point to, without the packet.
    pub(super) places: Vec<Place>,
    /// The memory that packets lie in.
    pub(super) packets: Range<u64>,
    /// Address of the run state.
    pub(super) state: u64,
    /// Address of the packet's first byte.
    pub(super) packet: AtomicU64,
    /// How many packets were begun, doubled, and one more while none is run.
    pub(super) turn: AtomicU64,
    /// Records in the answer so far.
    pub(super) records: AtomicUsize,
    /// The turn at the latest tick, and how many ticks it has lasted.
    last: AtomicU64,
    ticks: AtomicU32,
}

impl Scene {
    pub(super) fn new(exchange: Exchange, packets: Range<u64>, state: u64) -> Scene {
        Scene {
            exchange,
            code: Vec::new(),
            places: Vec::new(),
            packets,
            state,
            packet: AtomicU64::new(0),
            turn: AtomicU64::new(1),
            records: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            ticks: AtomicU32::new(0),
        }
    }

    /// Counts a tick; whether the packet has had its time.
    fn overdue(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        if turn % 2 == 1 || self.last.swap(turn, Ordering::Relaxed) != turn {
            self.ticks.store(0, Ordering::Relaxed);
            return false;
        }
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1 >= SECONDS * TICKS
    }

    /// What a signal means, if it means the end.
    fn report(&self, seen: &Seen) -> Option<Report> {
        let stopped = seen.stopped();
        let program = self.code.iter().position(|range| range.contains(&stopped));
        let place = program.map(|id| (id, (stopped - self.code[id].start) as usize));
        let cause = match seen.signal {
            libc::SIGPROF if self.overdue() => TrapCause::NoReturn { seconds: SECONDS },
            libc::SIGPROF => return None,
            libc::SIGSYS if place.is_some() => TrapCause::SystemCall {
                number: seen.registers[0] as i32,
            },
            signal => TrapCause::Crash { signal },
        };
        if matches!(cause, TrapCause::NoReturn { .. }) {
            // An endless loop is stopped anywhere in it, differently in each run.
            return Some(Report::bare(cause));
        }
        let packet = Place {
            area: Area::Packet,
            start: self.packets.start,
            end: self.packets.end,
            base: self.packet.load(Ordering::Relaxed),
        };
        let told = seen.told(&std::iter::once(packet).chain(self.places.iter().copied()));
        // SAFETY: the run state lies there as long as the process lives.
        let pc = unsafe { (*with_exposed_provenance::<RunState>(self.state as usize)).pc };
        Some(Report {
            cause,
            place,
            pc: (place.is_none() && pc != NO_PC).then_some(pc as usize),
            told: Some(told),
        })
    }

    /// Ends the process with a report.
    pub(super) fn end(&self, report: &Report) -> ! {
        let records = self.records.load(Ordering::Relaxed);
        self.exchange.end(Status::Ended, records, report);
        exit()
    }
}

/// Ends the process at once.
pub(super) fn exit() -> ! {
    // SAFETY: runs nothing of this process any more.
    unsafe { libc::_exit(0) }
}

/// The worker's scene, once it has one.
static SCENE: AtomicPtr<Scene> = AtomicPtr::new(null_mut());

/// Makes `scene` what the handler tells of, for the rest of the process's life.
pub(super) fn set(scene: Scene) -> &'static Scene {
    let scene: &'static Scene = Box::leak(Box::new(scene));
    SCENE.store(std::ptr::from_ref(scene).cast_mut(), Ordering::Release);
    scene
}

/// Handles signals from now on, in processes forked later too.
pub(super) fn install() {
    for signal in SIGNALS
        .into_iter()
        .chain([libc::SIGSYS, libc::SIGPROF, libc::SIGABRT])
    {
        fault::handle(signal, on_signal);
    }
}

/// Begins to count processor time.
pub(super) fn start_ticks() {
    let tick = libc::timeval {
        tv_sec: 0,
        tv_usec: i64::from(1_000_000 / TICKS),
    };
    let timer = libc::itimerval {
        it_interval: tick,
        it_value: tick,
    };
    // SAFETY: the structure is valid, and the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, null_mut()) };
}

unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the scene is never taken away.
    let Some(scene) = (unsafe { SCENE.load(Ordering::Acquire).as_ref() }) else {
        exit()
    };
    // SAFETY: these are the handler's arguments.
    let seen = unsafe { Seen::new(signal, info, context.cast::<ucontext_t>()) };
    if let Some(report) = scene.report(&seen) {
        scene.end(&report);
    }
}
