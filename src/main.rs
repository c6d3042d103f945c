//! hookrelay: the binary. Everything is in the library; errors become exit codes in `exit.rs` alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookrelay::cli::main()
}
