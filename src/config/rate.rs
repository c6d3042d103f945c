//! Rates as they stand in the config: a count and a unit of time.

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
