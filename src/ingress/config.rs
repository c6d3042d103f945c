//! `[server]` and `[sources.*]` in `config.toml`.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use sink_api::settings::one_or_many;
use sink_api::{Period, Secret, Size};

/// The listener's table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Addresses, `HOST:PORT`; a string or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<String>,
    /// Largest body; one of exactly this size is accepted. At most [`MAX_BODY_LIMIT`].
    pub max_body: Size,
    /// Time for a request's head.
    pub header_timeout: Period,
    /// Time for a request's body.
    pub body_timeout: Period,
    /// Largest request head; 431 beyond, and on HTTP/1 beyond one header per 64 bytes of this (at least 100, at most 2048).
    pub max_header_bytes: Size,
    /// Most connections; further ones wait in the kernel. Each may hold 64 KiB of bodies not yet read beside
    /// `max_inflight_bytes`, and the heads of its requests (on HTTP/2 up to 128 at once).
    pub max_connections: usize,
    /// Most body bytes in flight; reading pauses beyond. What the peer sends ahead of the reading is bounded by
    /// `max_connections`.
    pub max_inflight_bytes: Size,
    /// Memory for dedupe, all sources together.
    pub dedupe_max: Size,
    /// How long requests that have begun are waited for at the end.
    pub drain: Period,
    /// Proxies whose `x-forwarded-for` is believed: addresses, exact.
    pub trusted_proxies: Vec<IpAddr>,
}

/// `max_body` goes no higher: a body is held in memory whole.
pub const MAX_BODY_LIMIT: Size = Size::mib(64);

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:4000".into()],
            max_body: Size::mib(1),
            header_timeout: Period::secs(10),
            body_timeout: Period::secs(30),
            max_header_bytes: Size(32 << 10),
            max_connections: 4096,
            max_inflight_bytes: Size::mib(64),
            dedupe_max: Size::mib(32),
            drain: Period::secs(2),
            trusted_proxies: vec![],
        }
    }
}

/// What kind of source it is. Presets are data; one so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Interakt (WhatsApp Business).
    Interakt,
}

/// What a source answers while the journal cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnJournalFailure {
    /// 200, the event kept in memory: for providers that never send again.
    Accept,
    /// 503 with `Retry-After`.
    Refuse,
}

/// How long repeats are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupeWindow {
    /// Never.
    Off,
    /// For this long.
    For(Period),
}

impl DedupeWindow {
    /// How long, where it is on.
    pub fn window(self) -> Option<std::time::Duration> {
        match self {
            Self::Off => None,
            Self::For(period) => Some(period.0),
        }
    }
}

impl<'de> Deserialize<'de> for DedupeWindow {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        use serde::de::IntoDeserializer;
        Period::deserialize(text.as_str().into_deserializer()).map(Self::For).map_err(|_: serde::de::value::Error| {
            serde::de::Error::invalid_value(
                serde::de::Unexpected::Str(&text),
                &"\"off\" or a time span such as \"10m\"",
            )
        })
    }
}

/// One `[sources.NAME]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Preset.
    pub kind: SourceKind,
    /// Request path, exact.
    pub path: String,
    /// The shared secret. Empty is a fault.
    pub secret: Secret,
    /// Still accepted while the secret is being changed.
    #[serde(default)]
    pub previous_secret: Option<Secret>,
    /// Window of dedupe.
    #[serde(default = "ten_minutes")]
    pub dedupe: DedupeWindow,
    /// What to answer while the journal cannot write. Interakt never sends again: accept.
    #[serde(default = "accept")]
    pub on_journal_failure: OnJournalFailure,
    /// How long a flush is waited for before `on_journal_failure` applies.
    #[serde(default = "ack_deadline")]
    pub ack_deadline: Period,
    /// Request headers kept with the event (lower case). Never authorization, cookie or the signature.
    #[serde(default = "keep_headers")]
    pub keep_headers: Vec<String>,
}

fn ten_minutes() -> DedupeWindow {
    DedupeWindow::For(Period::secs(600))
}

fn accept() -> OnJournalFailure {
    OnJournalFailure::Accept
}

fn ack_deadline() -> Period {
    Period::millis(2500)
}

fn keep_headers() -> Vec<String> {
    vec!["content-type".into(), "user-agent".into()]
}
