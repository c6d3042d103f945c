//! Numbers, sizes and times as people read them. Pure.

use sink_api::Timestamp;

use crate::times::{self, Zone};

/// What stands where there is nothing to tell.
const NOTHING: &str = "-";
/// Units of time, and how many seconds each has.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// A number with a comma before every three digits.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in bytes.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// So many a second.
pub fn rate(rate: f64) -> String {
    // Below ten a second the tenths say something.
    match rate {
        rate if rate > 0.0 && rate < 0.1 => "<0.1".to_owned(),
        rate if rate > 0.0 && rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// A length of time: its largest unit, and below that the next one.
pub fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    whole(seconds as u64)
}

/// The same in whole seconds.
fn whole(whole: u64) -> String {
    let Some(at) = UNITS.iter().position(|(_, unit)| whole >= *unit) else { return "0 s".to_owned() };
    let mut left = whole;
    let mut words = Vec::new();
    for (name, unit) in UNITS.iter().skip(at).take(2) {
        if left / unit > 0 {
            words.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    words.join(" ")
}

/// That time, RFC 3339, by the clock of that zone.
pub fn clock(time: &str, zone: &Zone) -> String {
    time.parse().map_or_else(|_| time.to_owned(), |time| times::shown(time, zone))
}

/// How long that time, RFC 3339, has been past.
pub fn since(time: Option<&str>, now: Timestamp) -> String {
    distance(time, now).map_or(NOTHING.to_owned(), |past| whole(past.max(0.0) as u64))
}

/// The same as `5 min ago`, or `never`.
pub fn ago(time: Option<&str>, now: Timestamp) -> String {
    match distance(time, now) {
        _ if time.is_none() => "never".to_owned(),
        Some(past) if past < 1.0 => "now".to_owned(),
        _ => format!("{} ago", since(time, now)),
    }
}

/// How long that time is still to come.
pub fn until(time: Option<&str>, now: Timestamp) -> String {
    match distance(time, now) {
        None => NOTHING.to_owned(),
        Some(past) if past >= 0.0 => "now".to_owned(),
        Some(past) => format!("in {}", whole((-past).ceil() as u64)),
    }
}

/// Seconds from that time until now.
fn distance(time: Option<&str>, now: Timestamp) -> Option<f64> {
    let time: Timestamp = time?.parse().ok()?;
    Some(now.as_microsecond().saturating_sub(time.as_microsecond()) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_sizes_units() {
        let numbers = [0, 12, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "12", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([0, 512, 1 << 20, 10 << 30].map(size), ["0 B", "512 B", "1.0 MiB", "10.0 GiB"]);
        assert_eq!([0.0, 0.04, 3.21, 10.4, 1234.5].map(rate), ["0", "<0.1", "3.2", "10", "1234"]);
    }

    #[test]
    fn times_are_told_in_their_two_largest_units() {
        for (length, text) in [
            (0.0, "0.0 s"),
            (9.94, "9.9 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (3_725.0, "1 h 2 min"),
            (90_061.0, "1 d 1 h"),
            (864_000.0, "10 d"),
        ] {
            assert_eq!(seconds(length), text);
        }
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let (before, after) = (Some("2026-11-29T11:58:00.5Z"), Some("2026-11-29T12:00:29.5Z"));
        assert_eq!(
            (ago(before, now), ago(None, now), ago(after, now)),
            ("1 min 59 s ago".into(), "never".into(), "now".into())
        );
        assert_eq!(
            (until(after, now), until(before, now), until(None, now)),
            ("in 30 s".into(), "now".into(), "-".into())
        );
    }
}
