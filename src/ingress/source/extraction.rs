//! Finds values in a request: in a header, by a path into the body, or always the same one. Pure.
//!
//! No tree is built of a body: the path is followed level by level. No body makes this fail.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sink_api::Fault;

use super::config::{Locator, Locators, SourceConfig};
use super::kinds::SourceKind;
use super::typing::{
    Envelope, MAX_SUBJECT, MAX_TYPE, TooLong, UNKNOWN, UNPARSABLE, Unfit, first_fit, interakt, scalar,
};

/// Most steps of a path.
const MAX_STEPS: usize = 32;
/// Longest id or time.
const MAX_VALUE: usize = 1024;

/// A locator, made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Lookup {
    Header(HeaderName),
    Body(BodyPath),
    Value(String),
}

impl Lookup {
    /// The lookups of a key; none where the key is not there.
    pub fn all(key: &str, locators: Option<&Locators>) -> Result<Vec<Self>, Fault> {
        let Some(Locators(locators)) = locators else { return Ok(vec![]) };
        if locators.is_empty() {
            return Err(Fault::at_key(key, format!("{key} is an empty list, expected at least one place")));
        }
        let ready = |locator| Self::new(locator).map_err(|why| Fault::at_key(key, format!("{key}: {why}")));
        locators.iter().map(ready).collect()
    }

    fn new(locator: &Locator) -> Result<Self, String> {
        match (&locator.header, &locator.body, &locator.value) {
            (Some(name), None, None) => HeaderName::from_bytes(name.as_bytes())
                .map(Self::Header)
                .map_err(|_| format!("`{name}` is not a header name")),
            (None, Some(path), None) => BodyPath::parse(path).map(Self::Body),
            (None, None, Some(value)) if !value.is_empty() => Ok(Self::Value(value.clone())),
            (None, None, Some(_)) => Err("value is empty".into()),
            _ => Err("a place is exactly one of `header`, `body` and `value`".into()),
        }
    }

    /// What it finds: a text that is not empty and has at most `max` bytes. A number is its digits.
    fn get<'r>(&'r self, headers: &'r HeaderMap, body: &'r [u8], max: usize) -> Result<Cow<'r, str>, Unfit> {
        let found = match self {
            Self::Header(name) => headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes().trim_ascii())),
            Self::Body(path) => {
                let found = std::str::from_utf8(body).ok().and_then(|text| path.find(text));
                return found.map_or(Err(Unfit::Nothing), |raw| scalar(raw, max));
            }
            Self::Value(value) => Some(Cow::Borrowed(value.as_str())),
        };
        match found {
            Some(text) if text.len() > max => Err(Unfit::TooLong(text.len())),
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Unfit::Nothing),
        }
    }
}

/// What the first lookup that finds something finds: an id, or a time.
pub(super) fn first<'r>(lookups: &'r [Lookup], headers: &'r HeaderMap, body: &'r [u8]) -> Option<Cow<'r, str>> {
    lookups.iter().find_map(|lookup| lookup.get(headers, body, MAX_VALUE).ok())
}

/// How a source's events are read.
#[derive(Debug)]
pub(super) enum Reading {
    /// As Interakt writes them.
    Interakt,
    /// By lookups.
    Lookups {
        /// The type.
        kind: Vec<Lookup>,
        /// The subject.
        subject: Vec<Lookup>,
    },
}

impl Reading {
    /// The reading of a source, its preset filled in. Where the key `type` is missing, the type is the body's `type`.
    ///
    /// # Errors
    /// Locators that cannot be used.
    pub fn of(config: &SourceConfig) -> Result<Self, Vec<Fault>> {
        if config.kind == SourceKind::Interakt {
            return Ok(Self::Interakt);
        }
        let kind = match &config.kind_of_event {
            None => Ok(vec![Lookup::Body(BodyPath::name("type"))]),
            some => Lookup::all("type", some.as_ref()),
        };
        match (kind, Lookup::all("subject", config.subject.as_ref())) {
            (Ok(kind), Ok(subject)) => Ok(Self::Lookups { kind, subject }),
            (kind, subject) => Err(kind.err().into_iter().chain(subject.err()).collect()),
        }
    }

    /// Type and subject of a request.
    pub fn envelope<'r>(&'r self, headers: &'r HeaderMap, body: &'r [u8]) -> Envelope<'r> {
        let Self::Lookups { kind, subject } = self else { return interakt(body) };
        let (found, long_kind) = first_fit(kind.iter().map(|lookup| lookup.get(headers, body, MAX_TYPE)));
        let looked = || kind.iter().any(|lookup| matches!(lookup, Lookup::Body(_)));
        let kind = found.unwrap_or_else(|| if looked() && !is_json(body) { UNPARSABLE } else { UNKNOWN }.into());
        let (subject, long_subject) = first_fit(subject.iter().map(|lookup| lookup.get(headers, body, MAX_SUBJECT)));
        let too_long = TooLong { kind: long_kind, subject: long_subject };
        Envelope { kind, subject: subject.unwrap_or_default(), too_long }
    }

    /// Where the type is looked for.
    pub(super) fn type_lookups(&self) -> &[Lookup] {
        match self {
            Self::Interakt => &[],
            Self::Lookups { kind, .. } => kind,
        }
    }

    /// The header the type is in, where it is in one.
    pub(super) fn type_header(&self) -> Option<&HeaderName> {
        self.type_lookups().iter().find_map(|lookup| if let Lookup::Header(name) = lookup { Some(name) } else { None })
    }
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// A path into a JSON body as jq writes it: `.data.items[0]."odd name"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ingress) struct BodyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    At(usize),
}

impl BodyPath {
    /// The path to a member of the whole body.
    pub fn name(name: &str) -> Self {
        Self(vec![Step::Name(name.into())])
    }

    /// Reads a path.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("`{text}` is not a path into the body: {why}; expected such as `.data.id`"));
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let step;
            if let Some(inside) = rest.strip_prefix('[') {
                let Some((index, after)) = inside.split_once(']') else { return bad("`[` has no `]`") };
                let Ok(index) = index.parse() else { return bad("an index is a number from 0") };
                (step, rest) = (Step::At(index), after);
            } else if let Some(inside) = rest.strip_prefix(".\"") {
                let Some((name, after)) = inside.split_once('"') else { return bad("a quote is not closed") };
                (step, rest) = (Step::Name(name.into()), after);
            } else if let Some(inside) = rest.strip_prefix('.') {
                let end = inside.find(['.', '[']).unwrap_or(inside.len());
                let (name, after) = inside.split_at(end);
                if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return bad("a name is letters, digits and _, or in quotes (.\"my-name\")");
                }
                (step, rest) = (Step::Name(name.into()), after);
            } else {
                return bad("it begins with a full stop");
            }
            steps.push(step);
        }
        match steps.as_slice() {
            [] => bad("it is empty"),
            [Step::At(_), ..] => bad("it begins with a full stop"),
            steps if steps.len() > MAX_STEPS => bad("it is too long"),
            _ => Ok(Self(steps)),
        }
    }

    /// The value there.
    pub fn find<'b>(&self, text: &'b str) -> Option<&'b RawValue> {
        let mut found = None;
        for step in &self.0 {
            found = Some(step.take(found.map_or(text, RawValue::get))?);
        }
        found
    }

    /// Puts a text there, into a sample body that is being made up.
    pub fn put(&self, into: &mut Value, text: &str) {
        let mut at = into;
        for step in &self.0 {
            at = match step {
                Step::Name(name) => {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    let Value::Object(object) = at else { return };
                    object.entry(name.as_str()).or_insert(Value::Null)
                }
                // A list gets this one element, whatever its index: it is a sample.
                Step::At(_) => {
                    *at = Value::Array(vec![Value::Null]);
                    let Some(one) = at.get_mut(0) else { return };
                    one
                }
            };
        }
        *at = text.into();
    }
}

impl Step {
    fn take<'b>(&self, text: &'b str) -> Option<&'b RawValue> {
        let mut from = serde_json::Deserializer::from_str(text);
        match (self, text.trim_ascii_start().bytes().next()?) {
            (Self::Name(_), b'{') => from.deserialize_map(self).ok()?,
            (Self::At(_), b'[') => from.deserialize_seq(self).ok()?,
            _ => None,
        }
    }
}

/// Where a name stands twice in an object, the last one counts.
impl<'b> Visitor<'b> for &Step {
    type Value = Option<&'b RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let Step::Name(name) = self else { return Ok(None) };
        let mut found = None;
        while let Some(is_it) = from.next_key_seed(IsName(name))? {
            if is_it {
                found = Some(from.next_value()?);
            } else {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut at) = (None, 0);
        while let Some(value) = from.next_element::<&RawValue>()? {
            if *self == Step::At(at) {
                found = Some(value);
            }
            at += 1;
        }
        Ok(found)
    }
}

/// Whether a key is the name looked for. Keys are read as bytes: one may hold half an emoji.
struct IsName<'n>(&'n str);

impl<'b> DeserializeSeed<'b> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'b>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<bool, E> {
        Ok(name == self.0.as_bytes())
    }
}
