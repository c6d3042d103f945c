//! hookrelay: the binary. Everything is in the library; errors become exit codes in `exit.rs` alone.

use std::process::ExitCode;

/// An event is allocated by a serving thread and let go by the journal's or a sink's: what glibc's allocator does worst
/// (ARCHITECTURE.md, "Runtime shape").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookrelay::cli::main()
}
