//! `failure_budget` of a source: how many answers that are no success its provider bears before it switches the feed
//! off. Pure.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::Period;

/// Most failures of a budget: each one is remembered, with who sent it.
pub(super) const MOST_FAILURES: u32 = 1000;
/// Longest time of a budget.
pub(super) const LONGEST: Period = Period::secs(24 * 3600);

/// So many failures within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "{ failures = 5, within = \"10m\" }")]
pub struct FailureBudget {
    /// How many.
    pub failures: u32,
    /// Within how long.
    pub within: Period,
}

/// What Interakt's is.
impl Default for FailureBudget {
    fn default() -> Self {
        Self { failures: 5, within: Period::secs(600) }
    }
}

impl FailureBudget {
    /// The first number of failures at which the budget counts as nearly spent: three fifths of it, rounded up.
    pub fn low(&self) -> usize {
        (self.most() * 3).div_ceil(5)
    }

    /// The number of failures at which it is spent.
    pub fn most(&self) -> usize {
        usize::try_from(self.failures).unwrap_or(usize::MAX)
    }
}

/// The key as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKey {
    /// `"off"`.
    Off,
    /// A table.
    Of(FailureBudget),
}

impl BudgetKey {
    /// The budget, where there is one.
    pub fn budget(self) -> Option<FailureBudget> {
        match self {
            Self::Off => None,
            Self::Of(budget) => Some(budget),
        }
    }
}

impl<'de> Deserialize<'de> for BudgetKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = BudgetKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\" or { failures = 5, within = \"10m\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<BudgetKey, E> {
                if text == "off" { Ok(BudgetKey::Off) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BudgetKey, A::Error> {
                FailureBudget::deserialize(MapAccessDeserializer::new(map)).map(BudgetKey::Of)
            }
        }
        from.deserialize_any(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_nearly_spent_at_three_fifths_rounded_up() {
        for (failures, low) in [(1, 1), (2, 2), (3, 2), (5, 3), (6, 4), (10, 6), (1000, 600)] {
            assert_eq!(FailureBudget { failures, ..FailureBudget::default() }.low(), low, "{failures}");
        }
    }
}
