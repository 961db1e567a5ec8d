//! What a fact can say: numbers, limits, flags, choices and lists, each with where it is known
//! from and who says it.

use std::fmt;

/// One fact of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it says.
    pub value: Value,
    /// Where it is known from: document and section, or `modelled: why`.
    pub source: String,
    /// How far the source can be trusted.
    pub trust: Trust,
}

/// Who says a fact. Order: the device first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// The device, in the record that the driver reads from it.
    Device,
    /// The driver, which knows it without asking the device (keys under `driver.`).
    Driver,
    /// Nobody: it is modelled (keys under `model.`).
    Model,
}

/// How far a source can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Read in the source named.
    #[default]
    Read,
    /// Measured from a figure's bitmap.
    Digitised,
    /// Worked out from other facts.
    Inferred,
    /// Somebody's notes on a source that could not be opened.
    Secondary,
    /// Chosen for the simulation; nothing published says so.
    Modelled,
}

/// What a fact says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number in the unit of its key.
    Number(Bound),
    /// A limit with its own unit.
    Limit(Limit),
    /// Yes or no.
    Flag(bool),
    /// One of the words of its key.
    Choice(String),
    /// A list of names.
    Names(Names),
    /// An interval, both ends inclusive.
    Interval(i64, i64),
    /// Nobody knows. (A number or limit says so by [`Bound::Unknown`].)
    Unknown,
}

/// A number that may have no bound or not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// This many.
    Known(u64),
    /// No limit of its own.
    Unlimited,
    /// As many as the host has.
    Host,
    /// Nobody knows.
    Unknown,
}

/// A limit: how much of what, counted where, in which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How much, inclusive.
    pub value: Bound,
    /// Of what.
    pub unit: Unit,
    /// What is counted together.
    pub scope: Scope,
    /// What is counted is rounded up to a multiple of this before it is compared; at least 1.
    pub granule: u64,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Instructions of the device; known only after translation.
    Insns,
    /// Rows of instructions issued together; known only after translation.
    Rows,
    /// 8-byte slots of the eBPF program itself.
    Slots,
    /// Bytes.
    Bytes,
    /// Elements of a map.
    Entries,
}

/// What a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One program with all its functions.
    Program,
    /// One map.
    Map,
    /// All maps of the device together.
    AllMaps,
}

/// A list of names out of a domain, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every name of the domain.
    All,
    /// Just these, in the profile's order.
    List(Vec<String>),
}

impl Names {
    /// Whether `name` is in the list.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::List(list) => list.iter().any(|n| n == name),
        }
    }
}

impl Bound {
    /// The number, if there is one.
    pub const fn known(self) -> Option<u64> {
        match self {
            Bound::Known(n) => Some(n),
            Bound::Unlimited | Bound::Host | Bound::Unknown => None,
        }
    }

    /// Whether `used` is known to be more than this.
    pub const fn exceeded_by(self, used: u64) -> bool {
        match self {
            Bound::Known(n) => used > n,
            Bound::Unlimited | Bound::Host | Bound::Unknown => false,
        }
    }

    /// The word a profile writes instead of a number.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Bound::Known(_) => None,
            Bound::Unlimited => Some("unlimited"),
            Bound::Host => Some("host"),
            Bound::Unknown => Some("unknown"),
        }
    }
}

impl Limit {
    /// `used`, rounded up to the granule.
    pub fn rounded(&self, used: u64) -> u64 {
        let granule = self.granule.max(1);
        used.checked_next_multiple_of(granule).unwrap_or(u64::MAX)
    }

    /// Whether `used` is known to be too much.
    pub fn exceeded_by(&self, used: u64) -> bool {
        self.value.exceeded_by(self.rounded(used))
    }
}

impl Unit {
    /// All units.
    pub const ALL: [Unit; 5] = [
        Unit::Insns,
        Unit::Rows,
        Unit::Slots,
        Unit::Bytes,
        Unit::Entries,
    ];

    /// The name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Insns => "insns",
            Unit::Rows => "rows",
            Unit::Slots => "slots",
            Unit::Bytes => "bytes",
            Unit::Entries => "entries",
        }
    }
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 3] = [Scope::Program, Scope::Map, Scope::AllMaps];

    /// The name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Program => "program",
            Scope::Map => "map",
            Scope::AllMaps => "all-maps",
        }
    }
}

impl By {
    /// All, in order.
    pub const ALL: [By; 3] = [By::Device, By::Driver, By::Model];

    /// What stands before a key of this layer in a profile.
    pub const fn prefix(self) -> &'static str {
        match self {
            By::Device => "",
            By::Driver => "driver.",
            By::Model => "model.",
        }
    }

    /// Layer and rest of a full key.
    pub fn split(key: &str) -> (By, &str) {
        if let Some(rest) = key.strip_prefix("driver.") {
            (By::Driver, rest)
        } else if let Some(rest) = key.strip_prefix("model.") {
            (By::Model, rest)
        } else {
            (By::Device, key)
        }
    }

    /// How a finding says who says it.
    pub const fn says(self) -> &'static str {
        match self {
            By::Device => "the device declares",
            By::Driver => "the driver has",
            By::Model => "the model has",
        }
    }
}

impl Trust {
    /// All.
    pub const ALL: [Trust; 5] = [
        Trust::Read,
        Trust::Digitised,
        Trust::Inferred,
        Trust::Secondary,
        Trust::Modelled,
    ];

    /// The name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Trust::Read => "read",
            Trust::Digitised => "digitised",
            Trust::Inferred => "inferred",
            Trust::Secondary => "secondary",
            Trust::Modelled => "modelled",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Known(n) => write!(f, "{n}"),
            other => f.write_str(other.word().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Bound::Known(n) => write!(f, "{n} {}", self.unit.name())?,
            other => write!(f, "{other}")?,
        }
        if self.granule > 1 {
            write!(f, " in steps of {}", self.granule)?;
        }
        Ok(())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Names::All => f.write_str("all"),
            Names::List(list) if list.is_empty() => f.write_str("none"),
            Names::List(list) => f.write_str(&list.join(", ")),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(bound) => bound.fmt(f),
            Value::Limit(limit) => limit.fmt(f),
            Value::Flag(true) => f.write_str("yes"),
            Value::Flag(false) => f.write_str("no"),
            Value::Choice(word) => f.write_str(word),
            Value::Names(names) => names.fmt(f),
            Value::Interval(low, high) => write!(f, "{low} to {high}"),
            Value::Unknown => f.write_str("unknown"),
        }
    }
}
