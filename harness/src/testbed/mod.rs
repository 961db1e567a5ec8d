//! [`Testbed`]: a NIC and a CPU reference side by side, fed with frames.
//!
//! A testbed is a running thing: [`load`](Testbed::load) takes a program as far as it gets,
//! [`feed`](Testbed::feed) runs frames through NIC and reference and compares every outcome,
//! maps can be read and changed in between on both sides at once, and
//! [`finish`](Testbed::finish) yields the [`Report`]. `nicbed run` is a loop over it.

mod counts;
mod fallback;
mod maps;
mod masks;
mod meeting;
mod races;
mod single;
mod start;
mod trace;

use std::sync::Arc;

use bpf::run::{Arrival, Environment, XDP_MAX_LINEAR, XDP_MIN_FRAME};
use bpf::{Hook, Program, ProgramSet};
use caps::Caps;
use cpu_reference::Reference as _;
use jit_backends::Loaded;
use pcaps::rss::{DEFAULT_KEY, Rss};

use crate::decide::{Decision, Verdict};
use crate::error::Error;
use crate::mapdiff::MapDifference;
use crate::outside::Outside;
use crate::pipeline::{self, Assessment};
use crate::replay::chunk::Chunk;
use crate::replay::lanes::Processed;
use crate::replay::order::{Order, OrderReason};
use crate::report::run::{NotRun, Report};
use crate::seeds::Seeds;

use counts::Counts;
pub use single::Single;
pub(crate) use start::load_image;
use start::{Running, StartError, carry_over, together};

/// What outcomes are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceChoice {
    /// Our checked interpreter, and where the crate rbpf can run the program a second opinion by
    /// it on a sample.
    #[default]
    Auto,
    /// Our checked interpreter.
    Interp,
    /// The crate rbpf.
    Rbpf,
    /// The Linux kernel of this machine.
    Kernel,
    /// Nothing is compared.
    None,
}

/// How a testbed is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Receive queues; the profile's default if `None`.
    pub queues: Option<u32>,
    /// Force an order between queues; by default arrival order where the facts say that it can
    /// matter.
    pub order: Option<Order>,
    /// Threads; 0 takes all cores. No answer depends on it.
    pub threads: usize,
    /// What outcomes are compared with.
    pub reference: ReferenceChoice,
    /// Ports, routes, seed.
    pub environment: Environment,
    /// A backend in place of the one that the NIC's profile names.
    pub outside: Option<Outside>,
    /// What the first packet that differs from the reference leads to.
    pub on_mismatch: OnMismatch,
    /// Million packets a second that the NIC must make; a slower one is a fallback.
    pub min_mpps: Option<f64>,
}

/// What the first packet on which NIC and reference differ leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMismatch {
    /// The run goes on, and the decision is to fall back.
    #[default]
    Report,
    /// The program is taken off the NIC: from the next chunk on the host runs it, with the NIC's
    /// maps.
    FallBack,
}

/// A frame as it comes in.
#[derive(Clone, Copy, Debug)]
pub struct FrameIn<'a> {
    /// Arrival in nanoseconds since the epoch. An earlier time than the frame's before is
    /// raised to that.
    pub arrival_ns: u64,
    /// Port it comes in on (ifindex, from 1).
    pub port: u32,
    /// Its bytes, from the Ethernet header.
    pub bytes: &'a [u8],
}

/// Looks at every packet, in arrival order.
pub type Sink<'a> = dyn FnMut(&Processed<'_>) -> Result<(), Error> + 'a;

/// A NIC and a reference, side by side.
pub struct Testbed {
    caps: Arc<Caps>,
    settings: Settings,
    environment: Arc<Environment>,
    queues: u32,
    /// Shortest and longest frame that programs see.
    frame_bytes: (usize, usize),
    rss: Rss,
    assessments: Vec<Assessment>,
    decision: Decision,
    running: Option<Running>,
    attached: Vec<u32>,
    chunk: Chunk,
    next_packet: u64,
    last_ns: u64,
    counts: Counts,
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed")
            .field("nic", &self.caps.name)
            .field("decision", &self.decision.outcome)
            .field("packets", &self.next_packet)
            .finish_non_exhaustive()
    }
}

impl Testbed {
    /// A testbed of this NIC.
    ///
    /// # Errors
    /// If the NIC has fewer queues than asked for.
    pub fn new(caps: Arc<Caps>, settings: Settings) -> Result<Testbed, Error> {
        let model = caps.model();
        let kernel = settings.reference == ReferenceChoice::Kernel;
        // A queue is a CPU, and the kernel has those of this machine.
        let most = if kernel {
            model.queues_max.min(cpus())
        } else {
            model.queues_max
        };
        let default = if kernel { 1 } else { model.queues_default };
        let queues = settings.queues.unwrap_or(default);
        if queues == 0 || queues > most {
            let error = Error::usage(format!(
                "{} has 1 to {most} queues here, not {queues}",
                caps.name
            ));
            return Err(if kernel {
                error.help("with the kernel as reference a queue is a CPU of this machine")
            } else {
                error.help("choose another --queues, or raise it with --set model.queues_max=N")
            });
        }
        let mut environment = settings.environment.clone();
        if environment.ports.is_empty() {
            environment.ports = vec![1];
        }
        let packet = caps.packet();
        let bytes =
            |bound: caps::Bound, otherwise: usize| bound.known().map_or(otherwise, |n| n as usize);
        Ok(Testbed {
            frame_bytes: (
                bytes(packet.frame_min, XDP_MIN_FRAME),
                bytes(packet.frame_max, XDP_MAX_LINEAR),
            ),
            rss: Rss::new(&DEFAULT_KEY, queues),
            caps,
            attached: environment.ports.clone(),
            environment: Arc::new(environment),
            settings,
            queues,
            assessments: Vec::new(),
            decision: Decision::from_findings(Vec::new()),
            running: None,
            chunk: Chunk::new(),
            next_packet: 0,
            last_ns: 0,
            counts: Counts::default(),
        })
    }

    /// Takes `entry`, and every program that filled prog_array slots reach, through verify,
    /// check, translate and load. The NIC runs it if the decision is to offload; everything
    /// else is told by the decision's findings.
    ///
    /// # Errors
    /// If there is no such program, or the reference chosen cannot take it.
    pub fn load(&mut self, set: &ProgramSet, entry: &str) -> Result<&Decision, Error> {
        self.load_with(set, entry, None)
    }

    /// As [`Testbed::load`], with the maps seeded. Programs that the seeds put into prog_array
    /// slots are loaded too.
    ///
    /// # Errors
    /// As [`Testbed::load`]; and if the seeds do not fit the maps.
    pub fn load_with(
        &mut self,
        set: &ProgramSet,
        entry: &str,
        seeds: Option<&Seeds>,
    ) -> Result<&Decision, Error> {
        self.take(set, entry, seeds, None)
    }

    /// Loads, while a program of hook `attached` may still be attached.
    fn take(
        &mut self,
        set: &ProgramSet,
        entry: &str,
        seeds: Option<&Seeds>,
        attached: Option<Hook>,
    ) -> Result<&Decision, Error> {
        self.running = None;
        let programs = together(set, entry, seeds)?;
        let loaded = Loaded {
            attached,
            ..Loaded::default()
        };
        let backend = match &self.settings.outside {
            None => jit_backends::by_name(&self.caps.backend),
            Some(outside) => Some(outside.backend.as_ref()),
        };
        self.assessments = pipeline::assess_all(&programs, &self.caps, loaded, backend);
        self.decision = Decision::worst(self.assessments.iter().map(|a| a.decision.clone()));
        if self.decision.outcome == Verdict::Offload {
            match self.start(&programs, seeds) {
                Ok(running) => self.running = Some(running),
                Err(StartError::Load(finding)) => {
                    self.decision =
                        std::mem::replace(&mut self.decision, Decision::from_findings(Vec::new()))
                            .and([*finding]);
                }
                Err(StartError::Stop(error)) => return Err(error),
            }
        }
        Ok(&self.decision)
    }

    /// Puts another program in place of the running one. Maps of the same name and definition
    /// keep their contents, on both sides; global data and maps of programs or maps are those of
    /// the new object.
    ///
    /// # Errors
    /// As [`Testbed::load`].
    pub fn replace(&mut self, set: &ProgramSet, entry: &str) -> Result<&Decision, Error> {
        let before = self.running.take();
        let attached = before
            .as_ref()
            .map(|b| if b.tc { Hook::TC } else { Hook::XDP });
        self.take(set, entry, None, attached)?;
        if let (Some(before), Some(now)) = (before, &self.running) {
            self.counts.add_spent(before.lanes.spent());
            carry_over(&before.maps, before.live_maps(), &now.maps, now.nic.maps());
            if let (Some(old), Some(new)) = (&before.reference, &now.reference) {
                carry_over(&before.maps, old.maps(), &now.maps, new.maps());
                maps::changed(new.as_ref())?;
            }
        }
        Ok(&self.decision)
    }

    /// Attaches the program to these ports alone; it is attached to all at first. Frames of
    /// other ports are counted as not run.
    pub fn attach(&mut self, ports: &[u32]) {
        self.attached = ports.to_vec();
    }

    /// The decision so far.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The programs taken, the entry first, and how far each got.
    pub fn assessments(&self) -> &[Assessment] {
        &self.assessments
    }

    /// Whether a program runs on the NIC.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Feeds frames; `sink` looks at every packet in arrival order. Nothing happens if no
    /// program runs.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn feed<'f>(
        &mut self,
        frames: impl IntoIterator<Item = FrameIn<'f>>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        for frame in frames {
            self.push(frame);
            if self.chunk.is_full() {
                self.flush(sink)?;
            }
        }
        self.flush(sink)
    }

    /// Adds a frame to the current chunk. Returns whether the chunk is full: then
    /// [`Testbed::flush`] it.
    pub fn push(&mut self, frame: FrameIn<'_>) -> bool {
        let Some(arrival) = self.arrival(&frame) else {
            return false;
        };
        self.chunk.push(arrival, frame.bytes);
        self.chunk.is_full()
    }

    /// Counts a frame, and says how it comes in; `None` if the program never sees it.
    fn arrival(&mut self, frame: &FrameIn<'_>) -> Option<Arrival> {
        let number = self.next_packet;
        self.next_packet += 1;
        self.last_ns = self.last_ns.max(frame.arrival_ns);
        self.running.as_ref()?;
        self.counts.packets += 1;
        self.counts.bytes += frame.bytes.len() as u64;
        if let Some(why) = self.not_run(frame) {
            *self.counts.not_run.entry(why).or_default() += 1;
            return None;
        }
        Some(Arrival {
            number,
            arrival_ns: self.last_ns,
            port: frame.port,
            queue: self.rss.queue(frame.bytes),
        })
    }

    fn not_run(&self, frame: &FrameIn<'_>) -> Option<NotRun> {
        let tc = self.running.as_ref().is_some_and(|running| running.tc);
        let short = frame.bytes.len() < self.frame_bytes.0;
        if short || (tc && !bpf::skb::complete(frame.bytes)) {
            Some(NotRun::TooShort)
        } else if frame.bytes.len() > self.frame_bytes.1 {
            Some(NotRun::TooLong)
        } else if !self.attached.contains(&frame.port) {
            Some(NotRun::NotAttached)
        } else {
            None
        }
    }

    /// Processes the frames pushed so far.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.chunk.is_empty() || self.running.is_none() {
            return Ok(());
        }
        self.look_for_meeting()?;
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let counts = &mut self.counts;
        let Running {
            lanes,
            nic,
            fallback,
            masks,
            evicted,
            ..
        } = running;
        let maps = match fallback {
            Some(host) => host.maps(),
            None => nic.maps(),
        };
        let may_have_evicted = || masks.is_some() && masks::may_have_evicted(maps, cpus());
        let result = lanes.process(&self.chunk, |packet| {
            *evicted = *evicted || (!packet.differences.is_empty() && may_have_evicted());
            counts.note(packet, *evicted);
            sink(packet)
        });
        self.chunk.clear();
        result?;
        self.quarantine()
    }

    /// Ends the run: compares the maps of both sides, and tells everything.
    ///
    /// # Errors
    /// If frames are left that `sink`-less flushing cannot process.
    pub fn finish(mut self) -> Result<Report, Error> {
        self.flush(&mut |_| Ok(()))?;
        let host = self.host_findings();
        let mut map_differences: Option<Vec<MapDifference>> = None;
        let mut image = None;
        let mut spent = self.counts.spent;
        let mut decision = self.decision;
        let (mut order, mut reasons, mut reference) = (Order::PerQueue, Vec::new(), None);
        let (mut watched, mut redone) = (false, 0);
        let mut not_compared = Vec::new();
        let (mut second, mut second_not) = (None, None);
        if let Some(running) = &self.running {
            order = running.order;
            watched = running.watched;
            redone = running.lanes.redone();
            reasons.clone_from(&running.reasons);
            let now = running.lanes.spent();
            spent.nic += now.nic;
            spent.reference += now.reference;
            if let Some(untold) = &running.untold {
                reference = Some("kernel");
                not_compared.push(untold.clone());
            }
            if let Some(r) = &running.reference {
                reference = Some(r.name());
                not_compared = r.untold().to_vec();
                not_compared.extend(self.counts.untold());
                second = running.lanes.opinions();
                second_not.clone_from(&running.second_not);
                map_differences = running.map_differences(r.as_ref());
                if let Some(masks) = &running.masks {
                    not_compared.extend(masks.untold(&running.maps));
                }
            }
        }
        if let Some(first) = self.assessments.first() {
            image = first.image.clone();
        }
        let programs: Vec<&Program> = self
            .assessments
            .iter()
            .map(|a| a.program.as_ref())
            .collect();
        let mut behaviour = self.counts.faults.findings(&programs);
        if self.counts.mismatched > 0 {
            behaviour.push(self.counts.mismatch_finding());
        }
        if let Some(difference) = map_differences.as_ref().and_then(|d| d.first()) {
            behaviour.push(difference.finding());
        }
        behaviour.extend(host);
        decision = decision.and(behaviour);
        let mut report = Report {
            program: self
                .assessments
                .first()
                .map(|a| a.program.name.clone())
                .unwrap_or_default(),
            nic: Arc::clone(&self.caps),
            backend: match &self.settings.outside {
                Some(outside) => outside.backend.name().to_owned(),
                None => self.caps.backend.clone(),
            },
            decision,
            image,
            queues: self.queues,
            threads: threads(self.settings.threads),
            order,
            meeting: self.counts.meeting,
            gives_up: gives_up(self.settings.order, self.queues, &reasons),
            order_reasons: reasons,
            watched,
            redone,
            packets: self.counts.packets,
            bytes: self.counts.bytes,
            verdicts: self.counts.verdicts,
            not_run: self.counts.not_run,
            reference,
            not_compared,
            second,
            second_not,
            compared: self.counts.compared,
            mismatched: self.counts.mismatched,
            first: self.counts.first,
            map_differences,
            cycles: (self.counts.cycle_packets > 0)
                .then(|| self.counts.cycles as f64 / self.counts.cycle_packets as f64),
            spent,
            punted: self.counts.punted,
            on_host: self.counts.on_host,
        };
        if let Some(least) = self.settings.min_mpps {
            let slow = report.too_slow(least);
            report.decision = report.decision.and(slow);
        }
        Ok(report)
    }
}

/// What an order between queues that was asked for gives up, if it gives up anything.
fn gives_up(asked: Option<Order>, queues: u32, reasons: &[OrderReason]) -> Option<&'static str> {
    match asked? {
        _ if queues == 1 => None,
        Order::PerQueue if reasons.is_empty() => None,
        Order::PerQueue => Some(
            "the answer of arrival order: queues take turns, a chunk of packets each, so what \
             programs find in maps that queues share is not what the CPU finds packet by packet",
        ),
        Order::Arrival => Some("queues side by side: one packet at a time runs, on one thread"),
    }
}

/// How many CPUs this machine has.
fn cpus() -> u32 {
    threads(0) as u32
}

/// How many threads a setting means.
pub fn threads(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}
