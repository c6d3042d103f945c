//! JSON as bytes: checked and compacted, never re-encoded. Digits and escapes stay as they came.

use std::fmt;

use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

/// Whether the bytes are one JSON value in UTF-8. Lone surrogate escapes (`"\ud83d"`) are taken: they are what a cut
/// emoji becomes in JSON made by Python, and real payloads hold them.
pub fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// The value without whitespace outside strings, or `None` where the bytes are not JSON.
pub fn compact(bytes: &[u8]) -> Option<Vec<u8>> {
    is_json(bytes).then(|| {
        let mut out = Vec::with_capacity(bytes.len());
        strip_whitespace(bytes, &mut out);
        out
    })
}

/// How deeply valid JSON is nested: 0 for a text or a number.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Appends `json`, which must be valid, without whitespace outside strings.
pub fn strip_whitespace(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    // Copied in stretches: up to the next whitespace, or through the next string.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b' ' | b'\t' | b'\n' | b'\r')) {
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before);
        let taken = if tail.first() == Some(&b'"') { string_len(tail) } else { 0 };
        let (string, after) = tail.split_at(taken);
        out.extend_from_slice(string);
        rest = if taken == 0 { after.get(1..).unwrap_or_default() } else { after };
    }
    out.extend_from_slice(rest);
}

/// Length of the string that `json` begins with, both quotes included.
fn string_len(json: &[u8]) -> usize {
    let mut end = 1;
    while let Some(next) = json.get(end..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        end += next;
        if json.get(end) == Some(&b'"') {
            return end + 1;
        }
        end += 2; // an escape: what comes after the backslash ends nothing
    }
    json.len()
}

/// A JSON string. A lone surrogate escape in it (a cut emoji, as Python writes it) becomes one U+FFFD, and is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(without_surrogates(bytes)))
            }
        }
        // Asked for bytes, serde_json does not refuse lone surrogates but writes them as if they were characters.
        from.deserialize_bytes(Bytes)
    }
}

/// UTF-8 in which surrogates may stand as three bytes (ED, A0..BF, any) → text with U+FFFD, which has three bytes too,
/// in their place. In UTF-8 the byte ED only ever begins a character.
fn without_surrogates(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        if let Some(three @ [0xED, 0xA0..=0xBF, _]) = bytes.get_mut(at..at.saturating_add(3)) {
            three.copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    #[test]
    fn compact_keeps_digits_escapes_and_spaces_inside_strings() {
        let text = br#" { "n" : 12345678901234567890.10 , "s" : "a \" b\\" , "u":"\ud83d \u0000" } "#;
        let got = compact(text).unwrap();
        assert_eq!(got, br#"{"n":12345678901234567890.10,"s":"a \" b\\","u":"\ud83d \u0000"}"#);
    }

    proptest::proptest! {
        /// Tokens stand as they are; only what stands between them goes.
        #[test]
        fn only_whitespace_between_tokens_goes(
            tokens in proptest::collection::vec((token(), "[ \\t\\r\\n]{0,3}"), 0..20),
        ) {
            let spaced: String = tokens.iter().map(|(token, gap)| format!("{gap}{token}{gap},")).collect();
            let plain: String = tokens.iter().map(|(token, _)| format!("{token},")).collect();
            let got = compact(format!("[{spaced}0 ]").as_bytes()).unwrap();
            proptest::prop_assert_eq!(String::from_utf8(got).unwrap(), format!("[{plain}0]"));
        }

        /// Bytes that are no JSON come out of no loop and no panic.
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let mut out = Vec::new();
            strip_whitespace(&bytes, &mut out);
            proptest::prop_assert!(out.len() <= bytes.len());
        }
    }

    /// A scalar, its strings with every escape and with whitespace inside.
    fn token() -> impl proptest::strategy::Strategy<Value = String> {
        let text = r#"([ \t!#-\[\]-~é€😀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,12}"#.replace(r"\t", "");
        let number = r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?";
        proptest::prop_oneof![
            proptest::string::string_regex(&text).unwrap().prop_map(|text| format!("\"{text}\"")),
            proptest::string::string_regex(number).unwrap(),
            proptest::sample::select(&["true", "false", "null", "[]", "{}"][..]).prop_map(str::to_owned),
        ]
    }

    #[test]
    fn each_lone_surrogate_of_a_string_reads_as_one_replacement_character() {
        let text = |json| serde_json::from_str::<Text>(json).map(|Text(text)| text).ok();
        let read = text(r#""a\ud83d b \udE00\ud83d\ude00\u00e9é""#);
        assert_eq!(read.as_deref(), Some("a\u{FFFD} b \u{FFFD}\u{1F600}éé"));
        assert_eq!(text("1"), None);
    }

    #[test]
    fn compact_refuses_what_is_not_json() {
        for bad in [&b""[..], b"{", b"{} x", b"\xff\"\"", b"\"\xff\"", b"\"a\nb\""] {
            assert_eq!(compact(bad), None, "{bad:?}");
        }
    }
}
