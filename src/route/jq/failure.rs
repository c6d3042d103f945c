//! Words the message of a program that failed. jq's own messages hold values, perhaps a whole body, so none of their
//! words is passed on. A message of a known shape is written anew from the shape, with the types of the values in place
//! of the values; for any other the message only says that jq failed. What a rule passed to `error(…)` itself is shown
//! as it is. Pure.

use jaq_core::Error;
use jaq_json::Val;

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1_000;
/// The shapes of jq's messages. `{}` is a value, replaced by its type; `{key}` is a value that is shown if the program
/// itself names it; `*` is the rest of the message, which is left out.
const SHAPES: &[&str] = &[
    "cannot use {} as integer",
    "cannot use {} as number",
    "cannot use {} as string",
    "cannot use {} as array",
    "cannot use {} as iterable (array or object)",
    "cannot use {} as rangeable (array or string)",
    "cannot use {} as character",
    "cannot calculate {} + {}",
    "cannot calculate {} - {}",
    "cannot calculate {} * {}",
    "cannot calculate {} / {}",
    "cannot calculate {} % {}",
    "cannot index {} with {key}",
    "cannot parse {} as JSON: *",
    "cannot convert {} to bytes",
    "cannot convert {} to time",
    "index {} out of bounds",
    "invalid path expression with input {}",
    "invalid regex flag: *",
    "invalid regex: *",
    "{} has no length",
    // These are messages of `@base64d`.
    "Invalid symbol *",
    "Invalid last symbol *",
    "Invalid input length: *",
    "Invalid padding",
    // These are from `error(…)` in jq's own library.
    "cannot parse as number",
    "cannot parse as boolean",
    "split input and separator must be strings",
];

/// The message of a failure. `input` is the type of the program's input, `raised` what `error` was last called with in
/// this run, `program` the rule's text.
pub fn message(error: Error<Val>, input: &'static str, raised: Option<&Val>, program: &str) -> String {
    let shown = error.to_string();
    let value = error.into_val();
    let is_own = raised == Some(&value);
    let text = match value {
        Val::TStr(words) => String::from_utf8_lossy(&words).into_owned(),
        _ => shown,
    };
    // This goes for a rule's own `error(…)`, too: `try … catch error(.)` passes jq's words on.
    match SHAPES.iter().find_map(|shape| anew(shape, &text, program)) {
        Some(message) => message,
        None if is_own => cut(text),
        None => format!("jq failed on {input}; what it says may hold values of the event and is not told"),
    }
}

/// The type of a value, with an article.
pub fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "a boolean",
        Val::Num(_) => "a number",
        Val::TStr(_) => "a string",
        Val::BStr(_) => "a byte string",
        Val::Arr(_) => "an array",
        Val::Obj(_) => "an object",
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

/// The message that a shape makes of a text; `None` if the text does not have that shape. It takes nothing from the
/// text but names that the program holds, too.
fn anew(shape: &str, text: &str, program: &str) -> Option<String> {
    let (mut out, mut shape, mut rest) = (String::new(), shape, text);
    while let Some(at) = shape.find(['{', '*']) {
        let (before, hole) = shape.split_at(at);
        out.push_str(before);
        rest = rest.strip_prefix(before)?;
        if hole == "*" {
            return Some(out.trim_end_matches([':', ' ']).to_owned());
        }
        let (name, after) = hole.split_once('}')?;
        let (value, tail) = rest.split_at(length(rest));
        match own_key(value, program).filter(|_| name == "{key") {
            Some(key) => out.push_str(key),
            None => out.push_str(kind_of_text(value)?),
        }
        (shape, rest) = (after, tail);
    }
    out.push_str(shape);
    (rest == shape).then_some(out)
}

/// The type of a value that jq has written out; `None` if the text is not a value.
fn kind_of_text(value: &str) -> Option<&'static str> {
    Some(match value.as_bytes().first()? {
        b'{' => "an object",
        b'[' => "an array",
        b'"' => "a string",
        b'b' if value.starts_with("b\"") => "a byte string",
        b'0'..=b'9' | b'-' | b'N' | b'I' => "a number",
        _ if value == "null" => "null",
        _ if matches!(value, "true" | "false") => "a boolean",
        _ => return None,
    })
}

/// The name in quotes, if the program itself uses it, as `.name` or `"name"`.
fn own_key<'v>(value: &'v str, program: &str) -> Option<&'v str> {
    let name = value.strip_prefix('"')?.strip_suffix('"')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = !name.is_empty() && name.chars().all(plain);
    let behind_dot = || {
        let dotted = format!(".{name}");
        program
            .match_indices(&dotted)
            .any(|(at, _)| !program.get(at + dotted.len()..).unwrap_or_default().starts_with(plain))
    };
    (is_name && (program.contains(value) || behind_dot())).then_some(value)
}

/// The length in bytes of the value that a text begins with, as jq writes values; the whole text if the value does not
/// end.
fn length(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let start = usize::from(text.starts_with("b\""));
    let is_scalar = !text.get(start..).unwrap_or_default().starts_with(['{', '[', '"']);
    if is_scalar {
        return text.find(' ').unwrap_or(text.len());
    }
    for (at, c) in text.char_indices().skip(start) {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => depth += 1,
            ']' | '}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && !in_string {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(text: &str, program: &str) -> Option<String> {
        SHAPES.iter().find_map(|shape| anew(shape, text, program))
    }

    #[test]
    fn a_message_of_a_known_shape_is_written_anew_with_types_for_values() {
        for (text, want) in [
            (r#"cannot calculate {"a":"} + {"} + [1,"]"]"#, "cannot calculate an object + an array"),
            (r#"cannot use b"\x00 as number" as string"#, "cannot use a byte string as string"),
            ("cannot use -Infinity as iterable (array or object)", "cannot use a number as iterable (array or object)"),
            (r#"cannot parse "+91 98" as JSON: byte offset 1: 98"#, "cannot parse a string as JSON"),
            ("true has no length", "a boolean has no length"),
            ("invalid regex: ( 98", "invalid regex"),
        ] {
            assert_eq!(message_of(text, ".").as_deref(), Some(want), "{text}");
        }
        for other in ["cannot use +91 as number", "cannot calculate 1 + ", "index 98", "", "no number: [1]"] {
            assert_eq!(message_of(other, "."), None, "{other}");
        }
    }

    #[test]
    fn a_key_is_shown_only_where_the_program_names_it() {
        let text = "cannot index 1 with \"phone\"";
        for program in [".a.phone", ".phone", ".[\"phone\"]", ".phone?"] {
            assert_eq!(message_of(text, program).unwrap(), "cannot index a number with \"phone\"", "{program}");
        }
        for program in [".a[.b]", ".phones", ".a[$event.subject]"] {
            assert_eq!(message_of(text, program).unwrap(), "cannot index a number with a string", "{program}");
        }
    }
}
