//! The connection URL: what tokio-postgres reads of it, and what is ours (`sslmode` and `sslrootcert`, with libpq's
//! meaning). Pure.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

/// How long the URL's hosts together may take to take a connection, where it has no `connect_timeout`: one that is
/// silent must leave time, within a batch's deadline, to the one that has taken its place.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What each host has of it at least.
const CONNECT_TIMEOUT_EACH: Duration = Duration::from_secs(1);
/// Silence after which the system asks whether the other side is still there, where the URL has no `keepalives_idle`.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged, where the URL has no `tcp_user_timeout`.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What is wrong where user or password hold what ends them. Shows nothing of either.
const BARE_SIGNS: &str = "`@`, `:` or `/` in the user or password: percent-encode them there (%40, %3A, %2F)";
/// Parameters that may stand in a connection URL, of tokio-postgres and of libpq; those of other names are not shown.
const PARAMETERS: &[&str] = &[
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslpassword",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "requiressl",
    "service",
    "require_auth",
    "requirepeer",
    "replication",
    "sslcompression",
];

/// How far a server's certificate is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Any certificate: protects from listeners, not from impostors (`prefer`, `require`).
    Any,
    /// Signed by a root we trust (`verify-ca`, or `require` with a `sslrootcert`).
    Root,
    /// And made out to the host's name (`verify-full`).
    Name,
}

/// The URL, read.
#[derive(Clone)]
pub struct Url {
    /// What tokio-postgres connects with.
    pub config: Config,
    /// Whom to believe.
    pub trust: Trust,
    /// PEM file of the roots to trust; `None`: the system's.
    pub roots: Option<PathBuf>,
}

impl Url {
    /// Reads it.
    ///
    /// # Errors
    /// Says what is wrong, without showing user-info.
    pub fn read(url: &str) -> Result<Self, String> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("expected a URL that begins with postgres://".to_owned());
        }
        if has_bare_signs(url) {
            return Err(BARE_SIGNS.to_owned());
        }
        let (sslmode, roots, rest) = take_ours(url)?;
        let (mode, trust) = match sslmode.as_deref() {
            Some("disable") => (SslMode::Disable, Trust::Any),
            None | Some("prefer") => (SslMode::Prefer, Trust::Any),
            Some("require") if roots.is_none() => (SslMode::Require, Trust::Any),
            Some("require" | "verify-ca") => (SslMode::Require, Trust::Root),
            Some("verify-full") => (SslMode::Require, Trust::Name),
            Some(_) => return Err("sslmode: expected disable, prefer, require, verify-ca or verify-full".to_owned()),
        };
        let read: Result<Config, tokio_postgres::Error> = rest.parse();
        let mut config = read.map_err(|error| fault(&error, &rest))?;
        if config.get_hosts().is_empty() {
            return Err("the URL names no host".to_owned());
        }
        if config.get_user().is_none() {
            return Err("the URL names no user".to_owned());
        }
        config.ssl_mode(mode);
        complete(&mut config);
        Ok(Self { config, trust, roots })
    }

    /// The servers, for people: `host:port`, comma between.
    pub fn address(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
        hosts.enumerate().map(|(at, host)| format!("{host}:{}", port(at))).collect::<Vec<_>>().join(",")
    }
}

/// What a daemon that writes wants, where the URL does not say otherwise.
fn complete(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("hookrelay");
    }
    if config.get_connect_timeout().is_none() {
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX).max(1);
        config.connect_timeout((CONNECT_TIMEOUT / hosts).max(CONNECT_TIMEOUT_EACH));
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    // Of several hosts the one that can be written to; a single one that cannot says so when it is connected to.
    if config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// Whether user or password hold one of the signs that end them. The database's name counts along: it cannot be told
/// from a password with a slash.
fn has_bare_signs(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A password may hold a question mark; the query cannot begin before the user-info has ended.
    let after_user = rest.find('@').unwrap_or_default();
    let end = rest.get(after_user..).and_then(|tail| tail.find('?')).map_or(rest.len(), |at| at + after_user);
    let Some((info, _)) = rest.get(..end).and_then(|base| base.rsplit_once('@')) else { return false };
    let password = info.split_once(':').map_or("", |(_, password)| password);
    info.contains(['@', '/']) || password.contains(':')
}

/// What tokio-postgres has against the URL. Its words may hold a piece of a password that a sign of the URL cut off.
fn fault(error: &tokio_postgres::Error, url: &str) -> String {
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let named = PARAMETERS.iter().find(|name| why.contains(&format!("`{name}`")));
    match named {
        Some(name) if why.starts_with("unknown") => format!("not a connection URL: `{name}` is not supported here"),
        Some(name) => format!("not a connection URL: invalid value for option `{name}`"),
        None if url.contains('?') => {
            "not a connection URL: there is something in its query that is no parameter; where that belongs to the \
             password, percent-encode `?`, `@`, `:` and `/` in it"
                .to_owned()
        }
        None => "not a connection URL: it cannot be read".to_owned(),
    }
}

/// Takes `sslmode` and `sslrootcert` out of the URL's query: tokio-postgres knows only some of their values.
fn take_ours(url: &str) -> Result<(Option<String>, Option<PathBuf>, String), String> {
    // A password may hold a question mark; the query cannot begin before the user-info has ended.
    let after_user = url.find('@').unwrap_or_default();
    let Some(question) = url.get(after_user..).and_then(|rest| rest.find('?')).map(|at| at + after_user) else {
        return Ok((None, None, url.to_owned()));
    };
    let (base, query) = url.split_at(question);
    let (mut sslmode, mut roots, mut rest) = (None, None, Vec::new());
    for pair in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = || percent_decode_str(value).decode_utf8().map(|v| v.into_owned());
        match key {
            "sslmode" => sslmode = Some(decoded().map_err(|_| "sslmode: not UTF-8")?),
            "sslrootcert" => {
                let path = decoded().map_err(|_| "sslrootcert: not UTF-8")?;
                roots = (path != "system").then(|| PathBuf::from(path));
            }
            _ => rest.push(pair),
        }
    }
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    Ok((sslmode, roots, format!("{base}{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        Url::read(url).err().expect("read")
    }

    #[test]
    fn sslmode_means_what_libpq_says() {
        for (query, mode, trust) in [
            ("", SslMode::Prefer, Trust::Any),
            ("?sslmode=disable", SslMode::Disable, Trust::Any),
            ("?sslmode=prefer", SslMode::Prefer, Trust::Any),
            ("?sslmode=require", SslMode::Require, Trust::Any),
            ("?sslmode=require&sslrootcert=ca.pem", SslMode::Require, Trust::Root),
            ("?sslmode=verify-ca", SslMode::Require, Trust::Root),
            ("?application_name=x&sslmode=verify-full&sslrootcert=system", SslMode::Require, Trust::Name),
        ] {
            let url = Url::read(&format!("postgres://u:p?q@h/d{query}")).unwrap_or_else(|e| panic!("{query}: {e}"));
            assert_eq!((url.config.get_ssl_mode(), url.trust), (mode, trust), "{query}");
            assert_eq!(url.roots.is_some(), query.contains("ca.pem"), "{query}");
            assert_eq!(url.config.get_password(), Some(&b"p?q"[..]));
        }
        assert!(error("postgres://u@h/d?sslmode=allow").contains("expected disable, prefer"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error("host=h user=u").contains("postgres://"));
        assert!(error("postgres://u:p@/d").contains("no host"));
        assert!(error("postgres://h/d").contains("no user"));
        assert!(error("postgres://u@h/d?sslcert=x").contains("sslcert"), "{}", error("postgres://u@h/d?sslcert=x"));
        assert!(error("postgres://u@h:port/d").contains("port"));
    }

    #[test]
    fn signs_in_a_password_are_a_fault_that_shows_none_of_it() {
        for (url, of_password) in [
            ("postgres://u:hun@xqx@h/d", &["hun", "xqx"][..]),
            ("postgres://u:hun/xqx@h/d", &["hun", "xqx"]),
            ("postgres://u:hun:xqx@h/d", &["hun", "xqx"]),
            ("postgres://u:hun@xqx:9/x@h:5432/d?sslmode=require", &["hun", "xqx"]),
            ("postgres://u:p@hun?xqx=1@h/d", &["hun", "xqx"]),
            ("postgres://u:p@hun?xqx@h/d", &["hun", "xqx"]),
            ("postgres://hun@xqx@h/d", &["hun", "xqx"]),
        ] {
            let text = error(url);
            assert!(text.contains("percent-encode"), "{url}: {text}");
            assert!(!of_password.iter().any(|part| text.contains(part)), "{url}: {text}");
        }
        for good in
            ["postgres://u:hun%40xqx%2F%3A@h/d", "postgres://u:a?b@h/d", "postgres://u@h/d?application_name=a@b:c/d"]
        {
            assert!(Url::read(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn several_hosts_are_named_with_their_ports() {
        let url = Url::read("postgres://u:p@a:1,b:2/d").ok().unwrap();
        assert_eq!(url.address(), "a:1,b:2");
        assert_eq!(Url::read("postgresql://u@a/d").ok().unwrap().address(), "a:5432");
        assert_eq!(url.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn several_hosts_share_the_time_there_is_for_connecting() {
        let timeout = |url: &str| Url::read(url).ok().unwrap().config.get_connect_timeout().copied().unwrap();
        assert_eq!(timeout("postgres://u@a/d"), CONNECT_TIMEOUT);
        assert_eq!(timeout("postgres://u@a,b/d"), CONNECT_TIMEOUT / 2);
        assert_eq!(timeout("postgres://u@a,b,c,d,e,f,g,h/d"), CONNECT_TIMEOUT_EACH);
        assert_eq!(timeout("postgres://u@a,b/d?connect_timeout=7"), Duration::from_secs(7));
    }
}
