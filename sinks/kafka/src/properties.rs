//! What the sink decides of librdkafka's configuration: its own defaults below the config's `properties`, and what is
//! the sink's alone above them.

use rdkafka::config::ClientConfig;
use sink_api::kafka::Rules;

/// Most messages librdkafka keeps for one sink, waiting or under way.
pub const QUEUE_MESSAGES: u32 = 100_000;
/// Most kilobytes of them.
pub const QUEUE_KBYTES: u32 = 64 << 10;

/// The sink's rules for properties.
pub static RULES: Rules = Rules { owner: "the sink's own", owned: OWNED, defaults: DEFAULTS };

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

/// The configuration of a client, for the producer of what goes together: where brokers refuse a message, nothing
/// behind it is sent.
pub fn gapless(mut client: ClientConfig) -> ClientConfig {
    client.set("enable.gapless.guarantee", "true");
    client
}

#[cfg(test)]
mod tests {
    use sink_api::Secret;

    use super::*;

    #[test]
    fn what_the_sink_owns_is_refused_under_each_of_its_names() {
        for name in OWNED.iter().flat_map(|(names, ..)| names.iter()) {
            let said = RULES.fault(name, &Secret::new("1")).unwrap().message;
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
    fn every_default_and_every_owned_value_is_one_librdkafka_takes() {
        let owned = OWNED.iter().filter_map(|(names, value, _)| Some((names, (*value)?)));
        for (names, value) in DEFAULTS.iter().map(|(names, value)| (names, *value)).chain(owned) {
            let mut one = ClientConfig::new();
            one.set(names[0], value);
            assert!(one.create_native_config().is_ok(), "{names:?} = {value}");
        }
    }
}
