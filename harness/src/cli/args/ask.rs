//! Commands that answer without running a packet: nic, inspect, verify, check, jit, snapshot.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{LoadArgs, NicArgs, OneNicArgs};

/// `nicbed nic …`
#[derive(Debug, Subcommand)]
pub enum NicCommand {
    /// List the built-in profiles.
    ///
    /// Example: nicbed nic list
    List,
    /// Show what one NIC declares, each fact with its source.
    ///
    /// Example: nicbed nic show agilio-cx
    Show {
        /// Name of a built-in profile, or path of a profile's TOML file.
        nic: String,
        /// What a change of a key would make of it.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// `nicbed inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// ELF objects, assembly text (.s, .bpf), or raw instructions (.bin, .hex).
    #[arg(required = true, value_name = "OBJECT")]
    pub objects: Vec<PathBuf>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub load: LoadArgs,
}

/// `nicbed verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// ELF objects, assembly text (.s, .bpf), or raw instructions (.bin, .hex).
    #[arg(required = true, value_name = "OBJECT")]
    pub objects: Vec<PathBuf>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub load: LoadArgs,

    /// Print the verifier's log.
    #[arg(long)]
    pub log: bool,

    /// Print what holds at every instruction.
    #[arg(long)]
    pub facts: bool,

    /// Ask this machine's kernel too, and print both verdicts and where they first differ.
    #[arg(long, value_enum, value_name = "WITH", conflicts_with = "nic")]
    pub compare: Option<CompareWith>,

    /// Verify as bound to this NIC, with its driver's own checks.
    #[arg(long, value_name = "NIC")]
    pub nic: Option<String>,
}

/// Whose verdict is asked for beside nicbed's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareWith {
    /// The verifier of the kernel that runs here; needs the right to load programs.
    Kernel,
}

/// `nicbed check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// ELF objects, assembly text (.s, .bpf), or raw instructions (.bin, .hex).
    #[arg(required = true, value_name = "OBJECT")]
    pub objects: Vec<PathBuf>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub load: LoadArgs,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub nics: NicArgs,

    /// Which answers make the exit status 1; with --against only what got worse does, unless
    /// this is given.
    #[arg(long, value_enum, value_name = "ANSWER")]
    pub fail_on: Option<FailOn>,

    /// Columns to show, a row for each program and NIC.
    #[arg(
        short = 'e',
        long,
        value_name = "COLUMN[,COLUMN…]",
        value_delimiter = ','
    )]
    pub columns: Vec<String>,

    /// Sort by these columns: `insns` ascending, `insnsv` descending.
    #[arg(
        short = 's',
        long,
        value_name = "COLUMN[,COLUMN…]",
        value_delimiter = ','
    )]
    pub sort: Vec<String>,

    /// Show only programs that match a pattern (`xdp_*`, `!*debug*`) or a comparison
    /// (`insns>100`, `verdict=fallback`). May be repeated.
    #[arg(short = 'f', long, value_name = "PATTERN|COMPARISON")]
    pub filter: Vec<String>,

    /// Write the matrix and every program's code as one self-contained page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Save the result, for --against.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Show what changed since a saved result; the exit status is 1 if something got worse.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,

    /// Show the smallest set of changes to each NIC after which the program would fit.
    #[arg(long)]
    pub minimal_nic: bool,
}

/// Which answers make the exit status 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A fallback or a rejection.
    Fallback,
    /// A rejection.
    Rejected,
    /// None.
    Never,
}

/// `nicbed jit`
#[derive(Debug, Args)]
pub struct JitArgs {
    /// ELF object, assembly text (.s, .bpf), or raw instructions (.bin, .hex).
    #[arg(value_name = "OBJECT")]
    pub object: PathBuf,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub load: LoadArgs,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub nic: OneNicArgs,

    /// Backend in place of the one that the profile names: exec:PROGRAM, a program of its own.
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,

    /// What to print.
    #[arg(long, value_enum, default_value_t = Emit::Listing, value_name = "WHAT")]
    pub emit: Emit,

    /// Print words as the image has them: not yet relocated, with relocation kinds in their top
    /// bytes and without error-correcting bits.
    #[arg(long)]
    pub unrelocated: bool,
}

/// What `nicbed jit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// C line, eBPF and machine code side by side.
    Listing,
    /// One word a line, as hex.
    Hex,
    /// The code's bytes.
    Bin,
    /// What a backend of `--backend exec:PROGRAM` is asked: the program and its facts.
    Question,
    /// For programs.
    Json,
}

/// `nicbed snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Compare the snapshots of a folder with what is made now; 1 if something changed.
    ///
    /// Example: nicbed snapshot check tests/snapshots
    Check {
        /// Folder of the manifest `snapshot.toml` and of the snapshots.
        dir: PathBuf,
    },
    /// Show what changed, and make the snapshots of a folder what they should be now.
    ///
    /// Example: nicbed snapshot accept tests/snapshots
    Accept {
        /// Folder of the manifest `snapshot.toml` and of the snapshots.
        dir: PathBuf,
    },
}
