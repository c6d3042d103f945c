//! `hookrelay schema`: a JSON Schema of `config.toml`, for editors. Reads no config.

use std::io::Write;

use super::Failure;
use crate::config::schema::schema;
use crate::registry::KINDS;

/// For `--help`.
pub const HELP: &str = "\
For editors that complete and check TOML (Taplo, Even Better TOML): save it beside the config and write
`#:schema config.schema.json` as the config's first line. `hookrelay check` knows more.

Examples:
  hookrelay schema > config.schema.json";

/// Prints it.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&schema(KINDS)).map_err(std::io::Error::from)?;
    Ok(writeln!(out, "{text}")?)
}
