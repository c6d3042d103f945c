//! Tables and keys of the documented format that this version reads, checks for shape, and does not act on yet. Each
//! gives a warning. A key moves out of here into its own room when its time comes.

use serde::Deserialize;
use sink_api::{Fault, Period, Settings, Size};

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

/// Checks the shape of `[dead_letters]`.
pub(super) fn dead_letters(settings: Settings<'_>) -> Result<(), Vec<Fault>> {
    settings.read::<DeadLetters>().map(drop)
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
