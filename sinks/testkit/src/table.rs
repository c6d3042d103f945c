//! Reads `[sinks.NAME]` tables the way the daemon does: the core's keys taken out, the rest handed to the kind.

use sink_api::{Fault, Settings, SinkConfig, SinkKind};
use toml::de::{DeTable, DeValue};

/// The keys every sink has, owned by the core.
const CORE_KEYS: &[&str] = &[
    "kind",
    "enabled",
    "start",
    "batch",
    "concurrency",
    "key",
    "ordering",
    "rate",
    "retry",
    "breaker",
    "timeout",
    "parked_max",
    "keep_answer",
];

/// Reads a kind's `example.toml`, which holds exactly one `[sinks.NAME]` table of that kind, and checks it.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn read_example(kind: &SinkKind) -> Result<Box<dyn SinkConfig>, String> {
    let document = DeTable::parse(kind.example).map_err(|e| e.to_string())?;
    let sinks = document.get_ref().get("sinks").and_then(|s| s.get_ref().as_table()).ok_or("no [sinks.NAME] table")?;
    let mut tables = sinks.iter();
    let (Some((_, table)), None) = (tables.next(), tables.next()) else {
        return Err(format!("{} [sinks.NAME] tables, expected one", sinks.len()));
    };
    let DeValue::Table(inner) = table.get_ref() else { return Err("sinks.NAME is no table".to_owned()) };
    match inner.get("kind").map(|k| k.get_ref()) {
        Some(DeValue::String(name)) if name == kind.name => {}
        other => return Err(format!("kind = {other:?}, expected {:?}", kind.name)),
    }
    read(kind, toml::Spanned::new(table.span(), inner.clone())).map_err(|faults| format!("{faults:#?}"))
}

/// Reads the inside of a table (`path = "…"`, one key a line) as this kind, and checks it.
///
/// # Errors
/// All faults, as the daemon would show them.
pub fn read_table(kind: &SinkKind, text: &str) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    match DeTable::parse(text) {
        Ok(table) => read(kind, table),
        Err(error) => Err(vec![Fault::at_span(error.span().unwrap_or(0..0), error.message())]),
    }
}

fn read(kind: &SinkKind, table: toml::Spanned<DeTable<'_>>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    let mut settings = Settings::new(table);
    for key in CORE_KEYS {
        settings.take(key);
    }
    let config = (kind.read)(settings)?;
    config.check().map(|()| config)
}
