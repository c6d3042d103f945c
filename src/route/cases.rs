//! `[[tests]]`: what a test expects the rules to do with an event, and how that differs from what they do. Pure.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use sink_api::fault::nearest;
use sink_api::{At, Fault};

use super::explain::{DeliveryView, Explanation, PayloadView};
use super::rules::INTERNAL_SOURCE;

/// Most characters of a value that are shown in a difference.
const MAX_SHOWN: usize = 200;

/// One test, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The test's name: what is tested, in words.
    pub name: String,
    /// The file with a webhook's body; a relative path starts in the folder of the file that the test stands in.
    #[serde(default)]
    pub event: Option<String>,
    /// The body itself.
    #[serde(default)]
    pub body: Option<String>,
    /// The source that the event comes from; not needed if the config has only one. `hookrelay` is that of the daemon's
    /// own events.
    #[serde(default)]
    pub source: Option<String>,
    /// The request headers that the event comes with, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The sinks that must get something: exactly these, in any order.
    pub sinks: Vec<String>,
    /// Some of the expected deliveries. Each is looked for among the deliveries to its sink.
    #[serde(default)]
    pub deliveries: Vec<Wanted>,
}

/// An expected delivery. A key that is not given may have any value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { sink = \"crm\", payload = { status = \"Failed\" } }")]
pub struct Wanted {
    /// The sink.
    pub sink: String,
    /// How the delivery's id ends, behind the event's id.
    #[serde(default)]
    pub id: Option<String>,
    /// The ordering key.
    #[serde(default)]
    pub key: Option<String>,
    /// The topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// The path.
    #[serde(default)]
    pub path: Option<String>,
    /// The URL.
    #[serde(default)]
    pub url: Option<String>,
    /// What the payload holds: objects may have further members, all other values must be equal.
    #[serde(default)]
    pub payload: Option<Value>,
}

impl Case {
    /// Checks the test against the names of the sinks and sources that the config defines.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn check(&self, sinks: &[&str], sources: &[&str]) -> Result<(), Vec<Fault>> {
        let mut faults = Vec::new();
        if self.event.is_some() == self.body.is_some() {
            let message = "expected one of the keys `event` and `body`".to_owned();
            faults.push(Fault { at: At::Table, message, help: None });
        }
        if let Some(source) = self.source.as_ref().filter(|source| *source != INTERNAL_SOURCE) {
            faults.extend(unknown("source", "source", source, sources));
        } else if self.source.is_none() && sources.len() > 1 {
            let message = "several sources are defined: expected the key `source`".to_owned();
            faults.push(Fault { at: At::Table, message, help: None });
        }
        for (name, value) in &self.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
                let message = format!("`headers.{name}` with this value cannot be a request header");
                faults.push(Fault::at_key(format!("headers.{name}"), message));
            }
        }
        for (n, sink) in self.sinks.iter().enumerate() {
            faults.extend(unknown(&format!("sinks.{n}"), "sink", sink, sinks));
        }
        for (n, wanted) in self.deliveries.iter().enumerate() {
            let key = format!("deliveries.{n}.sink");
            match unknown(&key, "sink", &wanted.sink, sinks) {
                Some(fault) => faults.push(fault),
                None if !self.sinks.contains(&wanted.sink) => {
                    let message = format!("`{}` is not among `sinks` of this test", wanted.sink);
                    faults.push(Fault::at_key(key, message));
                }
                None => {}
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// How `got` differs from what the test expects, one line for each difference; none if the test passes. `names`
    /// says whether the route of an index names a sink.
    pub fn differences(&self, got: &Explanation, names: impl Fn(&str, usize) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let reached = |sink: &str| got.deliveries.iter().any(|d| d.sink == sink);
        let whys = |sink: &str| {
            let routes = got.routes.iter().enumerate().filter(|(n, _)| names(sink, *n));
            routes.map(|(_, r)| format!("  route {:?}: {}", r.name, r.why)).collect::<Vec<_>>()
        };
        for sink in self.sinks.iter().filter(|sink| !reached(sink)) {
            lines.push(format!("sink {sink:?}: expected a delivery, got none"));
            lines.extend(whys(sink));
        }
        let mut unexpected: Vec<&str> = Vec::new();
        for delivery in got.deliveries.iter().filter(|d| !self.sinks.contains(&d.sink)) {
            if !unexpected.contains(&delivery.sink.as_str()) {
                unexpected.push(&delivery.sink);
                lines.push(format!("sink {:?}: expected nothing, got a delivery", delivery.sink));
                lines.extend(whys(&delivery.sink));
            }
        }
        let mut taken = vec![false; got.deliveries.len()];
        for wanted in self.deliveries.iter().filter(|wanted| reached(&wanted.sink)) {
            lines.extend(wanted.look_for(got, &mut taken));
        }
        lines
    }
}

impl Wanted {
    /// Takes the delivery that fits. If none fits, gives the differences of the nearest one.
    fn look_for(&self, got: &Explanation, taken: &mut [bool]) -> Vec<String> {
        let mut nearest: Option<(usize, Vec<String>)> = None;
        let all = got.deliveries.iter().enumerate().filter(|(_, d)| d.sink == self.sink);
        for (n, delivery) in all {
            let differences = self.compare(delivery, &got.event.id);
            match taken.get_mut(n) {
                Some(taken) if !*taken && differences.is_empty() => {
                    *taken = true;
                    return vec![];
                }
                Some(taken) if *taken => continue,
                _ => {}
            }
            if nearest.as_ref().is_none_or(|(_, least)| differences.len() < least.len()) {
                nearest = Some((n, differences));
            }
        }
        match nearest {
            Some((_, differences)) => {
                differences.into_iter().map(|line| format!("delivery to {:?}: {line}", self.sink)).collect()
            }
            None => vec![format!("delivery to {:?}: expected one more", self.sink)],
        }
    }

    fn compare(&self, got: &DeliveryView, event: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut same = |what: &str, wanted: Option<&String>, got: Option<&str>| match (wanted, got) {
            (Some(wanted), None) => lines.push(format!("{what}: expected {wanted:?}, and this sink has none")),
            (Some(wanted), Some(got)) if wanted != got => {
                lines.push(format!("{what}: expected {wanted:?}, got {got:?}"))
            }
            _ => {}
        };
        same("id", self.id.as_ref(), Some(got.id.strip_prefix(event).unwrap_or(&got.id)));
        same("key", self.key.as_ref(), Some(&got.key));
        for (what, wanted) in [("topic", &self.topic), ("path", &self.path), ("url", &self.url)] {
            same(what, wanted.as_ref(), got.target.get(what));
        }
        if let Some(wanted) = &self.payload {
            match &got.payload {
                PayloadView::Json(raw) => match serde_json::from_str(raw.get()) {
                    Ok(value) => subset("payload", wanted, &value, &mut lines),
                    Err(error) => lines.push(format!("payload: cannot be compared: {error}")),
                },
                PayloadView::Base64(_) => lines.push(format!("payload: expected {}, got no JSON", shown(wanted))),
            }
        }
        lines
    }
}

/// Adds a line for every value of `wanted` that `got` does not have.
fn subset(path: &str, wanted: &Value, got: &Value, lines: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (key, value) in wanted {
                let path = format!("{path}.{key}");
                match got.get(key) {
                    Some(got) => subset(&path, value, got, lines),
                    None => lines.push(format!("{path}: expected {}, got nothing", shown(value))),
                }
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (n, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                subset(&format!("{path}[{n}]"), wanted, got, lines);
            }
        }
        _ if wanted == got || same_number(wanted, got) => {}
        _ => lines.push(format!("{path}: expected {}, got {}", shown(wanted), shown(got))),
    }
}

/// Whether two values are the same number written in two ways, such as `1` and `1.0`.
fn same_number(a: &Value, b: &Value) -> bool {
    let whole = a.is_i64() || a.is_u64();
    let other = b.is_i64() || b.is_u64();
    whole != other && a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn unknown(key: &str, what: &str, name: &str, known: &[&str]) -> Option<Fault> {
    if known.contains(&name) {
        return None;
    }
    let list = known.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let fault = Fault::at_key(key, format!("unknown {what} `{name}`, expected one of {list}"));
    Some(match nearest(name, known.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(wanted: Value, got: Value) -> Vec<String> {
        let mut lines = Vec::new();
        subset("payload", &wanted, &got, &mut lines);
        lines
    }

    #[test]
    fn a_payload_holds_what_is_wanted_and_may_hold_more() {
        assert!(lines(json!({"a": {"b": 1}}), json!({"a": {"b": 1.0, "c": 2}, "d": 3})).is_empty());
        assert!(lines(json!([{"a": 1}]), json!([{"a": 1, "b": 2}])).is_empty());
    }

    #[test]
    fn every_difference_is_named_with_its_path() {
        assert_eq!(
            lines(json!({"a": {"b": "Failed"}, "c": [1, 2], "x": null}), json!({"a": {"b": "Sent"}, "c": [1]})),
            [
                r#"payload.a.b: expected "Failed", got "Sent""#,
                "payload.c: expected [1,2], got [1]",
                "payload.x: expected null, got nothing",
            ]
        );
    }
}
