//! One field of a JSON body by a plain path: `.data.message.id`, `.data["a key"]`, `.data.all[0]`. Values beside the
//! path are skipped, not built: a field costs one reading of the bytes and no memory but its own.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Text;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A path into a body, in the spelling of jq: fields and indices only.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    source: String,
    steps: Vec<Step>,
}

impl Path {
    /// Reads a path; `None` where the text is none. Names are letters, digits and `_`; others stand in `["…"]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[').or_else(|| rest.strip_prefix(".[")) {
                if inside.starts_with('"') {
                    // A name in quotes is spelt as JSON spells it.
                    let mut names = serde_json::Deserializer::from_str(inside).into_iter::<String>();
                    steps.push(Step::Key(names.next()?.ok()?));
                    rest = inside.get(names.byte_offset()..)?.strip_prefix(']')?;
                } else {
                    let (index, after) = inside.split_once(']')?;
                    let is_number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
                    steps.push(Step::Index(is_number.then(|| index.parse().ok()).flatten()?));
                    rest = after;
                }
                continue;
            }
            let tail = rest.strip_prefix('.')?;
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
            let (name, after) = tail.split_at(end);
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            steps.push(Step::Key(name.to_owned()));
            rest = after;
        }
        (text.starts_with('.') && !steps.is_empty()).then(|| Self { source: text.to_owned(), steps })
    }

    /// The text it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of the field: of a string, of a number as its digits came, `true` or `false`. `None` where the body is
    /// not JSON, has no such field, or the field is null, an object or an array. Lone surrogates become U+FFFD.
    pub fn pick<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        let mut value: &RawValue = serde_json::from_slice(body).ok()?;
        for step in &self.steps {
            let mut json = serde_json::Deserializer::from_str(value.get());
            value = match step {
                Step::Key(name) if value.get().starts_with('{') => json.deserialize_map(Member(name)).ok()??,
                Step::Index(n) if value.get().starts_with('[') => json.deserialize_seq(Element(*n)).ok()??,
                _ => return None,
            };
        }
        let raw = value.get();
        match raw.as_bytes().first()? {
            b'{' | b'[' | b'n' => None,
            b'"' => serde_json::from_str(raw).ok().map(|Text(text)| Cow::Owned(text)),
            _ => Some(Cow::Borrowed(raw)),
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// The member of that name; of a name given twice the last counts.
struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Name(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one. Keys with lone surrogates are none of ours, and no fault.
struct Name<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }
}

/// The element of that index.
struct Element(usize);

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_names_and_indices() {
        let body =
            br#" {"data":{"id":"x","id":"m-1","n":12345678901234567890.10,"all":[[1],{"a b":true}],"\ud83d":1}} "#;
        let pick = |path: &str| Path::parse(path).unwrap().pick(body).map(Cow::into_owned);
        assert_eq!(pick(".data.id").as_deref(), Some("m-1"));
        assert_eq!(pick(".data.n").as_deref(), Some("12345678901234567890.10"));
        assert_eq!(pick(r#".data.all[1]["a b"]"#).as_deref(), Some("true"));
        assert_eq!(pick(r#".["data"].all[0][0]"#).as_deref(), Some("1"));
        for none in [".data", ".data.all", ".x", ".data.id.x", ".data.all[7]", ".data[0]", ".data.all.x"] {
            assert_eq!(pick(none), None, "{none}");
        }
        let path = Path::parse(".a").unwrap();
        for none in [&b""[..], b"{", b"null", br#"{"a":null}"#, b"\xff"] {
            assert_eq!(path.pick(none), None);
        }
        assert_eq!(path.pick(br#"{"a":"\ud83d\u00e9"}"#).as_deref(), Some("\u{FFFD}\u{e9}"));
    }

    #[test]
    fn what_is_no_plain_path_is_refused() {
        for bad in
            ["", ".", "a", ".a.", "..a", ".a[", ".a[]", ".a[-1]", ".a[\"x]", ".a[1:2]", ".a | .b", ".1", ".a b", "[0]"]
        {
            assert!(Path::parse(bad).is_none(), "{bad}");
        }
    }
}
