//! Points in time as people write and read them, by the clock of their own time zone. Pure, but for the time zones,
//! which are the system's, or ours where it has none.

mod hours;

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{self, TimeZone};
use serde::{Deserialize, Deserializer};
use sink_api::Timestamp;
use sink_api::fault::{nearest, with_help};

pub use hours::Hours;

/// What [`read`] takes, for messages and `--help`.
pub const FORMS: &str = "`1h` (ago), `today`, `yesterday`, `2026-01-31`, `2026-01-31 09:00` or `2026-01-31T09:00:00Z`";

/// Short names of zones that no zone has, each with the zone where most who use it are. Some have others of that name.
const SHORT: &[(&str, &str)] = &[
    ("IST", "Asia/Kolkata"),
    ("PKT", "Asia/Karachi"),
    ("NPT", "Asia/Kathmandu"),
    ("GST", "Asia/Dubai"),
    ("AST", "Asia/Riyadh"),
    ("SGT", "Asia/Singapore"),
    ("WIB", "Asia/Jakarta"),
    ("JST", "Asia/Tokyo"),
    ("SAST", "Africa/Johannesburg"),
    ("BST", "Europe/London"),
    ("CEST", "Europe/Berlin"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

/// How jiff calls the zone of a machine that says of none.
const UNKNOWN: &str = "Etc/Unknown";

/// A time zone by its name: `Asia/Kolkata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl Zone {
    /// Universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of that name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok().filter(|_| !name.eq_ignore_ascii_case(UNKNOWN));
        zone.filter(|zone| !zone.is_unknown()).map(Self)
    }

    /// When the zone's clock shows that. What it never shows, as it was put forward over it, is as much later as it was
    /// put forward; of what it shows twice, as it was put back, it is the first. `None`: no timestamp reaches that far.
    pub fn at(&self, shown: DateTime) -> Option<Timestamp> {
        self.0.to_timestamp(shown).ok()
    }

    /// What the zone's clock shows at that time.
    pub fn clock(&self, time: Timestamp) -> DateTime {
        self.0.to_datetime(time)
    }
}

impl FromStr for Zone {
    type Err = String;

    /// The error may have a second line: the way out.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::named(name).ok_or_else(|| {
            let fault = format!("timezone `{name}` is not known, expected a name such as \"Asia/Kolkata\" or \"UTC\"");
            let known: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
            let known = || known.iter().map(String::as_str).filter(|known| *known != UNKNOWN);
            let short = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map(|(_, zone)| *zone);
            let is_city = |zone: &&str| zone.rsplit_once('/').is_some_and(|(_, city)| city.eq_ignore_ascii_case(name));
            match short.or_else(|| known().find(is_city)).or_else(|| nearest(name, known())) {
                Some(near) => with_help(&fault, &format!("did you mean \"{near}\"?")),
                None => fault,
            }
        })
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A point in time, in any of [`FORMS`]. What has no offset of its own is by the zone's clock (see [`Zone::at`]); a day
/// alone is when it begins.
///
/// # Errors
/// None of these forms; the text names the value.
pub fn read(text: &str, zone: &Zone, now: Timestamp) -> Result<Timestamp, String> {
    let unknown = || match no_day(text.trim()) {
        Some(why) => format!("`{text}` is not a time: {why}; expected {FORMS}"),
        None => format!("`{text}` is not a time, expected {FORMS}"),
    };
    let at = |shown: DateTime| zone.at(shown).ok_or_else(|| format!("`{text}` is out of range"));
    let today = || zone.clock(now).date();
    let midnight = |day: Date| at(day.to_datetime(Time::midnight()));
    match text.trim() {
        "today" => return midnight(today()),
        "yesterday" => return midnight(today().yesterday().map_err(|_| unknown())?),
        _ => {}
    }
    // With an offset it is the same everywhere; what has none is no timestamp.
    if let Ok(time) = text.trim().parse() {
        return Ok(time);
    }
    if let Ok(shown) = text.trim().parse::<DateTime>() {
        return at(shown);
    }
    let ago = humantime::parse_duration(text.trim()).map_err(|_| unknown())?;
    now.checked_sub(ago).map_err(|_| format!("`{text}` ago is out of range"))
}

/// What is wrong with a day that is written as one and is none: `2026-11-31`.
fn no_day(text: &str) -> Option<String> {
    let mut parts = text.get(..10)?.splitn(3, '-').map(|part| part.parse::<i16>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let Some(first) = i8::try_from(month).ok().and_then(|month| Date::new(year, month, 1).ok()) else {
        return Some(format!("there is no month {month}"));
    };
    let days = first.days_in_month();
    let is_one = (1..=i16::from(days)).contains(&day);
    (!is_one).then(|| format!("{} has {days} days", first.strftime("%B %Y")))
}

/// A time to the second as people read it, by the zone's clock: `2026-11-28 09:00:00+05:30`; [`read`] takes it back.
pub fn shown(time: Timestamp, zone: &Zone) -> String {
    let (clock, offset) = (zone.clock(time), zone.0.to_offset(time));
    format!("{}{}", clock.strftime("%Y-%m-%d %H:%M:%S"), Offset(offset.seconds()))
}

/// The same to the microsecond, which tells events apart: `2026-11-28 09:00:00.123456+05:30`.
pub fn shown_exactly(time: Timestamp, zone: &Zone) -> String {
    let (clock, offset) = (zone.clock(time), zone.0.to_offset(time));
    format!("{}{}", clock.strftime("%Y-%m-%d %H:%M:%S%.6f"), Offset(offset.seconds()))
}

/// Seconds that a clock is ahead of universal time, as RFC 3339 writes them.
struct Offset(i32);

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, seconds) = (if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs());
        match seconds {
            0 => f.write_str("Z"),
            // Before there were time zones, clocks went by the sun: the rest of a minute is told, too.
            _ if seconds % 60 > 0 => {
                write!(f, "{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            _ => write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-28T20:00:00Z";

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    fn told(text: &str, name: &str) -> String {
        read(text, &zone(name), NOW.parse().unwrap()).map_or_else(|error| error, |time| time.to_string())
    }

    #[test]
    fn a_day_that_is_none_says_why() {
        for (text, why) in [
            ("2026-11-31", "`2026-11-31` is not a time: November 2026 has 30 days; expected "),
            ("2026-02-29 09:00", "`2026-02-29 09:00` is not a time: February 2026 has 28 days; expected "),
            ("2026-13-01", "`2026-13-01` is not a time: there is no month 13; expected "),
            ("2026-11-30 25:00", "`2026-11-30 25:00` is not a time, expected "),
            ("noon", "`noon` is not a time, expected "),
        ] {
            assert!(told(text, "UTC").starts_with(why), "{}", told(text, "UTC"));
        }
    }

    #[test]
    fn every_form_is_read_by_the_clock_of_the_zone() {
        for (text, india, utc) in [
            // In India it is 01:30 of the next day.
            ("today", "2026-11-28T18:30:00Z", "2026-11-28T00:00:00Z"),
            ("yesterday", "2026-11-27T18:30:00Z", "2026-11-27T00:00:00Z"),
            ("2026-11-28", "2026-11-27T18:30:00Z", "2026-11-28T00:00:00Z"),
            ("2026-11-28 09:00", "2026-11-28T03:30:00Z", "2026-11-28T09:00:00Z"),
            ("2026-11-28T09:00:30.5", "2026-11-28T03:30:30.5Z", "2026-11-28T09:00:30.5Z"),
            ("2026-11-28 09:00:00+05:30", "2026-11-28T03:30:00Z", "2026-11-28T03:30:00Z"),
            ("2026-11-28T09:00:00Z", "2026-11-28T09:00:00Z", "2026-11-28T09:00:00Z"),
            ("1h", "2026-11-28T19:00:00Z", "2026-11-28T19:00:00Z"),
            ("1h 30m", "2026-11-28T18:30:00Z", "2026-11-28T18:30:00Z"),
            ("7d", "2026-11-21T20:00:00Z", "2026-11-21T20:00:00Z"),
        ] {
            assert_eq!((told(text, "Asia/Kolkata").as_str(), told(text, "UTC").as_str()), (india, utc), "{text}");
        }
    }

    #[test]
    fn what_the_clock_skips_is_later_by_as_much_and_what_it_shows_twice_is_the_first() {
        // At 02:00 it is put forward to 03:00; at 03:00 back to 02:00.
        assert_eq!(told("2026-03-29 02:30", "Europe/Berlin"), "2026-03-29T01:30:00Z");
        assert_eq!(told("2026-10-25 02:30", "Europe/Berlin"), "2026-10-25T00:30:00Z");
        // In Beirut a day of spring begins at 01:00.
        assert_eq!(told("2026-03-29", "Asia/Beirut"), "2026-03-28T22:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_named_with_the_forms_there_are() {
        for text in ["", "tomorow", "28.11.2026", "2026-13-01", "2026-11-28 25:00", "-1h", "1 fortnight"] {
            let error = told(text, "UTC");
            assert!(error.contains(&format!("`{text}`")) && error.contains("`yesterday`"), "{text}: {error}");
        }
        assert!(told("2000000000h", "UTC").contains("out of range"));
    }

    #[test]
    fn a_time_is_shown_by_the_clock_of_the_zone_and_read_back() {
        let time: Timestamp = "2026-11-28T03:30:00.123456Z".parse().unwrap();
        for (name, expected) in [
            ("Asia/Kolkata", "2026-11-28 09:00:00.123456+05:30"),
            ("America/New_York", "2026-11-27 22:30:00.123456-05:00"),
            ("UTC", "2026-11-28 03:30:00.123456Z"),
        ] {
            let zone = zone(name);
            assert_eq!(shown_exactly(time, &zone), expected);
            assert_eq!(shown(time, &zone), expected.replace(".123456", ""));
            assert_eq!(read(expected, &zone, time), Ok(time));
        }
        let by_the_sun: Timestamp = "1890-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(shown(by_the_sun, &zone("Europe/Berlin")), "1890-01-01 00:53:28+00:53:28");
    }

    #[test]
    fn a_zone_that_is_none_is_refused_with_the_name_that_is_meant() {
        for meant in ["Asia/Kolkatta", "IST", "ist", "kolkata"] {
            let told = meant.parse::<Zone>().unwrap_err();
            assert_eq!(told.lines().nth(1), Some("did you mean \"Asia/Kolkata\"?"), "{meant}");
        }
        // None that is known by a short name is a zone of that name, and each is meant by one that is.
        for (short, zone) in SHORT {
            assert!(Zone::named(short).is_none() && Zone::named(zone).is_some(), "{short} {zone}");
        }
        for name in ["Etc/Unknown", "etc/unknown", "", "Mars/Olympus"] {
            assert!(name.parse::<Zone>().unwrap_err().contains(&format!("`{name}` is not known")), "{name}");
            assert_eq!(Zone::named(name), None);
        }
    }
}
