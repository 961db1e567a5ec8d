//! The loop over a batch.

use bpf::run::{Batch, Cost, Event, EventKind, Frame, Trap, TrapCause};
use isa::x86_64::abi::{RunState, TAIL_CALL_LIMIT};

use super::Program;
use super::machine::Run;

/// Whether a frame's offsets lie in order inside its area, and its area in the memory.
fn fits(frame: &Frame, memory: usize) -> bool {
    let area = &frame.area;
    area.start <= area.end
        && area.end <= memory
        && frame.meta <= frame.data
        && frame.data <= frame.end
        && frame.end as usize <= area.end - area.start
}

/// Runs the program on every frame, in order, in place.
pub(super) fn run(program: &Program, batch: &mut Batch) {
    let entry = program.entry_point();
    let programs = program.programs.upgrade();
    let has_rings = program.map_set.has_rings();
    let length = batch.memory.len();
    let memory = batch.memory.as_mut_ptr();
    let mut run = Run {
        program,
        programs: programs.as_deref(),
        events: &mut batch.events,
        area: memory,
        area_len: 0,
        packet: 0,
        now_ns: 0,
        randoms: 0,
        redirect: None,
        trap: None,
    };
    let mut state = RunState {
        egress_ifindex: 0,
        ..RunState::default()
    };
    for (index, frame) in batch.frames.iter_mut().enumerate() {
        frame.cost = Cost::default();
        frame.redirect = None;
        if !fits(frame, length) {
            frame.r0 = 0;
            frame.trapped = true;
            batch.traps.push((index, out_of_memory(frame)));
            continue;
        }
        let area = memory.wrapping_add(frame.area.start);
        run.area = area;
        run.area_len = frame.area.len();
        run.packet = frame.number;
        run.now_ns = frame.arrival_ns;
        run.randoms = 0;
        run.redirect = None;
        let base = area as u64;
        state.data = base + u64::from(frame.data);
        state.data_end = base + u64::from(frame.end);
        state.data_meta = base + u64::from(frame.meta);
        state.raw_len = u64::from(frame.end - frame.data);
        state.ingress_ifindex = frame.port;
        state.rx_queue_index = frame.queue;
        state.cpu = frame.queue;
        state.tail_calls_left = TAIL_CALL_LIMIT;
        state.host = (&raw mut run) as u64;
        // SAFETY: the image is trusted to keep to the contract of its `abi`; the state is
        // filled, and `run` and the batch's memory are not used until the code returns.
        let r0 = unsafe { entry(&raw mut state) };
        frame.meta = (state.data_meta - base) as u32;
        frame.data = (state.data - base) as u32;
        frame.end = (state.data_end - base) as u32;
        frame.redirect = run.redirect;
        if has_rings {
            // The host reads what each packet left in the ring buffers.
            let events = &mut *run.events;
            program.map_set.drain_rings(frame.queue, |map, bytes| {
                events.push(Event {
                    packet: frame.number,
                    kind: EventKind::Ringbuf { map },
                    bytes: bytes.to_vec(),
                });
            });
        }
        frame.trapped = state.trap != 0;
        if state.trap == 0 {
            frame.r0 = r0;
        } else {
            frame.r0 = 0;
            state.trap = 0;
            let cause = run.trap.take().unwrap_or(TrapCause::BadInstruction);
            batch.traps.push((
                index,
                Trap {
                    pc: Some(state.pc as usize),
                    code_offset: None,
                    cause,
                    fault: None,
                },
            ));
        }
    }
}

/// The trap of a frame that lies outside the batch's memory.
fn out_of_memory(frame: &Frame) -> Trap {
    Trap {
        pc: None,
        code_offset: None,
        cause: TrapCause::OutOfBounds {
            address: frame.area.start as u64,
            size: frame.area.end.saturating_sub(frame.area.start) as u32,
            write: false,
        },
        fault: None,
    }
}
