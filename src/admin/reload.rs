//! What a reload changed, as the admin listener tells it: the answer to `POST /api/reload`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadDone {
    /// Sinks that are new, or back.
    pub added: Vec<String>,
    /// Sinks whose table is another one.
    pub changed: Vec<String>,
    /// Sinks that are gone.
    pub removed: Vec<Removed>,
    /// Sources there are now.
    pub sources: usize,
    /// Routes there are now.
    pub routes: usize,
    /// Rules by which messages that failed are sent again, there are now; `null` where there were none, either.
    #[serde(default)]
    pub resend_rules: Option<usize>,
    /// What is written and does not do what it says, each as `check` tells it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Keys whose values come from the daemon's own environment: no reload changes them.
    #[serde(default)]
    pub fixed: Vec<Fixed>,
}

/// A key whose value no reload changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fixed {
    /// The key with its tables.
    pub key: String,
    /// The variable of the environment.
    pub variable: String,
}

/// A sink that is gone. When it is back in the config it is given what it was owed, as far as retention has kept that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Its name.
    pub sink: String,
    /// What it was owed.
    pub pending: u64,
}
