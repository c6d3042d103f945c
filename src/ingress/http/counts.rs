//! What the listeners have counted since the start, whatever the source: plain numbers for metrics and status to read.

use crate::ingress::counts::Counter;

/// What the listener has counted, whatever the source.
#[derive(Debug, Default)]
pub struct ServerCounts {
    /// Connections accepted.
    pub connections: Counter,
    /// Failures to accept one (out of descriptors, out of memory).
    pub accept_errors: Counter,
    /// 408 or silence: a request's head did not come in time.
    pub slow_heads: Counter,
    /// 431.
    pub large_heads: Counter,
    /// 400: what came is not HTTP.
    pub malformed: Counter,
    /// 400: HTTP/1.1 without `Host`, or with several.
    pub hostless: Counter,
    /// TLS handshakes that have failed.
    pub failed_handshakes: Counter,
    /// Connections to an address with TLS that did not speak TLS.
    pub plain_on_tls: Counter,
    /// 404.
    pub not_found: Counter,
    /// 405.
    pub wrong_method: Counter,
}
