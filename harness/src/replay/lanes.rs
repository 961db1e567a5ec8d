//! [`Lanes`]: what processes a chunk, queue by queue or in arrival order.

use std::sync::Arc;
use std::time::Duration;

use bpf::Hook;
use bpf::run::{Batch, Event, Outcome, TrapCause};
use bpf::trace::{Observer, Site};
use cpu_reference::Runner;
use nic_model::{ArrivalOrder, Queue};
use rayon::prelude::*;

use super::chunk::Chunk;
use super::device::{Device, Queues, RanOn};
use super::order::Order;
use super::second::{Opinions, Second};
use super::watched::Watched;
use crate::clock::Stopwatch;
use crate::compare::{self, Difference, Told};
use crate::trace::Recorded;

/// Room around a frame, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Before the data.
    pub headroom: usize,
    /// After the data, as far as the longest frame goes.
    pub tailroom: usize,
    /// Longest frame.
    pub longest: usize,
}

impl Room {
    /// Tailroom of a frame of so many bytes.
    pub fn tail(&self, bytes: usize) -> usize {
        self.tailroom.min(self.longest.saturating_sub(bytes))
    }
}

/// One queue, or all of them in arrival order, with all that processes its frames.
struct Lane {
    device: Device,
    runner: Option<Box<dyn Runner>>,
    second: Option<Second>,
    nic: Batch,
    reference: Batch,
    /// (index in the lane's batches, differences), ascending.
    differences: Vec<(usize, Vec<Difference>)>,
    nic_time: Duration,
    reference_time: Duration,
}

impl Lane {
    fn clear(&mut self) {
        self.nic.clear();
        self.reference.clear();
        self.differences.clear();
    }

    fn run(&mut self, hook: &Hook, told: Told) {
        if self.nic.frames.is_empty() {
            return;
        }
        let watch = Stopwatch::start();
        self.device.process(&mut self.nic);
        self.nic_time += watch.elapsed();
        if let Some(runner) = &mut self.runner {
            let watch = Stopwatch::start();
            refer(
                runner.as_mut(),
                self.second.as_mut(),
                &mut self.reference,
                hook,
            );
            self.reference_time += watch.elapsed();
            self.compare(hook, told);
        }
    }

    /// Runs while both sides are recorded.
    fn trace(&mut self, sites: &Arc<[Vec<Site>]>, hook: &Hook, told: Told) -> [Recorded; 2] {
        let nic = Recorded::of(sites, |observer| self.device.trace(&mut self.nic, observer));
        if !nic.shown {
            self.device.process(&mut self.nic);
        }
        let Some(runner) = &mut self.runner else {
            return [nic, Recorded::default()];
        };
        let batch = &mut self.reference;
        let reference = Recorded::of(sites, |observer| runner.trace(batch, observer));
        if !reference.shown {
            runner.process(batch);
        }
        self.compare(hook, told);
        [nic, reference]
    }

    /// Runs while one side shows what it executes: the reference, or the NIC if that cannot. Says
    /// whether one could.
    fn watch(&mut self, observer: &mut dyn Observer, hook: &Hook, told: Told) -> bool {
        let shown = match &mut self.runner {
            None => false,
            Some(runner) => {
                let shown = runner.trace(&mut self.reference, observer);
                if !shown {
                    runner.process(&mut self.reference);
                }
                shown
            }
        };
        let nic = !shown && self.device.trace(&mut self.nic, observer);
        if !nic {
            self.device.process(&mut self.nic);
        }
        if self.runner.is_some() {
            self.compare(hook, told);
        }
        shown || nic
    }

    /// In arrival order NIC and reference have nothing in common, so they run side by side.
    fn run_side_by_side(&mut self, hook: &Hook, told: Told) {
        let Lane {
            device,
            runner,
            second,
            nic,
            reference,
            nic_time,
            reference_time,
            ..
        } = self;
        rayon::join(
            || {
                let watch = Stopwatch::start();
                device.process(nic);
                *nic_time += watch.elapsed();
            },
            || {
                if let Some(runner) = runner {
                    let watch = Stopwatch::start();
                    refer(runner.as_mut(), second.as_mut(), reference, hook);
                    *reference_time += watch.elapsed();
                }
            },
        );
        if self.runner.is_some() {
            self.compare(hook, told);
        }
    }

    /// Asks the second reference about the packets on which NIC and reference differ.
    fn settle(&mut self, chunk: &Chunk, hook: &Hook, room: Room) {
        let Some(second) = &mut self.second else {
            return;
        };
        for (index, _) in &self.differences {
            let number = self.nic.frames[*index].number;
            let Some((arrival, original)) = chunk.by_number(number) else {
                continue;
            };
            second.settle(
                arrival,
                original,
                (room.headroom, room.tail(original.len())),
                &self.nic.outcome(*index, hook),
                &self.reference.outcome(*index, hook),
                hook,
            );
        }
    }

    fn compare(&mut self, hook: &Hook, told: Told) {
        for index in 0..self.nic.frames.len() {
            if refused(&self.reference.outcome(index, hook)).is_some() {
                continue;
            }
            let mut differences = compare::outcomes(
                &self.nic.outcome(index, hook),
                &self.reference.outcome(index, hook),
                told,
            );
            let silent = self.nic.events.is_empty() && self.reference.events.is_empty();
            if !silent {
                let packet = self.nic.frames[index].number;
                differences.extend(compare::events(
                    events_of(&self.nic.events, packet),
                    events_of(&self.reference.events, packet),
                    told,
                ));
            }
            if !differences.is_empty() {
                self.differences.push((index, differences));
            }
        }
    }
}

/// Runs the reference, and the second one on its sample.
fn refer(runner: &mut dyn Runner, second: Option<&mut Second>, batch: &mut Batch, hook: &Hook) {
    match second {
        Some(second) => second.process(runner, batch, hook),
        None => runner.process(batch),
    }
}

/// Why the reference did not run the program on this frame, if it did not: the errno.
pub(crate) fn refused(reference: &Outcome<'_>) -> Option<i32> {
    match reference.trap?.cause {
        TrapCause::NotRun { errno } => Some(errno),
        _ => None,
    }
}

/// The events of one packet; events lie in ascending order of their packets.
pub(crate) fn events_of(events: &[Event], packet: u64) -> &[Event] {
    let start = events.partition_point(|e| e.packet < packet);
    let end = events.partition_point(|e| e.packet <= packet);
    &events[start..end]
}

/// What became of one packet on both sides.
#[derive(Debug)]
pub struct Processed<'a> {
    /// The frame as it came in.
    pub original: &'a [u8],
    /// Its queue.
    pub queue: u32,
    /// Its arrival, in nanoseconds since the epoch.
    pub arrival_ns: u64,
    /// Port it came in on.
    pub port: u32,
    /// What the NIC made of it.
    pub nic: Outcome<'a>,
    /// What the reference made of it, if there is one.
    pub reference: Option<Outcome<'a>>,
    /// In which fields they differ; empty if they agree or nothing was compared.
    pub differences: &'a [Difference],
    /// What the NIC handed to the host.
    pub events: &'a [Event],
    /// What ran the program on it: where the host did, `nic` is what the host made of it.
    pub ran_on: RanOn,
}

/// Time spent, summed over lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// By the NIC's engine.
    pub nic: Duration,
    /// By the reference.
    pub reference: Duration,
}

/// Everything that processes frames, in one of the two orders.
#[expect(clippy::struct_field_names, reason = "lanes are what it holds")]
pub struct Lanes {
    lanes: Vec<Lane>,
    order: Order,
    hook: Hook,
    room: Room,
    pool: Option<rayon::ThreadPool>,
    told: Told,
    /// Where queues share maps and try chunks side by side nonetheless. The last lane is then
    /// that of arrival order, for the chunks that do not go otherwise.
    watched: Option<Watched>,
    /// Whether the host runs everything, after a fallback.
    fallen_back: bool,
    /// For each frame of the chunk its lane and its index in the lane's batches.
    places: Vec<(u32, u32)>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("lanes", &self.lanes.len())
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Lanes {
    /// A lane for each queue; `runner` makes the reference's side of each.
    pub fn per_queue(
        queues: Vec<Queue>,
        runner: &dyn Fn() -> Option<Box<dyn Runner>>,
        hook: Hook,
        room: Room,
        pool: Option<rayon::ThreadPool>,
    ) -> Lanes {
        let lanes = queues
            .into_iter()
            .map(|q| Lane::new(Device::new(Queues::One(q)), runner()))
            .collect();
        Lanes {
            lanes,
            order: Order::PerQueue,
            hook,
            room,
            pool,
            told: Told::default(),
            watched: None,
            fallen_back: false,
            places: Vec::new(),
        }
    }

    /// One lane for all queues.
    pub fn arrival(
        all: ArrivalOrder,
        runner: Option<Box<dyn Runner>>,
        hook: Hook,
        room: Room,
        pool: Option<rayon::ThreadPool>,
    ) -> Lanes {
        let lanes = vec![Lane::new(Device::new(Queues::All(all)), runner)];
        Lanes {
            lanes,
            order: Order::Arrival,
            hook,
            room,
            pool,
            told: Told::default(),
            watched: None,
            fallen_back: false,
            places: Vec::new(),
        }
    }

    /// The same, for queues that share maps which are watched; `all` and `runner` make the lane of
    /// arrival order.
    #[must_use]
    pub fn watching(
        mut self,
        watched: Watched,
        all: ArrivalOrder,
        runner: Option<Box<dyn Runner>>,
    ) -> Lanes {
        self.lanes
            .push(Lane::new(Device::new(Queues::All(all)), runner));
        self.watched = Some(watched);
        self
    }

    /// Frames longer than `longest` bytes go to the host, whose engine `host` makes over the NIC's
    /// maps.
    pub fn punt(&mut self, host: &dyn Fn() -> Box<dyn Runner>, longest: usize) {
        for lane in &mut self.lanes {
            lane.device.punt(host(), longest);
        }
    }

    /// All frames go to the host, whose engine `host` makes over maps of its own; with `None` to
    /// the NIC again.
    pub fn fall_back(&mut self, host: Option<&dyn Fn() -> Box<dyn Runner>>) {
        self.fallen_back = host.is_some();
        for lane in &mut self.lanes {
            lane.device.fall_back(host.map(|host| host()));
        }
    }

    /// How many chunks queues tried side by side and had to be redone in arrival order.
    pub fn redone(&self) -> u64 {
        self.watched.as_ref().map_or(0, Watched::redone)
    }

    /// The same, with a reference that tells this much.
    #[must_use]
    pub fn told(mut self, told: Told) -> Lanes {
        self.told = told;
        self
    }

    /// The same, with a second reference in each lane, as `make` gives it.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn with_second<E>(
        mut self,
        mut make: impl FnMut() -> Result<Second, E>,
    ) -> Result<Lanes, E> {
        for lane in &mut self.lanes {
            lane.second = Some(make()?);
        }
        Ok(self)
    }

    /// What the second reference has come to; `None` without one.
    pub fn opinions(&self) -> Option<Opinions> {
        let mut seconds = self
            .lanes
            .iter()
            .filter_map(|lane| lane.second.as_ref())
            .peekable();
        seconds.peek()?;
        let mut all = Opinions::default();
        seconds.for_each(|second| all.add(&second.opinions));
        Some(all)
    }

    /// The order in which queues are processed.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Processes a chunk; `each` is then given every packet in arrival order.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn process<E>(
        &mut self,
        chunk: &Chunk,
        each: impl FnMut(&Processed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = chunk.iter().next().map(|(arrival, _)| arrival.number) else {
            return Ok(());
        };
        // The host's maps are not watched.
        let tries = match &mut self.watched {
            Some(watched) => !self.fallen_back && watched.begin(),
            None => true,
        };
        let order = if tries { self.order } else { Order::Arrival };
        self.run(chunk, order);
        if let (Some(watched), Order::PerQueue) = (&mut self.watched, order)
            && !watched.end(first)
        {
            self.run(chunk, Order::Arrival);
        }
        self.tell(chunk, each)
    }

    /// Gives `each` every packet of a chunk that was processed, in arrival order.
    fn tell<E>(
        &mut self,
        chunk: &Chunk,
        mut each: impl FnMut(&Processed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let hook = &self.hook;
        for lane in &mut self.lanes {
            lane.settle(chunk, hook, self.room);
        }
        let mut next_difference = vec![0; self.lanes.len()];
        for (place, (arrival, original)) in self.places.iter().zip(chunk.iter()) {
            let (number, index) = (place.0 as usize, place.1 as usize);
            let lane = &self.lanes[number];
            let at = &mut next_difference[number];
            let differences = match lane.differences.get(*at) {
                Some((i, differences)) if *i == index => {
                    *at += 1;
                    differences.as_slice()
                }
                _ => &[],
            };
            each(&Processed {
                original,
                queue: arrival.queue,
                arrival_ns: arrival.arrival_ns,
                port: arrival.port,
                nic: lane.nic.outcome(index, hook),
                reference: lane
                    .runner
                    .is_some()
                    .then(|| lane.reference.outcome(index, hook)),
                differences,
                events: events_of(&lane.nic.events, arrival.number),
                ran_on: lane.device.runs(original.len()),
            })?;
        }
        Ok(())
    }

    /// Processes a chunk of one frame while both sides, NIC and reference, are recorded.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn trace<E>(
        &mut self,
        chunk: &Chunk,
        sites: &Arc<[Vec<Site>]>,
        each: impl FnMut(&Processed<'_>) -> Result<(), E>,
    ) -> Result<[Recorded; 2], E> {
        self.place(chunk, self.order_of_one());
        let mut recorded = Default::default();
        for lane in &mut self.lanes {
            if !lane.nic.frames.is_empty() {
                recorded = lane.trace(sites, &self.hook, self.told);
            }
        }
        self.tell(chunk, each)?;
        Ok(recorded)
    }

    /// Runs the one frame of a chunk while one side shows what it executes: the reference, or the
    /// NIC if that cannot. Says whether one could.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn watch<E>(
        &mut self,
        chunk: &Chunk,
        observer: &mut dyn Observer,
        each: impl FnMut(&Processed<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.place(chunk, self.order_of_one());
        let mut shown = false;
        for lane in &mut self.lanes {
            if !lane.nic.frames.is_empty() {
                shown = lane.watch(observer, &self.hook, self.told);
            }
        }
        self.tell(chunk, each)?;
        Ok(shown)
    }

    /// The order in which a single frame goes.
    fn order_of_one(&self) -> Order {
        match self.watched {
            Some(_) => Order::Arrival,
            None => self.order,
        }
    }

    /// Bytes of room before each frame.
    pub fn headroom(&self) -> usize {
        self.room.headroom
    }

    /// Puts the frames of a chunk into the lanes of this order.
    fn place(&mut self, chunk: &Chunk, order: Order) {
        self.lanes.iter_mut().for_each(Lane::clear);
        self.places.clear();
        let all = self.lanes.len().saturating_sub(1);
        for (arrival, frame) in chunk.iter() {
            let number = match order {
                Order::PerQueue => arrival.queue as usize,
                Order::Arrival => all,
            };
            let lane = &mut self.lanes[number];
            self.places
                .push((number as u32, lane.nic.frames.len() as u32));
            let (head, tail) = (self.room.headroom, self.room.tail(frame.len()));
            lane.nic.push(arrival, frame, head, tail);
            if lane.runner.is_some() {
                lane.reference.push(arrival, frame, head, tail);
            }
        }
    }

    /// Runs a chunk through the lanes of this order.
    fn run(&mut self, chunk: &Chunk, order: Order) {
        self.place(chunk, order);
        let all = self.lanes.len().saturating_sub(1);
        let (hook, told) = (&self.hook, self.told);
        let lanes = &mut self.lanes;
        match (&self.pool, order) {
            (None, _) => lanes.iter_mut().for_each(|lane| lane.run(hook, told)),
            (Some(pool), Order::PerQueue) => {
                pool.install(|| lanes.par_iter_mut().for_each(|lane| lane.run(hook, told)));
            }
            (Some(pool), Order::Arrival) => {
                let lane = &mut lanes[all];
                pool.install(|| lane.run_side_by_side(hook, told));
            }
        }
    }

    /// Time spent so far.
    pub fn spent(&self) -> Spent {
        self.lanes.iter().fold(Spent::default(), |s, lane| Spent {
            nic: s.nic + lane.nic_time,
            reference: s.reference + lane.reference_time,
        })
    }
}

impl Lane {
    fn new(device: Device, runner: Option<Box<dyn Runner>>) -> Lane {
        Lane {
            device,
            runner,
            second: None,
            nic: Batch::new(),
            reference: Batch::new(),
            differences: Vec::new(),
            nic_time: Duration::ZERO,
            reference_time: Duration::ZERO,
        }
    }
}
