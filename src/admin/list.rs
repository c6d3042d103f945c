//! The shape of every list that the admin API answers with. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    /// The objects that the verbs print.
    pub items: Vec<T>,
    /// Where the next part begins: what to ask for with `after`; `null` where there is none.
    pub next: Option<String>,
}
