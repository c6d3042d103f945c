//! Sizes (`"64MiB"`) and time spans (`"10s"`, `"7d"`) as they stand in `config.toml`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A size in bytes: `"64MiB"`, `"1MB"` (decimal), or a whole number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// So many binary megabytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The size as `usize`, saturating.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\" or a number of bytes")
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Size, E> {
        u64::try_from(n).map(Size).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(n), &self))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Size, E> {
        Ok(Size(n))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let size: bytesize::ByteSize =
            text.trim().parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))?;
        // What does not fit would be the most there is, which nobody means who writes a bound.
        match size.as_u64() {
            bytes if i64::try_from(bytes).is_ok() => Ok(Size(bytes)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &"a size below 8 EiB")),
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
    /// So many seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// So many milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time span such as \"500ms\", \"10s\" or \"7d\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        let span = humantime::parse_duration(text.trim())
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))?;
        Ok(Period(span))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PeriodVisitor)
    }
}
