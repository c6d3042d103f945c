//! The table of a route, `[[routes]]` in `config.toml`, and the routes that stand in no file.

use serde::Deserialize;

use sink_api::settings::one_or_many;

use crate::news::{RESEND, SEND, SOURCE};

/// One route, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The route's name, which is unique. A route without one is called `route<n>`, counted from 1.
    #[serde(default)]
    pub name: Option<String>,
    /// Globs over the event type.
    #[serde(rename = "match", deserialize_with = "one_or_many")]
    pub globs: Vec<String>,
    /// The source whose events it takes; without it, events of every source.
    #[serde(default)]
    pub source: Option<String>,
    /// A jq condition.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// A built-in name or a jq program.
    #[serde(default)]
    pub transform: Option<String>,
    /// The sinks, by name.
    #[serde(deserialize_with = "one_or_many")]
    pub to: Vec<String>,
    /// Whether the search ends here for an event that matches.
    #[serde(default, rename = "final")]
    pub is_final: bool,
}

/// A route of the daemon's own. It stands in no file, ends no search and is ended by none, and events that it alone
/// matches count as unmatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Implicit {
    /// Has the daemon hear of the statuses of one source's messages.
    Statuses {
        /// The route's name.
        name: String,
        /// The source.
        source: String,
        /// The sink that listens.
        to: String,
    },
    /// Carries commands to the sink that they are addressed to: what is to be sent, out of the command.
    Commands {
        /// The route's name.
        name: String,
        /// The sink that sends.
        to: String,
    },
}

impl Implicit {
    /// Globs over the types of statuses. Which of them are none, the listener finds out.
    const STATUSES: [&str; 5] = ["*_sent", "*_delivered", "*_read", "*_failed", "*_clicked"];

    /// The same as a route of the file would be written.
    pub(super) fn as_written(&self) -> RouteConfig {
        let (name, globs, source, to): (_, Vec<&str>, _, _) = match self {
            Self::Statuses { name, source, to } => (name, Self::STATUSES.to_vec(), source.as_str(), to),
            Self::Commands { name, to } => (name, vec![SEND, RESEND], SOURCE, to),
        };
        RouteConfig {
            name: Some(name.clone()),
            globs: globs.into_iter().map(str::to_owned).collect(),
            source: Some(source.to_owned()),
            condition: None,
            transform: None,
            to: vec![to.clone()],
            is_final: false,
        }
    }

    /// Whether it carries commands.
    pub(super) fn carries_commands(&self) -> bool {
        matches!(self, Self::Commands { .. })
    }
}
