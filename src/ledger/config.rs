//! `[dead_letters]`: how much of what was given up is kept, and how long.

use serde::Deserialize;
use sink_api::{Fault, Period, Size};

/// The table as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterKeys {
    /// Room for all of them. Where it is full, a sink that gives something up waits.
    pub max_size: Size,
    /// Those given up longer ago are forgotten, and count as dropped.
    pub max_age: Period,
}

impl Default for DeadLetterKeys {
    fn default() -> Self {
        Self { max_size: Size::mib(1024), max_age: Period::secs(90 * 24 * 3600) }
    }
}

impl DeadLetterKeys {
    /// What is wrong with it.
    pub fn check(&self) -> Vec<Fault> {
        let size = self.max_size.fault("max_size", Size::mib(1)..=Size::MOST);
        let age = self.max_age.fault("max_age", Period::LEAST..=Period::MOST);
        size.into_iter().chain(age).collect()
    }
}
