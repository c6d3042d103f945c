//! Quiet hours: when a customer is not to be disturbed. Pure.
//!
//! In the customer's time zone: the calling code says in which zones the customer may be, and it is quiet where it is
//! quiet in any of them. Where the code is not known, or there is no number, the file's `timezone` counts.

use sink_api::Timestamp;

use super::zones;
use crate::times::{Hours, Zone};

/// How far ahead a time is looked for that is quiet nowhere. Hours repeat each day; a change of the clock may cost one.
const AHEAD: i64 = 3 * 24 * 60 * 60;

/// Quiet hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    /// When it is quiet.
    pub hours: Hours,
    /// By whose clock.
    pub by: Clock,
}

/// By whose clock it is quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// By the customer's; where that is not known, by this one.
    Customer(Zone),
    /// By this one.
    Zone(Zone),
}

impl Quiet {
    /// The first time from then on at which it is not quiet; none where it always is, in one zone or another.
    pub fn free_from(&self, phone: Option<&str>, from: Timestamp) -> Option<Timestamp> {
        let zones = match &self.by {
            Clock::Zone(zone) => vec![zone.clone()],
            Clock::Customer(unknown) => match phone.map(zones::of_phone) {
                Some(zones) if !zones.is_empty() => zones,
                _ => vec![unknown.clone()],
            },
        };
        let last = from.as_second().saturating_add(AHEAD);
        let mut time = from;
        while time.as_second() <= last {
            match zones.iter().filter_map(|zone| self.hours.until(time, zone)).max() {
                None => return Some(time),
                // An end lies behind the time at which it is the end, so that each round goes on.
                Some(end) => time = end,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(hours: &str, by: Clock, phone: Option<&str>, from: &str) -> Option<String> {
        let quiet = Quiet { hours: hours.parse().unwrap(), by };
        quiet.free_from(phone, from.parse().unwrap()).map(|time| time.to_string())
    }

    fn zone(name: &str) -> Clock {
        Clock::Zone(Zone::named(name).unwrap())
    }

    fn customer(hours: &str, phone: &str, from: &str) -> Option<String> {
        free(hours, Clock::Customer(Zone::utc()), Some(phone), from)
    }

    #[test]
    fn a_time_in_quiet_hours_is_moved_to_their_end_also_over_midnight() {
        for (from, free_from) in [
            ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
            ("2026-11-30T15:29:59Z", "2026-11-30T15:29:59Z"),
            ("2026-11-30T15:30:00Z", "2026-12-01T03:30:00Z"), // 21:00 in India
            ("2026-11-30T20:00:00Z", "2026-12-01T03:30:00Z"), // 01:30
            ("2026-12-01T03:29:59Z", "2026-12-01T03:30:00Z"),
            ("2026-12-01T03:30:00Z", "2026-12-01T03:30:00Z"),
        ] {
            assert_eq!(free("21:00-09:00", zone("Asia/Kolkata"), None, from).as_deref(), Some(free_from), "{from}");
            assert_eq!(customer("21:00-09:00", "+919876543210", from).as_deref(), Some(free_from), "{from}");
        }
        let noon = free("12:00-14:00", zone("UTC"), None, "2026-11-30T13:00:00Z");
        assert_eq!(noon.as_deref(), Some("2026-11-30T14:00:00Z"));
    }

    #[test]
    fn hours_follow_the_clock_where_it_is_put_forward_and_back() {
        // New York, spring: 02:00 becomes 03:00 on 8 March 2026, so that 09:00 is 13:00 UTC and no longer 14:00.
        for (from, free_from) in
            [("2026-03-07T03:00:00Z", "2026-03-07T14:00:00Z"), ("2026-03-08T03:00:00Z", "2026-03-08T13:00:00Z")]
        {
            assert_eq!(free("21:00-09:00", zone("America/New_York"), None, from).as_deref(), Some(free_from));
        }
        // An end that the clock never shows (02:30) is as much later as the clock was put forward.
        let gap = free("22:00-02:30", zone("America/New_York"), None, "2026-03-08T04:00:00Z");
        assert_eq!(gap.as_deref(), Some("2026-03-08T07:30:00Z"));
        // Autumn: 01:30 is shown twice on 1 November 2026; the first one ends the hours.
        let twice = free("22:00-01:30", zone("America/New_York"), None, "2026-11-01T03:00:00Z");
        assert_eq!(twice.as_deref(), Some("2026-11-01T05:30:00Z"));
    }

    #[test]
    fn of_several_zones_it_is_quiet_where_it_is_quiet_in_any() {
        // 09:00 in New York, and four in the morning in Honolulu: it is 19:00 UTC before all are awake.
        let wait = customer("21:00-09:00", "+14155550100", "2026-07-01T13:00:00Z");
        assert_eq!(wait.as_deref(), Some("2026-07-01T19:00:00Z"));
        // Russia: two hours a day are left, from 09:00 in Kaliningrad to 21:00 in Kamchatka.
        let wait = customer("21:00-09:00", "+79161234567", "2026-07-01T09:00:00Z");
        assert_eq!(wait.as_deref(), Some("2026-07-02T07:00:00Z"));
        assert_eq!(customer("20:00-10:00", "+79161234567", "2026-07-01T09:00:00Z"), None);
    }

    #[test]
    fn where_the_customers_zone_is_not_known_the_files_counts() {
        let berlin = || Clock::Customer(Zone::named("Europe/Berlin").unwrap());
        for phone in [None, Some("+999123"), Some("")] {
            let wait = free("21:00-09:00", berlin(), phone, "2026-12-01T00:00:00Z");
            assert_eq!(wait.as_deref(), Some("2026-12-01T08:00:00Z"), "{phone:?}");
        }
    }
}
