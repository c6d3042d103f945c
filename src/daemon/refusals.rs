//! What a command may ask of the daemon, and the words in which the daemon refuses: all commands say the same.

use std::fmt::Display;

use globset::GlobMatcher;
use sink_api::Timestamp;

use crate::admin::Refusal;
use crate::deliver::Rate;
use crate::route::glob;

/// The disk, the ledger or the journal failed the command.
pub(super) fn unable(error: impl Display) -> Refusal {
    Refusal::Unable(error.to_string())
}

/// Sinks and replays cannot be changed before the ledger is open.
pub(super) fn sinks_not_started() -> Refusal {
    Refusal::Unable("the sinks have not started yet: the disk is full or failing".into())
}

/// Sees that a sink of that name is among those of the config.
pub(super) fn known_sink<'a>(name: &str, mut all: impl Iterator<Item = &'a String> + Clone) -> Result<(), Refusal> {
    let names = all.clone();
    if all.any(|sink| sink == name) {
        return Ok(());
    }
    let names = names.map(|sink| format!("`{sink}`")).collect::<Vec<_>>().join(", ");
    Err(Refusal::Question(format!("there is no sink `{name}`, expected one of {names}")))
}

/// A sink that is not in the config has nobody who could deliver its dead letters.
pub(super) fn nobody_delivers(sink: &str) -> Refusal {
    let why = format!("there is no sink `{sink}` in the config that could deliver them; `dead drop` forgets them");
    Refusal::Question(why)
}

/// Reads a time, in microseconds since 1970; `key` is where it stands in the question.
pub(super) fn time(key: &str, text: &str) -> Result<i64, Refusal> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.as_microsecond()),
        Err(_) => Err(Refusal::Question(format!("`{key}` is `{text}`, expected a time such as 2026-01-31T12:00:00Z"))),
    }
}

/// The same for a time that may be left out.
pub(super) fn optional_time(key: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
    text.map(|text| time(key, text)).transpose()
}

/// Reads a pattern over types.
pub(super) fn type_pattern(pattern: Option<&str>) -> Result<Option<GlobMatcher>, Refusal> {
    let glob = pattern.map(glob::read).transpose();
    glob.map(|glob| glob.map(|glob| glob.compile_matcher())).map_err(Refusal::Question)
}

/// Reads how many deliveries may be made in a span of time.
pub(super) fn rate(text: Option<&str>) -> Result<Option<Rate>, Refusal> {
    let read = |text| {
        let why = || format!("`rate` is `{text}`, expected a count and a unit such as \"300/min\"");
        Rate::parse(text).ok_or_else(|| Refusal::Question(why()))
    };
    text.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named_with_what_would() {
        let sinks = ["crm".to_owned(), "archive".to_owned()];
        assert_eq!(known_sink("crm", sinks.iter()), Ok(()));
        assert_eq!(time("since", "1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert_eq!(optional_time("to", None), Ok(None));
        for (refused, key, help) in [
            (known_sink("crn", sinks.iter()), "`crn`", "`crm`, `archive`"),
            (time("since", "noon").map(drop), "`since` is `noon`", "2026-01-31T12:00:00Z"),
            (optional_time("to", Some("")).map(drop), "`to` is ``", "2026-01-31T12:00:00Z"),
            (rate(Some("often")).map(drop), "`rate` is `often`", "300/min"),
        ] {
            let Err(Refusal::Question(why)) = refused else { panic!("{key} was taken: {refused:?}") };
            assert!(why.contains(key) && why.contains(help), "{why}");
        }
        assert!(matches!(type_pattern(Some("[")), Err(Refusal::Question(_))));
    }
}
