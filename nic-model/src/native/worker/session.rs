//! A program that runs in workers, as its NIC sees it.

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bpf::Hook;
use bpf::map::MapSet;
use bpf::run::{Batch, Environment, Frame, Trap, TrapCause};
use isa::{CodeRange, Image};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::super::{fault, pc_at, run::fits};
use super::exchange::{Exchange, Half, Status};
use super::report::SECONDS;
use super::start::{Spawner, WorkerError};
use super::wire::{Failure, Load, MapShape, ProgramPart, Record, Report};
use crate::{Linked, LoadError, ProgramTable, QueueState, Resolver, Workers};

/// How often it is looked whether a silent worker still lives, in milliseconds.
const LOOK_MS: u32 = 100;
/// How often in a row one packet may be found unfinished before its worker is ended: a minute. A
/// worker ends itself long before, unless the machine gives it no processor.
const PATIENCE: u32 = 600;

/// A program whose frames go to a worker, one for each queue.
#[derive(Debug)]
struct Remote {
    part: ProgramPart,
    source_map: Vec<CodeRange>,
    map_set: MapSet,
    hook: Hook,
    environment: Arc<Environment>,
    programs: Weak<ProgramTable>,
    workers: Arc<Workers>,
}

/// Bytes of the largest area that a packet can grow into.
const MAX_AREA: usize = 1 << 17;

/// Loads an image for workers.
pub(crate) fn load(
    workers: &Arc<Workers>,
    image: &Image,
    resolver: &Resolver<'_>,
) -> Result<Arc<dyn Linked>, LoadError> {
    // Better now than with the first frame.
    let spawner = take_spawner(workers)?;
    give_spawner(workers, spawner);
    Ok(Arc::new(Remote {
        part: ProgramPart::new(image, resolver.maps),
        source_map: image.source_map.clone(),
        map_set: resolver.map_set.clone(),
        hook: resolver.hook.clone(),
        environment: Arc::clone(resolver.environment),
        programs: Arc::downgrade(resolver.programs),
        workers: Arc::clone(workers),
    }))
}

fn take_spawner(workers: &Workers) -> Result<Spawner, WorkerError> {
    match workers.idle().pop() {
        Some(spawner) => Ok(spawner),
        None => Spawner::new(workers),
    }
}

fn give_spawner(workers: &Workers, spawner: Spawner) {
    workers.idle().push(spawner);
}

/// A worker at work.
#[derive(Debug)]
struct Session {
    exchange: Exchange,
    process: OwnedFd,
    /// How many programs it has loaded.
    programs: usize,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

/// What a worker said, or did.
enum Said {
    /// An answer.
    Answer(Status),
    /// Nothing for too long.
    Nothing,
    /// It is gone.
    Gone,
}

impl Session {
    /// Waits for the next answer after `seen`.
    fn listen(&mut self, seen: u32) -> Said {
        let (mut at, mut silent) = (self.exchange.frame(), 0);
        loop {
            if let Some(status) = self.exchange.answer(seen, LOOK_MS) {
                return Said::Answer(status);
            }
            if self.is_gone() {
                // It may have spoken just before.
                return match self.exchange.answer(seen, 0) {
                    Some(status) => Said::Answer(status),
                    None => Said::Gone,
                };
            }
            let now = self.exchange.frame();
            silent = if now == at { silent + 1 } else { 0 };
            at = now;
            if silent > PATIENCE {
                return Said::Nothing;
            }
        }
    }

    fn is_gone(&self) -> bool {
        let mut handles = [PollFd::new(&self.process, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut handles, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl Remote {
    /// A worker that has loaded all programs.
    fn start(&self, table: &ProgramTable) -> Result<Session, WorkerError> {
        let programs: Vec<&Remote> = table
            .iter()
            .filter_map(|linked| linked.as_any().downcast_ref::<Remote>())
            .collect();
        let entry = programs
            .iter()
            .position(|program| std::ptr::eq(*program, self))
            .ok_or(WorkerError::Load {
                what: "its NIC does not have it",
            })?;
        let request = Load {
            environment: Environment::clone(&self.environment),
            cpus: self.map_set.iter().next().map_or(1, |map| map.cpus()),
            maps: self
                .map_set
                .iter()
                .map(|m| MapShape::new(m.def()))
                .collect(),
            programs: programs.iter().map(|p| p.part.clone()).collect(),
            entry,
        };
        let mut exchange = Exchange::new().ok_or(WorkerError::System {
            what: "memory",
            errno: 12,
        })?;
        if !exchange.write(Half::Request, &request, &[]) {
            return Err(WorkerError::TooLarge);
        }
        let maps = self.map_set.iter().filter_map(|map| map.memory().file());
        let files: Vec<BorrowedFd<'_>> = exchange.memory().file().into_iter().chain(maps).collect();
        let mut spawner = take_spawner(&self.workers)?;
        let mut process = spawner.worker(&files);
        if process.is_err() {
            // It may have been ended from outside: once more with another.
            spawner = Spawner::new(&self.workers)?;
            process = spawner.worker(&files);
        }
        let process = process?;
        give_spawner(&self.workers, spawner);
        let mut session = Session {
            exchange,
            process,
            programs: programs.len(),
        };
        let what = match session.listen(0) {
            Said::Answer(Status::Ready) => return Ok(session),
            Said::Answer(_) => match session.exchange.report::<Failure>() {
                Some(Failure::Request) | None => "the request cannot be read",
                Some(Failure::Map) => "a map cannot be shared",
                Some(Failure::Image) => "an image cannot be linked",
                Some(Failure::Memory) => "there is no memory",
                Some(Failure::Filter) => "system calls cannot be filtered",
            },
            Said::Nothing | Said::Gone => "the worker died",
        };
        Err(WorkerError::Load { what })
    }

    /// Takes the records of an answer; gives how many frames they tell of.
    fn take(exchange: &mut Exchange, batch: &mut Batch, first: usize) -> usize {
        let mut index = first;
        for _ in 0..exchange.records() {
            let Some((record, body)) = exchange.read::<Record>(Half::Reply) else {
                break;
            };
            let (mut after, skb, trap) = match record {
                Record::Event(event) => {
                    batch.events.push(event);
                    continue;
                }
                Record::Emitted(copy) => {
                    batch.emitted.push(copy);
                    continue;
                }
                Record::Frame(after, skb, trap) => (after, skb, trap),
            };
            let grown = match &skb {
                Some(_) if body.len() <= MAX_AREA => body.len() != after.area.len(),
                _ => false,
            };
            if grown {
                let start = batch.memory.len().next_multiple_of(8);
                batch.memory.resize(start + body.len(), 0);
                after.area = start..start + body.len();
            }
            let Some(frame) = batch.frames.get_mut(index) else {
                break;
            };
            // A worker that went wrong may say anything.
            let sound = (grown || after.area == frame.area) && fits(&after, batch.memory.len());
            if trap.is_none() && !sound {
                break;
            }
            if sound {
                let area = &mut batch.memory[after.area.clone()];
                let _ = exchange.body(body, area);
                *frame = after;
                if let (Some(skb), Some(place)) = (skb, batch.skbs.get_mut(index)) {
                    *place = *skb;
                }
            }
            if let Some(trap) = trap {
                trapped(frame);
                batch.traps.push((index, trap));
            }
            index += 1;
        }
        index - first
    }

    /// The trap that a report tells of.
    fn trap(report: &Report, table: &ProgramTable) -> Trap {
        let id = report.place.map_or(0, |(id, _)| id);
        let mut remotes = table
            .iter()
            .filter_map(|linked| linked.as_any().downcast_ref::<Remote>());
        let program = remotes.nth(id);
        let code_offset = report.place.map(|(_, offset)| offset);
        let pc = program
            .zip(code_offset)
            .and_then(|(program, offset)| pc_at(&program.source_map, offset));
        Trap {
            pc: pc.or(report.pc),
            code_offset,
            cause: report.cause,
            fault: Some(Box::new(fault::named(id as u32, report.told.as_ref()))),
        }
    }

    /// Lets nothing of an ended worker stand in the way of the next.
    fn recover(&self, queue: u32) {
        for map in self.map_set.iter() {
            map.recover_if_stuck(|| thread::sleep(Duration::from_millis(5)));
        }
        self.map_set.drain_rings(queue, |_, _| {});
    }

    /// Runs as many of the frames from `first` on as one round takes, and gives how many that
    /// were; the worker is gone afterwards if it was stopped.
    fn round(
        &self,
        slot: &mut Option<Session>,
        table: &ProgramTable,
        batch: &mut Batch,
        first: usize,
    ) -> usize {
        let session = match slot {
            Some(session) if session.programs == table.iter().count() => session,
            _ => {
                *slot = self.start(table).ok();
                match slot {
                    Some(session) => session,
                    None => return give_up(batch, first, TrapCause::WorkerDied),
                }
            }
        };
        session.exchange.rewind(Half::Request);
        let length = batch.memory.len();
        let mut frames = 0;
        while let Some(frame) = batch.frames.get(first + frames) {
            let area = batch
                .memory
                .get(frame.area.clone())
                .filter(|_| fits(frame, length));
            if !session.exchange.write(
                Half::Request,
                &(frame, batch.skbs.get(first + frames)),
                area.unwrap_or(&[]),
            ) {
                break;
            }
            frames += 1;
        }
        if frames == 0 {
            return give_up(batch, first, TrapCause::WorkerDied);
        }
        let mut done = 0;
        let cause = loop {
            let seen = session.exchange.answers();
            session.exchange.go(frames);
            match session.listen(seen) {
                Said::Answer(status) => {
                    done += Remote::take(&mut session.exchange, batch, first + done);
                    match status {
                        Status::More => {}
                        Status::Done if done == frames => return frames,
                        Status::Ended => match session.exchange.report::<Report>() {
                            Some(report) => {
                                let trap = Remote::trap(&report, table);
                                break Ok(trap);
                            }
                            None => break Err(TrapCause::WorkerDied),
                        },
                        _ => break Err(TrapCause::WorkerDied),
                    }
                }
                Said::Nothing => break Err(TrapCause::NoReturn { seconds: SECONDS }),
                Said::Gone => break Err(TrapCause::WorkerDied),
            }
        };
        *slot = None;
        let index = first + done;
        let Some(frame) = batch.frames.get_mut(index) else {
            return done;
        };
        trapped(frame);
        let queue = frame.queue;
        let trap = cause.unwrap_or_else(bare);
        batch.traps.push((index, trap));
        self.recover(queue);
        done + 1
    }
}

fn bare(cause: TrapCause) -> Trap {
    Trap {
        pc: None,
        code_offset: None,
        cause,
        fault: None,
    }
}

fn trapped(frame: &mut Frame) {
    frame.r0 = 0;
    frame.trapped = true;
    frame.redirect = None;
}

/// Traps one frame that no worker can take.
fn give_up(batch: &mut Batch, index: usize, cause: TrapCause) -> usize {
    if let Some(frame) = batch.frames.get_mut(index) {
        trapped(frame);
        batch.traps.push((index, bare(cause)));
    }
    1
}

impl Linked for Remote {
    fn run(&self, queues: &mut [QueueState], batch: &mut Batch) {
        let (Some(table), Some(state)) = (self.programs.upgrade(), queues.first_mut()) else {
            for index in 0..batch.frames.len() {
                give_up(batch, index, TrapCause::WorkerDied);
            }
            return;
        };
        let scratch = state
            .scratch
            .take()
            .and_then(|s| s.downcast::<Session>().ok());
        let mut session = scratch.map(|session| *session);
        batch.arrive(&self.hook, &self.environment);
        let mut next = 0;
        while next < batch.frames.len() {
            next += self.round(&mut session, &table, batch, next);
        }
        state.scratch = session.map(|session| Box::new(session) as Box<dyn Any + Send>);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
