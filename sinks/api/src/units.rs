//! Sizes (`"64MiB"`) and time spans (`"10s"`, `"7d"`) as they stand in `config.toml`. Both have an upper bound, so that
//! code which adds a span to a time, or doubles a size, stays within the range of the numbers. A key may demand tighter
//! bounds ([`Period::fault`], [`Size::fault`]).

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fault::Fault;

/// A size in bytes: `"64MiB"`, `"1MB"` (decimal), or a whole number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The largest there is.
    pub const MOST: Self = Self(1 << 60);
    /// The smallest that is more than nothing.
    pub const LEAST: Self = Self(1);

    /// So many binary megabytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The size as `usize`, saturating.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// What is wrong with it at this key, where it is out of these bounds.
    pub fn fault(self, key: &str, within: RangeInclusive<Self>) -> Option<Fault> {
        let expected = match (within.start().0, within.end()) {
            (0, most) => format!("at most \"{most}\""),
            (1, &Self::MOST) => "more than nothing".to_owned(),
            (1, most) => format!("more than nothing and at most \"{most}\""),
            (_, most) => format!("\"{}\" to \"{most}\"", within.start()),
        };
        (!within.contains(&self)).then(|| out_of_bounds(key, &expected))
    }
}

/// As a config would say it: `64MiB`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(bits, _)| self.0 > 0 && self.0.trailing_zeros() >= *bits) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}B", self.0),
        }
    }
}

fn out_of_bounds(key: &str, expected: &str) -> Fault {
    Fault::at_key(key, format!("`{key}` is out of bounds, expected {expected}"))
}

struct SizeVisitor;

/// What is expected of a size that is too large.
const SMALLER: &str = "a size of at most \"1EiB\"";

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\" or a number of bytes")
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Size, E> {
        u64::try_from(n).map_err(|_| E::invalid_value(Unexpected::Signed(n), &self)).and_then(|n| self.visit_u64(n))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Size, E> {
        if n <= Size::MOST.0 { Ok(Size(n)) } else { Err(E::invalid_value(Unexpected::Unsigned(n), &SMALLER)) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let size: bytesize::ByteSize =
            text.trim().parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
        // What does not fit in 64 bits is read as the most that does.
        match size.as_u64() {
            bytes if bytes <= Size::MOST.0 => Ok(Size(bytes)),
            _ => Err(E::invalid_value(Unexpected::Str(text), &SMALLER)),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SizeVisitor)
    }
}

/// A span of time: `"500ms"`, `"10s"`, `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// Nothing.
    pub const ZERO: Self = Self::secs(0);
    /// The shortest that is more than nothing.
    pub const LEAST: Self = Self(Duration::from_nanos(1));
    /// One hour.
    pub const HOUR: Self = Self::secs(3600);
    /// One year, of 365.25 days.
    pub const YEAR: Self = Self::secs(31_557_600);
    /// The longest there is: 100 years. Added to the present time it is still a time, to every clock.
    pub const MOST: Self = Self::secs(100 * 31_557_600);

    /// So many seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// So many milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// What is wrong with it at this key, where it is out of these bounds.
    pub fn fault(self, key: &str, within: RangeInclusive<Self>) -> Option<Fault> {
        let expected = match (*within.start(), within.end()) {
            (Self::ZERO, most) => format!("at most \"{most}\""),
            (Self::LEAST, most) => format!("more than nothing and at most \"{most}\""),
            (least, most) => format!("\"{least}\" to \"{most}\""),
        };
        (!within.contains(&self)).then(|| out_of_bounds(key, &expected))
    }
}

/// As a config would say it: `1h`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time span such as \"500ms\", \"10s\" or \"7d\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        use humantime::DurationError::NumberOverflow;
        match humantime::parse_duration(text.trim()) {
            Ok(span) if span <= Period::MOST.0 => Ok(Period(span)),
            Ok(_) | Err(NumberOverflow) => {
                Err(E::invalid_value(Unexpected::Str(text), &"a time span of at most \"100years\""))
            }
            Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error as Refused;

    use super::*;

    fn period(text: &str) -> Result<Period, Refused> {
        Period::deserialize(text.into_deserializer())
    }

    fn size(text: &str) -> Result<Size, Refused> {
        Size::deserialize(text.into_deserializer())
    }

    #[test]
    fn the_longest_span_is_taken_and_a_second_more_is_not() {
        assert_eq!(period("100years").unwrap(), Period::MOST);
        for more in
            ["100years 1s", "9223372036854775807s", "18446744073709551615s", "99999999999999999999s", "1e9years"]
        {
            let refused = period(more).unwrap_err().to_string();
            assert!(more == "1e9years" || refused.ends_with("at most \"100years\""), "{refused}");
        }
    }

    #[test]
    fn the_largest_size_is_taken_and_a_byte_more_is_not() {
        assert_eq!(size("1EiB").unwrap(), Size::MOST);
        let of = |n: u64| Size::deserialize(IntoDeserializer::<Refused>::into_deserializer(n));
        assert_eq!(of(1 << 60).unwrap(), Size::MOST);
        for more in [of((1 << 60) + 1), of(u64::MAX), size("1025PiB"), size("16EiB"), size("999999999999GiB")] {
            let refused = more.unwrap_err().to_string();
            assert!(refused.ends_with("at most \"1EiB\""), "{refused}");
        }
        assert!(Size::deserialize(IntoDeserializer::<Refused>::into_deserializer(-1_i64)).is_err());
    }

    #[test]
    fn a_fault_says_the_bounds_as_a_config_would() {
        let span = |of: Period, within| of.fault("k", within).map(|fault| fault.message);
        assert_eq!(span(Period::HOUR, Period::LEAST..=Period::HOUR), None);
        assert_eq!(
            span(Period::ZERO, Period::LEAST..=Period::HOUR).unwrap(),
            "`k` is out of bounds, expected more than nothing and at most \"1h\""
        );
        assert_eq!(
            span(Period::YEAR, Period::secs(1)..=Period::HOUR).unwrap(),
            "`k` is out of bounds, expected \"1s\" to \"1h\""
        );
        assert_eq!(Period::YEAR.to_string() + &Period::MOST.to_string(), "1year100years");
        let bytes = |of: Size, within| of.fault("k", within).map(|fault| fault.message);
        assert_eq!(bytes(Size::mib(3), Size::mib(1)..=Size::mib(1024)), None);
        assert_eq!(
            bytes(Size(1), Size::mib(1)..=Size::mib(1536)).unwrap(),
            "`k` is out of bounds, expected \"1MiB\" to \"1536MiB\""
        );
    }
}
