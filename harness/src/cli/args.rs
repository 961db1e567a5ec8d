//! The command line: every command and option, once. `docs/cli.md` is checked against it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A testbed for eBPF hardware offload that needs no hardware.
///
/// Without a command the demo runs: an embedded program, profile and capture go through the
/// whole path.
///
/// Example: nicbed check my_xdp.o --nic all
#[derive(Debug, Parser)]
#[command(name = "nicbed", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; nothing means the demo.
    #[command(subcommand)]
    pub command: Option<Command>,

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

    /// Serves native images that run in processes of their own; started by nicbed itself.
    #[command(hide = true)]
    Worker,
}

/// `nicbed nic …`
#[derive(Debug, Subcommand)]
pub enum NicCommand {
    /// List the built-in profiles.
    List,
    /// Show one profile.
    Show {
        /// Name of a built-in profile, or path of a profile's TOML file.
        nic: String,
        /// What a change of a key would make of it.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Which objects, and how they are loaded.
#[derive(Clone, Debug, Default, Args)]
pub struct LoadArgs {
    /// Program to take: the function's symbol, else a section name.
    #[arg(long, value_name = "NAME")]
    pub program: Option<String>,

    /// Hook of the programs, overriding what their sections say.
    #[arg(long, value_enum, value_name = "HOOK")]
    pub hook: Option<HookArg>,

    /// Value of a global variable, set before verification. May be repeated.
    #[arg(long = "global", value_name = "NAME=VALUE")]
    pub globals: Vec<String>,

    /// Size of a map (NAME.max_entries=N), or for raw instructions its declaration
    /// (NAME=type,key,value,entries). May be repeated.
    #[arg(long = "map", value_name = "NAME.max_entries=N")]
    pub maps: Vec<String>,

    /// BTF that CO-RE relocations are resolved against: a file, or `kernel` for this machine's.
    #[arg(long, value_name = "FILE|kernel")]
    pub btf: Option<String>,
}

/// A hook by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HookArg {
    /// XDP on a device.
    Xdp,
    /// XDP on a device, frames in several buffers.
    XdpFrags,
    /// tc classifier.
    Tc,
}

/// Which NICs.
#[derive(Clone, Debug, Args)]
pub struct NicArgs {
    /// NICs: built-in names or paths of profiles, separated by commas; `all` for every built-in.
    #[arg(
        long,
        value_name = "NIC[,NIC…]",
        value_delimiter = ',',
        required = true
    )]
    pub nic: Vec<String>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub what_if: WhatIfArgs,
}

/// Which NIC.
#[derive(Clone, Debug, Args)]
pub struct OneNicArgs {
    /// NIC: a built-in name or the path of a profile.
    #[arg(long, value_name = "NIC")]
    pub nic: String,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub what_if: WhatIfArgs,
}

/// Which NIC, where a repro may name it.
#[derive(Clone, Debug, Args)]
pub struct RunNicArgs {
    /// NIC: a built-in name or the path of a profile.
    #[arg(long, required_unless_present = "repro", value_name = "NIC")]
    pub nic: Option<String>,

    #[expect(missing_docs, reason = "a group of options has no text of its own")]
    #[command(flatten)]
    pub what_if: WhatIfArgs,
}

/// Where repros go.
#[derive(Clone, Debug, Args)]
pub struct ReproArgs {
    /// Folder in which a mismatch becomes a folder of its own.
    #[arg(long, value_name = "DIR", default_value = "nicbed-repro")]
    pub repro_out: PathBuf,
}

/// Changes to what a NIC declares.
#[derive(Clone, Debug, Default, Args)]
pub struct WhatIfArgs {
    /// Change a key of the profile, for a what-if. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Take what the device declares from this binary record instead of the profile.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
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

    /// What to print.
    #[arg(long, value_enum, default_value_t = Emit::Listing, value_name = "WHAT")]
    pub emit: Emit,
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
    /// For programs.
    Json,
}

/// `nicbed test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Test files, and folders below which all `*.nicbed.toml` are taken.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Run only tests whose `file: test [nic]` has this in it. May be repeated: one must match.
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,

    /// Threads of this machine; 0 takes all cores. The output does not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1024))]
    pub threads: usize,
}

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

    /// Write the frames that left the NIC.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

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

/// `nicbed pcap …`
#[derive(Debug, Subcommand)]
pub enum PcapCommand {
    /// Summarise a capture.
    Info {
        /// Capture: pcap or pcapng, `-` for stdin.
        file: PathBuf,
    },
    /// Generate a capture; the same options give the same bytes.
    Gen(GenArgs),
}

/// `nicbed pcap gen`
#[derive(Debug, Args)]
pub struct GenArgs {
    /// Mix of frames.
    #[arg(long, default_value = "all", value_name = "MIX")]
    pub mix: String,

    /// How many packets.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub packets: u64,

    /// How many flows.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub flows: u32,

    /// How packets are spread over flows.
    #[arg(long, default_value = "uniform", value_name = "uniform|zipf")]
    pub distribution: String,

    /// Seed.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,

    /// File to write; the extension decides (.pcap or .pcapng), `-` writes pcap to stdout.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: PathBuf,
}
