//! The command that runs packets through a program: run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{LoadArgs, ReproArgs, RunNicArgs};

/// `nicbed run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// ELF object, assembly text (.s, .bpf), or raw instructions (.bin, .hex).
    /// May also stand behind the captures.
    #[arg(value_name = "OBJECT")]
    pub object: Option<PathBuf>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub load: LoadArgs,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub nic: RunNicArgs,

    /// Backend in place of the one that the profile names: exec:PROGRAM, a program of its own.
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,

    /// Captures to replay, one after the other: pcap or pcapng, `-` for stdin.
    #[arg(long, required_unless_present = "repro", value_name = "FILE", num_args = 1..)]
    pub pcap: Vec<PathBuf>,

    /// What every outcome is compared with.
    #[arg(long, value_enum, default_value_t = ReferenceArg::Auto, value_name = "REFERENCE")]
    pub reference: ReferenceArg,

    /// Threads of this machine; 0 takes all cores. The answer does not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1024))]
    pub threads: usize,

    /// Receive queues of the NIC; the profile's default if absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queues: Option<u32>,

    /// Force an order of packets between queues; by default arrival order where it can matter.
    #[arg(long, value_enum, value_name = "ORDER")]
    pub order: Option<OrderArg>,

    /// Seed of the random numbers that programs ask for.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,

    /// Bytes of a tc packet that are linear at entry, at least 14; by default all are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..))]
    pub linear: Option<u32>,

    /// Globals and map contents before the first packet (JSON).
    #[arg(long = "maps", value_name = "FILE")]
    pub maps_in: Option<PathBuf>,

    /// Write the map contents after the last packet (JSON).
    #[arg(long, value_name = "FILE")]
    pub maps_out: Option<PathBuf>,

    /// Updates of maps before a packet (counted from 0). May be repeated.
    #[arg(long, value_name = "PACKET=FILE")]
    pub maps_at: Vec<String>,

    /// Routes for `bpf_fib_lookup` (JSON).
    #[arg(long, value_name = "FILE")]
    pub fib: Option<PathBuf>,

    /// Write one JSON line for each packet.
    #[arg(long, value_name = "FILE")]
    pub outcomes: Option<PathBuf>,

    /// Write the frames that left the NIC, and those on which NIC and reference differ, as pcapng
    /// with both verdicts.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Write the report as one self-contained page, with plots and the first packets that differ.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Show this packet (counted from 0) on NIC and reference, instruction by instruction.
    #[arg(long, value_name = "PACKET")]
    pub trace: Option<u64>,

    /// Replay this repro's folder, and nothing else; its own arguments are taken.
    #[arg(long, value_name = "DIR")]
    pub repro: Option<PathBuf>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub repros: ReproArgs,

    /// Explore schedules in which packets of different queues meet in maps: lost updates, and
    /// verdicts that depend on the schedule.
    #[arg(long)]
    pub races: bool,

    /// What the first packet that differs from the reference leads to.
    #[arg(long, value_enum, default_value_t = OnMismatchArg::Report, value_name = "WHAT")]
    pub on_mismatch: OnMismatchArg,

    /// Packets (counted from 0) that the host runs with the NIC's maps, the last one excluded;
    /// then the NIC goes on.
    #[arg(long, value_name = "FROM[..TO]")]
    pub fall_back: Option<String>,

    /// Million packets a second that the NIC must make; less is a fallback.
    #[arg(long, value_name = "N")]
    pub min_mpps: Option<f64>,
}

/// What the first packet that differs from the reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnMismatchArg {
    /// The run goes on.
    Report,
    /// The host runs the rest, with the NIC's maps.
    FallBack,
}

/// What outcomes are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReferenceArg {
    /// interp; rbpf as a second opinion where it can run the program.
    Auto,
    /// Our checked interpreter.
    Interp,
    /// The crate rbpf.
    Rbpf,
    /// The Linux kernel of this machine.
    Kernel,
    /// Nothing is compared.
    None,
}

/// Order of packets between queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderArg {
    /// Each queue on its own: maps that queues share may end otherwise than in arrival order.
    PerQueue,
    /// One packet after the other.
    Arrival,
}
