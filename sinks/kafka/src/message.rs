//! From a delivery to a message's value and headers. Pure.
//!
//! Source: the Kafka protocol binding of CloudEvents 1.0.2: in binary mode attributes travel in `ce_` headers as UTF-8
//! and the media type in `content-type`; in structured mode the value is one JSON object.

use rdkafka::message::{Header, OwnedHeaders};
use sink_api::{Bytes, Delivery, cloudevents, json};

use crate::config::{Format, HEADER};

/// The value.
pub fn value(delivery: &Delivery, format: Format) -> Bytes {
    match format {
        Format::Raw => delivery.bytes().clone(),
        Format::Cloudevents => Bytes::from(cloudevents::structured(delivery)),
    }
}

/// The headers, those of the config last.
pub fn headers(delivery: &Delivery, format: Format) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    match format {
        Format::Raw => {
            for (name, value) in cloudevents::attributes(delivery) {
                headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(&*value) });
            }
            headers = headers.insert(Header { key: "content-type", value: Some(content_type(delivery)) });
        }
        Format::Cloudevents => {
            let media = cloudevents::STRUCTURED_CONTENT_TYPE;
            headers = headers.insert(Header { key: "content-type", value: Some(media) });
        }
    }
    for (name, value) in delivery.target.parts() {
        if let Some(name) = name.strip_prefix(HEADER) {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
    }
    headers
}

/// The payload's own media type where it has one, else what it looks like.
fn content_type(delivery: &Delivery) -> &str {
    delivery.content_type().unwrap_or_else(|| {
        if json::is_json(delivery.bytes()) { "application/json" } else { "application/octet-stream" }
    })
}
