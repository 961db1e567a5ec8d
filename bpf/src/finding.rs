//! [`Finding`]: the one value in which every stage says what is wrong.

use serde::{Deserialize, Serialize};

/// One thing that a stage has to say about a program.
///
/// The message stands alone; `why` names the fact it rests on, `help` what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id, `area/what`, for example `helper/not-on-nic`. `nicbed explain` has a page for
    /// each.
    pub rule: String,
    /// How much it weighs.
    pub severity: Severity,
    /// The stage that says it.
    pub stage: Stage,
    /// What it is about: the helper, opcode, map or file; empty where there is none.
    pub subject: String,
    /// Slot in the linked program, or `None` where no instruction is meant.
    pub pc: Option<usize>,
    /// Source file, where known.
    pub file: Option<String>,
    /// Source line from 1, where known.
    pub line: Option<u32>,
    /// One terse sentence, without a final stop.
    pub message: String,
    /// The fact it rests on: a profile key, a specification, a state of the verifier.
    pub why: String,
    /// What to do next; empty where nothing can be said.
    pub help: String,
    /// How it came about: the instructions and branches that led there, in the order in which
    /// the program came to them; empty where nothing can be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Waypoint>,
    /// What the NIC's own driver says to this, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Box<DriverAnswer>>,
}

/// What a NIC's own driver answers where it refuses a program: all that its user would see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverAnswer {
    /// The rule that stands for this refusal, `vendor/what`; `nicbed explain` has a page.
    pub rule: String,
    /// Error of the system call, by name (`EOPNOTSUPP`).
    pub errno: String,
    /// The words, with prefix, as they stand in the channel; empty where it says none.
    pub text: String,
    /// Where the words stand.
    pub channel: Channel,
    /// Whether this is the first refusal that the driver meets: it looks no further.
    pub stops: bool,
    /// Rules of other stages that say the same of the same place, in general words.
    #[serde(skip)]
    pub means: &'static [&'static str],
}

/// Where a driver's words come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The verifier's log, which the loader gets back.
    VerifierLog,
    /// The kernel's log, which the loader does not see.
    KernelLog,
    /// The extended acknowledgement of the netlink request that attaches.
    Extack,
}

impl Channel {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Channel::VerifierLog => "verifier log",
            Channel::KernelLog => "kernel log",
            Channel::Extack => "netlink extack",
        }
    }
}

/// One place on the way to what a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waypoint {
    /// Slot in the linked program.
    pub pc: usize,
    /// Source file, where known.
    pub file: Option<String>,
    /// Source line from 1, where known.
    pub line: Option<u32>,
    /// What happened there.
    pub text: String,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; changes no decision.
    Note,
    /// May behave otherwise than expected; changes no decision.
    Warning,
    /// Stops the program at this stage.
    Error,
}

/// A stage of the path of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading the object.
    Object,
    /// Proving the program safe.
    Verify,
    /// Checking it against what the NIC declares.
    Caps,
    /// Translating it to the NIC's code.
    Translate,
    /// Loading the image into the NIC.
    Load,
    /// Comparing outcomes.
    Behaviour,
    /// Comparing rates.
    Performance,
}

impl Finding {
    /// A finding without place; add one with [`Finding::at`].
    pub fn new(
        rule: &str,
        severity: Severity,
        stage: Stage,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        Finding {
            rule: rule.to_owned(),
            severity,
            stage,
            subject: subject.into(),
            pc: None,
            file: None,
            line: None,
            message: message.into(),
            why: String::new(),
            help: String::new(),
            path: Vec::new(),
            driver: None,
        }
    }

    /// An error of `stage`.
    pub fn error(
        rule: &str,
        stage: Stage,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        Finding::new(rule, Severity::Error, stage, subject, message)
    }

    /// The same at `pc`, with file and line as the program's source tells them.
    #[must_use]
    pub fn at(mut self, pc: usize, source: &crate::program::Source) -> Finding {
        self.pc = Some(pc);
        if let Some((file, line)) = source.place_at(pc) {
            self.file = Some(file.to_owned());
            self.line = Some(line);
        }
        self
    }

    /// The same with the fact it rests on.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = why.into();
        self
    }

    /// The same with what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = help.into();
        self
    }

    /// The same with how it came about: places, and what happened there.
    #[must_use]
    pub fn path(mut self, path: Vec<(usize, String)>, source: &crate::program::Source) -> Finding {
        let waypoints = path.into_iter().map(|(pc, text)| {
            let place = source.place_at(pc);
            Waypoint {
                pc,
                file: place.map(|(file, _)| file.to_owned()),
                line: place.map(|(_, line)| line),
                text,
            }
        });
        self.path = waypoints.collect();
        self
    }

    /// The same with what the NIC's own driver answers.
    #[must_use]
    pub fn answered(mut self, answer: DriverAnswer) -> Finding {
        self.driver = Some(Box::new(answer));
        self
    }

    /// Whether it stops the program.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Severity {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl Stage {
    /// Lower-case name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Object => "object",
            Stage::Verify => "verify",
            Stage::Caps => "caps",
            Stage::Translate => "translate",
            Stage::Load => "load",
            Stage::Behaviour => "behaviour",
            Stage::Performance => "performance",
        }
    }
}
