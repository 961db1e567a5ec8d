//! One packet's run: the firmware puts the packet vector into local memory, starts the program,
//! and does with the packet what the result word says.

use bpf::Hook;
use bpf::run::{Batch, Cost, Event, Frame, TcAction, Trap, TrapCause, Verdict, XdpAction};
use isa::nfp::abi::{FRAME_AND_LENGTH, result, vector};

use super::core::Core;
use super::load::Loaded;
use super::local::STACK;
use super::step;
use super::trace::Watch;

/// Address of packet memory: the upper half of a packet pointer.
pub(super) const PACKET_MEMORY: u32 = 0x0010_0000;
/// The bits of a packet pointer that are an offset in the packet's buffer.
const OFFSET_MASK: u32 = 0xffff;

/// One packet's run.
pub(super) struct Run<'a, 'p> {
    pub(super) program: &'p Loaded,
    pub(super) core: &'a mut Core,
    /// The frame's area: the part of the packet's buffer that holds something.
    pub(super) area: &'a mut [u8],
    pub(super) frame: &'a mut Frame,
    pub(super) events: &'a mut Vec<Event>,
    pub(super) cost: Cost,
    /// Instructions executed so far, less the index of the one that is next.
    pub(super) before: u64,
    /// Cycles in which branches executed nothing.
    pub(super) bubbles: u64,
    /// Random numbers drawn.
    pub(super) randoms: u32,
    /// First byte of the frame in its area as it arrived.
    arrived: u32,
}

/// Runs the program on one frame of a batch.
pub(super) fn run_frame<W: Watch>(
    program: &Loaded,
    core: &mut Core,
    batch: &mut Batch,
    index: usize,
    watch: &mut W,
) {
    let frame = &mut batch.frames[index];
    let area = &mut batch.memory[frame.area.clone()];
    let arrived = frame.data;
    let mut run = Run {
        program,
        core,
        area,
        frame,
        events: &mut batch.events,
        cost: Cost::default(),
        before: 0,
        bubbles: 0,
        randoms: 0,
        arrived,
    };
    run.begin();
    let result = run
        .execute(watch)
        .and_then(|left| run.end().map_err(|cause| (left, cause)));
    run.frame.cost = run.cost;
    run.frame.action_only = true;
    match result {
        Ok(verdict) => run.frame.r0 = verdict.code(),
        Err((at, cause)) => {
            run.frame.r0 = 0;
            run.frame.trapped = true;
            let trap = Trap {
                pc: program.pc(at),
                code_offset: Some(at * 8),
                cause,
                fault: None,
            };
            batch.traps.push((index, trap));
        }
    }
}

/// What the firmware does with a packet for this action code.
fn verdict(hook: &Hook, action: u8) -> Option<Verdict> {
    let drops = action & 0xf == result::DROP;
    Some(match hook {
        Hook::Xdp { .. } => Verdict::Xdp(match action & 0xf {
            result::PASS => XdpAction::Pass,
            result::DROP if action == result::XDP_ABORTED => XdpAction::Aborted,
            result::DROP => XdpAction::Drop,
            result::REDIRECT => XdpAction::Tx,
            _ => return None,
        }),
        Hook::Tc { .. } => Verdict::Tc(match action & 0xf {
            result::PASS => TcAction::Unspec,
            // Without a statistic: the program took the packet.
            _ if drops && action >> 4 == 0 => TcAction::Stolen,
            result::DROP => TcAction::Shot,
            result::REDIRECT => TcAction::Redirect,
            _ => return None,
        }),
        Hook::Raw { .. } => return None,
    })
}

/// Offset in the packet's buffer of an address in packet memory.
pub(super) fn in_buffer(address: u32) -> Option<u32> {
    (address & !OFFSET_MASK == PACKET_MEMORY).then_some(address & OFFSET_MASK)
}

impl Run<'_, '_> {
    /// Makes the thread as a program finds it.
    fn begin(&mut self) {
        let length = (self.frame.end - self.frame.data) & vector::LENGTH_MASK;
        let packet = PACKET_MEMORY | self.program.card.packet_offset;
        self.core.reset(length, packet);
        self.core.set(step::A + u16::from(FRAME_AND_LENGTH), STACK);
    }

    /// Takes the packet over from the program.
    fn end(&mut self) -> Result<Verdict, TrapCause> {
        let start = self.core.local.vector(vector::PACKET);
        let length = self.core.local.vector(vector::LENGTH) & vector::LENGTH_MASK;
        let outside = TrapCause::OutOfBounds {
            address: u64::from(start),
            size: length,
            write: true,
        };
        let data = self.in_area(start).ok_or(outside)?;
        let end = data + u64::from(length);
        if end > self.area.len() as u64 {
            return Err(outside);
        }
        self.frame.data = data as u32;
        self.frame.meta = data as u32;
        self.frame.end = end as u32;
        let word = self.core.get(step::A);
        let action = (word >> result::ACTION_SHIFT) as u8;
        verdict(&self.program.hook, action).ok_or(TrapCause::BadResult { word })
    }

    /// Offset in the frame's area of an address in packet memory, if the area holds it or ends
    /// there.
    pub(super) fn in_area(&self, address: u32) -> Option<u64> {
        let offset = in_buffer(address)?;
        let from_start = i64::from(offset) - i64::from(self.program.card.packet_offset);
        u64::try_from(from_start + i64::from(self.arrived)).ok()
    }

    /// The packet as the vector says it lies: address and length.
    pub(super) fn packet(&self) -> (u32, u32) {
        let length = self.core.local.vector(vector::LENGTH) & vector::LENGTH_MASK;
        (self.core.local.vector(vector::PACKET), length)
    }

    /// The next number of the packet's random sequence.
    pub(super) fn random(&mut self) -> u32 {
        let seed = self.program.environment.seed;
        let number = bpf::helper::random(seed, self.frame.number, self.randoms);
        self.randoms += 1;
        number
    }
}
