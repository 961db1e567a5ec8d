//! Two packets under one schedule: which of them runs is handed from one to the other.
//!
//! Each packet runs on a thread of its own, but only the one whose turn it is runs: turns end
//! before accesses that the schedule names, so a schedule has one result.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bpf::run::Batch;
use bpf::trace::{Moment, Observer};
use cpu_reference::Reference;

use crate::replay::access::{Access, Points};

/// Turns of a schedule: a packet (0 or 1), and the number of its accesses after which its turn
/// ends; `None`: it runs to its end. A packet that ends early gives its turn away.
pub(super) type Plan = Vec<(usize, Option<usize>)>;

/// An access under a schedule: by packet 0 or 1.
pub(super) type Logged = (usize, Access);

struct Turns {
    plan: Plan,
    at: usize,
    accesses: [usize; 2],
    done: [bool; 2],
    log: Vec<Logged>,
}

impl Turns {
    /// Whose turn it is.
    fn whose(&self) -> usize {
        let turn = self.plan.get(self.at);
        turn.map_or_else(|| usize::from(self.done[0]), |(who, _)| *who)
    }

    /// Goes on to the next turn of a packet that has not ended.
    fn next(&mut self) {
        self.at += 1;
        self.skip();
    }

    fn skip(&mut self) {
        while self
            .plan
            .get(self.at)
            .is_some_and(|(who, _)| self.done[*who])
        {
            self.at += 1;
        }
    }

    /// Whether the running packet's turn ends before its next access.
    fn ends(&self, who: usize) -> bool {
        let limit = self.plan.get(self.at).filter(|turn| turn.0 == who);
        limit.is_some_and(|(_, limit)| limit.is_some_and(|limit| self.accesses[who] >= limit))
    }
}

struct Baton {
    turns: Mutex<Turns>,
    changed: Condvar,
}

impl Baton {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the packet's turn.
    fn wait<'a>(&'a self, who: usize, mut turns: MutexGuard<'a, Turns>) -> MutexGuard<'a, Turns> {
        while turns.whose() != who {
            turns = self
                .changed
                .wait(turns)
                .unwrap_or_else(PoisonError::into_inner);
        }
        turns
    }

    fn start(&self, who: usize) {
        drop(self.wait(who, self.lock()));
    }

    /// Notes an access, and hands the turn on before it if the schedule says so and no lock is
    /// `held`.
    fn access(&self, who: usize, access: Access, held: bool) {
        let mut turns = self.lock();
        while !held && turns.ends(who) {
            turns.next();
            self.changed.notify_all();
            turns = self.wait(who, turns);
        }
        turns.accesses[who] += 1;
        turns.log.push((who, access));
    }

    fn end(&self, who: usize) {
        let mut turns = self.lock();
        turns.done[who] = true;
        turns.skip();
        self.changed.notify_all();
    }
}

/// Hands the turn on where the schedule says so.
struct Walker<'a> {
    who: usize,
    points: &'a Points,
    baton: &'a Baton,
    /// Whether the packet holds a lock.
    held: bool,
}

impl Observer for Walker<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        if let Some(takes) = self.points.lock_at(moment) {
            self.held = takes;
        }
        if let Some(access) = self.points.at(moment) {
            self.baton.access(self.who, access, self.held);
        }
    }
}

/// Runs both packets, one a batch, under a schedule; gives their accesses in order.
pub(super) fn run(
    reference: &dyn Reference,
    points: &Points,
    plan: &Plan,
    batches: &mut [Batch; 2],
) -> Vec<Logged> {
    let baton = Baton {
        turns: Mutex::new(Turns {
            plan: plan.clone(),
            at: 0,
            accesses: [0; 2],
            done: [false; 2],
            log: Vec::new(),
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for (who, batch) in batches.iter_mut().enumerate() {
            let mut runner = reference.runner();
            let baton = &baton;
            scope.spawn(move || {
                baton.start(who);
                let held = false;
                let mut walker = Walker {
                    who,
                    points,
                    baton,
                    held,
                };
                runner.trace(batch, &mut walker);
                baton.end(who);
            });
        }
    });
    let turns = baton.turns.into_inner();
    turns.unwrap_or_else(PoisonError::into_inner).log
}
