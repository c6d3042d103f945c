//! How somebody logs in: `POST /api/login`. Plain data.

use schemars::JsonSchema;
use serde::Deserialize;

/// What somebody logs in with.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogInAsk {
    /// The token of `[admin]`.
    pub token: String,
}
