//! What Interakt says to a call: whether it took the message, by which id, and in which words it refused it. Pure.

use serde_json::Value;

use crate::request::Request;

/// Longest id that is taken, in bytes; Interakt's are UUIDs.
const MAX_ID: usize = 128;
/// Longest text of Interakt's that is shown, in characters.
const MAX_SHOWN: usize = 240;
/// Values of a payload that are shorter than this, in characters, are left in a text: they say nothing of anybody, and
/// "expected number of values are 2" has one.
const MIN_VALUE: usize = 2;
/// So many digits in a row, or more, may be a phone, or a part of one.
const PHONE_DIGITS: usize = 5;
/// What stands where something was taken out.
const TAKEN_OUT: &str = "***";

/// An answer of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it took the message.
    pub result: bool,
    /// The message's id, where it gives one that can be one.
    pub id: Option<String>,
    /// Its own words.
    pub message: Option<String>,
}

/// Reads an answer; `None` where it is not the API that speaks: no JSON object, or one without `result`.
pub fn read(body: &[u8]) -> Option<Said> {
    let Value::Object(all) = serde_json::from_slice(body).ok()? else { return None };
    let id = match all.get("id") {
        Some(Value::String(id)) => id.trim().to_owned(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    let can_be_one = !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control);
    let message = all.get("message").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    Some(Said {
        result: all.get("result")?.as_bool()?,
        id: can_be_one.then_some(id),
        message: message.map(ToOwned::to_owned),
    })
}

/// A refusal of which the cause is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The code of the dead letter.
    pub code: &'static str,
    /// What to do.
    pub way_out: &'static str,
}

/// What Interakt's words mean, where they are known (`interakt.md` §4.3).
pub fn known(message: &str) -> Option<Known> {
    let text = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
    if has(&["template", "no approved"]) || has(&["template", "not found"]) {
        let way_out = "`template.name` and `languageCode` must be those of an approved template, in the same case";
        return Some(Known { code: "no_template", way_out });
    }
    if has(&["missing", "variable"]) || has(&["expected number of values"]) {
        let way_out =
            "`bodyValues`, `headerValues` and `buttonValues` need one value for each variable of the template";
        return Some(Known { code: "missing_variables", way_out });
    }
    if has(&["category"]) {
        let way_out = "the template was moved to another category: change `template_category`, or leave it out";
        return Some(Known { code: "wrong_category", way_out });
    }
    None
}

/// Interakt's words as they may be shown: one line, bounded, without values of the payload and without what may be a
/// phone. The names of templates stay.
pub fn shown(message: &str, request: &Request<'_>) -> String {
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut values = request.values();
    // The longest first: one may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values.iter().map(|value| value.trim()).filter(|value| value.chars().count() >= MIN_VALUE) {
        text = without(&text, value);
    }
    let mut text = without_phones(&text);
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The text without a value, where that stands as a word of its own.
fn without(text: &str, value: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(value) {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + value.len()..).unwrap_or_default());
        let is_word = |side: Option<char>, edge: Option<char>| {
            let both = side.zip(edge);
            !both.is_some_and(|(side, edge)| side.is_alphanumeric() && edge.is_alphanumeric())
        };
        let stands_alone = is_word(before.chars().next_back(), value.chars().next())
            && is_word(after.chars().next(), value.chars().next_back());
        out.push_str(before);
        out.push_str(if stands_alone { TAKEN_OUT } else { value });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text without longer rows of digits.
fn without_phones(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().map(Some).chain([None]) {
        if let Some(digit) = c.filter(char::is_ascii_digit) {
            digits.push(digit);
            continue;
        }
        out.push_str(if digits.len() < PHONE_DIGITS { &digits } else { TAKEN_OUT });
        digits.clear();
        out.extend(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::check;

    fn said(body: &str) -> Option<Said> {
        read(body.as_bytes())
    }

    #[test]
    fn an_answer_says_whether_and_by_which_id() {
        let taken = |id: Option<&str>| Some(Said { result: true, id: id.map(str::to_owned), message: None });
        assert_eq!(said(r#"{"result":true,"id":"a-1","more":[1]}"#), taken(Some("a-1")));
        assert_eq!(said(r#"{"id":77,"result":true}"#), taken(Some("77")));
        for no_id in ["", r#","id":null"#, r#","id":"  ""#, r#","id":"a\u0000""#, r#","id":{}"#] {
            assert_eq!(said(&format!("{{\"result\":true{no_id}}}")), taken(None), "{no_id}");
        }
        assert_eq!(said(&format!("{{\"result\":true,\"id\":\"{}\"}}", "x".repeat(129))), taken(None));
        let no = said(r#"{"result":false,"message":"No"}"#).unwrap();
        assert_eq!((no.result, no.message.as_deref()), (false, Some("No")));
    }

    #[test]
    fn what_is_not_the_apis_answer_is_none() {
        for other in
            ["", "null", "[true]", "OK", "<html>", "{}", r#"{"id":"a"}"#, r#"{"result":"true"}"#, "{\"result\":"]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn known_refusals_are_told_apart() {
        for (message, code) in [
            ("No approved template found with name 'order' and language 'en'.", "no_template"),
            ("Missing variable values for template's body, expected number of values are 2", "missing_variables"),
            ("Missing variable values for template's button at index 0", "missing_variables"),
            ("Template category mismatch: MARKETING", "wrong_category"),
        ] {
            assert_eq!(known(message).map(|known| known.code), Some(code), "{message}");
        }
        assert_eq!(known("Something else"), None);
    }

    #[test]
    fn words_are_shown_without_what_is_somebodys() {
        let payload = r#"{"fullPhoneNumber":"+919876543210","type":"Template","callbackData":"order 7",
            "template":{"name":"order","languageCode":"en","bodyValues":["Asha Rao","2","Asha"]}}"#;
        let request = check(payload.as_bytes()).unwrap();
        let shown = |text: &str| shown(text, &request);
        let kept = "No approved template found with name 'order' and language 'en'";
        assert_eq!(shown(kept), kept);
        assert_eq!(shown("name 'festive_2026'"), "name 'festive_2026'");
        assert_eq!(shown("expected number of values are 2"), "expected number of values are 2");
        assert_eq!(
            shown("Asha Rao (+919876543210, 98765 43210): order 7, Ashamed"),
            "*** (***, *** ***): ***, Ashamed"
        );
        assert_eq!(shown("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), MAX_SHOWN + 1);
        for odd in ["Asha", "AshaAsha", "", "é", "Asha Rao2"] {
            shown(odd);
        }
    }
}
