//! Reads what is asked: from a query string, from a JSON body, and from the path's part that varies. A name that nobody
//! knows is a fault, so that a misspelt filter does not widen what it filters.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Refusal;
use super::endpoints::Part;
use super::login::LogInAsk;
use super::sending::{KEY_HEADER, MAX_KEY, ToSend};

/// Largest question that is read, bytes.
const MAX_QUESTION: usize = 1 << 20;
/// Largest login that is read, bytes: anybody may send one.
const MAX_LOGIN: usize = 4 << 10;

/// The question of a `GET`: a query string or, as the verbs ask, a JSON object in the body. Neither of them asks for
/// everything.
///
/// # Errors
/// It is not understood, or is both.
pub(super) async fn asked<T: DeserializeOwned>(request: Request<Incoming>, part: Option<Part>) -> Result<T, Refusal> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = body(request).await?;
    match (query.is_empty(), body.is_empty()) {
        (_, true) => of_query(&query, part),
        (true, false) => of_body(&body, part),
        (false, false) => Err(Refusal::Question("the question stands in the query string and in the body".into())),
    }
}

/// The question of a `POST`: a JSON object in the body, or nothing.
///
/// # Errors
/// It is not understood; there is a query string.
pub(super) async fn told<T: DeserializeOwned>(request: Request<Incoming>, part: Option<Part>) -> Result<T, Refusal> {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::Question("a POST has its question in the body, not in a query string".into()));
    }
    of_body(&body(request).await?, part)
}

/// A message that is to be sent: how stands in the query string, and the body is that of the send API's own call, which
/// has names of its own.
///
/// # Errors
/// It is not understood; the key is none.
pub(super) async fn to_send(request: Request<Incoming>) -> Result<ToSend, Refusal> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let keys: Vec<_> = request.headers().get_all(KEY_HEADER).into_iter().collect();
    let key = match keys.as_slice() {
        [] => None,
        [key] => Some(key_of(key.as_bytes())?),
        _ => return Err(Refusal::Question("`Idempotency-Key` is given more than once".into())),
    };
    let ask = of_query(&query, None)?;
    Ok(ToSend { ask, key, body: body(request).await? })
}

/// What an `Idempotency-Key` says: visible ASCII, in quotes (as the draft has it) or without.
fn key_of(value: &[u8]) -> Result<String, Refusal> {
    let value = value.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let is_key = (1..=MAX_KEY).contains(&inner.len()) && inner.iter().all(|byte| (0x20..0x7f).contains(byte));
    let key = std::str::from_utf8(inner).ok().filter(|_| is_key);
    let why = || format!("`Idempotency-Key` is no key: expected 1 to {MAX_KEY} characters of ASCII, such as a UUID");
    key.map(str::to_owned).ok_or_else(|| Refusal::Question(why()))
}

/// Reads a question that is none.
///
/// # Errors
/// There is one.
pub(super) async fn nothing(request: Request<Incoming>) -> Result<(), Refusal> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = body(request).await?;
    let is_empty = query.is_empty() && (body.is_empty() || body.trim_ascii() == b"{}" || body.trim_ascii() == b"null");
    if is_empty { Ok(()) } else { Err(Refusal::Question("nothing can be asked for here".into())) }
}

/// What somebody logs in with: JSON, or a form as a browser sends it.
///
/// # Errors
/// It is not understood, or too large.
pub(super) async fn login(request: Request<Incoming>) -> Result<LogInAsk, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let body = limited(request, MAX_LOGIN).await?;
    if is_form { serde_html_form::from_bytes(&body).map_err(not_understood) } else { of_body(&body, None) }
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    limited(request, MAX_QUESTION).await
}

async fn limited(request: Request<Incoming>, most: usize) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), most).collect().await;
    let body = body.map_err(|error| Refusal::Question(format!("the question cannot be read: {error}")))?;
    Ok(body.to_bytes())
}

fn of_query<T: DeserializeOwned>(query: &str, part: Option<Part>) -> Result<T, Refusal> {
    let part = part.map(|Part { name, value }| serde_html_form::to_string([(name, value)])).transpose();
    let part = part.map_err(not_understood)?.unwrap_or_default();
    let query = format!("{query}&{part}");
    // An empty text would be taken for a number, time or word that is not there, and the filter for none.
    if let Some(name) = empty(&query) {
        return Err(Refusal::Question(format!("the question is not understood: `{name}` is empty: leave it out")));
    }
    serde_html_form::from_str(&query).map_err(|error| match twice(&query) {
        // Some names may be given twice; what this one says of it is hard to understand.
        Some(name) => Refusal::Question(format!("the question is not understood: `{name}` is given more than once")),
        None => not_understood(error),
    })
}

/// The first name of a query string that has no value.
fn empty(query: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_html_form::from_str(query).ok()?;
    pairs.into_iter().find(|(_, value)| value.is_empty()).map(|(name, _)| name)
}

/// The first name of a query string that is there twice.
fn twice(query: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_html_form::from_str(query).ok()?;
    let mut names = HashSet::new();
    pairs.into_iter().map(|(name, _)| name).find(|name| !names.insert(name.clone()))
}

fn of_body<T: DeserializeOwned>(body: &[u8], part: Option<Part>) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde would take a list for an object, too, and an empty one for a question without any filter.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(not_understood("expected a JSON object"));
    }
    let Some(Part { name, value }) = part else { return serde_json::from_slice(body).map_err(not_understood) };
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(not_understood)?;
    if object.insert(name.to_owned(), value.into()).is_some() {
        return Err(Refusal::Question(format!("`{name}` stands in the path already")));
    }
    serde_json::from_value(object.into()).map_err(not_understood)
}

fn not_understood(error: impl std::fmt::Display) -> Refusal {
    Refusal::Question(format!("the question is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::dead::DeadAsk;
    use crate::admin::found::{EventAsk, EventsAsk};
    use crate::admin::sink::SinkAsk;

    fn id(value: &str) -> Option<Part> {
        Some(Part { name: "id", value: value.to_owned() })
    }

    #[test]
    fn a_query_is_read_by_its_names_and_a_path_adds_its_part() {
        let ask: EventsAsk = of_query("type=message_*&limit=5&clear=true&where=.a%20%3D%3D+1", None).unwrap();
        assert_eq!((ask.kind.as_deref(), ask.limit, ask.clear), (Some("message_*"), Some(5), true));
        assert_eq!(ask.condition.as_deref(), Some(".a == 1"));
        assert_eq!(of_query::<DeadAsk>("ids=a&ids=b", None).unwrap().ids, ["a", "b"]);
        assert_eq!(of_query::<EventAsk>("clear=true", id("é&=")).unwrap(), EventAsk { id: "é&=".into(), clear: true });
        let part = Some(Part { name: "sink", value: "crm".into() });
        let ask: SinkAsk = of_body(br#"{"to":"2026-01-01T00:00:00Z"}"#, part.clone()).unwrap();
        assert_eq!((ask.sink.as_str(), ask.to.is_some()), ("crm", true));
        assert_eq!(of_body::<SinkAsk>(b"", part).unwrap().sink, "crm");
    }

    #[test]
    fn a_key_may_stand_in_quotes_and_has_a_bound() {
        let longest = "k".repeat(MAX_KEY);
        for (value, key) in [("order-77", "order-77"), (" \"order 77\" ", "order 77"), (&longest, &longest)] {
            assert_eq!(key_of(value.as_bytes()).as_deref(), Ok(key));
        }
        for bad in ["", "  ", "\"\"", "a\tb", "\u{fc}", &format!("{longest}k")] {
            assert!(matches!(key_of(bad.as_bytes()), Err(Refusal::Question(why)) if why.contains("UUID")), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let query = |text| of_query::<EventsAsk>(text, None).unwrap_err().to_string();
        for (text, named) in [
            ("typ=a", "typ"),
            ("limit=many", "invalid digit"),
            ("limit=", "`limit` is empty"),
            ("clear=yes", "yes"),
            ("type=a&type=b", "`type`"),
        ] {
            assert!(query(text).contains(named), "{text}: {}", query(text));
        }
        assert!(of_query::<EventAsk>("id=a", id("b")).unwrap_err().to_string().contains("`id`"));
        assert!(of_body::<EventAsk>(br#"{"id":"a"}"#, id("b")).unwrap_err().to_string().contains("`id`"));
        for list in [b"[]".as_slice(), b" []", b"null", b"\"\"", b"[[\"a\"]]"] {
            let why = of_body::<DeadAsk>(list, None).unwrap_err().to_string();
            assert!(why.contains("expected a JSON object"), "it would mean all dead letters: {why}");
        }
        assert!(of_body::<EventAsk>(b"[]", id("b")).is_err() && of_body::<EventAsk>(b"{", None).is_err());
    }
}
