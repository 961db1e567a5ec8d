//! The command `nicbed`.

fn main() -> std::process::ExitCode {
    harness::cli::main().into()
}
