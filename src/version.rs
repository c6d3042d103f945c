//! What this binary is: its version, and what it was built from. Constants that `build.rs` fills in.

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, 12 hexadecimal digits; `unknown` in a debug build and where there was no repository.
pub const COMMIT: &str = env!("HOOKRELAY_BUILT_FROM");
/// The compiler, as it names itself.
pub const RUSTC: &str = env!("HOOKRELAY_BUILT_BY");
/// The platform it runs on, as the compiler names it.
pub const TARGET: &str = env!("HOOKRELAY_BUILT_FOR");
/// `release` or `debug`.
pub const PROFILE: &str = env!("HOOKRELAY_BUILT_AS");
