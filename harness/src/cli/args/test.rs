//! Options of `nicbed test`.

use std::path::PathBuf;

use clap::Args;

use super::ReferenceArg;

/// `nicbed test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Test files, and folders below which all `*.nicbed.toml` are taken.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Run only tests whose `file: test [nic]` has this in it. May be repeated: one must match.
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,

    /// Run on these NICs instead of those that the files name.
    #[arg(long, value_name = "NIC[,NIC…]", value_delimiter = ',')]
    pub nic: Vec<String>,

    /// Compare with these references instead of those that the files name.
    #[arg(long, value_enum, value_name = "REFERENCE", value_delimiter = ',')]
    pub reference: Vec<ReferenceArg>,

    /// Write what was got into the files, once the difference is shown; on a terminal ask first.
    /// A packet that expects nothing is given verdict and frame.
    #[arg(long)]
    pub update: bool,

    /// Tell which instructions, lines and branches ran, as text or as a tracefile of lcov; on
    /// stdout, or into a file.
    #[arg(long, value_name = "text|lcov[=FILE]", value_parser = coverage)]
    pub coverage: Option<CoverageArg>,

    /// Threads of this machine; 0 takes all cores. The output does not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1024))]
    pub threads: usize,
}

/// What to make of coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageArg {
    /// Its form.
    pub form: CoverageForm,
    /// Where it goes; stdout if `None`.
    pub file: Option<PathBuf>,
}

/// A form of coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverageForm {
    /// To read.
    Text,
    /// A tracefile.
    Lcov,
}

fn coverage(text: &str) -> Result<CoverageArg, String> {
    let (form, file) = match text.split_once('=') {
        Some((form, file)) => (form, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let form = match form {
        "text" => CoverageForm::Text,
        "lcov" => CoverageForm::Lcov,
        _ => return Err("it is text, lcov, text=FILE or lcov=FILE".to_owned()),
    };
    Ok(CoverageArg { form, file })
}
