//! Converts JSON to jq's values and back. Digits stay as they came, and bounds of depth and size are kept. Pure.

use std::borrow::Cow;
use std::io::Write;

use jaq_json::{Num, Rc, Val};
use sink_api::json;

use super::{MAX_DEPTH, MAX_OUTPUT};

/// The value that a rule gets of a body; `null` where the body is not JSON. A lone surrogate becomes U+FFFD.
///
/// # Errors
/// The body is nested deeper than [`MAX_DEPTH`].
pub fn read(body: &[u8]) -> Result<Val, String> {
    if !json::is_json(body) {
        return Ok(Val::Null);
    }
    if json::depth(body) > MAX_DEPTH {
        return Err(format!("the body is nested deeper than {MAX_DEPTH}"));
    }
    let marked = marked_zeros(body);
    // jaq reads more than JSON, so that the body is checked to be JSON above; and it reads all of JSON.
    let mut value = jaq_json::read::parse_single(&whole_surrogates(marked.as_deref().unwrap_or(body)))
        .map_err(|_| "the body cannot be read".to_owned())?;
    if marked.is_some() {
        keep_signs(&mut value);
    }
    Ok(value)
}

/// Appends a value as compact JSON, until `out` has [`MAX_OUTPUT`] bytes. Numbers that JSON does not have are written
/// as jq writes them: NaN as null, an infinity as the largest number.
///
/// # Errors
/// The value is not JSON, is nested too deep, or is too long.
pub fn write(value: &Val, out: &mut Vec<u8>) -> Result<(), String> {
    put(value, out, 0)
}

fn put(value: &Val, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    if out.len() > MAX_OUTPUT {
        return Err(format!("yields more than {} MiB", MAX_OUTPUT >> 20));
    }
    if depth > MAX_DEPTH {
        return Err(format!("yields a value nested deeper than {MAX_DEPTH}"));
    }
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(Num::Float(float)) if float.is_nan() => out.extend_from_slice(b"null"),
        Val::Num(Num::Float(float)) if float.is_infinite() => {
            out.extend_from_slice(if *float > 0.0 { b"1.7976931348623157e308" } else { b"-1.7976931348623157e308" });
        }
        // Writing to memory cannot fail.
        Val::Num(number) => _ = write!(out, "{number}"),
        Val::TStr(text) => string(text, out),
        Val::BStr(_) => return Err("yields a byte string, which is no JSON".to_owned()),
        Val::Arr(all) => {
            out.push(b'[');
            for (n, one) in all.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                put(one, out, depth + 1)?;
            }
            out.push(b']');
        }
        Val::Obj(all) => {
            out.push(b'{');
            for (n, (key, one)) in all.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                let Val::TStr(key) = key else { return Err("yields an object with a key that is no text".to_owned()) };
                string(key, out);
                out.push(b':');
                put(one, out, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}

/// The mark for an integer `-0`, which jaq would read as `0`: a decimal number, whose text jaq keeps, in a form that
/// JSON does not have.
const MARKED_ZERO: &str = "+0.0";

/// Valid JSON with every integer `-0` marked; `None` if there is no `-0`.
fn marked_zeros(json: &[u8]) -> Option<Vec<u8>> {
    let mut marked: Option<Vec<u8>> = None;
    let (mut in_string, mut escaped, mut copied) = (false, false, 0);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            // The minus sign of an exponent has an `e` before it.
            b'-' if !in_string
                && json.get(at + 1) == Some(&b'0')
                && !matches!(json.get(at + 2), Some(b'0'..=b'9' | b'.' | b'e' | b'E'))
                && !matches!(at.checked_sub(1).and_then(|before| json.get(before)), Some(b'e' | b'E')) =>
            {
                let out = marked.get_or_insert_default();
                out.extend_from_slice(json.get(copied..at).unwrap_or_default());
                out.extend_from_slice(MARKED_ZERO.as_bytes());
                copied = at + 2;
            }
            _ => {}
        }
    }
    let mut out = marked?;
    out.extend_from_slice(json.get(copied..).unwrap_or_default());
    Some(out)
}

/// Turns every marked zero back into `-0`. Recurses as deep as the value is nested, which has a bound.
fn keep_signs(value: &mut Val) {
    match value {
        Val::Num(Num::Dec(digits)) if digits.as_str() == MARKED_ZERO => *digits = Rc::new("-0".to_owned()),
        Val::Arr(all) => Rc::make_mut(all).iter_mut().for_each(keep_signs),
        Val::Obj(all) => Rc::make_mut(all).values_mut().for_each(keep_signs),
        _ => {}
    }
}

/// Valid JSON with lone surrogates replaced, so that `\ud800` to `\udfff` stand in pairs only.
fn whole_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\\')) {
        at += found;
        match unit(json, at) {
            None => at += 2,
            Some(0xd800..=0xdbff) if matches!(unit(json, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                lone.push(at + 2);
                at += 6;
            }
            Some(_) => at += 6,
        }
    }
    if lone.is_empty() {
        return Cow::Borrowed(json);
    }
    let mut whole = json.to_vec();
    for start in lone {
        if let Some(digits) = whole.get_mut(start..start + 4) {
            digits.copy_from_slice(b"fffd");
        }
    }
    Cow::Owned(whole)
}

/// The code unit of a `\uXXXX` at `at`, if one stands there.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let escape = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(body: &[u8]) -> String {
        let mut out = Vec::new();
        write(&read(body).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_survive_and_what_is_not_json_is_null() {
        for same in ["12345678901234567890123", "9007199254740993", "1.10", "-0.50e-7", r#"{"a":[1,"x",null,true]}"#] {
            assert_eq!(round(same.as_bytes()), same);
        }
        for not in [&b""[..], b"{} {}", b"# x\n1", b"NaN", b"\xff", b"{a:1}"] {
            assert_eq!(round(not), "null", "{not:?}");
        }
    }

    #[test]
    fn a_zero_keeps_its_sign() {
        for same in [
            "-0",
            "0",
            "-0.0",
            "-0e1",
            "-0E-0",
            "1e-0",
            "-1e-0",
            "-12",
            "-0.50",
            "[-0,-0]",
            "[[0,-0],{\"-0\":-0}]",
            r#"{"a":"-0","b":"\"-0","c":-0,"d":[-10,"x\\",-0]}"#,
            "-123456789012345678901234567890",
        ] {
            assert_eq!(round(same.as_bytes()), same);
        }
        assert_eq!(round(b" [ -0 , -0\n] "), "[-0,-0]");
    }

    #[test]
    fn a_lone_surrogate_reads_as_a_replacement_character() {
        assert_eq!(round(br#""a\ud83d""#), "\"a\u{FFFD}\"");
        assert_eq!(round(br#""\udc00\ud83d\ude00\ud83d\u0041 \\ud83d""#), "\"\u{FFFD}\u{1F600}\u{FFFD}A \\\\ud83d\"");
    }

    #[test]
    fn what_json_cannot_hold_is_refused_or_written_as_jq_does() {
        let text = |value: &Val| {
            let mut out = Vec::new();
            write(value, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(text(&Val::from(f64::NAN)).unwrap(), "null");
        assert_eq!(text(&Val::from(f64::NEG_INFINITY)).unwrap(), "-1.7976931348623157e308");
        assert!(text(&Val::byte_str(vec![1_u8])).unwrap_err().contains("byte string"));
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        assert!(read(deep.as_bytes()).unwrap_err().contains("deeper"));
    }
}
