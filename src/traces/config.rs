//! `[tracing]`: whether spans are sent, where to, and of how many events.

use reqwest::Url;
use serde::Deserialize;
use sink_api::Fault;

/// What is added to the collector's address (OTLP specification, *OTLP/HTTP request*: the default path of traces).
const PATH: &str = "v1/traces";

/// The table as written. A reload puts all of it in force.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// The collector's address, `/v1/traces` left out. No spans are made where it is not set.
    pub otlp: Option<String>,
    /// Which share of the traces that begin here is recorded, 0 to 1.
    pub sample: f64,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { otlp: None, sample: 1.0 }
    }
}

impl TracingConfig {
    /// What is wrong with it.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.otlp.as_deref().and_then(fault_of).into_iter().collect();
        if !(0.0..=1.0).contains(&self.sample) {
            faults.push(Fault::at_key("sample", "`sample` is out of bounds, expected a share from 0 to 1"));
        }
        faults
    }

    /// Where spans are posted to.
    pub(super) fn endpoint(&self) -> Option<String> {
        let otlp = self.otlp.as_deref()?;
        Some(format!("{}/{PATH}", otlp.trim_end_matches('/')))
    }
}

/// What is wrong with a collector's address.
fn fault_of(otlp: &str) -> Option<Fault> {
    let fault = |what: &str| Fault::at_key("otlp", format!("`otlp` {what}"));
    let url = match Url::parse(otlp) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            let help = "otlp = \"http://127.0.0.1:4318\"; 4318 is the port for OTLP over HTTP, 4317 is gRPC's";
            return Some(fault("is not an address, expected http:// or https:// and a host").help(help));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let help = "let a collector on this machine take the spans; it knows how to sign in elsewhere";
        return Some(fault("holds a user or password").help(help));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some(fault("has a query or a fragment, expected an address alone"));
    }
    if let Some(base) = otlp.trim_end_matches('/').strip_suffix(PATH) {
        let base = base.trim_end_matches('/');
        return Some(fault("names the path of traces, which is added").help(format!("otlp = \"{base}\"")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(otlp: &str, sample: f64) -> Vec<String> {
        let config = TracingConfig { otlp: Some(otlp.to_owned()), sample };
        config.check().into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn an_address_is_told_from_slips() {
        for good in ["http://127.0.0.1:4318", "https://collector.example/", "http://[::1]:4318/base"] {
            assert_eq!(said(good, 0.5), [""; 0], "{good}");
        }
        let bad =
            ["", "127.0.0.1:4318", "grpc://a:4317", "http://", "http://u:p@a", "http://a?b", "http://a/v1/traces/"];
        for bad in bad {
            assert_eq!(said(bad, 1.0).len(), 1, "{bad}");
        }
        for bad in [-0.1, 1.1, f64::NAN] {
            assert_eq!(said("http://a", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn the_path_of_traces_is_added_once() {
        for otlp in ["http://a:4318", "http://a:4318/"] {
            let config = TracingConfig { otlp: Some(otlp.to_owned()), ..TracingConfig::default() };
            assert_eq!(config.endpoint().as_deref(), Some("http://a:4318/v1/traces"));
        }
        assert_eq!(TracingConfig::default().endpoint(), None);
    }
}
