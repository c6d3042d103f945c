//! The config in force as the admin listener shows it: `GET /api/config`. Plain data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::ConfigState;

/// The config in force, beside the file. Secrets stand in the texts as `${NAME}`, or as `***` where the file has them
/// written out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    /// The config file.
    pub path: String,
    /// The text in force.
    pub running: String,
    /// The text of the file, where that is another one; `null` where it is the same, or cannot be read.
    pub on_disk: Option<String>,
    /// Where `on_disk` is no TOML, so that a remark stands there in place of its text: line and what is wrong there.
    pub on_disk_fault: Option<String>,
    /// What the file is to what runs.
    pub state: ConfigState,
    /// Since when that is so, RFC 3339.
    pub since: String,
    /// The first line of what is wrong with the file, where something is.
    pub fault: Option<String>,
    /// Whether the admin API changes nothing: `[admin] read_only`.
    pub read_only: bool,
}
