//! `[log]`: how much the log says, of which rooms, and in which shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use sink_api::Fault;
use sink_api::fault::nearest;

/// The table as written. All but `format` is put in force by a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// From which level on lines are written.
    pub level: Level,
    /// The same for single rooms, by name ([`ROOMS`]).
    pub levels: BTreeMap<String, Level>,
    /// Whether lines of level `debug` about a webhook hold its body, which may hold personal data.
    pub bodies: bool,
    /// What a line looks like.
    pub format: Format,
}

/// How grave a line must be to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is.
    Off,
    /// Something is lost, or will be, unless somebody acts.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What happens to the daemon.
    #[default]
    Info,
    /// What happens to each event.
    Debug,
    /// Everything, that of libraries included.
    Trace,
}

impl Level {
    /// All, by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
        ("off", Self::Off),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }

    /// The level of that name.
    ///
    /// # Errors
    /// There is none; what may have been meant.
    pub fn of(name: &str) -> Result<Self, String> {
        let lower = name.to_lowercase();
        let known = Self::ALL.iter().find(|(own, _)| *own == lower);
        known.map(|(_, level)| *level).ok_or_else(|| no_such("level", name, Self::ALL.iter().map(|(name, _)| *name)))
    }
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `journald` where systemd's journal reads standard error, `text` on a terminal, else `json`.
    #[default]
    Auto,
    /// For people: time, level, words, fields.
    Text,
    /// An object a line.
    Json,
    /// Text with syslog's priorities and without a time.
    Journald,
}

/// The rooms whose level can be set apart. `sinks` are all crates of sinks.
pub const ROOMS: &[&str] =
    &["admin", "config", "daemon", "deliver", "ingress", "journal", "ledger", "route", SINKS, "systemd", "traces"];
const SINKS: &str = "sinks";

/// How the targets of a room's lines begin.
///
/// # Errors
/// There is no such room; what may have been meant.
pub fn target(room: &str) -> Result<String, String> {
    match room {
        SINKS => Ok("sink_".to_owned()),
        _ if ROOMS.contains(&room) => Ok(format!("{}::{room}", env!("CARGO_CRATE_NAME"))),
        _ => Err(no_such("room", room, ROOMS.iter().copied())),
    }
}

fn no_such<'n>(what: &str, name: &str, all: impl Iterator<Item = &'n str> + Clone) -> String {
    let list: Vec<String> = all.clone().map(|name| format!("`{name}`")).collect();
    let meant = nearest(&name.to_lowercase(), all).map(|near| format!("; did you mean `{near}`?"));
    format!("`{name}` is no {what}, expected one of {}{}", list.join(", "), meant.unwrap_or_default())
}

impl LogConfig {
    /// What is wrong with it.
    pub fn check(&self) -> Vec<Fault> {
        self.levels.keys().filter_map(|room| target(room).err()).map(|why| Fault::at_key("levels", why)).collect()
    }

    /// The same as directives of `RUST_LOG`.
    pub(super) fn directives(&self) -> String {
        let rooms = self.levels.iter().filter_map(|(room, level)| Some((target(room).ok()?, level.name())));
        let rooms = rooms.map(|(target, level)| format!("{target}={level}"));
        std::iter::once(self.level.name().to_owned()).chain(rooms).collect::<Vec<_>>().join(",")
    }
}
