//! The table of a route, `[[routes]]` in `config.toml`.

use serde::Deserialize;

use sink_api::settings::one_or_many;

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
