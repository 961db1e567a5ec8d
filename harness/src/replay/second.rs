//! A second opinion: another reference, asked about a sample of packets.
//!
//! It shares no code for instructions with the first. Where the programs write no maps it works
//! on maps of its own; where they do, the first reference's maps are copied before each packet
//! it is asked about, if they are small enough for that.

use bpf::Hook;
use bpf::map::MapSet;
use bpf::run::{Arrival, Batch, Frame};
use cpu_reference::Runner;

use crate::compare::{self, Difference, Told};

/// One packet in so many is asked about.
pub const SAMPLE: u64 = 64;

/// Bytes of maps up to which they are copied before each packet asked about.
pub const MOST_COPIED: usize = 64 << 10;

/// What a second opinion has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinions {
    /// Packets it was asked about.
    pub asked: u64,
    /// Packets on which it disagrees with the first reference.
    pub disagreed: u64,
    /// The first of them: packet number and fields ("NIC" there is the first reference).
    pub first: Option<(u64, Vec<Difference>)>,
    /// Of the packets on which NIC and first reference differ, those where it agrees with the
    /// NIC, and those where it agrees with the first reference.
    pub sides: (u64, u64),
}

impl Opinions {
    /// Adds those of another lane.
    pub fn add(&mut self, other: &Opinions) {
        self.asked += other.asked;
        self.disagreed += other.disagreed;
        self.sides.0 += other.sides.0;
        self.sides.1 += other.sides.1;
        let earlier = match (&self.first, &other.first) {
            (None, Some(_)) => true,
            (Some((a, _)), Some((b, _))) => b < a,
            _ => false,
        };
        if earlier {
            self.first.clone_from(&other.first);
        }
    }
}

/// The second reference of one lane.
pub struct Second {
    runner: Box<dyn Runner>,
    maps: MapSet,
    /// The first reference's maps, to be copied before each packet asked about.
    follows: Option<MapSet>,
    batch: Batch,
    /// What it has come to.
    pub opinions: Opinions,
}

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Second")
            .field("opinions", &self.opinions)
            .finish_non_exhaustive()
    }
}

impl Second {
    /// A second reference that works on `maps`, its own.
    pub fn new(runner: Box<dyn Runner>, maps: MapSet, follows: Option<MapSet>) -> Second {
        Second {
            runner,
            maps,
            follows,
            batch: Batch::new(),
            opinions: Opinions::default(),
        }
    }

    /// Whether maps are copied before each packet asked about.
    pub fn follows(&self) -> bool {
        self.follows.is_some()
    }

    /// Runs all frames of the reference's batch through `reference`, and those of the sample
    /// through this one too, each before the reference changes its bytes.
    pub fn process(&mut self, reference: &mut dyn Runner, batch: &mut Batch, hook: &Hook) {
        let mut left = std::mem::take(&mut batch.frames);
        let mut done: Vec<Frame> = Vec::with_capacity(left.len());
        while !left.is_empty() {
            // Up to and with the next frame of the sample; frames keep their areas.
            let sampled = left.iter().position(|f| f.number.is_multiple_of(SAMPLE));
            let rest = left.split_off(sampled.map_or(left.len(), |at| at + 1));
            let last = sampled.and_then(|_| left.pop());
            Second::segment(reference, batch, left, &mut done);
            if let Some(frame) = last {
                let number = frame.number;
                self.take(batch, &frame);
                self.run();
                Second::segment(reference, batch, vec![frame], &mut done);
                // The frame is the last that was done.
                batch.frames = std::mem::take(&mut done);
                let differences = compare::outcomes(
                    &batch.outcome(batch.frames.len() - 1, hook),
                    &self.batch.outcome(0, hook),
                    Told::default(),
                );
                done = std::mem::take(&mut batch.frames);
                self.note(number, differences);
            }
            left = rest;
        }
        batch.frames = done;
    }

    /// Runs some frames of a batch through the reference.
    fn segment(
        reference: &mut dyn Runner,
        batch: &mut Batch,
        frames: Vec<Frame>,
        done: &mut Vec<Frame>,
    ) {
        if frames.is_empty() {
            return;
        }
        let traps = batch.traps.len();
        batch.frames = frames;
        reference.process(batch);
        for (index, _) in &mut batch.traps[traps..] {
            *index += done.len();
        }
        done.append(&mut batch.frames);
    }

    /// Takes a frame of a batch as it is now.
    fn take(&mut self, batch: &Batch, frame: &Frame) {
        let area = &batch.memory[frame.area.clone()];
        let bytes = &area[frame.data as usize..frame.end as usize];
        let arrival = Arrival {
            number: frame.number,
            arrival_ns: frame.arrival_ns,
            port: frame.port,
            queue: frame.queue,
        };
        let tailroom = area.len() - frame.end as usize;
        self.batch.clear();
        self.batch
            .push(arrival, bytes, frame.data as usize, tailroom);
    }

    fn run(&mut self) {
        if let Some(follows) = &self.follows {
            self.maps.copy_from(follows);
        }
        self.runner.process(&mut self.batch);
    }

    fn note(&mut self, packet: u64, differences: Vec<Difference>) {
        self.opinions.asked += 1;
        if !differences.is_empty() {
            self.opinions.disagreed += 1;
            self.opinions.first.get_or_insert((packet, differences));
        }
    }

    /// Asks about a packet on which NIC and reference differ. Not possible where maps are
    /// copied: they have changed since.
    pub fn settle(
        &mut self,
        arrival: Arrival,
        original: &[u8],
        room: (usize, usize),
        nic: &bpf::run::Outcome<'_>,
        reference: &bpf::run::Outcome<'_>,
        hook: &Hook,
    ) {
        if self.follows() {
            return;
        }
        self.batch.clear();
        self.batch.push(arrival, original, room.0, room.1);
        self.run();
        let own = self.batch.outcome(0, hook);
        if compare::outcomes(nic, &own, Told::default()).is_empty() {
            self.opinions.sides.0 += 1;
        }
        if compare::outcomes(reference, &own, Told::default()).is_empty() {
            self.opinions.sides.1 += 1;
        }
    }
}
