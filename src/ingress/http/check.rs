//! What is wrong with `[server]`, beyond what its types say. Pure: no network, no files.

use sink_api::{Fault, Period, Size};

use super::address::Address;
use super::config::{MAX_BODY_LIMIT, ServerConfig};

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
    let listen: Vec<_> = server.listen.iter().map(|address| (address, Address::parse(address))).collect();
    for (nth, (address, read)) in listen.iter().enumerate() {
        let earlier = || listen.iter().take(nth).filter_map(|(_, earlier)| earlier.as_ref().ok());
        match read {
            Ok(at) => {
                let is_new = !earlier().any(|earlier| earlier.is_same_place(at));
                demand(is_new, "listen", &format!("listen address `{address}` stands there twice"));
            }
            Err(why) => demand(false, "listen", &format!("listen address `{address}`: {why}")),
        }
    }
    let has_tls = listen.iter().any(|(_, read)| read.as_ref().is_ok_and(Address::is_tls));
    faults.extend(tls_fault(has_tls, server.tls.is_some()));
    faults.extend(server.health.as_deref().and_then(health_fault));
    let mut demand = |good: bool, key: &str, message: &str| {
        if !good {
            faults.push(Fault::at_key(key, message));
        }
    };
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

/// `tls` and addresses that begin with `tls://` go together.
fn tls_fault(is_wanted: bool, is_there: bool) -> Option<Fault> {
    match (is_wanted, is_there) {
        (true, false) => {
            let help = "add tls = { cert = \"cert.pem\", key = \"key.pem\" } to [server]";
            Some(Fault::at_key("listen", "an address begins with tls://, and there is no `tls`").help(help))
        }
        (false, true) => {
            let help = "write \"tls://HOST:PORT\" into `listen`: without it, nothing is encrypted";
            Some(Fault::at_key("tls", "no address of `listen` begins with tls://").help(help))
        }
        _ => None,
    }
}

/// `health` is a path as sources have them.
fn health_fault(path: &str) -> Option<Fault> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    let is_path = path.starts_with('/') && path.chars().all(plain);
    let message = || format!("health path `{path}` must start with `/` and hold no query, fragment or blanks");
    (!is_path).then(|| Fault::at_key("health", message()).help("such as health = \"/healthz\""))
}
