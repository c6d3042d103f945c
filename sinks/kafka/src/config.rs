//! The sink's table in `config.toml`: what is written, and what it means ([`Plan`]). Pure: librdkafka is asked whether
//! it knows a property, which opens no file and no connection, as properties that load code are refused before.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use sink_api::kafka::{self, Property};
use sink_api::settings::{one_or_many, table};
use sink_api::{Escape, Event, Fault, Planned, Reason, Secret, Settings, SinkConfig, Target, Template, code};

use crate::properties::RULES;

/// Longest name Kafka takes for a topic, in bytes.
const MAX_TOPIC: usize = 249;
/// What stands before a header's name in a delivery's target.
pub const HEADER: &str = "header ";
/// Headers the sink sets itself.
const CONTENT_TYPE: &str = "content-type";

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "one_or_many")]
    brokers: Vec<String>,
    topic: Template,
    #[serde(default)]
    format: Format,
    #[serde(default, deserialize_with = "table")]
    headers: BTreeMap<String, Template>,
    #[serde(default, deserialize_with = "table")]
    properties: BTreeMap<String, Property>,
}

/// What a message's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The payload untouched, the event's attributes in `ce_` headers (CloudEvents binary mode).
    #[default]
    Raw,
    /// One structured CloudEvents JSON object.
    Cloudevents,
}

/// What the table means.
pub struct Plan {
    /// `host:port`, with commas between.
    pub brokers: String,
    /// Where messages go.
    pub topic: Template,
    /// What a message's value is.
    pub format: Format,
    /// Further headers.
    pub headers: BTreeMap<String, Template>,
    /// Properties for librdkafka.
    pub properties: BTreeMap<String, Secret>,
}

/// The sink's config.
#[derive(Debug)]
pub struct KafkaConfig {
    pub(crate) plan: Planned<Plan>,
}

/// Reads the table.
///
/// # Errors
/// Keys that are unknown, missing or of a wrong type. Whether their values make sense is for [`SinkConfig::check`].
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    let written: Written = settings.read()?;
    Ok(Box::new(KafkaConfig { plan: Planned::new(plan(written)) }))
}

/// Shows where messages go, and no property's value.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("format", &self.format)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Plan {
    /// The topic and the headers that are made for this event.
    ///
    /// # Errors
    /// A reason where a template finds no value, or the topic is none.
    pub fn target(&self, event: &Event) -> Result<Target, Reason> {
        let topic = self.topic.render(event, Escape::Topic)?;
        if let Some(what) = topic_fault(&topic) {
            return Err(Reason::new(code::BAD_PAYLOAD, format!("the topic made for this event {what}")));
        }
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| Ok((format!("{HEADER}{name}"), value.render(event, Escape::Plain)?)));
        std::iter::once(Ok(("topic".to_owned(), topic))).chain(headers).collect()
    }
}

fn plan(written: Written) -> Result<Plan, Vec<Fault>> {
    let mut faults = Vec::new();
    let brokers = kafka::addresses(&written.brokers).map_err(|wrong| faults.extend(wrong)).unwrap_or_default();
    faults.extend(template_fault(&written.topic));
    faults.extend(written.headers.keys().filter_map(|name| header_fault(name)));
    faults.extend(written.properties.iter().filter_map(|(name, value)| RULES.fault(name, &value.0)));
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Plan {
        brokers,
        topic: written.topic,
        format: written.format,
        headers: written.headers,
        properties: written.properties.into_iter().map(|(name, value)| (name, value.0)).collect(),
    })
}

/// What is wrong with the parts of the topic that stand in the config.
fn template_fault(topic: &Template) -> Option<Fault> {
    // Values are made safe, so whatever else is wrong was written in the config. An event without values makes the
    // shortest name.
    let shortest = topic.literal();
    let help = "letters, digits, `.`, `_` and `-`";
    if let Some(bad) = shortest.chars().find(|c| !is_topic_character(*c)) {
        return Some(Fault::at_key("topic", format!("`{bad}` cannot stand in a topic's name")).help(help));
    }
    let what = topic_fault(&shortest)?;
    (topic.is_constant() || shortest.len() > MAX_TOPIC)
        .then(|| Fault::at_key("topic", format!("the topic {what}")).help(help))
}

/// Why Kafka would not take this name.
fn topic_fault(topic: &str) -> Option<String> {
    match topic {
        "" => Some("is empty".to_owned()),
        "." | ".." => Some(format!("is `{topic}`")),
        _ if topic.len() > MAX_TOPIC => Some(format!("is longer than {MAX_TOPIC} bytes")),
        _ => None,
    }
}

fn is_topic_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn header_fault(name: &str) -> Option<Fault> {
    let fault = |what: &str| Some(Fault::at_key(format!("headers.{name}"), format!("header `{name}` {what}")));
    if name.is_empty() || name.contains('\0') {
        return fault("is not a header's name");
    }
    let own = name.starts_with("ce_") || name.eq_ignore_ascii_case(CONTENT_TYPE);
    if own { fault("is set by the sink itself") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_s_template_says_itself_must_be_legal() {
        let fault = |text: &str| template_fault(&Template::parse(text).unwrap()).map(|fault| fault.message);
        for good in ["whatsapp.{type}", "{type}", "a-b_c.D9", &"x".repeat(249)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in
            ["a b", "whatsapp/{type}", "é", ".", "..", "", &"x".repeat(250), &format!("{}{{type}}", "x".repeat(250))]
        {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
