//! The sink's table in `config.toml`: what is written (`Written`) and what it means (`Plan`). Pure. Must not show the
//! key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde::Deserialize;
use sink_api::outbox::Bounds;
use sink_api::{Fault, Period, Planned, Secret, Settings, SinkConfig, Target};

/// Where Interakt's API is.
const DEFAULT_URL: &str = "https://api.interakt.ai/v1";
/// What the address of a call has behind `url`. The slash at its end is Interakt's own.
const CALL: &str = "/public/message/";
/// Longest `url`, in bytes.
const MAX_URL: usize = 2000;
/// Longest `sender`, in characters.
const MAX_SENDER: usize = 64;
/// Longest `max_age`: the daemon remembers what was sent for one day more, and by that it bounds what is sent again.
const MAX_AGE: Period = Period::secs(7 * 24 * 3600);
/// Most `max_attempts` may ask for.
const MAX_ATTEMPTS: u32 = 100;

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_url")]
    url: String,
    api_key: Secret,
    #[serde(default)]
    sender: String,
    #[serde(default = "default_confirm")]
    confirm: Period,
    #[serde(default = "default_max_attempts")]
    max_attempts: u32,
    #[serde(default = "default_max_age")]
    max_age: Period,
    #[serde(default = "default_connect_timeout")]
    connect_timeout: Period,
    tls_ca: Option<PathBuf>,
}

fn default_url() -> String {
    DEFAULT_URL.to_owned()
}

const fn default_confirm() -> Period {
    Period::secs(120)
}

const fn default_max_attempts() -> u32 {
    3
}

const fn default_max_age() -> Period {
    MAX_AGE
}

const fn default_connect_timeout() -> Period {
    Period::secs(5)
}

/// What the table means: everything a call needs but the delivery.
pub(crate) struct Plan {
    /// Where each call goes.
    pub(crate) url: Url,
    /// Scheme, host and port, path `/`.
    pub(crate) origin: Url,
    /// Sent with every call, the key included.
    pub(crate) headers: HeaderMap,
    /// What `message show` says of the account; may be empty.
    pub(crate) sender: String,
    pub(crate) bounds: Bounds,
    pub(crate) connect_timeout: Duration,
    pub(crate) tls_ca: Option<PathBuf>,
}

/// The sink's config.
#[derive(Debug)]
pub struct InteraktConfig {
    pub(crate) plan: Planned<Plan>,
}

/// Reads the table.
///
/// # Errors
/// Keys that are unknown, missing or of a wrong type. Whether their values make sense is for [`SinkConfig::check`].
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    let written: Written = settings.read()?;
    Ok(Box::new(InteraktConfig { plan: Planned::new(plan(written)) }))
}

/// Shows where calls go, and not the key.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("origin", &self.origin.as_str())
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Where deliveries go, the same for each: the API's host, and as whom (`sender`) where that is said.
    pub(crate) fn target(&self) -> Target {
        let api = Target::of("api", self.origin.as_str().trim_end_matches('/'));
        if self.sender.is_empty() { api } else { api.with("sender", self.sender.clone()) }
    }
}

fn plan(written: Written) -> Result<Plan, Vec<Fault>> {
    let mut faults = Vec::new();
    let urls = keep(&mut faults, read_url(&written.url));
    let key = keep(&mut faults, read_key(&written.api_key));
    let sender = written.sender.trim();
    if sender.chars().count() > MAX_SENDER || sender.contains(char::is_control) {
        let message = format!("`sender` is longer than {MAX_SENDER} characters, or has a control character");
        faults.push(Fault::at_key("sender", message).help("a number or a name, for people to read"));
    }
    faults.extend(written.confirm.fault("confirm", Period::LEAST..=Period::HOUR));
    faults.extend(written.max_age.fault("max_age", Period::LEAST..=MAX_AGE));
    faults.extend(written.connect_timeout.fault("connect_timeout", Period::LEAST..=Period::HOUR));
    if written.max_attempts > MAX_ATTEMPTS {
        let message = format!("`max_attempts` is {}, expected at most {MAX_ATTEMPTS}", written.max_attempts);
        let help = format!(
            "write max_attempts = {MAX_ATTEMPTS} at most: it bounds all further messages for one first message, those \
             of every route and rule together"
        );
        faults.push(Fault::at_key("max_attempts", message).help(help));
    }
    if written.tls_ca.is_some() && urls.as_ref().is_some_and(|(_, origin)| origin.scheme() == "http") {
        let fault = Fault::at_key("tls_ca", "`tls_ca` has no use with an http:// URL");
        faults.push(fault.help("use https://, or drop it"));
    }
    match (urls, key) {
        (Some((url, origin)), Some(key)) if faults.is_empty() => {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(concat!("hookrelay/", env!("CARGO_PKG_VERSION"))));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(AUTHORIZATION, key);
            Ok(Plan {
                url,
                origin,
                headers,
                sender: sender.to_owned(),
                bounds: Bounds {
                    max_attempts: written.max_attempts,
                    max_age: written.max_age.0,
                    confirm: written.confirm.0,
                },
                connect_timeout: written.connect_timeout.0,
                tls_ca: written.tls_ca,
            })
        }
        _ => Err(faults),
    }
}

/// The value, or `None` with the fault noted.
fn keep<T>(faults: &mut Vec<Fault>, result: Result<T, Fault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// The address of a call, and its origin. Messages never show the text, in which a `${…}` may stand.
fn read_url(text: &str) -> Result<(Url, Url), Fault> {
    let fault = |what: &str| Fault::at_key("url", format!("`url` {what}"));
    let base = text.trim().trim_end_matches('/');
    if base.is_empty() {
        return Err(fault("is empty").help(format!("leave it out for {DEFAULT_URL}")));
    }
    if base.len() > MAX_URL || base.contains(|c: char| c.is_control() || c == ' ' || c == '\\') {
        return Err(fault(&format!(
            "is longer than {MAX_URL} bytes, or has a space, a backslash or a control character"
        )));
    }
    // Before anything is appended: what stands behind `?` or `#` would swallow it.
    if base.contains(['?', '#']) {
        return Err(fault("has a query or a `#`").help(format!("such as {DEFAULT_URL}")));
    }
    if base.ends_with(CALL.trim_end_matches('/')) {
        let help = format!("leave {CALL} off: {DEFAULT_URL}");
        return Err(fault("is the address of the call, not that of the API").help(help));
    }
    let behind_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let head = base.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| base.get(scheme.len()..)).flatten()
    });
    match behind_scheme {
        None => return Err(fault("does not begin with http:// or https://").help(format!("such as {DEFAULT_URL}"))),
        Some(rest) if rest.starts_with('/') => return Err(fault("has no host").help(format!("such as {DEFAULT_URL}"))),
        Some(_) => {}
    }
    let url = Url::parse(&format!("{base}{CALL}")).map_err(|why| fault(&format!("is not a URL: {why}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("holds a user or a password").help("the key belongs in `api_key`"));
    }
    let mut origin = url.clone();
    origin.set_path("/");
    Ok((url, origin))
}

/// `Basic …`, which no `Debug` shows and HTTP/2 does not index.
fn read_key(key: &Secret) -> Result<HeaderValue, Fault> {
    let fault = |what: &str, help: &str| Err(Fault::at_key("api_key", format!("`api_key` {what}")).help(help));
    let text = key.expose().trim();
    if text.is_empty() {
        return fault("is empty", "the dashboard has it: Settings → Developer Settings → Secret Key");
    }
    if text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic ")) {
        // No word of the value stands in the message: whatever is in it is masked there.
        return fault(
            "has a scheme before the key",
            "leave that word and the blank off: hookrelay puts it there itself",
        );
    }
    if text.contains(char::is_whitespace) {
        return fault("has a blank or a line break in it", "copy it again, as the one word that it is");
    }
    let digits = text.trim_end_matches('=');
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    if digits.is_empty() || text.len() - digits.len() > 2 || !digits.bytes().all(is_digit) {
        return fault("is not base64", "take the key as the dashboard shows it: it is base64 already");
    }
    let Ok(mut value) = HeaderValue::try_from(format!("Basic {text}")) else {
        return fault("holds a character that headers cannot carry", "copy it again from the dashboard");
    };
    value.set_sensitive(true);
    Ok(value)
}
