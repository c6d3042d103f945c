//! `silence` of a source: when a feed that says nothing counts as gone quiet, by the clock of the people who wait for
//! it. Pure, but for the time zones, which are the system's, or ours where it has none.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::{Period, Timestamp};

use crate::times::{Hours, Zone};

/// Days of a week; the first three letters will do.
const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// When a feed that says nothing has gone quiet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ after = \"30m\" }")]
pub struct Silence {
    /// After how long without a webhook.
    pub after: Period,
    /// The hours in which webhooks are expected; by default all.
    #[serde(default)]
    pub hours: Hours,
    /// The days on which those hours begin; by default all.
    #[serde(default)]
    pub days: Days,
    /// Whose clock it is; by default UTC.
    #[serde(default)]
    pub timezone: Zone,
}

impl Silence {
    /// Whether, at `now`, a feed has been quiet for too long whose last sign was at `last`. Outside the hours and days
    /// that are watched it never is; when they begin, the time begins anew.
    pub fn is_over(&self, last: Timestamp, now: Timestamp) -> bool {
        let after = i64::try_from(self.after.0.as_millis()).unwrap_or(i64::MAX);
        let quiet = |open: Timestamp| now.as_millisecond().saturating_sub(open.max(last).as_millisecond());
        self.open_since(now).is_some_and(|open| quiet(open) >= after)
    }

    /// The longest time without a break in which webhooks are expected, changes of the clock aside; `None` where they
    /// always are.
    pub fn longest(&self) -> Option<Period> {
        let days = match self.hours.is_all_day() {
            // Whole days follow each other, Sunday and Monday, too.
            true if self.days == Days::default() => return None,
            true => self.days.longest_run(),
            false => 1,
        };
        Some(Period::secs(60 * self.hours.minutes() * days))
    }

    /// Since when, at `now`, webhooks are expected without a break; `None` where they are not.
    fn open_since(&self, now: Timestamp) -> Option<Timestamp> {
        if self.hours == Hours::default() && self.days == Days::default() {
            return Some(Timestamp::MIN);
        }
        let mut date = self.timezone.clock(now).date();
        let is_now = |(open, close): &(Timestamp, Timestamp)| *open <= now && now < *close;
        let (mut open, _) = match self.window(date).filter(is_now) {
            Some(window) => window,
            // Hours that began yesterday and go past midnight.
            None => {
                date = date.yesterday().ok()?;
                self.window(date).filter(is_now)?
            }
        };
        // Whole days follow each other without a break; more than a week of them is told apart by nobody.
        for _ in NAMES {
            let before = date.yesterday().ok().and_then(|date| Some((date, self.window(date)?)));
            match before {
                Some((day, (began, close))) if close >= open => (date, open) = (day, began),
                _ => break,
            }
        }
        Some(open)
    }

    /// From when to when webhooks are expected that begin on that day.
    fn window(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        self.days.has(date.weekday()).then(|| self.hours.on(date, &self.timezone))?
    }
}

/// `mon-sat`, `mon,wed`: a bit for each day, Monday first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

/// Every day.
impl Default for Days {
    fn default() -> Self {
        Self(0x7f)
    }
}

impl Days {
    /// Most days that follow each other, where not all are in.
    fn longest_run(self) -> u64 {
        let (mut longest, mut run) = (0, 0);
        // Twice round the week, as a run may go past Sunday.
        for day in (0..7).cycle().take(14) {
            run = if self.0 & (1 << day) == 0 { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        longest
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            NAMES.iter().position(|full| name == **full || full.get(..3) == Some(&*name)).ok_or_else(|| {
                format!(
                    "days `{text}`: `{name}` is no day, expected days of mon tue wed thu fri sat sun, such as \
                     \"mon-sat\" or \"mon,wed\""
                )
            })
        };
        let mut days = 0;
        for part in text.split(',') {
            let (from, to) = match part.split_once('-') {
                Some((from, to)) => (day(from)?, day(to)?),
                None => (day(part)?, day(part)?),
            };
            // `fri-mon` goes over the end of the week.
            let count = (to + 7 - from) % 7;
            (0..=count).for_each(|n| days |= 1 << ((from + n) % 7));
        }
        Ok(Self(days))
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The key as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SilenceKey {
    /// `"off"`.
    Off,
    /// A span of time or a table.
    After(Silence),
}

impl<'de> Deserialize<'de> for SilenceKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = SilenceKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", a time span such as \"30m\" or { after = \"30m\", hours = \"09:00-21:00\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<SilenceKey, E> {
                if text == "off" {
                    return Ok(SilenceKey::Off);
                }
                use serde::de::IntoDeserializer;
                let after = Period::deserialize(text.into_deserializer()).map_err(|why: serde::de::value::Error| {
                    let why = why.to_string();
                    let is_long = why.contains("at most");
                    if is_long { E::custom(why) } else { E::invalid_value(serde::de::Unexpected::Str(text), &self) }
                })?;
                let (hours, days, timezone) = Default::default();
                Ok(SilenceKey::After(Silence { after, hours, days, timezone }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SilenceKey, A::Error> {
                Silence::deserialize(MapAccessDeserializer::new(map)).map(SilenceKey::After)
            }
        }
        from.deserialize_any(Key)
    }
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
