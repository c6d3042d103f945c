//! JSON read one level at a time, each part left as it is written: digits, order and escapes of what nobody asks about
//! stay; and the words for a part that is not what it must be. Pure.

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use sink_api::json::Text;
use sink_api::{Reason, code};

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    List,
    Text,
    Number,
    Bool,
    Null,
}

impl Kind {
    /// `a number`.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

/// What this part is: its first character says so.
pub(crate) fn kind(part: &RawValue) -> Kind {
    match part.get().trim_start().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::List,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// The text of a string.
pub(crate) fn text(part: &RawValue) -> Option<String> {
    serde_json::from_str::<Text>(part.get()).ok().map(|Text(text)| text)
}

/// The items of a list.
pub(crate) fn list(part: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(part.get()).ok()
}

/// Names and values of an object, in order, repeated names included.
pub(crate) fn members(json: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some((Text(name), value)) = map.next_entry::<Text, &RawValue>()? {
                all.push((name, value));
            }
            Ok(all)
        }
    }
    let mut read = serde_json::Deserializer::from_str(json);
    let all = read.deserialize_map(Members).ok()?;
    read.end().ok().map(|()| all)
}

/// The member of that name, where it is there and not null.
pub(crate) fn given<'p>(members: &[(String, &'p RawValue)], name: &str) -> Option<&'p RawValue> {
    let found = members.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
    found.filter(|value| kind(value) != Kind::Null)
}

/// The text of a part that must be a string, or the reason why it is none; `at` names the part.
pub(crate) fn string(at: &str, part: &RawValue) -> Result<String, Reason> {
    text(part).ok_or_else(|| {
        let what = kind(part);
        let way_out = if what == Kind::Number { " (in jq, `tostring` makes one)" } else { "" };
        bad(format!("`{at}` is {}, expected a string{way_out}", what.in_words()))
    })
}

/// The reason of a dead letter.
pub(crate) fn bad(detail: impl Into<String>) -> Reason {
    Reason::new(code::BAD_PAYLOAD, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_it_stands_with_what_is_there_twice() {
        let all = members(r#" { "b" : 1.50 , "a":[1, "\ud83d"], "b":null } "#).unwrap();
        let shown: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.get(), kind(value))).collect();
        assert_eq!(
            shown,
            [("b", "1.50", Kind::Number), ("a", r#"[1, "\ud83d"]"#, Kind::List), ("b", "null", Kind::Null)]
        );
        let items = list(all[1].1).unwrap();
        assert_eq!((items.len(), kind(items[0]), text(items[1]).as_deref()), (2, Kind::Number, Some("\u{fffd}")));
        for bad in ["", "{", "[]", "{} {}", "{\"a\"}", "null", "{\"a\":1,}"] {
            assert!(members(bad).is_none(), "{bad}");
        }
    }
}
