//! From a delivery to a message's value and headers. Pure.
//!
//! Source: the Kafka protocol binding of CloudEvents 1.0.2: in binary mode attributes travel in `ce_` headers as UTF-8
//! and the media type in `content-type`; in structured mode the value is one JSON object.

use rdkafka::message::{Header, OwnedHeaders};
use sink_api::trace::TRACEPARENT;
use sink_api::{Bytes, Delivery, cloudevents};

use crate::config::{Format, HEADER};

/// So many headers a message usually has: six attributes, the content type, and those of a trace or of the config.
const USUAL: usize = 10;

/// The value.
pub fn value(delivery: &Delivery, format: Format) -> Bytes {
    match format {
        Format::Raw => delivery.bytes().clone(),
        Format::Cloudevents => Bytes::from(cloudevents::structured(delivery)),
    }
}

/// The headers, those of the config last.
pub fn headers(delivery: &Delivery, format: Format) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(USUAL);
    match format {
        Format::Raw => {
            let media = cloudevents::data_content_type(delivery);
            let prefix = cloudevents::beside("ce_", Some(media));
            let mut key = String::from(prefix);
            for (name, value) in cloudevents::attributes(delivery) {
                key.truncate(prefix.len());
                key.push_str(name);
                headers = headers.insert(Header { key: &key, value: Some(&*value) });
            }
            headers = headers.insert(Header { key: "content-type", value: Some(media) });
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
    // The config's own header wins.
    let is_own = |(name, _): (&str, &str)| name.strip_prefix(HEADER).is_some_and(|name| name == TRACEPARENT);
    if let Some(trace) = delivery.trace.as_deref().filter(|_| !delivery.target.parts().any(is_own)) {
        for (key, value) in trace.all() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use sink_api::{Target, TraceHeaders};
    use sink_testkit::{EventBuilder, event};

    use super::*;

    fn names(event: EventBuilder, format: Format) -> Vec<String> {
        headers(&event.delivery(), format).iter().map(|header| header.key.to_owned()).collect()
    }

    #[test]
    fn beside_a_webhook_that_is_a_cloudevent_nothing_of_ours_has_a_name_of_cloudevents() {
        let theirs = || event("t").header("content-type", "application/cloudevents+json").body("{\"id\":\"theirs\"}");
        let named = names(theirs(), Format::Raw);
        assert!(named.contains(&"hookrelay_id".to_owned()) && named.contains(&"content-type".to_owned()), "{named:?}");
        assert!(!named.iter().any(|name| name.starts_with("ce_")), "{named:?}");
        assert_eq!(names(theirs(), Format::Cloudevents), ["content-type"]);
        assert!(names(theirs().json("{}"), Format::Raw).contains(&"ce_id".to_owned()));
    }

    #[test]
    fn the_trace_is_passed_on_but_for_where_the_config_has_a_header_of_that_name() {
        let told = |target: Target| {
            let trace = TraceHeaders { parent: "ours".into(), state: Some("a=1".into()) };
            let delivery = Delivery { trace: Some(trace.into()), target, ..event("t").delivery() };
            let all = headers(&delivery, Format::Cloudevents);
            let text = |header: Header<'_, &[u8]>| {
                format!("{}={}", header.key, str::from_utf8(header.value.unwrap()).unwrap())
            };
            all.iter().map(text).skip(1).collect::<Vec<_>>()
        };
        assert_eq!(told(Target::of("topic", "t")), ["traceparent=ours", "tracestate=a=1"]);
        assert_eq!(told(Target::of("header traceparent", "theirs")), ["traceparent=theirs"]);
    }
}
