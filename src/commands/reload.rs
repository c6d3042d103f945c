//! `hookrelay reload`: has the running daemon read its config again and put it in force, or say why not.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::{Failure, block_on, count};
use crate::admin::client::{self, AskError};
use crate::admin::reload::ReloadDone;
use crate::config;

/// `reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`; SIGHUP does the same. The config
is read and judged as at a start, and its [[tests]] with an inline body are run; a config that is
refused changes nothing. Sinks whose table is the same go on untouched; data_dir, [server], [journal],
[admin], [delivery] and [dead_letters] take a restart. What ${…} stands for is read again: .env, env_file,
${file:…}. A variable of the daemon's own environment keeps its value until a restart; the answer
names the keys that this concerns.

Exit codes: 0 in force, 69 no daemon answers, 78 refused: the faults are on standard error.";

/// Asks, and prints what changed.
///
/// # Errors
/// No daemon answers, or it refuses.
pub fn run(file: &Path, args: &ReloadArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    let asked = block_on(async { Ok(client::ask(&admin, http::Method::POST, "/api/reload", &()).await) })?;
    let done: ReloadDone = match asked {
        Ok(done) => done,
        Err(AskError::Refused { status: 422, why, .. }) => {
            // If standard error is gone, the exit code still says that it was refused.
            let _ = writeln!(std::io::stderr(), "{}\nrefused: the config in force stays", why.trim_end());
            return Err(Failure::ConfigTold);
        }
        Err(error) => return Err(error.into()),
    };
    for warning in done.warnings.iter().filter(|_| !args.json) {
        // These are remarks: if standard error is gone, they are lost.
        let _ = writeln!(std::io::stderr(), "{warning}");
    }
    if args.json {
        serde_json::to_writer(&mut *out, &done).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let rules = done.resend_rules.map(|rules| format!(", {}", count(rules, "resend rule"))).unwrap_or_default();
    writeln!(out, "in force: {}, {}{rules}", count(done.sources, "source"), count(done.routes, "route"))?;
    for (what, names) in [("added", &done.added), ("changed", &done.changed)] {
        for name in names {
            writeln!(out, "sink {name}: {what}")?;
        }
    }
    if !done.fixed.is_empty() {
        let fixed: Vec<String> = done.fixed.iter().map(|one| format!("{} (${{{}}})", one.key, one.variable)).collect();
        writeln!(out, "unchanged until a restart, as the daemon's own environment holds them: {}", fixed.join(", "))?;
    }
    for gone in &done.removed {
        writeln!(out, "sink {}: removed; it was owed {} deliveries", gone.sink, gone.pending)?;
    }
    Ok(())
}
