//! What several commands take: objects, NICs, folders of repros.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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

    /// Make the words that the vendor's driver makes, its mistakes and guesses included
    /// (`--set driver.exact=true`).
    #[arg(long)]
    pub driver_exact: bool,

    /// Take what the device declares from this binary record instead of the profile.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}
