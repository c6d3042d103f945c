//! librdkafka's configuration: the config's `properties`, the sink's own defaults below them, and what is the sink's
//! alone above them. Values may be secrets: no message shows one.

use std::collections::BTreeMap;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::fault::nearest;
use sink_api::{Fault, Secret, SinkContext};

/// Most messages librdkafka keeps for one sink, waiting or under way.
pub const QUEUE_MESSAGES: u32 = 100_000;
/// Most kilobytes of them.
pub const QUEUE_KBYTES: u32 = 64 << 10;

/// Properties the sink sets itself, and why it must; without a value, those that are refused whatever they say.
const OWNED: &[(&[&str], Option<&str>, &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], None, "it is the key `brokers`"),
    (&["acks", "request.required.acks"], Some("all"), "delivered means that all in-sync replicas have it"),
    (&["enable.idempotence"], Some("true"), "a resend must not be a second message"),
    (&["enable.gapless.guarantee"], None, "the sink sees to order itself"),
    (&["transactional.id", "transaction.timeout.ms"], None, "the sink uses no transactions"),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        Some("0"),
        "the core's `timeout` bounds a call: a message that librdkafka gave up by itself could be overtaken",
    ),
    (&["retries", "message.send.max.retries"], None, "the core's `timeout` bounds resending"),
    (&["queue.buffering.max.messages"], Some("100000"), "the sink bounds its queue"),
    (&["queue.buffering.max.kbytes"], Some("65536"), "the sink bounds its queue"),
    (&["plugin.library.paths"], None, "it would load code"),
    (&["log.queue"], None, "logs go the daemon's way"),
];

/// Defaults of the sink where librdkafka's do not suit it; `properties` may say otherwise.
const DEFAULTS: &[(&[&str], &str)] = &[
    (&["client.id"], "hookrelay"),
    // As Java's clients choose partitions, so that other producers of a topic agree.
    (&["partitioner"], "murmur2_random"),
    // The core has gathered a batch already.
    (&["linger.ms", "queue.buffering.max.ms"], "1"),
    // The broker's limit decides, not ours.
    (&["message.max.bytes"], "16777216"),
    // How long a topic may be unknown before that is believed; well below the core's `timeout`.
    (&["topic.metadata.propagation.max.ms"], "5000"),
    // How soon rights that were given, and topics that were made, are seen.
    (&["topic.metadata.refresh.interval.ms"], "30000"),
    (&["reconnect.backoff.max.ms"], "2000"),
    (&["socket.keepalive.enable"], "true"),
];

/// Properties that are paths: relative ones start at the config's folder, as everywhere.
const PATHS: &[&str] =
    &["ssl.ca.location", "ssl.certificate.location", "ssl.crl.location", "ssl.key.location", "ssl.keystore.location"];

/// Names for "did you mean": the properties that are commonly set.
const COMMON: &[&str] = &[
    "allow.auto.create.topics",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "client.id",
    "compression.level",
    "compression.type",
    "linger.ms",
    "message.max.bytes",
    "partitioner",
    "reconnect.backoff.max.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "topic.metadata.propagation.max.ms",
];

/// A property's value: a string, a whole number or a boolean. Any may be a secret.
pub struct Property(pub Secret);

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Property;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a whole number or a boolean")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property(Secret::new(text)))
            }
            fn visit_i64<E: Error>(self, n: i64) -> Result<Property, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_bool<E: Error>(self, yes: bool) -> Result<Property, E> {
                self.visit_str(if yes { "true" } else { "false" })
            }
        }
        from.deserialize_any(Any)
    }
}

/// What is wrong with a property: it is the sink's own, librdkafka does not know it, or does not take the value.
/// Whether properties contradict each other is found when the sink is opened.
pub fn fault(name: &str, value: &Secret) -> Option<Fault> {
    let fault = |what: &str| Fault::at_key(format!("properties.{name}"), format!("property `{name}` {what}"));
    if let Some((_, _, why)) = OWNED.iter().find(|(names, ..)| names.contains(&name)) {
        return Some(fault(&format!("is the sink's own: {why}")).help("leave it out"));
    }
    let mut one = ClientConfig::new();
    one.set(name, value.expose());
    match one.create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            let unknown = fault("is not known to librdkafka, or not built in");
            Some(match nearest(name, COMMON.iter().copied()) {
                Some(near) if near != name => unknown.help(format!("did you mean `{near}`?")),
                _ => unknown,
            })
        }
        Err(_) => Some(fault("has a value that librdkafka does not take")),
    }
}

/// The whole configuration of a client of these brokers.
pub fn client(brokers: &str, properties: &BTreeMap<String, Secret>, cx: &SinkContext) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (names, value) in DEFAULTS {
        if let Some(name) = names.first()
            && !names.iter().any(|name| properties.contains_key(*name))
        {
            config.set(*name, *value);
        }
    }
    for (name, value) in properties {
        let value = value.expose();
        // `probe` is no path: librdkafka looks for the system's certificates then.
        if PATHS.contains(&name.as_str()) && value != "probe" {
            config.set(name, cx.resolve(value).to_string_lossy());
        } else {
            config.set(name, value);
        }
    }
    config.set("bootstrap.servers", brokers);
    for (names, value, _) in OWNED {
        if let (Some(name), Some(value)) = (names.first(), value) {
            config.set(*name, *value);
        }
    }
    config
}

/// The same, for the producer of what goes together: where brokers refuse a message, nothing behind it is sent.
pub fn gapless(mut client: ClientConfig) -> ClientConfig {
    client.set("enable.gapless.guarantee", "true");
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Option<String> {
        fault(name, &Secret::new(value)).map(|f| format!("{} ({})", f.message, f.help.unwrap_or_default()))
    }

    #[test]
    fn what_the_sink_owns_is_refused_under_each_of_its_names() {
        for name in OWNED.iter().flat_map(|(names, ..)| names.iter()) {
            let said = said(name, "1").unwrap();
            assert!(said.contains(name) && said.contains("is the sink's own"), "{said}");
        }
    }

    #[test]
    fn the_bounds_of_the_queue_are_the_ones_that_are_documented() {
        let value = |name| OWNED.iter().find(|(names, ..)| names.contains(&name)).and_then(|(_, value, _)| *value);
        assert_eq!(value("queue.buffering.max.messages"), Some(QUEUE_MESSAGES.to_string().as_str()));
        assert_eq!(value("queue.buffering.max.kbytes"), Some(QUEUE_KBYTES.to_string().as_str()));
    }

    #[test]
    fn librdkafka_is_asked_about_the_rest_and_no_value_is_shown() {
        for (name, value) in [("compression.type", "zstd"), ("linger.ms", "5"), ("ssl.ca.location", "nowhere.pem")] {
            assert_eq!(said(name, value), None);
        }
        let unknown = said("compression.typ", "s3cret").unwrap();
        assert!(unknown.contains("not known") && unknown.contains("did you mean `compression.type`?"), "{unknown}");
        let wrong = said("security.protocol", "s3cret").unwrap();
        assert!(wrong.contains("does not take") && !wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn every_default_and_every_owned_value_is_one_librdkafka_takes() {
        let owned = OWNED.iter().filter_map(|(names, value, _)| Some((names, (*value)?)));
        for (names, value) in DEFAULTS.iter().map(|(names, value)| (names, *value)).chain(owned) {
            let mut one = ClientConfig::new();
            one.set(names[0], value);
            assert!(one.create_native_config().is_ok(), "{names:?} = {value}");
        }
    }
}
