//! What all clients of Kafka have in common: addresses of brokers, and librdkafka's properties as a config has them.
//! Pure but for librdkafka's own reading of a value. Values may be secrets: no message shows one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::fault::nearest;
use crate::{Fault, Secret};

/// What a kind of client decides of its properties.
pub struct Rules {
    /// Whose they are, in faults: `the sink's own`.
    pub owner: &'static str,
    /// Properties that the client sets itself, under each of their names, and why it must; without a value, those that
    /// are refused whatever they say.
    pub owned: &'static [(&'static [&'static str], Option<&'static str>, &'static str)],
    /// Where librdkafka's defaults do not suit the client; `properties` may say otherwise.
    pub defaults: &'static [(&'static [&'static str], &'static str)],
}

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

impl Rules {
    /// What is wrong with a property: it is the client's own, librdkafka does not know it, or does not take the value.
    /// Whether properties contradict each other is found when a client is made.
    pub fn fault(&self, name: &str, value: &Secret) -> Option<Fault> {
        let fault = |what: &str| Fault::at_key(format!("properties.{name}"), format!("property `{name}` {what}"));
        if let Some((_, _, why)) = self.owned.iter().find(|(names, ..)| names.contains(&name)) {
            return Some(fault(&format!("is {}: {why}", self.owner)).help("leave it out"));
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

    /// The configuration of a client of these brokers: defaults, above them `properties`, above these what is the
    /// client's own. `resolve` says where a relative path starts.
    pub fn client(
        &self,
        brokers: &str,
        properties: &BTreeMap<String, Secret>,
        resolve: impl Fn(&str) -> PathBuf,
    ) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (names, value) in self.defaults {
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
                config.set(name, resolve(value).to_string_lossy());
            } else {
                config.set(name, value);
            }
        }
        config.set("bootstrap.servers", brokers);
        for (names, value, _) in self.owned {
            if let (Some(name), Some(value)) = (names.first(), value) {
                config.set(*name, *value);
            }
        }
        config
    }
}

/// The key `brokers`, each entry one address or several with commas between, as librdkafka takes them.
///
/// # Errors
/// What is no `host:port`.
pub fn addresses(brokers: &[String]) -> Result<String, Vec<Fault>> {
    let brokers: Vec<&str> = brokers.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    let mut faults = Vec::new();
    if brokers.iter().any(|broker| broker.contains('@')) {
        let what =
            "`brokers` holds a user or password, which no percent-encode makes part of an address: expected host:port";
        let help = "properties = { \"sasl.username\" = \"…\", \"sasl.password\" = \"${…}\" }, and sasl.mechanism";
        faults.push(Fault::at_key("brokers", what).help(help));
    } else {
        faults.extend(brokers.iter().filter(|broker| !is_address(broker)).map(|broker| {
            Fault::at_key("brokers", format!("`{broker}` is no address, expected host:port"))
                .help("brokers = [\"kafka-1.example:9092\", \"kafka-2.example:9092\"]")
        }));
    }
    if brokers.is_empty() {
        faults.push(Fault::at_key("brokers", "`brokers` is empty, expected host:port of at least one broker"));
    }
    if faults.is_empty() { Ok(brokers.join(",")) } else { Err(faults) }
}

/// `host:port`, or `host` alone (librdkafka takes port 9092 then).
fn is_address(text: &str) -> bool {
    let port_is_fine = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => port.ends_with(']') || port.parse::<u16>().is_ok_and(|p| p > 0),
        _ => true,
    };
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    !host.is_empty() && port_is_fine && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        owner: "the relay's own",
        owned: &[(&["acks", "request.required.acks"], Some("all"), "it must")],
        defaults: &[(&["linger.ms", "queue.buffering.max.ms"], "1")],
    };

    fn said(name: &str, value: &str) -> Option<String> {
        RULES.fault(name, &Secret::new(value)).map(|f| format!("{} ({})", f.message, f.help.unwrap_or_default()))
    }

    #[test]
    fn librdkafka_is_asked_about_what_is_not_owned_and_no_value_is_shown() {
        for (name, value) in [("compression.type", "zstd"), ("linger.ms", "5"), ("ssl.ca.location", "nowhere.pem")] {
            assert_eq!(said(name, value), None);
        }
        let owned = said("request.required.acks", "1").unwrap();
        assert!(owned.contains("is the relay's own: it must"), "{owned}");
        let unknown = said("compression.typ", "s3cret").unwrap();
        assert!(unknown.contains("not known") && unknown.contains("did you mean `compression.type`?"), "{unknown}");
        let wrong = said("security.protocol", "s3cret").unwrap();
        assert!(wrong.contains("does not take") && !wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn what_is_owned_stands_above_properties_and_these_above_defaults() {
        let secret = |(name, value): (&str, &str)| (name.to_owned(), Secret::new(value));
        let properties = [("queue.buffering.max.ms", "7"), ("acks", "0"), ("ssl.ca.location", "ca.pem")];
        let properties = properties.into_iter().map(secret).collect();
        let client = RULES.client("a:1", &properties, |path| PathBuf::from("/etc").join(path));
        assert_eq!(client.get("linger.ms"), None);
        assert_eq!(client.get("queue.buffering.max.ms"), Some("7"));
        assert_eq!(client.get("acks"), Some("all"));
        assert_eq!(client.get("ssl.ca.location"), Some("/etc/ca.pem"));
        assert_eq!(client.get("bootstrap.servers"), Some("a:1"));
    }

    #[test]
    fn addresses_are_told_from_slips() {
        for good in ["a", "a:9092", "127.0.0.1:1", "[::1]:9092", "kafka-1.example:65535"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ":9092", "a:", "a:0", "a:65536", "a:x", "a b:1", "http://a:1", "a:1/b"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
