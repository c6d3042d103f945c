//! hookrelay: the binary. All code is in the library; errors become exit codes in `exit.rs` alone.

use std::process::ExitCode;

/// An event is allocated by a serving thread and freed by the journal's thread or a sink's, which glibc's allocator
/// does slowly (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookrelay::cli::main()
}
