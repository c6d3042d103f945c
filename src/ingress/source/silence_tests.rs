//! When a feed has gone quiet, in tables: hours, days, midnight, summer time.

use super::*;

fn silence(text: &str) -> Silence {
    let text = format!("silence = {text}");
    #[derive(Deserialize)]
    struct Table {
        silence: SilenceKey,
    }
    match toml::from_str::<Table>(&text).unwrap_or_else(|error| panic!("{error}: {text}")).silence {
        SilenceKey::After(silence) => silence,
        SilenceKey::Off => panic!("{text} is off"),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The last sign of life, now, and whether the feed has gone quiet.
type Case = (&'static str, &'static str, bool);

/// The 4th of January 2027 is a Monday.
#[test]
fn a_feed_has_gone_quiet_after_its_time_within_the_hours_that_are_watched() {
    let table: &[(&str, &[Case])] = &[
        (
            "\"30m\"",
            &[
                ("2027-01-04T10:00:00Z", "2027-01-04T10:29:59Z", false),
                ("2027-01-04T10:00:00Z", "2027-01-04T10:30:00Z", true),
                ("2027-01-04T10:00:00Z", "2027-02-04T10:30:00Z", true),
                // A clock that was set back.
                ("2027-01-04T10:00:00Z", "2027-01-04T09:00:00Z", false),
            ],
        ),
        (
            "{ after = \"30m\", hours = \"09:00-21:00\", days = \"mon-sat\", timezone = \"Asia/Kolkata\" }",
            &[
                // 09:00 in Kolkata is 03:30 UTC, 21:00 is 15:30.
                ("2027-01-03T10:00:00Z", "2027-01-04T03:29:59Z", false),
                ("2027-01-03T10:00:00Z", "2027-01-04T03:59:59Z", false),
                ("2027-01-03T10:00:00Z", "2027-01-04T04:00:00Z", true),
                ("2027-01-04T03:45:00Z", "2027-01-04T04:14:59Z", false),
                ("2027-01-04T03:45:00Z", "2027-01-04T04:15:00Z", true),
                ("2027-01-04T03:45:00Z", "2027-01-04T15:29:59Z", true),
                ("2027-01-04T03:45:00Z", "2027-01-04T15:30:00Z", false),
                // Sunday.
                ("2027-01-09T03:45:00Z", "2027-01-10T10:00:00Z", false),
            ],
        ),
        (
            "{ after = \"1h\", hours = \"21:00-06:00\", days = \"fri-mon\" }",
            &[
                // Monday's hours end on Tuesday.
                ("2027-01-04T20:00:00Z", "2027-01-04T22:00:00Z", true),
                ("2027-01-04T20:00:00Z", "2027-01-04T21:59:00Z", false),
                ("2027-01-04T20:00:00Z", "2027-01-05T05:59:00Z", true),
                ("2027-01-05T05:30:00Z", "2027-01-05T05:59:00Z", false),
                ("2027-01-04T20:00:00Z", "2027-01-05T06:00:00Z", false),
                ("2027-01-04T20:00:00Z", "2027-01-05T23:00:00Z", false),
                ("2027-01-04T20:00:00Z", "2027-01-08T22:00:00Z", true),
            ],
        ),
        (
            // From Monday morning to Friday night without a break.
            "{ after = \"36h\", days = \"mon-fri\" }",
            &[
                ("2027-01-01T10:00:00Z", "2027-01-05T11:59:00Z", false),
                ("2027-01-01T10:00:00Z", "2027-01-05T12:00:00Z", true),
                ("2027-01-01T10:00:00Z", "2027-01-09T00:00:00Z", false),
            ],
        ),
        (
            // The clock goes from 02:00 to 03:00 on the 28th of March 2027, and back on the 31st of October.
            "{ after = \"1h\", hours = \"01:00-05:00\", timezone = \"Europe/Berlin\" }",
            &[
                ("2027-03-01T00:00:00Z", "2027-03-28T00:59:00Z", false),
                ("2027-03-01T00:00:00Z", "2027-03-28T01:00:00Z", true),
                ("2027-03-01T00:00:00Z", "2027-03-28T02:59:00Z", true),
                ("2027-03-01T00:00:00Z", "2027-03-28T03:00:00Z", false),
                ("2027-03-01T00:00:00Z", "2027-10-30T23:59:00Z", false),
                ("2027-03-01T00:00:00Z", "2027-10-31T00:00:00Z", true),
                ("2027-03-01T00:00:00Z", "2027-10-31T03:59:00Z", true),
                ("2027-03-01T00:00:00Z", "2027-10-31T04:00:00Z", false),
            ],
        ),
        (
            "{ after = \"1h\", hours = \"02:30-04:00\", timezone = \"Europe/Berlin\" }",
            // On that day 02:30 does not exist: the hours begin at 03:30.
            &[
                ("2027-03-01T00:00:00Z", "2027-03-28T01:59:00Z", false),
                ("2027-03-01T00:00:00Z", "2027-03-29T01:30:00Z", true),
            ],
        ),
    ];
    for (text, cases) in table {
        let silence = silence(text);
        for (last, now, is_over) in *cases {
            assert_eq!(silence.is_over(at(last), at(now)), *is_over, "{text}: last {last}, now {now}");
        }
    }
}

#[test]
fn days_are_ranges_and_lists_in_any_form() {
    let days = |text: &str| text.parse::<Days>().map(|days| days.0);
    let table = [
        ("mon", 0b1),
        ("Mon-Sat", 0b011_1111),
        ("mon,wed", 0b101),
        ("fri-mon", 0b111_0001),
        ("monday - friday, sun", 0b101_1111),
        ("tue-mon", 0b111_1111),
    ];
    for (text, bits) in table {
        assert_eq!(days(text), Ok(bits), "{text}");
    }
    for bad in ["", "mon-", "monda", "weekdays", "mon;tue", "1-5"] {
        assert!(days(bad).is_err_and(|why| why.contains("expected days of mon tue")), "{bad}");
    }
}

#[test]
fn hours_are_two_times_of_day() {
    for good in ["09:00-21:00", "9:00 - 21:30", "21:00-06:00", "00:00-24:00"] {
        assert!(good.parse::<Hours>().is_ok(), "{good}");
    }
    for bad in ["", "09:00", "9-21", "09:00-24:01", "24:00-06:00", "09:60-10:00", "+9:00-10:00", "09:000-10:00"] {
        assert!(bad.parse::<Hours>().is_err_and(|why| why.contains("expected such as \"09:00-21:00\"")), "{bad}");
    }
    assert!("09:00-09:00".parse::<Hours>().is_err_and(|why| why.contains("write \"00:00-24:00\"")));
}

#[test]
fn a_zone_that_is_not_known_is_told_with_the_nearest() {
    assert!("Asia/Kolkata".parse::<Zone>().is_ok() && "UTC".parse::<Zone>().is_ok());
    let why = "Asia/Kolkatta".parse::<Zone>().unwrap_err();
    assert!(why.contains("is not known") && why.contains("did you mean \"Asia/Kolkata\"?"), "{why}");
}

#[test]
fn the_longest_stretch_of_a_week_is_known() {
    for (text, hours) in [
        ("\"30m\"", None),
        ("{ after = \"1m\", hours = \"00:00-24:00\" }", None),
        ("{ after = \"1m\", hours = \"09:00-10:30\" }", Some(1.5)),
        ("{ after = \"1m\", hours = \"21:00-06:00\" }", Some(9.0)),
        ("{ after = \"1m\", days = \"mon,wed\" }", Some(24.0)),
        ("{ after = \"1m\", days = \"fri-mon\" }", Some(96.0)),
        ("{ after = \"1m\", days = \"sat-thu\" }", Some(144.0)),
    ] {
        let longest = silence(text).longest().map(|longest| longest.0.as_secs_f64() / 3600.0);
        assert_eq!(longest, hours, "{text}");
    }
}
