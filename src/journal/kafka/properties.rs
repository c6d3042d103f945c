//! What the journal decides of librdkafka's configuration, whatever a client's role: properties of the config that it
//! cannot do without, or that would break what it promises.

use sink_api::kafka::Rules;

/// The journal's rules for properties.
pub static RULES: Rules = Rules { owner: "the journal's own", owned: OWNED, defaults: DEFAULTS };

/// Properties that the journal sets in one role or another, and why it must.
const OWNED: &[(&[&str], Option<&str>, &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], None, "it is the key `brokers`"),
    (&["client.id"], None, "it is made of the key `node`"),
    (&["acks", "request.required.acks"], None, "kept means that all in-sync replicas have it"),
    (&["enable.idempotence", "enable.gapless.guarantee"], None, "an event is kept once and in its order"),
    (
        &["message.timeout.ms", "delivery.timeout.ms", "retries", "message.send.max.retries"],
        None,
        "an event waits until it is kept",
    ),
    (&["queue.buffering.max.messages", "queue.buffering.max.kbytes"], None, "it is the key `overflow_max`"),
    (&["message.max.bytes"], None, "it follows from `max_body`"),
    (&["partitioner", "partitioner_consistent"], None, "all daemons find the same shard for a key"),
    (&["transactional.id", "transaction.timeout.ms"], None, "steps of a sink are transactions of this daemon"),
    (&["group.id"], None, "each sink is a group"),
    (&["group.instance.id"], None, "it is the key `node`"),
    (&["group.protocol", "partition.assignment.strategy"], None, "shards go from daemon to daemon one by one"),
    (
        &["session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"],
        None,
        "it follows from the sink's `timeout`",
    ),
    (
        &["enable.auto.commit", "enable.auto.offset.store", "auto.commit.interval.ms", "auto.offset.reset"],
        None,
        "cursors move when steps are settled",
    ),
    (&["isolation.level"], None, "what is not committed is not there"),
    (&["enable.partition.eof"], None, "the journal asks for it where it needs it"),
    (&["statistics.interval.ms"], None, "the journal asks for them where it needs them"),
    (&["plugin.library.paths"], None, "it would load code"),
    (&["log.queue"], None, "logs go the daemon's way"),
];

/// Where librdkafka's defaults do not suit the journal; `properties` may say otherwise.
const DEFAULTS: &[(&[&str], &str)] = &[
    // A frozen broker costs so long, not a minute.
    (&["socket.timeout.ms"], "6000"),
    (&["reconnect.backoff.max.ms"], "2000"),
    (&["socket.keepalive.enable"], "true"),
];

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;
    use sink_api::Secret;

    use super::*;

    #[test]
    fn what_is_owned_is_known_to_librdkafka_and_refused() {
        for name in OWNED.iter().flat_map(|(names, ..)| names.iter()) {
            let said = RULES.fault(name, &Secret::new("1")).unwrap().message;
            assert!(said.contains(name) && said.contains("the journal's own"), "{said}");
        }
    }

    #[test]
    fn defaults_are_values_that_librdkafka_takes() {
        for (names, value) in DEFAULTS {
            let mut one = ClientConfig::new();
            one.set(names[0], *value);
            assert!(one.create_native_config().is_ok(), "{names:?} = {value}");
        }
    }
}
