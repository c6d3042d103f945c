//! The sender's side of a proof: what a sender adds to a body so that the source believes it. For `send` and for tests;
//! the daemon never signs. Pure.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use sink_api::Secret;

use super::extraction::{Lookup, first};
use super::plan::SourcePlan;
use super::proof::Proof;
use crate::verify::hmac::Beside;

/// Signs bodies so that a source believes them.
#[derive(Debug)]
pub struct Signer(Arc<SourcePlan>);

/// What a sender adds to a body.
#[derive(Clone, Debug, Default)]
pub struct Signed {
    /// The request's headers.
    pub headers: HeaderMap,
    /// A parameter of the query.
    pub query: Option<(String, String)>,
}

impl Signer {
    /// The signer for a source.
    pub fn new(source: &Arc<SourcePlan>) -> Self {
        Self(Arc::clone(source))
    }

    /// Signs a body at `time` (Unix seconds). Type and id go into the headers where the source looks for them, unless
    /// these are among the given ones.
    pub fn sign(&self, given: &HeaderMap, kind: &str, id: &str, time: i64, body: &[u8]) -> Signed {
        let mut signed = Signed { headers: given.clone(), query: None };
        let headers = &mut signed.headers;
        if let Some(name) = self.0.reading.type_header() {
            put(headers, name, kind);
        }
        put_first(headers, &self.0.id, id);
        match &self.0.proof {
            Proof::Signature(signature) => {
                let now = time.to_string();
                put_first(headers, &signature.time, &now);
                put_first(headers, &signature.id, id);
                let time = first(&signature.time, headers, body).map_or(now, |found| found.into_owned());
                let id = first(&signature.id, headers, body).map(|found| found.into_owned());
                let beside = Beside { time: Some(time.as_bytes()), id: id.as_deref().map(str::as_bytes) };
                if let Some(name) = signature.headers.first() {
                    put(headers, name, &signature.hmac.sign_with(beside, body));
                }
            }
            Proof::Header(names, _) => {
                if let Some(name) = names.first() {
                    put(headers, name, self.token());
                }
            }
            Proof::Query(name, _) => signed.query = Some((name.clone(), self.token().to_owned())),
            Proof::Nothing => {}
        }
        signed
    }

    fn token(&self) -> &str {
        self.0.token.as_ref().map_or("", Secret::expose)
    }

    /// A small body that holds this type and id where the source looks for them.
    pub fn sample(&self, kind: &str, id: &str, time: &str) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("sample".into(), "sent by hookrelay send".into());
        body.insert("sent_at".into(), time.into());
        let mut body = Value::Object(body);
        let kinds = self.0.reading.type_lookups().first();
        for (lookup, value) in [(kinds, kind), (self.0.id.first(), id)] {
            if let Some(Lookup::Body(path)) = lookup {
                path.put(&mut body, value);
            }
        }
        body.to_string().into_bytes()
    }

    /// The type that the source reads from a body with these headers.
    pub fn kind(&self, headers: &HeaderMap, body: &[u8]) -> String {
        self.0.reading.envelope(headers, body).kind.into_owned()
    }
}

/// A value that cannot stand in a header is left out: the source will answer that it is missing.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if let (false, Ok(value)) = (headers.contains_key(name), HeaderValue::from_str(value)) {
        headers.insert(name.clone(), value);
    }
}

fn put_first(headers: &mut HeaderMap, lookups: &[Lookup], value: &str) {
    if let Some(Lookup::Header(name)) = lookups.first() {
        put(headers, name, value);
    }
}
