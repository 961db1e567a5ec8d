//! `nicbed pcap …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `nicbed pcap …`
#[derive(Debug, Subcommand)]
pub enum PcapCommand {
    /// Summarise a capture.
    ///
    /// Example: nicbed pcap info traffic.pcapng
    Info {
        /// Capture: pcap or pcapng, `-` for stdin.
        file: PathBuf,
    },
    /// Generate a capture; the same options give the same bytes.
    ///
    /// Example: nicbed pcap gen --mix imix --packets 10000 -o imix.pcap
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
