//! Bounds of the numbers in a config, and whether they make sense together, which serde cannot check. Pure.

use sink_api::{Defaults, Fault, Period, Size, kafka};

use crate::deliver::Rate;
use crate::deliver::config::{DeliveryKeys, OFF};
use crate::journal::kafka::RULES;
use crate::journal::kafka::message::MAX_BYTES;
use crate::journal::{JournalConfig, Kind};

/// Most `deliver` calls at once.
pub const MAX_CONCURRENCY: usize = 1024;
/// Most deliveries in a batch.
pub const MAX_BATCH_EVENTS: usize = 100_000;
/// Most payload bytes in a batch: it is held in memory.
pub const MAX_BATCH_BYTES: Size = Size::mib(256);
/// Longest time that a batch waits for more deliveries.
pub const MAX_LINGER: Period = Period::secs(60);
/// Longest time that a `deliver` call may take.
pub const MAX_TIMEOUT: Period = Period::HOUR;
/// Longest time between attempts, between probes, and until a delivery is given up.
pub const MAX_WAIT: Period = Period::YEAR;
/// Most memory for records that wait for a flush.
pub const MAX_OVERFLOW: Size = Size::mib(1 << 20);
/// Smallest segment of the journal.
pub const MIN_SEGMENT: Size = Size::mib(1);
/// Largest segment: offsets inside one are 32 bits wide.
pub const MAX_SEGMENT: Size = Size::mib(2048);
/// Longest name of a daemon among those that share a journal, and of the cluster: both stand in names of topics.
pub const MAX_NODE: usize = 64;
/// Largest body that a journal on Kafka takes: less than its largest event, which has the request's head, too.
pub const MAX_KAFKA_BODY: Size = Size::mib(11);
const _: () = assert!(MAX_KAFKA_BODY.0 + (1 << 20) <= MAX_BYTES as u64);
/// Most shards of a journal on Kafka.
pub const MAX_PARTITIONS: u32 = 1024;

/// The faults of `[journal]`.
pub(super) fn journal(journal: &JournalConfig) -> Vec<Fault> {
    let mut faults = Vec::new();
    let size = journal.segment_size.0;
    if !(MIN_SEGMENT.0..=MAX_SEGMENT.0).contains(&size) {
        faults.push(Fault::at_key("segment_size", "`segment_size` is out of bounds, expected \"1MiB\" to \"2GiB\""));
    } else if journal.max_size.0 < size.saturating_mul(2) {
        let message = "`max_size` has no room for two segments: nothing could ever be deleted, expected at least twice \
                       `segment_size`";
        faults.push(Fault::at_key("max_size", message).help("make `max_size` larger or `segment_size` smaller"));
    }
    faults.extend(journal.overflow_max.fault("overflow_max", Size::LEAST..=MAX_OVERFLOW));
    if journal.dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
        faults.push(Fault::at_key("dir", "`dir` is empty, expected the path of a folder"));
    }
    faults.extend(match journal.kind {
        Kind::Local => local_faults(journal),
        Kind::Kafka => kafka_faults(journal),
    });
    faults
}

/// Keys that only a journal on Kafka has.
fn local_faults(journal: &JournalConfig) -> Vec<Fault> {
    let JournalConfig { brokers, cluster, node, partitions, overflow_disk, flush, properties, .. } = journal;
    let set = [
        ("brokers", brokers.is_some()),
        ("cluster", cluster.is_some()),
        ("node", node.is_some()),
        ("partitions", partitions.is_some()),
        ("overflow_disk", overflow_disk.is_some()),
        ("flush", flush.is_some()),
        ("properties", !properties.is_empty()),
    ];
    let fault = |(key, _): (&str, bool)| {
        Fault::at_key(key, format!("`{key}` belongs to a journal on Kafka")).help("kind = \"kafka\"")
    };
    set.into_iter().filter(|(_, is_set)| *is_set).map(fault).collect()
}

fn kafka_faults(journal: &JournalConfig) -> Vec<Fault> {
    let mut faults = match &journal.brokers {
        Some(brokers) => kafka::addresses(brokers).err().unwrap_or_default(),
        None => {
            let what = "a journal on Kafka needs `brokers`";
            vec![Fault::at_key("kind", what).help("brokers = [\"kafka-1.example:9092\", \"kafka-2.example:9092\"]")]
        }
    };
    for (key, name) in [("cluster", &journal.cluster), ("node", &journal.node)] {
        let is_good = |name: &String| {
            (1..=MAX_NODE).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if name.as_ref().is_some_and(|name| !is_good(name)) {
            let what = format!("`{key}` is no name, expected 1 to {MAX_NODE} letters, digits, `.`, `_` and `-`");
            faults.push(Fault::at_key(key, what));
        }
    }
    if journal.partitions.is_some_and(|n| !(1..=MAX_PARTITIONS).contains(&n)) {
        faults.push(Fault::at_key(
            "partitions",
            format!("`partitions` is out of bounds, expected 1 to {MAX_PARTITIONS}"),
        ));
    }
    faults.extend(journal.overflow_disk.and_then(|size| size.fault("overflow_disk", MIN_SEGMENT..=MAX_OVERFLOW)));
    faults.extend(journal.properties.iter().filter_map(|(name, value)| RULES.fault(name, value)));
    faults
}

/// The faults of the core's keys in a sink's table.
pub(super) fn delivery(keys: &DeliveryKeys, limits: &Defaults) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut expect = |good: bool, key: &str, what: &str| {
        if !good {
            faults.push(Fault::at_key(key, format!("`{key}` is out of bounds, expected {what}")));
        }
    };
    let most = |n: Option<usize>, most: usize| n.is_none_or(|n| (1..=most).contains(&n));
    expect(most(keys.concurrency, MAX_CONCURRENCY), "concurrency", "1 to 1024");
    expect(most(keys.batch.max_events, MAX_BATCH_EVENTS), "batch.max_events", "1 to 100000");
    faults.extend(Size(limits.max_bytes).fault("batch.max_bytes", Size::LEAST..=MAX_BATCH_BYTES));
    faults.extend(Period(limits.linger).fault("batch.linger", Period::ZERO..=MAX_LINGER));
    faults.extend(keys.timeout.fault("timeout", Period::LEAST..=MAX_TIMEOUT));
    let (retry, breaker) = (&keys.retry, &keys.breaker);
    for (key, period) in [
        ("retry.initial", retry.initial),
        ("retry.max", retry.max),
        ("retry.deadline", retry.deadline),
        ("breaker.probe", breaker.probe),
        ("breaker.probe_max", breaker.probe_max),
    ] {
        faults.extend(period.fault(key, Period::LEAST..=MAX_WAIT));
    }
    if retry.initial > retry.max {
        faults.push(Fault::at_key("retry.max", "`retry.max` is shorter than `retry.initial`"));
    }
    if breaker.probe > breaker.probe_max {
        faults.push(Fault::at_key("breaker.probe_max", "`breaker.probe_max` is shorter than `breaker.probe`"));
    }
    if keys.rate.as_deref().is_some_and(|rate| rate != OFF && Rate::parse(rate).is_none()) {
        let what = "`rate` is not a rate, expected a count and a unit such as \"300/min\", or \"off\"";
        faults.push(Fault::at_key("rate", what));
    }
    faults
}
