//! The keys every sink has, owned by the core: batching, order, retry, breaker. And `[delivery]`, which holds for all
//! sinks together.

use std::num::NonZeroU32;

use serde::Deserialize;
use sink_api::settings::table;
use sink_api::{Defaults, Fault, Period, Size, Template};

use super::rate_limit::Rate;

/// In the place of a rate: there is none.
pub const OFF: &str = "off";

/// `[delivery]`: what all sinks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Memory for events that sinks have read and not settled, all sinks together.
    pub memory: Size,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { memory: Size::mib(64) }
    }
}

impl DeliveryConfig {
    /// What is wrong with it.
    pub fn check(&self) -> Vec<Fault> {
        self.memory.fault("memory", Size::mib(8)..=Size::MOST).into_iter().collect()
    }
}

/// `start`: a new sink's first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// Events from now on.
    #[default]
    Now,
    /// Everything the journal still holds.
    Beginning,
}

/// `ordering`: what order is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Deliveries of one key in the order their events came.
    #[default]
    Key,
    /// No order.
    None,
}

/// `batch = { … }`; what is unset is the kind's default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table such as { max_events = 500, max_bytes = \"1MiB\", linger = \"5ms\" }"
)]
pub struct BatchKeys {
    /// Most deliveries.
    pub max_events: Option<usize>,
    /// Most payload bytes.
    pub max_bytes: Option<Size>,
    /// How long a batch that is not full waits.
    pub linger: Option<Period>,
}

/// `retry = { … }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table such as { initial = \"500ms\", max = \"5m\", deadline = \"24h\" }"
)]
pub struct RetryKeys {
    /// First wait, before jitter.
    pub initial: Period,
    /// Longest wait, before jitter.
    pub max: Period,
    /// A delivery not made this long after its first attempt becomes a dead letter.
    pub deadline: Period,
    /// Most attempts; unlimited where unset.
    pub attempts: Option<NonZeroU32>,
}

impl Default for RetryKeys {
    fn default() -> Self {
        Self { initial: Period::millis(500), max: Period::secs(300), deadline: Period::secs(24 * 3600), attempts: None }
    }
}

/// `breaker = { … }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table such as { probe = \"1s\", probe_max = \"30s\" }")]
pub struct BreakerKeys {
    /// First wait before a probe.
    pub probe: Period,
    /// Longest wait between probes.
    pub probe_max: Period,
}

impl Default for BreakerKeys {
    fn default() -> Self {
        Self { probe: Period::secs(1), probe_max: Period::secs(30) }
    }
}

/// The core's keys of a sink's table, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryKeys {
    /// Where false the sink takes nothing and its cursor stays.
    pub enabled: bool,
    /// Where a new sink begins.
    pub start: StartAt,
    /// Batching.
    #[serde(deserialize_with = "table")]
    pub batch: BatchKeys,
    /// Most deliver calls at once.
    pub concurrency: Option<usize>,
    /// The ordering key.
    pub key: Option<Template>,
    /// What order is owed.
    pub ordering: Ordering,
    /// Retry schedule.
    #[serde(deserialize_with = "table")]
    pub retry: RetryKeys,
    /// Breaker schedule.
    #[serde(deserialize_with = "table")]
    pub breaker: BreakerKeys,
    /// Time for one deliver call.
    pub timeout: Period,
    /// Room for parked deliveries; where the room is full the cursor waits.
    pub parked_max: Size,
    /// Most deliveries handed to the sink in a span of time (`300/min`), evenly spread, retries included; `off`: any
    /// number, whatever the kind's default is.
    pub rate: Option<String>,
    /// Whether what the target said to a delivery that it did not take is kept with it, for `dead show`.
    pub keep_answer: bool,
}

impl Default for DeliveryKeys {
    fn default() -> Self {
        Self {
            enabled: true,
            start: StartAt::Now,
            batch: BatchKeys::default(),
            concurrency: None,
            key: None,
            ordering: Ordering::Key,
            retry: RetryKeys::default(),
            breaker: BreakerKeys::default(),
            timeout: Period::secs(10),
            parked_max: Size(256 << 20),
            rate: None,
            keep_answer: false,
        }
    }
}

impl DeliveryKeys {
    /// The names of these keys: what the core takes out of a sink's table before the sink reads the rest.
    pub const NAMES: &[&str] = &[
        "enabled",
        "start",
        "batch",
        "concurrency",
        "key",
        "ordering",
        "retry",
        "breaker",
        "timeout",
        "parked_max",
        "rate",
        "keep_answer",
    ];

    /// The rate, or the kind's where the table names none; `None`: as fast as the sink takes it.
    pub fn rate(&self, kind: &Defaults) -> Option<Rate> {
        match self.rate.as_deref() {
            Some(OFF) => None,
            own => own.or(kind.rate).and_then(Rate::parse),
        }
    }

    /// Batching and concurrency with the kind's defaults filled in; its default of `rate` stands beside them.
    pub fn limits(&self, kind: &Defaults) -> Defaults {
        Defaults {
            max_events: self.batch.max_events.unwrap_or(kind.max_events).max(1),
            max_bytes: self.batch.max_bytes.map_or(kind.max_bytes, |s| s.0),
            linger: self.batch.linger.map_or(kind.linger, |p| p.0),
            concurrency: self.concurrency.unwrap_or(kind.concurrency).max(1),
            rate: kind.rate,
        }
    }
}
