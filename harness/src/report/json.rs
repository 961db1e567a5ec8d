//! JSON documents: the keys and values that scripts rely on (`docs/cli.md`, "JSON").

use bpf::Finding;
use serde::Serialize;

/// Wraps a document with its schema: `nicbed/<command>/1`.
#[derive(Debug, Serialize)]
pub struct Document<T> {
    schema: String,
    #[serde(flatten)]
    body: T,
}

impl<T: Serialize> Document<T> {
    /// A document of `command`.
    pub fn new(command: &str, body: T) -> Document<T> {
        Document {
            schema: format!("nicbed/{command}/1"),
            body,
        }
    }

    /// As indented text with a newline at the end.
    ///
    /// # Errors
    /// If a value cannot be written as JSON (a map with keys that are not text).
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// `check`: one cell.
#[derive(Debug, Serialize)]
pub struct CheckResult {
    /// Object as the user named it.
    pub object: String,
    /// Program name; empty where the object could not be read.
    pub program: String,
    /// `xdp`, `tc` or null.
    pub hook: Option<String>,
    /// NIC name.
    pub nic: String,
    /// `offload`, `fallback` or `rejected`; null where the object could not be read.
    pub verdict: Option<&'static str>,
    /// Everything the stages had to say.
    pub findings: Vec<Finding>,
    /// What the program needs; null if it was rejected.
    pub usage: Option<serde_json::Value>,
    /// The rule of the first error or the tightest limit, in a few words.
    pub binds: Option<String>,
    /// How much of each limit the program uses.
    pub headroom: Vec<caps::Headroom>,
    /// What the NIC would have to declare, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimal: Option<crate::matrix::minimal::Needed>,
    /// Why the object could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `verify`: one program.
#[derive(Debug, Serialize)]
pub struct VerifyResult {
    /// Object as the user named it.
    pub object: String,
    /// Program name; empty where the object could not be read.
    pub program: String,
    /// Whether it was proved safe; null where the object could not be read.
    pub accepted: Option<bool>,
    /// Why not.
    pub reject: Option<Reject>,
    /// What the verifier spent; null where it did not run.
    pub stats: Option<VerifyStats>,
    /// What the kernel said, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<crate::verdicts::KernelVerdict>,
    /// What holds at every instruction, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Vec<super::facts::PcFacts>>,
    /// The log, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Why the object could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a program was rejected.
#[derive(Debug, Serialize)]
pub struct Reject {
    /// Rule id.
    pub rule: String,
    /// Slot.
    pub pc: Option<usize>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Message.
    pub message: String,
    /// The fact it rests on.
    pub why: String,
    /// What to do next.
    pub help: String,
    /// How it came about.
    pub path: Vec<bpf::finding::Waypoint>,
}

impl From<&Finding> for Reject {
    fn from(f: &Finding) -> Reject {
        Reject {
            rule: f.rule.clone(),
            pc: f.pc,
            file: f.file.clone(),
            line: f.line,
            message: f.message.clone(),
            why: f.why.clone(),
            help: f.help.clone(),
            path: f.path.clone(),
        }
    }
}

/// What the verifier spent.
#[derive(Debug, Serialize)]
pub struct VerifyStats {
    /// Instructions looked at, over all paths.
    pub insns_processed: u64,
    /// States kept for pruning.
    pub states: u64,
    /// Wall-clock time; differs from run to run.
    pub micros: u64,
}

/// `check`.
#[derive(Debug, Serialize)]
pub struct CheckResults {
    /// In the order of the objects, their programs and the NICs.
    pub results: Vec<CheckResult>,
    /// What changed since a saved result, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<crate::matrix::baseline::Change>>,
}

/// A list of results.
#[derive(Debug, Serialize)]
pub struct Results<T> {
    /// In the order of the objects, their programs and the NICs.
    pub results: Vec<T>,
}
