//! Commands that test a backend: conformance, plugin, fuzz, mutants.

use std::path::PathBuf;

use clap::Args;

use super::{HookArg, ReproArgs};

/// `nicbed conformance`
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// Cases (.data), or folders of them; without any the binary's own.
    #[arg(value_name = "DIR")]
    pub paths: Vec<PathBuf>,

    /// What runs them: a backend by name, interp or rbpf.
    #[arg(long, value_name = "NAME")]
    pub backend: String,

    /// NIC that the backend's code runs on; by default its backend's with the longest code
    /// store.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub repros: ReproArgs,
}

/// `nicbed mutants`
#[derive(Clone, Debug, Args)]
pub struct MutantsArgs {
    /// Backend to break.
    #[arg(long, value_name = "NAME")]
    pub backend: String,

    /// NIC that its code runs on; by default its backend's with the longest code store.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,

    /// Seed of programs, mistakes and packets.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Programs to generate.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub programs: u64,

    /// Mutants of each program.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub mutants: usize,

    /// Packets that the suite runs each mutant over; the judge takes a hundred times as many.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub packets: u64,
}

/// `nicbed plugin`
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// The case's memory, in hexadecimal.
    #[arg(value_name = "MEMORY")]
    pub memory: Option<String>,

    /// Further arguments, which the runner may leave empty.
    #[arg(value_name = "EMPTY", hide = true)]
    pub rest: Vec<String>,

    /// What runs it: a backend by name, interp or rbpf.
    #[arg(long, value_name = "NAME")]
    pub backend: String,

    /// NIC that the backend's code runs on.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,

    /// The program's bytes, instead of stdin.
    #[arg(long, value_name = "HEX")]
    pub program: Option<String>,

    /// The bytes are those of an ELF object.
    #[arg(long)]
    pub elf: bool,

    /// Hook of the program, whose packet the memory is; without one r1 is the memory and r2 its
    /// length.
    #[arg(long, value_enum, value_name = "HOOK")]
    pub hook: Option<HookArg>,

    /// For the runner; nothing more is said than without it.
    #[arg(long)]
    pub debug: bool,
}

/// `nicbed fuzz`
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// What is tested: a backend by name, interp or rbpf.
    #[arg(long, value_name = "NAME")]
    pub backend: String,

    /// NIC that the backend's code runs on; by default its backend's with the longest code
    /// store.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,

    /// Seed: programs and packets follow from it.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,

    /// How many programs.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub cases: u64,

    /// Number of the first, to go on where another run ended.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub first: u64,

    /// How many packets each runs on.
    #[arg(long, default_value_t = 8, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub packets: usize,

    /// Ask the kernel too.
    #[arg(long)]
    pub kernel: bool,

    /// Threads of this machine; 0 takes all cores. The answer does not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1024))]
    pub threads: usize,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub repros: ReproArgs,
}
