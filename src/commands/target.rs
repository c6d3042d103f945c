//! Where `send` posts to: what it is asked for, else an address of the config as seen from this machine.

use std::path::PathBuf;

use reqwest::Url;

use super::Failure;
use crate::config::Config;
use crate::ingress::SourcePlan;
use crate::ingress::http::address::Address;

/// Where to post.
#[derive(Debug)]
pub(super) struct Target {
    pub url: Url,
    /// The Unix socket that leads there.
    pub socket: Option<PathBuf>,
}

impl Target {
    /// Where to post webhooks of that source.
    ///
    /// # Errors
    /// The URL that is asked for cannot be meant.
    pub fn of(config: &Config, source: &SourcePlan, asked: Option<&str>) -> Result<Self, Failure> {
        let (text, socket) = asked.map_or_else(|| listened_on(config), |url| (url.to_owned(), None));
        let shown = if text.contains('@') { "…: percent-encode `@`, `:` and `/` before its host" } else { &text };
        let mut url = Url::parse(&text).map_err(|error| Failure::Usage(format!("--url {shown}: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::Usage(format!("--url {shown}: expected http:// or https://")));
        }
        if matches!(url.path(), "" | "/") {
            url.set_path(&source.path);
        }
        Ok(Self { url, socket })
    }
}

/// The first address that the daemon listens on without TLS, else the first one: over TLS the certificate has to be
/// good for its host, which a wildcard's is not.
fn listened_on(config: &Config) -> (String, Option<PathBuf>) {
    let all = || config.server.listen.iter().filter_map(|text| Address::parse(text).ok());
    match all().find(|address| !address.is_tls()).or_else(|| all().next()) {
        Some(Address::Tcp { host, port, is_tls }) => {
            let host = match host {
                "0.0.0.0" => "127.0.0.1".to_owned(),
                "::" => "[::1]".to_owned(),
                v6 if v6.contains(':') => format!("[{v6}]"),
                host => host.to_owned(),
            };
            (format!("{}://{host}:{port}", if is_tls { "https" } else { "http" }), None)
        }
        Some(Address::Unix(path)) => ("http://localhost".to_owned(), Some(path.to_owned())),
        // Never reached: the config would be at fault.
        None => (String::new(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SOURCE, config};

    #[test]
    fn the_address_is_the_first_one_listened_on_or_the_one_asked_for() {
        let of = |listen: &str, asked: Option<&str>| {
            let config = config(&format!("{SOURCE}server.listen = [\"{listen}\", \"127.0.0.1:9\"]\n"));
            let Target { url, socket } = Target::of(&config, &config.sources[0], asked).unwrap();
            (url.to_string(), socket)
        };
        let plain = |url: &str| (url.to_owned(), None);
        assert_eq!(of("0.0.0.0:4000", None), plain("http://127.0.0.1:4000/webhooks/interakt"));
        assert_eq!(of("[::]:4000", None), plain("http://[::1]:4000/webhooks/interakt"));
        assert_eq!(of("localhost:80", None), plain("http://localhost/webhooks/interakt"));
        assert_eq!(of("127.0.0.1:4000", Some("https://x.example")), plain("https://x.example/webhooks/interakt"));
        assert_eq!(of("127.0.0.1:4000", Some("https://x.example/y")), plain("https://x.example/y"));
        let (url, socket) = of("unix:/run/a.sock", None);
        assert_eq!((url.as_str(), socket), ("http://localhost/webhooks/interakt", Some("/run/a.sock".into())));
    }
}
