//! Reads JSON that keeps few promises: members are picked by name out of raw values, and texts are taken from strings
//! and numbers alike. Nothing here fails: a value of an unexpected type counts as absent.
//!
//! Values are found by skipping over the others, so lone surrogates, deep nesting and giant members elsewhere in the
//! body cost nothing and break nothing.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sink_api::json::Text;

/// A value in the body, not looked into yet; absent where the body has none.
pub type Raw<'b> = Option<&'b RawValue>;

/// The members of these names; all absent if the value is not an object. If a name occurs twice, the last one counts.
pub fn members<'b, const N: usize>(value: Raw<'b>, names: [&str; N]) -> [Raw<'b>; N] {
    object(value)
        .and_then(|raw| serde_json::Deserializer::from_str(raw.get()).deserialize_map(Pick(names)).ok())
        .unwrap_or([None; N])
}

/// The value, if it is an object.
pub fn object(value: Raw<'_>) -> Raw<'_> {
    value.filter(|raw| raw.get().starts_with('{'))
}

/// The values of all members of an object, whatever their names.
pub fn all_members(value: Raw<'_>) -> Vec<&RawValue> {
    object(value)
        .and_then(|raw| serde_json::Deserializer::from_str(raw.get()).deserialize_map(All).ok())
        .unwrap_or_default()
}

/// The text of a string, or a number as its digits came, or `true` and `false`. Absent for null, objects and arrays,
/// and for `""` and `"None"`, by which Interakt says that there is nothing. Lone surrogates become U+FFFD.
pub fn text(value: Raw<'_>) -> Option<String> {
    let raw = value?.get();
    let text = match raw.as_bytes().first()? {
        b'{' | b'[' | b'n' => return None,
        b'"' => serde_json::from_str::<Text>(raw).ok()?.0,
        _ => raw.to_owned(),
    };
    (!matches!(text.as_str(), "" | "None")).then_some(text)
}

struct Pick<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Raw<'de>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(index) = map.next_key_seed(NameOf(&self.0))? {
            match index.and_then(|i| found.get_mut(i)) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

struct All;

impl<'de> Visitor<'de> for All {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while map.next_key_seed(NameOf(&[]))?.is_some() {
            found.push(map.next_value()?);
        }
        Ok(found)
    }
}

/// Finds which of the names a key is. It asks for the key as bytes, because as text a key with a lone surrogate would
/// be an error.
struct NameOf<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for NameOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_bytes(self)
    }
}

impl Visitor<'_> for NameOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name.as_bytes() == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn read(json: &str) -> Option<String> {
        text(Some(raw(json)))
    }

    #[test]
    fn texts_come_from_strings_and_numbers_and_lone_surrogates_are_replaced() {
        assert_eq!(read(r#""a\u0000b""#).as_deref(), Some("a\0b"));
        assert_eq!(read(r#""\ud83d\ude0a \ud83d. \udc00\ud83d""#).as_deref(), Some("😊 \u{FFFD}. \u{FFFD}\u{FFFD}"));
        assert_eq!(read(r#""한퟿ \ud83d""#).as_deref(), Some("한퟿ \u{FFFD}"));
        assert_eq!(read("12345678901234567890.10").as_deref(), Some("12345678901234567890.10"));
        assert_eq!(read("-1").as_deref(), Some("-1"));
        assert_eq!(read("true").as_deref(), Some("true"));
        for nothing in ["null", "{}", "[\"a\"]", r#""""#, r#""None""#] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn members_are_found_behind_keys_and_values_that_cannot_be_decoded() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let json = format!(r#" {{"\udead":1,"x":"\ud83d","deep":{deep},"\u0061":2,"a":3,"b":{{"a":4}}}} "#);
        let [a, b, c] = members(Some(raw(&json)), ["a", "b", "c"]);
        assert_eq!((a.unwrap().get(), b.unwrap().get(), c.is_none()), ("3", r#"{"a":4}"#, true));
        let [inner] = members(b, ["a"]);
        assert_eq!(inner.unwrap().get(), "4");
        assert!(members(Some(raw("[1]")), ["a"])[0].is_none());
        assert_eq!(all_members(Some(raw(r#"{"\udead":1,"k":2}"#))).len(), 2);
    }
}
