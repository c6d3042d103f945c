//! A string that does not show itself.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A secret from the config. `Debug` prints `***`; the value is had only by [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this value, a leading BOM and trailing line breaks trimmed (both come from pasting and from files).
    pub fn new(value: &str) -> Self {
        Self(value.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The value.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left of it after trimming.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|s| Self::new(&s))
    }
}
