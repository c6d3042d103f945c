//! `[server]` in `config.toml`.

use std::fmt;
use std::path::Path;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::fault::with_help;
use sink_api::settings::one_or_many;
use sink_api::{Period, Size};

use super::address;
use super::remote::Network;
use super::tls::TlsKeys;

/// The listener's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Addresses, `HOST:PORT`, `tls://HOST:PORT` or `unix:PATH`; a string or a list.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<String>,
    /// Certificate and key for addresses over TLS.
    pub tls: Option<TlsKeys>,
    /// A path that answers 200 while a webhook would be taken, else 503.
    pub health: Option<String>,
    /// Largest body; one of exactly this size is accepted. At most [`MAX_BODY_LIMIT`].
    pub max_body: Size,
    /// Time for a request's head.
    pub header_timeout: Period,
    /// Time for a request's body. One that brings less than 1 KiB a second over five seconds is given up sooner.
    pub body_timeout: Period,
    /// Largest request head; 431 beyond, and on HTTP/1 beyond one header per 64 bytes of this (at least 100, at most
    /// 2048).
    pub max_header_bytes: Size,
    /// Most connections, of which a sixteenth may speak HTTP/2. For a further one the connection that has been idle
    /// longest is closed; then the one with the slowest head, then the one with the slowest body. Each may hold up to
    /// 32 KiB (on HTTP/2 64 KiB) that was not read yet, beside `max_inflight_bytes`.
    pub max_connections: usize,
    /// Most bytes of requests whose bodies are waited for; beyond, reading pauses, and slow senders are cut (408).
    pub max_inflight_bytes: Size,
    /// Memory for dedupe, all sources together.
    pub dedupe_max: Size,
    /// How long a stop waits for requests that have begun.
    pub drain: Period,
    /// Proxies whose `x-forwarded-for` is believed: addresses and networks.
    pub trusted_proxies: Vec<Network>,
}

/// A string or a list of strings; the fault of a number says which address it may mean.
fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Addresses;
    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_i64<E: Error>(self, port: i64) -> Result<Vec<String>, E> {
            let what = format!("invalid type: integer `{port}`, expected a string or a list of strings");
            Err(E::custom(with_help(&what, &format!("write the address with the port: \"127.0.0.1:{port}\""))))
        }
        fn visit_str<E: Error>(self, one: &str) -> Result<Vec<String>, E> {
            Ok(vec![one.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<String>, A::Error> {
            one_or_many(SeqAccessDeserializer::new(seq))
        }
    }
    from.deserialize_any(Addresses)
}

/// Largest `max_body`: a body is held in memory whole.
pub const MAX_BODY_LIMIT: Size = Size::mib(64);

impl ServerConfig {
    /// The table with absolute paths.
    #[must_use]
    pub fn resolved(self, base_dir: &Path) -> Self {
        let listen = self.listen.iter().map(|address| address::resolved(address, base_dir)).collect();
        let tls = self.tls.as_ref().map(|tls| tls.resolved(base_dir));
        Self { listen, tls, ..self }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:4000".into()],
            tls: None,
            health: None,
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
