//! What is wrong with `[server]`, beyond what its types say. Pure: no network, no files.

use sink_api::{Fault, Period, Size};

use super::config::{MAX_BODY_LIMIT, ServerConfig};
use super::listener;

/// Bounds of `max_header_bytes`: what any honest request needs, and what no honest one does.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1024..=1 << 20;

/// Longest that a sender is waited for.
const LONGEST_WAIT: Period = Period::HOUR;

/// All faults of `[server]`.
pub fn check_server(server: &ServerConfig) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut demand = |good: bool, key: &str, message: &str| {
        if !good {
            faults.push(Fault::at_key(key, message));
        }
    };
    demand(!server.listen.is_empty(), "listen", "listen names no address");
    for (nth, address) in server.listen.iter().enumerate() {
        // Of free ports there is more than one.
        let is_new = address.ends_with(":0") || !server.listen.iter().take(nth).any(|earlier| earlier == address);
        demand(is_new, "listen", &format!("listen address `{address}` stands there twice"));
        if let Err(why) = listener::split(address) {
            demand(false, "listen", &format!("listen address `{address}`: {why}"));
        }
    }
    let body = server.max_body;
    demand(body.0 > 0 && body <= MAX_BODY_LIMIT, "max_body", "max_body must be between 1 byte and 64MiB");
    demand(
        HEADER_BYTES.contains(&server.max_header_bytes.0),
        "max_header_bytes",
        "max_header_bytes must be between 1KiB and 1MiB",
    );
    demand(server.max_connections >= 1, "max_connections", "max_connections must be at least 1");
    demand(server.max_inflight_bytes >= body, "max_inflight_bytes", "max_inflight_bytes must be at least max_body");
    demand(
        server.dedupe_max > Size(0),
        "dedupe_max",
        "dedupe_max must be more than 0; a source's dedupe = \"off\" switches it off",
    );
    faults.extend(server.header_timeout.fault("header_timeout", Period::LEAST..=LONGEST_WAIT));
    faults.extend(server.body_timeout.fault("body_timeout", Period::LEAST..=LONGEST_WAIT));
    faults.extend(server.drain.fault("drain", Period::ZERO..=LONGEST_WAIT));
    faults
}
