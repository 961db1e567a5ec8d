//! The command line: every command and option, once. `docs/cli.md` is checked against it.
//!
//! Here are the commands and what all of them take; a file beside has the options of each group.

mod ask;
mod backend;
mod input;
mod pcap;
mod run;
mod test;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use ask::{
    CheckArgs, CompareWith, Emit, FailOn, InspectArgs, JitArgs, NicCommand, SnapshotCommand,
    VerifyArgs,
};
pub use backend::{ConformanceArgs, FuzzArgs, MutantsArgs, PluginArgs};
pub use input::{HookArg, LoadArgs, NicArgs, OneNicArgs, ReproArgs, RunNicArgs, WhatIfArgs};
pub use pcap::{GenArgs, PcapCommand};
pub use run::{OnMismatchArg, OrderArg, ReferenceArg, RunArgs};
pub use test::{CoverageArg, CoverageForm, TestArgs};

/// A testbed for eBPF hardware offload that needs no hardware.
///
/// Without a command the demo runs: an embedded program, profile and capture go through the
/// whole path.
///
/// Example: nicbed check my_xdp.o --nic all
#[derive(Debug, Parser)]
#[command(
    name = "nicbed",
    version,
    disable_version_flag = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do; nothing means the demo.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Print the version.
    #[arg(short = 'V', long)]
    pub version: bool,

    /// With --version: also commit, compiler, kernel, backends and NICs.
    #[arg(long, requires = "version")]
    pub verbose: bool,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How results are written.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Form of the result on stdout.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true, value_name = "FORM")]
    pub format: Format,

    /// Short for --format json.
    #[arg(short = 'j', global = true)]
    pub json: bool,

    /// When to colour text and show progress bars. NO_COLOR is honoured.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    pub color: Color,
}

/// Form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs; every document names its schema.
    Json,
    /// `nic show` alone: the profile as its file has it.
    Toml,
    /// `nic show` alone: the device's binary record, as hex.
    Tlv,
    /// `check` alone: a line for each program and NIC.
    Csv,
    /// `check` alone: the matrix as a table, for a pull request's comment.
    Markdown,
    /// `check` alone: findings as SARIF 2.1.0.
    Sarif,
    /// `check` and `test`: a test case for each program (or test) and NIC.
    Junit,
    /// `check` alone: findings as GitHub's annotations.
    Github,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List NICs, or show what one declares.
    ///
    /// Example: nicbed nic show agilio-cx
    Nic {
        #[expect(missing_docs, reason = "a group of commands has no text of its own")]
        #[command(subcommand)]
        what: NicCommand,
    },
    /// Show programs, maps, helpers, instruction groups and sizes of objects.
    ///
    /// Example: nicbed inspect my_xdp.o
    Inspect(InspectArgs),
    /// Prove programs safe, as the CPU's verifier would.
    ///
    /// Example: nicbed verify my_xdp.o --log
    Verify(VerifyArgs),
    /// Tell which programs would run on which NICs, and every reason why not.
    ///
    /// Example: nicbed check my_xdp.o --nic agilio-cx,netdevsim
    Check(CheckArgs),
    /// Show the NIC's code for a program: C line, eBPF and machine code side by side.
    ///
    /// Example: nicbed jit my_xdp.o --nic x86-dpu
    Jit(JitArgs),
    /// Replay captures through the NIC and compare every packet with a CPU reference.
    ///
    /// Example: nicbed run my_xdp.o --nic x86-dpu --pcap traffic.pcapng
    Run(Box<RunArgs>),
    /// Run unit tests of packet programs: test files (*.nicbed.toml), and those below folders.
    ///
    /// Example: nicbed test tests/
    Test(TestArgs),
    /// Pin what NICs make of your programs, and see what changed.
    ///
    /// Example: nicbed snapshot check tests/snapshots
    Snapshot {
        #[expect(missing_docs, reason = "a group of commands has no text of its own")]
        #[command(subcommand)]
        what: SnapshotCommand,
    },
    /// Run conformance cases (.data) on a backend's engine, on interp or on rbpf.
    ///
    /// Example: nicbed conformance --backend x86_64
    Conformance(ConformanceArgs),
    /// Answer one case of the public conformance suite's runner, as its plugin.
    ///
    /// The program's bytes come on stdin, r0 goes to stdout, both in hexadecimal.
    ///
    /// Example: echo 'b7 00 00 00 2a 00 00 00 95 00 00 00 00 00 00 00' | nicbed plugin --backend x86_64
    Plugin(PluginArgs),
    /// Run generated programs on a backend's engine and on the references, until they differ.
    ///
    /// Example: nicbed fuzz --backend x86_64 --cases 20000
    Fuzz(FuzzArgs),
    /// Break a backend on purpose, and see whether that is found.
    ///
    /// Each mutant has one mistake in the image of one generated program. Native code runs in
    /// worker processes.
    ///
    /// Example: nicbed mutants --backend x86_64 --programs 200
    Mutants(MutantsArgs),
    /// Look at captures, or generate them.
    ///
    /// Example: nicbed pcap gen --mix imix --packets 10000 -o imix.pcap
    Pcap {
        #[expect(missing_docs, reason = "a group of commands has no text of its own")]
        #[command(subcommand)]
        what: PcapCommand,
    },
    /// Explain a rule that a finding names.
    ///
    /// Example: nicbed explain helper/not-on-nic
    Explain {
        /// Id of the rule; without one all are listed.
        rule: Option<String>,
    },
    /// Print shell completions.
    ///
    /// Example: nicbed completions bash > /etc/bash_completion.d/nicbed
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages, one for each command.
    ///
    /// Example: nicbed man ~/.local/share/man/man1
    Man {
        /// Folder to write them to; without it the page of nicbed itself goes to stdout.
        dir: Option<std::path::PathBuf>,
    },

    /// Serves native images that run in processes of their own; started by nicbed itself.
    #[command(hide = true)]
    Worker,
}
