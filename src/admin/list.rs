//! The shape of every list that the admin API answers with. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    /// The objects that the verbs print.
    pub items: Vec<T>,
    /// Where the next part begins: what to ask for with `after`; `null` where there is none.
    pub next: Option<String>,
    /// Of several daemons those that said nothing: what only they know is missing. Left out where all answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
}

/// A daemon that said nothing to a question that all were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unanswered {
    /// Its name.
    pub node: String,
    /// Why: one line.
    pub why: String,
}

impl<T> List<T> {
    /// What one daemon has.
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, unanswered: vec![] }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new(vec![], None)
    }
}
