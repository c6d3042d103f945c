//! Hours of the day, as `silence` and `quiet` have them: `21:00-09:00`, by the clock of a time zone.

use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer};
use sink_api::Timestamp;
use sink_api::fault::with_help;

use super::Zone;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// `09:00-21:00`; past midnight where the second is not later. Minutes of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

/// All day.
impl Default for Hours {
    fn default() -> Self {
        Self { from: 0, to: DAY }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| -> Option<u16> {
            let (hour, minute) = text.trim().split_once(':')?;
            let number = |digits: &str, most: u16| {
                let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse().ok().filter(|number| is_number && *number <= most)
            };
            let (hour, minute): (u16, u16) = (number(hour, 24)?, number(minute, 59)?);
            Some(hour * 60 + minute).filter(|time| *time <= DAY)
        };
        let both = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        let wanted = || format!("hours `{text}` are no two times of day, expected such as \"09:00-21:00\"");
        let (from, to) = both.filter(|(from, _)| *from < DAY).ok_or_else(wanted)?;
        if from == to {
            let help = "write \"00:00-24:00\" for all day";
            return Err(with_help(&format!("hours `{text}` are no time at all"), help));
        }
        Ok(Self { from, to })
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Hours {
    /// Whether they have no end: `00:00-24:00`.
    pub fn is_all_day(self) -> bool {
        self == Self::default()
    }

    /// How many minutes they have, changes of the clock aside.
    pub fn minutes(self) -> u64 {
        let Self { from, to } = self;
        u64::from(if to > from { to - from } else { DAY - from + to })
    }

    /// From when to when they go that begin on that day, by that zone's clock; none where no timestamp reaches so far.
    pub fn on(self, date: Date, zone: &Zone) -> Option<(Timestamp, Timestamp)> {
        let Self { from, to } = self;
        let until = if to > from { date } else { date.tomorrow().ok()? };
        let at = |date: Date, minute: u16| {
            let (date, minute) = if minute == DAY { (date.tomorrow().ok()?, 0) } else { (date, minute) };
            let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
            zone.at(date.at(hour, minute, 0, 0))
        };
        Some((at(date, from)?, at(until, to)?))
    }

    /// Until when they go on at that time; none where it is outside them.
    pub fn until(self, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let today = zone.clock(now).date();
        // Hours that go past midnight may have begun yesterday.
        let days = [today.yesterday().ok(), Some(today)].into_iter().flatten();
        let ends = days.filter_map(|day| self.on(day, zone)).filter(|(open, close)| *open <= now && now < *close);
        ends.map(|(_, close)| close).max()
    }
}
