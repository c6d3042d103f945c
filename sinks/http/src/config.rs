//! The sink's table in `config.toml`: what is written (`Written`) and what it means (`Plan`). Pure. Must not show a
//! secret: a URL may hold one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Method, Url};
use serde::Deserialize;
use sink_api::fault::nearest;
use sink_api::settings::{some_table, table};
use sink_api::template::{NAMES, TemplateError};
use sink_api::{
    Escape, Event, Fault, Period, Planned, Reason, Secret, Settings, SinkConfig, Size, Target, Template, code,
};

use crate::sign::{Key, KeyError};

/// What stands before a header's name in a delivery's target.
pub(crate) const HEADER: &str = "header ";
/// Longest URL, in bytes: what RFC 9110 (§4.1) asks every party to take.
const MAX_URL: usize = 8000;
/// Most `max_response` may ask for: an answer is held in memory.
const MAX_RESPONSE: Size = Size::mib(64);

/// Headers that carry the message itself or belong to one hop; a config cannot set them.
const OWNED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Beginnings of header names the sink owns.
const OWNED_PREFIXES: &[&str] = &["ce-", "webhook-"];

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A [`Secret`], because tokens stand in paths and queries.
    url: Secret,
    #[serde(default)]
    method: Verb,
    #[serde(default)]
    format: Format,
    #[serde(default, deserialize_with = "table")]
    headers: BTreeMap<String, Secret>,
    bearer: Option<Secret>,
    #[serde(default, deserialize_with = "some_table")]
    basic: Option<Basic>,
    #[serde(default, deserialize_with = "some_table")]
    sign: Option<Sign>,
    #[serde(default = "default_connect_timeout")]
    connect_timeout: Period,
    #[serde(default = "default_max_response")]
    max_response: Size,
    tls_ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Verb {
    #[default]
    #[serde(rename = "POST")]
    Post,
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "PATCH")]
    Patch,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The payload untouched, the event's attributes in `ce-` headers (CloudEvents binary mode), or in `hookrelay-`
    /// headers where the payload is a CloudEvent itself.
    #[default]
    Raw,
    /// One structured CloudEvents JSON object.
    Cloudevents,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { user = \"hookrelay\", password = \"${PASSWORD}\" }")]
struct Basic {
    user: Secret,
    password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { standard_webhooks = \"${SECRET}\" }")]
struct Sign {
    standard_webhooks: Secret,
}

const fn default_connect_timeout() -> Period {
    Period::secs(5)
}

const fn default_max_response() -> Size {
    Size(64 << 10)
}

/// What the table means: everything a request needs but the delivery.
pub(crate) struct Plan {
    pub(crate) url: Template,
    /// Scheme, host and port, the same for every event; path `/`, nothing behind it.
    pub(crate) origin: Url,
    pub(crate) method: Method,
    pub(crate) format: Format,
    /// Sent with every request, credentials included.
    pub(crate) headers: HeaderMap,
    /// Headers whose values are made for each event.
    pub(crate) templates: Vec<(HeaderName, Template)>,
    pub(crate) key: Option<Key>,
    pub(crate) connect_timeout: Duration,
    /// Bytes of an answer that are read.
    pub(crate) max_response: u64,
    pub(crate) tls_ca: Option<PathBuf>,
}

/// The sink's config.
#[derive(Debug)]
pub struct HttpConfig {
    pub(crate) plan: Planned<Plan>,
}

/// Reads the table.
///
/// # Errors
/// Keys that are unknown, missing or of a wrong type. Whether their values make sense is for [`SinkConfig::check`].
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    let written: Written = settings.read()?;
    Ok(Box::new(HttpConfig { plan: Planned::new(plan(written)) }))
}

/// Shows where requests go, and no path, query, header value or key.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.keys().chain(self.templates.iter().map(|(name, _)| name));
        f.debug_struct("Plan")
            .field("origin", &self.origin.as_str())
            .field("method", &self.method)
            .field("format", &self.format)
            .field("headers", &names.collect::<Vec<_>>())
            .field("signed", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The URL and the headers that are made for this event.
    ///
    /// # Errors
    /// A reason where a template finds no value, or the URL would lead elsewhere.
    pub(crate) fn target(&self, event: &Event) -> Result<Target, Reason> {
        let refuse = |why: &str| Err(Reason::new(code::BAD_PAYLOAD, format!("the URL made for this event {why}")));
        let text = self.url.render(event, Escape::Url)?;
        if text.len() > MAX_URL {
            return refuse(&format!("is longer than {MAX_URL} bytes"));
        }
        // An attribute may be `..`, and percent-encoding does not keep URL parsers from folding a path by it.
        if has_dot_segment(&text) {
            return refuse("has a `.` or `..` segment in its path");
        }
        match Url::parse(&text) {
            Ok(url) if url.origin() == self.origin.origin() => {}
            _ => return refuse("is none"),
        }
        let url = ("url".to_owned(), text);
        let headers = self.templates.iter();
        let headers =
            headers.map(|(name, value)| Ok((format!("{HEADER}{name}"), value.render(event, Escape::Header)?)));
        std::iter::once(Ok(url)).chain(headers).collect()
    }
}

fn plan(written: Written) -> Result<Plan, Vec<Fault>> {
    let mut faults = Vec::new();
    let url = keep(&mut faults, read_url(&written.url));
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("hookrelay/", env!("CARGO_PKG_VERSION"))));
    let templates = read_headers(&written, &mut headers, &mut faults);
    let auth = keep(&mut faults, read_auth(&written)).flatten();
    headers.extend(auth.map(|value| (AUTHORIZATION, value)));
    let key = written.sign.as_ref().map(|s| read_key(&s.standard_webhooks));
    let key = key.and_then(|key| keep(&mut faults, key));
    faults.extend(written.connect_timeout.fault("connect_timeout", Period::LEAST..=Period::HOUR));
    faults.extend(written.max_response.fault("max_response", Size(0)..=MAX_RESPONSE));
    if written.tls_ca.is_some() && url.as_ref().is_some_and(|(_, origin)| origin.scheme() == "http") {
        faults
            .push(Fault::at_key("tls_ca", "`tls_ca` has no use with an http:// URL").help("use https://, or drop it"));
    }
    match url {
        Some((url, origin)) if faults.is_empty() => Ok(Plan {
            url,
            origin,
            method: match written.method {
                Verb::Post => Method::POST,
                Verb::Put => Method::PUT,
                Verb::Patch => Method::PATCH,
            },
            format: written.format,
            headers,
            templates,
            key,
            connect_timeout: written.connect_timeout.0,
            max_response: written.max_response.0,
            tls_ca: written.tls_ca,
        }),
        _ => Err(faults),
    }
}

/// The value, or `None` with the fault noted.
fn keep<T>(faults: &mut Vec<Fault>, result: Result<T, Fault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// The template and its origin. Messages never show the URL, in which a `${…}` may stand.
fn read_url(url: &Secret) -> Result<(Template, Url), Fault> {
    let fault = |what: &str| Fault::at_key("url", format!("`url` {what}"));
    let text = url.expose();
    let template = Template::parse(text).map_err(|error| match error {
        TemplateError::Unmatched(_) => fault("has an unmatched brace").help("write `{{` or `}}` for a literal one"),
        TemplateError::Unknown { name } => {
            let known = NAMES.iter().map(|n| format!("`{{{n}}}`")).collect::<Vec<_>>().join(", ");
            let unknown = fault(&format!(
                "names an attribute templates do not know, expected one of {known} or a field of the body such as \
                 `{{.data.id}}`"
            ));
            match nearest(&name, NAMES.iter().copied()) {
                Some(name) => unknown.help(format!("did you mean `{{{name}}}`?")),
                None => unknown,
            }
        }
    })?;
    // URL parsers drop line breaks and take a backslash for a slash. Neither may move the end of the host.
    if text.contains(|c: char| c.is_control() || c == ' ' || c == '\\' || c == '#') {
        return Err(fault("has a space, a backslash, a control character or a `#`").help("percent-encode it"));
    }
    if text.len() > MAX_URL {
        return Err(fault(&format!("is longer than {MAX_URL} bytes")));
    }
    let behind_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| text.get(scheme.len()..)).flatten()
    });
    let Some(rest) = behind_scheme else {
        return Err(fault("does not begin with http:// or https://"));
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(fault("has no host"));
    }
    // A password that holds `/` ends the authority where a port should be.
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let is_cut = rest.contains('@') && !authority.ends_with(']') && !port.chars().all(|c| c.is_ascii_digit());
    if authority.contains('@') || is_cut {
        let what = "holds a user or password (as a part of anything else, percent-encode `@`, `:` and `/`)";
        return Err(fault(what).help("use `basic = { user = \"…\", password = \"${…}\" }`"));
    }
    if authority.contains(['{', '}']) {
        return Err(fault("has a template in its host or port").help("templates go into the path and the query only"));
    }
    if has_dot_segment(text) {
        return Err(fault("has a `.` or `..` segment in its path"));
    }
    let head = text.get(..text.len() - rest.len() + authority.len()).unwrap_or_default();
    let origin = Url::parse(head).map_err(|why| fault(&format!("is not a URL: {why}")))?;
    Ok((template, origin))
}

/// Whether a segment of the URL's path is `.` or `..`, in any spelling.
fn has_dot_segment(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

/// Adds the headers that are the same for every event, and gives the others.
fn read_headers(written: &Written, headers: &mut HeaderMap, faults: &mut Vec<Fault>) -> Vec<(HeaderName, Template)> {
    let mut templates = Vec::new();
    let mut seen: Vec<HeaderName> = Vec::new();
    for (name, value) in &written.headers {
        let fault = |what: &str| Fault::at_key(format!("headers.{name}"), format!("header `{name}` {what}"));
        let Ok(parsed) = HeaderName::try_from(name.as_str()) else {
            faults.push(fault("is not a header's name"));
            continue;
        };
        let lower = parsed.as_str();
        let owned = OWNED.contains(&lower) || OWNED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        if owned {
            faults.push(fault("is set by the sink itself"));
        } else if parsed == CONTENT_TYPE && written.format == Format::Cloudevents {
            faults.push(fault("is set by `format = \"cloudevents\"`"));
        } else if parsed == AUTHORIZATION && (written.bearer.is_some() || written.basic.is_some()) {
            faults.push(fault("is set by `bearer` or `basic` as well").help("keep one of them"));
        } else if seen.contains(&parsed) {
            faults.push(fault("stands there twice, in different case"));
        } else {
            match Template::parse(value.expose()).map(|value| (secret_value(&value.literal()), value)) {
                // The error's own words would show the value.
                Err(_) => faults.push(
                    fault("has an unmatched brace, or one around what templates do not know")
                        .help("write `{{` or `}}` for a literal one"),
                ),
                Ok((None, _)) => faults.push(fault("has a value with a character that headers cannot carry")),
                Ok((Some(value), template)) if template.is_constant() => _ = headers.insert(parsed.clone(), value),
                Ok((Some(_), template)) => templates.push((parsed.clone(), template)),
            }
        }
        seen.push(parsed);
    }
    templates
}

/// A header value that `Debug` does not show and HTTP/2 does not index.
fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn read_auth(written: &Written) -> Result<Option<HeaderValue>, Fault> {
    let (key, text) = match (&written.bearer, &written.basic) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Fault::at_key("bearer", "`bearer` and `basic` exclude each other").help("keep one of them"));
        }
        (Some(token), None) if token.is_empty() => return Err(Fault::at_key("bearer", "`bearer` is empty")),
        (Some(token), None) => ("bearer", format!("Bearer {}", token.expose())),
        (None, Some(basic)) if basic.user.is_empty() => {
            return Err(Fault::at_key("basic.user", "`basic.user` is empty"));
        }
        (None, Some(basic)) if basic.user.expose().contains(':') => {
            return Err(Fault::at_key("basic.user", "`basic.user` holds a colon, which ends a user's name"));
        }
        (None, Some(Basic { user, password })) => {
            ("basic", format!("Basic {}", BASE64.encode(format!("{}:{}", user.expose(), password.expose()))))
        }
    };
    let broken = || Fault::at_key(key, format!("`{key}` holds a character that headers cannot carry"));
    secret_value(&text).map(Some).ok_or_else(broken)
}

fn read_key(secret: &Secret) -> Result<Key, Fault> {
    Key::parse(secret).map_err(|error: KeyError| {
        Fault::at_key("sign.standard_webhooks", format!("`standard_webhooks` {error}"))
            .help("`echo whsec_$(openssl rand -base64 32)` makes one")
    })
}
