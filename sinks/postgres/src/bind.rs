//! Value → the text that a column of a given type reads. Pure.
//!
//! Every value goes to the server as text and is read there by the column's own type: no digit is lost on the way, and
//! tables may have columns of any type.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sink_api::rows::Value;

/// Deepest array PostgreSQL has (MAXDIM).
const MAX_DEPTH: usize = 6;

/// What a column's type reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Its own notation.
    Plain,
    /// JSON, kept as it came (`json`).
    Json,
    /// JSON, decoded (`jsonb`).
    Jsonb,
}

/// The value as the column reads it; `None` is NULL.
///
/// PostgreSQL has no text with a NUL character in it: U+FFFD takes its place, as it does that of a lone surrogate. A
/// `json` column keeps both, as escapes.
pub fn text(value: &Value, shape: Shape, array: bool) -> Option<Cow<'_, str>> {
    Some(match (value, shape) {
        (Value::Null, _) => return None,
        (Value::Bool(true), _) => Cow::Borrowed("true"),
        (Value::Bool(false), _) => Cow::Borrowed("false"),
        (Value::Integer(n), _) => Cow::Owned(n.to_string()),
        (Value::Number(digits), _) => Cow::Borrowed(digits.as_str()),
        (Value::Json(json), shape) if array => match literal(json, shape) {
            Some(literal) => Cow::Owned(literal),
            // Where it is no array, or too deep for one, the server says so.
            None => Cow::Borrowed(json.as_str()),
        },
        (Value::Json(json), Shape::Jsonb) => decodable(json),
        (Value::Json(json), _) => Cow::Borrowed(json.as_str()),
        (Value::Text(text), Shape::Json) if !array => Cow::Owned(quoted_json(text)),
        (Value::Text(text), Shape::Jsonb) if !array => Cow::Owned(quoted_json(&without_nul(text))),
        (Value::Text(text), _) => without_nul(text),
    })
}

fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

fn quoted_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON array as PostgreSQL writes arrays: `{1,NULL,"a b"}`.
fn literal(json: &str, shape: Shape) -> Option<String> {
    let mut out = String::with_capacity(json.len() + 16);
    write_array(json, shape, MAX_DEPTH, &mut out)?;
    Some(out)
}

fn write_array(json: &str, shape: Shape, depth: usize, out: &mut String) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    out.push('{');
    for (at, element) in elements.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let raw = element.get();
        match (raw.as_bytes().first()?, shape) {
            (b'n', _) => out.push_str("NULL"),
            (b'[', Shape::Plain) => write_array(raw, shape, depth, out)?,
            (b'"', Shape::Plain) => {
                let Value::Text(text) = sink_api::rows::value(raw) else { return None };
                quote(&without_nul(&text), out);
            }
            (_, Shape::Jsonb) => quote(&decodable(raw), out),
            _ => quote(raw, out),
        }
    }
    out.push('}');
    Some(())
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// JSON that `jsonb` can decode: escapes of NUL and of lone surrogates become U+FFFD's.
fn decodable(json: &str) -> Cow<'_, str> {
    const REPLACEMENT: &str = "\\ufffd";
    if !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        // `\u` and four digits, or a backslash and one character: JSON was checked, so both are there.
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0), _) | (Some(0xDC00..=0xDFFF), _) => {
                out.push_str(REPLACEMENT);
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDBFF), _) => {
                out.push_str(REPLACEMENT);
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(whole);
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The code unit of the `\uXXXX` that the text begins with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(json: &str, shape: Shape, array: bool) -> Option<String> {
        text(&sink_api::rows::value(json), shape, array).map(Cow::into_owned)
    }

    #[test]
    fn plain_columns_read_their_own_notation_and_digits_stay() {
        for (json, want) in [
            ("null", None),
            ("true", Some("true")),
            ("-7", Some("-7")),
            ("12345678901234567890.10", Some("12345678901234567890.10")),
            ("1e400", Some("1e400")),
            (r#""a\u0000b\ud83d""#, Some("a\u{FFFD}b\u{FFFD}")),
            (r#"{"a":"\u0000"}"#, Some(r#"{"a":"\u0000"}"#)),
        ] {
            assert_eq!(bound(json, Shape::Plain, false).as_deref(), want, "{json}");
        }
    }

    #[test]
    fn json_is_kept_and_jsonb_can_be_decoded() {
        assert_eq!(bound(r#""a \"b\"""#, Shape::Json, false).as_deref(), Some(r#""a \"b\"""#));
        assert_eq!(bound(r#""\u0000""#, Shape::Json, false).as_deref(), Some(r#""\u0000""#));
        assert_eq!(bound(r#""\u0000""#, Shape::Jsonb, false).as_deref(), Some("\"\u{FFFD}\""));
        assert_eq!(bound("null", Shape::Jsonb, false), None);
        for (json, want) in [
            (r#"["\u0000","\\u0000","\\\u0000"]"#, r#"["\ufffd","\\u0000","\\\ufffd"]"#),
            (
                r#"["\ud83d\ude00","\ud83d","\ude00\ud83d","\uD83Dx"]"#,
                r#"["\ud83d\ude00","\ufffd","\ufffd\ufffd","\ufffdx"]"#,
            ),
            (r#"["\u00e9\n",1.50]"#, r#"["\u00e9\n",1.50]"#),
        ] {
            assert_eq!(bound(json, Shape::Jsonb, false).as_deref(), Some(want));
            assert_eq!(bound(json, Shape::Json, false).as_deref(), Some(json));
        }
    }

    #[test]
    fn arrays_are_written_as_postgres_writes_them() {
        for (json, shape, want) in [
            ("[]", Shape::Plain, "{}"),
            (r#"[1,null,"null","a \"b\\,{}",true]"#, Shape::Plain, r#"{"1",NULL,"null","a \"b\\,{}","true"}"#),
            ("[[1,2],[3,4]]", Shape::Plain, r#"{{"1","2"},{"3","4"}}"#),
            (r#"[{"a":1}]"#, Shape::Plain, r#"{"{\"a\":1}"}"#),
            (r#"[[1],"x",null]"#, Shape::Jsonb, r#"{"[1]","\"x\"",NULL}"#),
            (r#"{"not":"an array"}"#, Shape::Plain, r#"{"not":"an array"}"#),
        ] {
            assert_eq!(bound(json, shape, true).as_deref(), Some(want), "{json}");
        }
        assert_eq!(bound(r#""{a,b}""#, Shape::Plain, true).as_deref(), Some("{a,b}"));
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(bound(&deep, Shape::Plain, true), Some(deep));
    }
}
