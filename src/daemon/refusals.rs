//! What a command may ask of the daemon, and the words in which the daemon refuses: all commands say the same.

use std::fmt::Display;

use globset::GlobMatcher;
use sink_api::Timestamp;

use crate::admin::{NO_SINK, Refusal};
use crate::deliver::Rate;
use crate::route::glob;
use crate::times::{self, Zone};

/// The disk, the ledger or the journal failed the command.
pub(super) fn unable(error: impl Display) -> Refusal {
    Refusal::Unable(error.to_string())
}

/// Sinks and replays cannot be changed before the ledger is open.
pub(super) fn sinks_not_started() -> Refusal {
    Refusal::Unable("the sinks have not started yet: `hookrelay status` says why".into())
}

/// Sees that a sink of that name is among those of the config.
pub(super) fn known_sink<'a>(name: &str, mut all: impl Iterator<Item = &'a String> + Clone) -> Result<(), Refusal> {
    let names = all.clone();
    if all.any(|sink| sink == name) {
        return Ok(());
    }
    let names = names.map(|sink| format!("`{sink}`")).collect::<Vec<_>>().join(", ");
    Err(Refusal::Question(format!("{NO_SINK} `{name}`, expected one of {names}")))
}

/// A sink that is not in the config has nobody who could deliver its dead letters.
pub(super) fn nobody_delivers(sink: &str) -> Refusal {
    let why = format!("there is no sink `{sink}` in the config that could deliver them; `dead drop` forgets them");
    Refusal::Question(why)
}

/// Reads a time as people write it, in microseconds since 1970; what has no offset is by the zone's clock. `key` is
/// where it stands in the question.
pub(super) fn time(key: &str, text: &str, zone: &Zone) -> Result<i64, Refusal> {
    let time = times::read(text, zone, Timestamp::now());
    time.map(Timestamp::as_microsecond).map_err(|why| Refusal::Question(format!("`{key}`: {why}")))
}

/// The same for a time that may be left out.
pub(super) fn optional_time(key: &str, text: Option<&str>, zone: &Zone) -> Result<Option<i64>, Refusal> {
    text.map(|text| time(key, text, zone)).transpose()
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
        let zone = Zone::named("Asia/Kolkata").unwrap();
        for same in ["1970-01-01T00:00:01Z", "1970-01-01 05:30:01"] {
            assert_eq!(time("since", same, &zone), Ok(1_000_000));
        }
        assert_eq!(optional_time("to", None, &zone), Ok(None));
        assert!(optional_time("to", Some("today"), &zone).unwrap().is_some());
        for (refused, key, help) in [
            (known_sink("crn", sinks.iter()), "`crn`", "`crm`, `archive`"),
            (time("since", "noon", &zone).map(drop), "`since`: ", "`yesterday`"),
            (optional_time("to", Some(""), &zone).map(drop), "`to`: ", "`yesterday`"),
            (rate(Some("often")).map(drop), "`rate` is `often`", "300/min"),
        ] {
            let Err(Refusal::Question(why)) = refused else { panic!("{key} was taken: {refused:?}") };
            assert!(why.contains(key) && why.contains(help), "{why}");
        }
        assert!(matches!(type_pattern(Some("[")), Err(Refusal::Question(_))));
    }
}
