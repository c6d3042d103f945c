//! Tables and keys of the documented format that this version reads, checks for shape, and does not act on yet. Each
//! gives a warning. A key moves out of here into its own room when its time comes.

use serde::Deserialize;
use sink_api::{At, Fault, Period, Settings, Size};

/// `[dead_letters]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read for its shape")]
struct DeadLetters {
    #[serde(default)]
    max_size: Option<Size>,
    #[serde(default)]
    max_age: Option<Period>,
}

/// `[[tests]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read for its shape")]
struct Test {
    name: String,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    source: Option<String>,
    sinks: Vec<String>,
    #[serde(default)]
    deliveries: Vec<toml::Table>,
}

/// Checks the shape of `[dead_letters]`.
pub(super) fn dead_letters(settings: Settings<'_>) -> Result<(), Vec<Fault>> {
    settings.read::<DeadLetters>().map(drop)
}

/// Checks the shape of one `[[tests]]`.
pub(super) fn test(settings: Settings<'_>) -> Result<(), Vec<Fault>> {
    let test: Test = settings.read()?;
    let mut faults = Vec::new();
    if test.event.is_some() == test.body.is_some() {
        let message = "expected one of the keys `event` and `body`".to_owned();
        faults.push(Fault { at: At::Table, message, help: None });
    }
    for (n, delivery) in test.deliveries.iter().enumerate() {
        if !delivery.get("sink").is_some_and(toml::Value::is_str) {
            faults.push(Fault::at_key(format!("deliveries.{n}"), "missing key `sink`"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Whether a text is a rate: `300/min`.
pub(super) fn is_rate(text: &str) -> bool {
    text.split_once('/').is_some_and(|(count, unit)| {
        count.trim().parse::<u32>().is_ok_and(|n| n > 0)
            && matches!(unit.trim(), "s" | "sec" | "second" | "min" | "minute" | "h" | "hour")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_unit() {
        assert!(["300/min", "1/s", "5 / hour"].into_iter().all(is_rate));
        assert!(["300", "0/min", "-1/s", "x/s", "5/fortnight", ""].into_iter().all(|text| !is_rate(text)));
    }
}
