//! `Device`: the NIC's side of a lane, and the host that runs what the NIC does not.
//!
//! A NIC may hand frames beyond its window to the host (a *punt*): the host's engine then runs the
//! program over the NIC's maps, in the frame's place in its queue. After a fallback the host runs
//! every frame, over maps of its own into which the NIC's were moved.

use bpf::run::{Batch, Frame};
use bpf::trace::Observer;
use cpu_reference::Runner;
use nic_model::{ArrivalOrder, Queue};

/// What ran the program on a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RanOn {
    /// The NIC.
    #[default]
    Nic,
    /// The host, to which the NIC handed it.
    Punted,
    /// The host, after a fallback.
    Fallback,
}

/// Queues of the NIC.
pub(super) enum Queues {
    /// One of them.
    One(Queue),
    /// All, in arrival order.
    All(ArrivalOrder),
}

/// The NIC's side of a lane.
pub(super) struct Device {
    queues: Queues,
    /// The host's engine over the NIC's maps, and the longest frame in bytes that the NIC keeps.
    punts: Option<(Box<dyn Runner>, usize)>,
    /// The host's engine over its own maps, after a fallback.
    fallback: Option<Box<dyn Runner>>,
}

impl Device {
    pub(super) fn new(queues: Queues) -> Device {
        Device {
            queues,
            punts: None,
            fallback: None,
        }
    }

    /// Frames longer than `longest` bytes go to `host`.
    pub(super) fn punt(&mut self, host: Box<dyn Runner>, longest: usize) {
        self.punts = Some((host, longest));
    }

    /// All frames go to `host`, or no longer.
    pub(super) fn fall_back(&mut self, host: Option<Box<dyn Runner>>) {
        self.fallback = host;
    }

    /// What runs a frame of so many bytes.
    pub(super) fn runs(&self, bytes: usize) -> RanOn {
        match (&self.fallback, &self.punts) {
            (Some(_), _) => RanOn::Fallback,
            (None, Some((_, longest))) if bytes > *longest => RanOn::Punted,
            _ => RanOn::Nic,
        }
    }

    pub(super) fn process(&mut self, batch: &mut Batch) {
        if let Some(host) = &mut self.fallback {
            return host.process(batch);
        }
        let Some((host, longest)) = &mut self.punts else {
            return self.queues.process(batch);
        };
        let longest = *longest;
        let beyond = move |frame: &Frame| (frame.end - frame.data) as usize > longest;
        in_turn(batch, beyond, |batch, beyond| {
            if beyond {
                host.process(batch);
            } else {
                self.queues.process(batch);
            }
        });
    }

    /// Runs a batch of one frame while it is looked at.
    pub(super) fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        let bytes = batch.frames.first().map_or(0, |f| f.end - f.data) as usize;
        match (self.runs(bytes), &mut self.fallback, &mut self.punts) {
            (RanOn::Fallback, Some(host), _) | (RanOn::Punted, _, Some((host, _))) => {
                host.trace(batch, observer)
            }
            _ => match &mut self.queues {
                Queues::One(queue) => queue.trace(batch, observer),
                Queues::All(all) => all.trace(batch, observer),
            },
        }
    }
}

impl Queues {
    fn process(&mut self, batch: &mut Batch) {
        match self {
            Queues::One(queue) => queue.process(batch),
            Queues::All(all) => all.process(batch),
        }
    }
}

/// Runs the frames of a batch in order, in stretches of those for which `which` says the same.
fn in_turn(
    batch: &mut Batch,
    which: impl Fn(&Frame) -> bool,
    mut run: impl FnMut(&mut Batch, bool),
) {
    let mut left = std::mem::take(&mut batch.frames).into_iter().peekable();
    let mut done: Vec<Frame> = Vec::with_capacity(left.len());
    while let Some(first) = left.peek() {
        let now = which(first);
        batch.frames = std::iter::from_fn(|| left.next_if(|f| which(f) == now)).collect();
        let traps = batch.traps.len();
        run(batch, now);
        for (index, _) in &mut batch.traps[traps..] {
            *index += done.len();
        }
        done.append(&mut batch.frames);
    }
    batch.frames = done;
}

#[cfg(test)]
mod tests {
    use bpf::run::{Arrival, Trap, TrapCause};

    use super::*;

    #[test]
    fn frames_keep_their_order_and_traps_their_frames() {
        let mut batch = Batch::new();
        for (number, bytes) in [60, 200, 60, 60, 300, 300].into_iter().enumerate() {
            let arrival = Arrival {
                number: number as u64,
                arrival_ns: 0,
                port: 1,
                queue: 0,
            };
            batch.push(arrival, &vec![0; bytes], 0, 0);
        }
        let long = |frame: &Frame| frame.end > 100;
        let mut stretches = Vec::new();
        in_turn(&mut batch, long, |batch, long| {
            stretches.push((long, batch.frames.len()));
            let trap = Trap {
                pc: None,
                code_offset: None,
                cause: TrapCause::BadInstruction,
                fault: None,
            };
            let last = batch.frames.len() - 1;
            batch.frames[last].trapped = true;
            batch.traps.push((last, trap));
        });
        assert_eq!(stretches, [(false, 1), (true, 1), (false, 2), (true, 2)]);
        let numbers: Vec<u64> = batch.frames.iter().map(|f| f.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        let trapped: Vec<usize> = batch.traps.iter().map(|(index, _)| *index).collect();
        assert_eq!(trapped, [0, 1, 3, 5]);
        assert!(trapped.iter().all(|index| batch.frames[*index].trapped));
    }
}
