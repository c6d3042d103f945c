//! What sinks that call over HTTP have in common: their client, the words and codes for what failed, the wait that a
//! server asks for, and the probe. Sends nothing else. With the feature `http` only, so that other sinks do without a
//! client.
//!
//! A detail never holds more of a URL than host and port, nor a header or a byte of an answer.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Request, StatusCode, Url};

use crate::files::{self, Patience};
use crate::report::{Reason, code};
use crate::sink::BuildError;

/// Request Timeout.
pub const HTTP_408: &str = "http_408";
/// Too Early.
pub const HTTP_425: &str = "http_425";
/// Too Many Requests.
pub const HTTP_429: &str = "http_429";
/// Not Found, at a URL that is the same for every event.
pub const HTTP_404: &str = "http_404";
/// Any other 4xx: the event's fault.
pub const HTTP_4XX: &str = "http_4xx";
/// Any 5xx.
pub const HTTP_5XX: &str = "http_5xx";
/// A redirect that was not followed.
pub const REDIRECT: &str = "redirect";
/// No valid answer: a final 1xx, or a status of 600 and more.
pub const PROTOCOL: &str = "protocol";

/// Longest wait passed on from `Retry-After` (the core honours less), so that no arithmetic overflows.
pub const MAX_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Most idle connections kept; more than the default concurrency of any kind, so that each call can keep its own.
const MAX_IDLE: usize = 64;
/// How long an idle connection is kept: less long than servers usually keep theirs, so that we seldom write to a closed
/// one.
const IDLE: Duration = Duration::from_secs(15);
/// Longest wait for a probe's answer, beyond the connection.
const PROBE: Duration = Duration::from_secs(10);
/// Largest `tls_ca` file, in bytes.
const MAX_CA: u64 = 1 << 20;

/// A client that sends each request once, over no proxy, and follows redirects by this policy alone. Reads
/// certificates, connects to nothing. `is_tls`: whether any request will go to an `https://` URL.
///
/// # Errors
/// [`BuildError::Refused`] where certificates cannot be read.
pub async fn client(
    connect_timeout: Duration,
    tls_ca: Option<&Path>,
    is_tls: bool,
    redirects: Policy,
) -> Result<Client, BuildError> {
    let mut builder = Client::builder()
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(IDLE)
        .redirect(redirects)
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy();
    builder = match tls_ca {
        Some(path) => builder.tls_certs_merge(read_ca(path).await?),
        // A machine without root certificates is fine.
        None if !is_tls => builder.tls_certs_only([]),
        None => builder,
    };
    let refused = |e: reqwest::Error| BuildError::Refused(format!("TLS: {}", of_error(&e).detail));
    builder.build().map_err(refused)
}

async fn read_ca(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let refused = |why: String| BuildError::Refused(format!("tls_ca {}: {why}", path.display()));
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || files::read(&file, MAX_CA, &Patience::new())).await;
    let pem = read.map_err(|e| refused(e.to_string()))?.map_err(|e| refused(e.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused("holds no certificate (expected PEM)".to_owned())),
        Err(error) => Err(refused(format!("is not PEM: {}", of_error(&error).detail))),
    }
}

/// `503 Service Unavailable`: in our own words, as the server's may hold anything.
pub fn in_words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// A `HEAD` of the origin's `/` without credentials: name, connection, TLS and HTTP are tried and nothing is delivered.
///
/// # Errors
/// No answer, or one by which a gateway says that no server is behind it: 502, 503 or 504. Any other will do.
pub async fn probe(client: &Client, origin: &Url, connect_timeout: Duration) -> Result<(), Reason> {
    let mut request = Request::new(Method::HEAD, origin.clone());
    *request.timeout_mut() = Some(connect_timeout.saturating_add(PROBE));
    let answer = client.execute(request).await.map_err(|error| of_error(&error))?;
    match answer.status().as_u16() {
        502..=504 => Err(Reason::new(HTTP_5XX, in_words(answer.status()))),
        _ => Ok(()),
    }
}

/// The wait that an answer asks for, if it does.
pub fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.as_bytes(), SystemTime::now())
}

/// The wait a `Retry-After` asks for, in seconds or as an HTTP date in any of its three forms. A time that is past or
/// negative is zero, a text that cannot be read is no wish, and longer waits are cut to [`MAX_AFTER`].
fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() < text.len() {
            return Some(Duration::ZERO);
        }
        let wait = Duration::from_secs(digits.parse().unwrap_or(u64::MAX)); // too many digits for u64: very long
        return Some(wait.min(MAX_AFTER));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(MAX_AFTER))
}

/// Why a delivery was not answered; names the host and the port.
pub fn of_error(error: &reqwest::Error) -> Reason {
    let (code, words) = if error.is_dns() {
        (code::DNS, "name not resolved")
    } else if is_tls(error) {
        (code::TLS, "TLS not agreed on")
    } else if error.is_connect() {
        (code::CONNECT, if error.is_timeout() { "no connection in time" } else { "no connection" })
    } else if error.is_timeout() {
        (code::TIMEOUT, "no answer in time")
    } else if error.is_redirect() {
        (REDIRECT, "redirect not understood")
    } else {
        (code::IO, "no answer that can be read")
    };
    let words = match error.url().and_then(place) {
        Some(place) => format!("{place}: {words}"),
        None => words.to_owned(),
    };
    Reason::new(code, causes(words, error))
}

/// `crm.example:443`: the one part of a URL that holds neither user-info nor what a template filled in.
fn place(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// The causes below the error, which shows its URL and is therefore left out itself.
fn causes(words: String, error: &reqwest::Error) -> String {
    let mut all = words;
    let mut cause = error.source();
    while let Some(error) = cause {
        if !error.is::<reqwest::Error>() {
            all.push_str(": ");
            all.push_str(&error.to_string());
        }
        cause = error.source();
    }
    all
}

/// Whether the failure came from TLS: an error of rustls, or a connection that ended in the middle of the handshake.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        let cut =
            io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("handshake"));
        if cut || error.is::<rustls::Error>() {
            return true;
        }
        // The error that an io::Error wraps is not its source: `source` gives the wrapped error's own source.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_768_345_500); // 2026-01-13T23:05:00Z

    fn after(value: &[u8]) -> Option<Duration> {
        retry_after(value, SystemTime::UNIX_EPOCH + NOW)
    }

    #[test]
    fn of_a_url_host_and_port_are_told_and_nothing_else() {
        for (url, told) in [
            ("https://u:secret@crm.example/a?b=secret", Some("crm.example:443")),
            ("http://[::1]:4007/secret", Some("[::1]:4007")),
            ("data:secret", None),
        ] {
            assert_eq!(place(&Url::parse(url).unwrap()).as_deref(), told);
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(after(b"120"), Some(Duration::from_secs(120)));
        assert_eq!(after(b" 0 "), Some(Duration::ZERO));
        assert_eq!(after(b"-5"), Some(Duration::ZERO));
        assert_eq!(after(b"99999999999999999999999999"), Some(MAX_AFTER));
    }

    #[test]
    fn retry_after_is_read_as_a_date_in_all_three_forms() {
        let wait = Some(Duration::from_secs(90));
        assert_eq!(after(b"Tue, 13 Jan 2026 23:06:30 GMT"), wait);
        assert_eq!(after(b"Tuesday, 13-Jan-26 23:06:30 GMT"), wait);
        assert_eq!(after(b"Tue Jan 13 23:06:30 2026"), wait);
        assert_eq!(after(b"Tue, 13 Jan 2026 23:04:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after(b"Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_AFTER));
    }

    #[test]
    fn a_retry_after_that_cannot_be_read_is_no_wish() {
        for bad in [&b""[..], b"-", b"soon", b"1.5", b"+5", b"\xff\xfe", b"Tue, 13 Jan 2026", b"5 5"] {
            assert_eq!(after(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn no_bytes_make_retry_after_panic() {
        // A xorshift generator: the same bytes in every run.
        let (mut state, date) = (0x9E37_79B9_7F4A_7C15_u64, b"Tue, 13 Jan 2026 23:06:30 GMT");
        for round in 0..20_000 {
            let mut bytes = date.to_vec();
            for _ in 0..=(round % 4) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state % 29).unwrap();
                bytes[at] = state.to_le_bytes()[5];
            }
            assert!(after(&bytes).is_none_or(|wait| wait <= MAX_AFTER));
        }
    }
}
