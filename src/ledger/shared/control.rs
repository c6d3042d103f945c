//! What all daemons know of a sink: the row `sink/NAME` of the control topic, a JSON object. Fields that this build
//! does not know stay as they are. Pure.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Whether the sink is held by hand.
const PAUSED: &str = "paused";

const SINK: &str = "sink/";

/// The row of a sink.
pub fn key(sink: &str) -> String {
    format!("{SINK}{sink}")
}

/// Which sink a row is of, where it is of one.
pub fn sink_of(key: &str) -> Option<&str> {
    key.strip_prefix(SINK)
}

fn read(value: Option<&Bytes>) -> Map<String, Value> {
    // What is no object says nothing, and makes way.
    value.and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default()
}

/// Whether it says that the sink is held.
pub fn is_paused(value: Option<&Bytes>) -> bool {
    read(value).get(PAUSED).and_then(Value::as_bool).unwrap_or(false)
}

/// The same row, saying that the sink is held, or that it is not.
pub fn with_paused(value: Option<&Bytes>, paused: bool) -> Bytes {
    let mut row = read(value);
    row.insert(PAUSED.to_owned(), Value::Bool(paused));
    Value::Object(row).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_what_others_wrote_of_the_sink() {
        assert!(!is_paused(None));
        let row = Bytes::from_static(br#"{"known":true,"paused":false}"#);
        let paused = with_paused(Some(&row), true);
        assert!(is_paused(Some(&paused)) && read(Some(&paused)).get("known") == Some(&Value::Bool(true)));
        assert!(!is_paused(Some(&with_paused(Some(&paused), false))));
        for wrong in [&b"\xff"[..], b"[]", b"{\"paused\":1}"] {
            let wrong = Bytes::from_static(wrong);
            assert!(!is_paused(Some(&wrong)) && is_paused(Some(&with_paused(Some(&wrong), true))));
        }
    }
}
