//! What a path holds and must give back: references, locks, and regions it is inside of.

use super::Kind;

/// What was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A ring buffer record.
    Record,
    /// An open-coded iterator.
    Iterator,
    /// Interrupts that were switched off.
    Interrupts,
    /// Anything else that a function gave.
    Object,
}

/// A resource the program must give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The id that registers carry.
    pub id: u32,
    /// Where it was acquired.
    pub pc: u32,
    /// What it is.
    pub resource: Resource,
}

/// The spin lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// What the lock lies in.
    pub place: Kind,
    /// [`super::Value::owner`] of the element that it lies in, 0 where there is only one.
    pub id: u32,
    /// Where it was taken.
    pub pc: u32,
}

/// All that a path holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// References, in the order of their acquisition.
    pub references: Vec<Reference>,
    /// The spin lock.
    pub lock: Option<Lock>,
    /// How many RCU read sections are open.
    pub rcu: u32,
    /// How often preemption was switched off.
    pub preempt: u32,
}

impl Held {
    /// The reference with this id.
    pub fn reference(&self, id: u32) -> Option<&Reference> {
        self.references.iter().find(|r| r.id == id)
    }
}
