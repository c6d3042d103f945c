//! A delivery's payload, checked before anything is sent: it must be the body of a call, as Interakt's send API has it.
//! Of a checked one only `callbackData` is written anew; all else goes out as it came, what we do not know included.
//! Pure. A reason names what is wrong and the way out, and shows no value of the payload.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sink_api::fault::nearest;
use sink_api::origin::TooLong;
use sink_api::{Origin, Reason, json};

use crate::parts::{self, bad, given, string};
use crate::template;

/// The user's own text is too long to stand beside ours.
pub const CALLBACK_TOO_LONG: &str = "callback_too_long";

/// Largest payload that is sent, in bytes: WhatsApp's longest messages are a tenth of it.
const MAX_REQUEST: usize = 64 << 10;
/// Deepest nesting of a payload: several times that of a carousel, the deepest that the API describes.
const MAX_DEPTH: usize = 32;
/// The member in which the provider keeps a text for us.
const CALLBACK: &str = "callbackData";
/// Digits of a phone with its country code: fewest (of the numbers of small countries) and most (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Most digits of a country code, with the area codes that some countries have as theirs (`+1242`).
const CODE_DIGITS: usize = 4;

/// What a `type` needs beside it.
#[derive(Clone, Copy)]
enum Needs {
    Template,
    /// `data.message`, a text.
    Text,
    /// `data.mediaUrl`.
    Media,
    /// `data.message`, an object.
    Interactive,
}

/// The types of messages that the API knows.
const TYPES: &[(&str, Needs)] = &[
    ("Template", Needs::Template),
    ("Text", Needs::Text),
    ("Image", Needs::Media),
    ("Video", Needs::Media),
    ("Audio", Needs::Media),
    ("Document", Needs::Media),
    ("Sticker", Needs::Media),
    ("InteractiveButton", Needs::Interactive),
    ("InteractiveList", Needs::Interactive),
];

/// A body that may be sent.
#[derive(Debug)]
pub struct Request<'p> {
    payload: &'p [u8],
    members: Vec<(String, &'p RawValue)>,
    /// The user's own text for `callbackData`, without a prefix of ours.
    own: String,
    /// Whether there was a prefix of ours: a route had passed on what a status said.
    had_prefix: bool,
    /// `+` and digits.
    phone: String,
}

/// Reads and checks a payload.
///
/// # Errors
/// A reason for a dead letter.
pub fn check(payload: &[u8]) -> Result<Request<'_>, Reason> {
    const WAY_OUT: &str = "expected the body of Interakt's send API, with `fullPhoneNumber`, `type` and so on; in a \
                           route to this sink a transform makes it";
    if payload.trim_ascii().is_empty() {
        return Err(bad(format!("the payload is empty: {WAY_OUT}")));
    }
    if payload.len() > MAX_REQUEST {
        let most = MAX_REQUEST >> 10;
        return Err(bad(format!("the payload is larger than {most} KiB, which is more than any message: {WAY_OUT}")));
    }
    let members = std::str::from_utf8(payload).ok().and_then(parts::members);
    let Some(members) = members else {
        return Err(bad(format!("the payload is no JSON object: {WAY_OUT}")));
    };
    if json::depth(payload) > MAX_DEPTH {
        return Err(bad(format!("the payload is nested deeper than {MAX_DEPTH}, which no message is: {WAY_OUT}")));
    }
    if members.is_empty() {
        return Err(bad(format!("the payload is an empty object: {WAY_OUT}")));
    }
    names(&members)?;
    let phone = phone(&members)?;
    kind(&members)?;
    let (own, had_prefix) = own_text(&members)?;
    Ok(Request { payload, members, own, had_prefix, phone })
}

impl<'p> Request<'p> {
    /// The customer's phone, `+` and digits.
    pub fn phone(&self) -> &str {
        &self.phone
    }

    /// The payload without a prefix of ours.
    pub fn plain(&self) -> Cow<'p, [u8]> {
        if self.had_prefix { Cow::Owned(self.with_callback(&self.own)) } else { Cow::Borrowed(self.payload) }
    }

    /// The body that is sent: the payload, with why it is sent before the user's own text in `callbackData`.
    ///
    /// # Errors
    /// The two do not fit.
    pub fn body(&self, origin: &Origin) -> Result<Vec<u8>, Reason> {
        Ok(self.with_callback(&origin.write(&self.own).map_err(|why| too_long(&why))?))
    }

    fn with_callback(&self, text: &str) -> Vec<u8> {
        let text = serde_json::Value::from(text).to_string();
        let others = self.members.iter().filter(|(name, _)| name != CALLBACK);
        let others = others.map(|(name, value)| (name.as_str(), value.get()));
        let mut body = Vec::with_capacity(self.payload.len() + text.len() + CALLBACK.len());
        for (name, value) in others.chain([(CALLBACK, text.as_str())]) {
            body.push(if body.is_empty() { b'{' } else { b',' });
            body.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            body.push(b':');
            body.extend_from_slice(value.as_bytes());
        }
        body.push(b'}');
        body
    }

    /// Texts and numbers of the payload that are somebody's: all but the names of type, template and language.
    pub fn values(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, value) in self.members.iter().filter(|(name, _)| name != "type" && name != "template_category") {
            let Ok(mut value) = serde_json::from_str::<serde_json::Value>(value.get()) else { continue };
            if let (true, Some(template)) = (name == "template", value.as_object_mut()) {
                template.remove("name");
                template.remove("languageCode");
            }
            leaves(&value, &mut all);
        }
        all
    }
}

/// Collects texts and numbers.
fn leaves(value: &serde_json::Value, all: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => all.push(text.clone()),
        serde_json::Value::Number(number) => all.push(number.to_string()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| leaves(item, all)),
        serde_json::Value::Object(members) => members.values().for_each(|value| leaves(value, all)),
        _ => {}
    }
}

fn too_long(why: &TooLong) -> Reason {
    Reason::new(CALLBACK_TOO_LONG, format!("{why}: shorten it"))
}

/// Every member has a name, and a name of its own: which of two Interakt would go by is its secret.
fn names(members: &[(String, &RawValue)]) -> Result<(), Reason> {
    let mut seen = std::collections::HashSet::new();
    for (name, _) in members {
        if name.is_empty() {
            return Err(bad("the payload has a key without a name: leave it out"));
        }
        if !seen.insert(name.as_str()) {
            return Err(bad("the payload has a key twice: leave one of them out"));
        }
    }
    Ok(())
}

/// `+` and digits, from one of the two forms. An empty text counts as none, as in Interakt's own examples.
fn phone(members: &[(String, &RawValue)]) -> Result<String, Reason> {
    let part = |name: &str| match given(members, name).map(|value| string(name, value)).transpose() {
        Ok(text) => Ok(text.filter(|text| !text.trim().is_empty())),
        Err(why) => Err(why),
    };
    match (part("fullPhoneNumber")?, part("countryCode")?, part("phoneNumber")?) {
        (None, None, None) => Err(bad(
            "there is no phone number, or an empty one: give `fullPhoneNumber`, or `countryCode` and `phoneNumber`",
        )),
        (Some(full), None, None) => {
            let digits = full.strip_prefix('+').unwrap_or(&full);
            let expected = "the country code and the number, digits alone (a `+` may stand before them)";
            number("fullPhoneNumber", digits, PHONE_DIGITS, expected)?;
            Ok(format!("+{digits}"))
        }
        (Some(_), _, _) => Err(bad(
            "`fullPhoneNumber` stands beside `countryCode` or `phoneNumber`, and Interakt takes one form at a time: \
             leave one out",
        )),
        (None, Some(_), None) => Err(bad("`countryCode` stands there without `phoneNumber`: give both")),
        (None, None, Some(_)) => Err(bad(
            "`phoneNumber` stands there without `countryCode`: give both, or the whole number as `fullPhoneNumber`",
        )),
        (None, Some(country), Some(national)) => {
            let Some(digits) = country.strip_prefix('+') else {
                return Err(bad("`countryCode` does not begin with `+`: write it as in `+91`"));
            };
            number("countryCode", digits, 1..=CODE_DIGITS, "`+` and digits")?;
            let room = PHONE_DIGITS.end().saturating_sub(digits.len());
            number("phoneNumber", &national, 4..=room, "digits alone, without the country code")?;
            Ok(format!("+{digits}{national}"))
        }
    }
}

/// Digits, so many, the first not 0.
fn number(name: &str, digits: &str, length: std::ops::RangeInclusive<usize>, expected: &str) -> Result<(), Reason> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(format!("`{name}` has other characters than digits in it: expected {expected}")));
    }
    if digits.starts_with('0') {
        return Err(bad(format!("`{name}` begins with 0: leave leading zeros out, expected {expected}")));
    }
    if !length.contains(&digits.len()) {
        let (least, most) = (length.start(), length.end());
        let count = digits.len();
        return Err(bad(format!("`{name}` has {count} digits, expected {least} to {most}: {expected}")));
    }
    Ok(())
}

/// `type`, and what this type needs.
fn kind(members: &[(String, &RawValue)]) -> Result<(), Reason> {
    let all = || TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let Some(kind) = given(members, "type") else {
        return Err(bad(format!("there is no `type`: expected one of {}", all())));
    };
    let kind = string("type", kind)?;
    let Some((name, needs)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let same = TYPES.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(&kind));
        let meant = same.or_else(|| nearest(&kind, TYPES.iter().map(|(name, _)| *name)));
        let meant = meant.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
        return Err(bad(format!("`type` is none that the API knows{meant}: expected one of {}", all())));
    };
    match needs {
        Needs::Template => template::check(given(members, "template")),
        Needs::Text => template::session_text(name, given(members, "data")),
        Needs::Media => template::session_media(name, given(members, "data")),
        Needs::Interactive => template::session_interactive(name, given(members, "data")),
    }
}

/// The user's own text for `callbackData`, and whether a prefix of ours stood before it.
fn own_text(members: &[(String, &RawValue)]) -> Result<(String, bool), Reason> {
    let text = given(members, CALLBACK).map(|value| string(CALLBACK, value)).transpose()?.unwrap_or_default();
    let (own, had_prefix) = match Origin::read(&text) {
        Some((_, own)) => (own.to_owned(), true),
        None => (text, false),
    };
    let length = own.chars().count();
    if length > sink_api::origin::MAX_OWN {
        return Err(too_long(&TooLong(length)));
    }
    Ok((own, had_prefix))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
