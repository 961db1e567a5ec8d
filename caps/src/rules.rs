//! The rules of this stage, and the page of each rule.

include!(concat!(env!("OUT_DIR"), "/rule_pages.rs"));

/// A rule that [`crate::check`] can find broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id.
    pub id: &'static str,
    /// One line: what it says.
    pub title: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $title:literal;)*) => {
        $(pub(crate) const $name: &str = $id;)*

        /// All rules of this stage, by id.
        pub const RULES: &[Rule] = &[$(Rule { id: $id, title: $title },)*];
    };
}

rules! {
    ACTION = "action/not-on-nic", "the NIC does not act on this return code";
    ATOMIC = "atomic/not-on-nic", "the NIC does not have this atomic operation, or not there";
    CALLS = "calls/too-deep", "calls are nested deeper than the NIC has frames";
    CTX_FIELD = "ctx/field", "the NIC does not fill this field of the context";
    CTX_WRITE = "ctx/write", "the NIC does not take a write of this field of the context";
    HELPER_CONSTRAINT = "helper/constraint", "the NIC has the helper, but not with these arguments";
    HELPER_BODY = "helper/no-body", "nicbed cannot execute this helper";
    HELPER = "helper/not-on-nic", "the NIC does not have this helper";
    HOOK = "hook/not-on-nic", "the NIC has no such hook";
    HOOK_RAW = "hook/raw", "a program without a hook cannot be attached to a NIC";
    NOT_TRANSLATED = "image/not-translated", "whether the image fits is known only after translation";
    TOO_LONG = "image/too-long", "the program is longer than the NIC's program memory";
    DIVISION_BY_ZERO = "isa/division-by-zero", "the NIC stops at a division by zero";
    ISA = "isa/not-on-nic", "the NIC does not execute this instruction";
    TOO_NEW = "isa/too-new", "the instruction is newer than the NIC's instruction set";
    KERNEL = "kernel/structure", "the program reads a structure that only a kernel has";
    LOOPS = "loops/not-on-nic", "the NIC does not execute loops";
    MAP_COUNT = "map/count", "the program uses more maps than the NIC can hold";
    MAP_DIRECT = "map/direct-value", "the NIC's code cannot hold the address of a map value";
    MAP_ENTRIES = "map/entries", "a map has more entries than the NIC can hold in one";
    MAP_FLAGS = "map/flags", "the NIC does not know a creation flag of a map";
    MAP_KEY = "map/key-size", "a map's key is longer than the NIC takes";
    MAP_PAIR = "map/pair-size", "a map's key and value together are longer than the NIC takes";
    MAP_TOTAL = "map/total", "the program's maps together need more than the NIC has";
    MAP_TYPE = "map/type", "the NIC does not have this type of map";
    MAP_VALUE = "map/value-size", "a map's value is longer than the NIC takes";
    MAP_WRITE = "map/value-write", "the NIC's programs cannot store to a map value";
    NEVER_RUNS = "nic/never-runs", "in reality the device never runs a program";
    HEADROOM = "packet/headroom", "the NIC has less room before a frame than the program asks for";
    TAILROOM = "packet/tailroom", "the NIC has less room behind a frame than the program asks for";
    WINDOW = "packet/window", "the program reaches further into a frame than the NIC lets it";
    STACK = "stack/too-deep", "the program needs more stack than the NIC has";
}

/// The page of a rule of any stage: what it means, why, what to change, an example (Markdown).
pub fn explain(rule: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(id, _)| *id == rule)
        .map(|(_, page)| *page)
}

/// Ids of all rules that have a page, sorted.
pub fn explained() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(id, _)| *id)
}
