//! The part of reading a config that is about sinks that send messages: what bounds them, and what is valid in their
//! tables and cannot be meant. Knows no kind by name: all that send have these keys, or none of them.

use std::ops::Range;

use sink_api::Fault;
use toml::Spanned;
use toml::de::DeTable;

use super::load::Loader;
use super::sinks::SinkEntry;

/// Most further messages for one first message, where a table does not say.
const MAX_ATTEMPTS: u32 = 3;
/// How long after a first message something is sent for it, where a table does not say.
const MAX_AGE: &str = "7d";

/// What bounds the messages of a sink.
pub(super) struct SenderBounds {
    /// The sink's name.
    pub sink: String,
    /// Most further messages for one first message.
    pub max_attempts: u32,
    /// For how long after it, as written.
    pub max_age: String,
    /// Whether the table says both, and no more than is usual: whoever does knows of answers to answers.
    pub are_meant: bool,
}

impl Loader<'_> {
    /// Takes note of what bounds a sink that sends, and of what its table cannot mean.
    pub fn sending_sink(&mut self, entry: &SinkEntry, table: &DeTable<'_>, header: &Range<usize>) {
        let text = |key: &str| table.get(key).map(Spanned::get_ref).and_then(|value| value.as_str());
        let number = table.get("max_attempts").map(Spanned::get_ref).and_then(|value| value.as_integer());
        let max_attempts = number.and_then(|number| number.as_str().parse::<u32>().ok());
        self.bounds.push(SenderBounds {
            sink: entry.name.clone(),
            max_attempts: max_attempts.unwrap_or(MAX_ATTEMPTS),
            max_age: text("max_age").unwrap_or(MAX_AGE).to_owned(),
            are_meant: max_attempts.is_some_and(|most| most <= MAX_ATTEMPTS) && text("max_age").is_some(),
        });
        let mut doubts = Vec::new();
        if text("url").is_some_and(goes_in_the_clear) {
            let message = "`url` is http://, and leads to another machine: the key and all messages go in the clear";
            doubts.push(Fault::at_key("url", message).help("write https://"));
        }
        for doubt in doubts {
            self.report.doubt(&format!("sinks.{}", entry.name), doubt, table, header);
        }
    }

    /// What bounds that sink.
    pub fn bounds_of(&self, sink: &str) -> Option<&SenderBounds> {
        self.bounds.iter().find(|bounds| bounds.sink == sink)
    }
}

/// Whether an address is http://, and not of this machine.
fn goes_in_the_clear(url: &str) -> bool {
    let url = url.trim().to_ascii_lowercase();
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_here = name == "localhost" || name.ends_with(".localhost") || name == "::1";
    !is_here && !name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_another_machine_without_tls_goes_in_the_clear() {
        for here in
            ["https://api.example", "http://localhost:8/v1", "http://127.0.0.2", "HTTP://[::1]:80/", "x.localhost"]
        {
            assert!(!goes_in_the_clear(here), "{here}");
        }
        for away in
            ["http://api.example/v1", " http://10.0.0.7:80", "http://127.0.0.1.example", "http://localhost.example"]
        {
            assert!(goes_in_the_clear(away), "{away}");
        }
    }
}
