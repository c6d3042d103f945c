//! What a message is made of: the template's name and variables, or the data of a session message. Pure. A reason shows
//! no value.

use serde_json::value::RawValue;
use sink_api::Reason;

use crate::parts::{self, Kind, bad, given, string};

/// The lists of variables that templates and the cards of a carousel have.
const VARIABLES: &[&str] = &["headerValues", "bodyValues"];

/// Names of a template or a card that are easily written otherwise.
const NAMES: &[&str] = &["languageCode", "headerValues", "bodyValues", "buttonValues"];

/// `template` of a message whose type is `Template`.
pub(crate) fn check(template: Option<&RawValue>) -> Result<(), Reason> {
    let Some(template) = template else {
        return Err(bad("`type` is Template, and there is no `template`: give its `name` and `languageCode`"));
    };
    let members = object("template", template)?;
    slips("template", &members)?;
    for name in ["name", "languageCode"] {
        let at = format!("template.{name}");
        let text = given(&members, name).map(|value| string(&at, value)).transpose()?;
        if text.is_none_or(|text| text.trim().is_empty()) {
            let what = if name == "name" { "the template's code name" } else { "such as `en`" };
            return Err(bad(format!("`{at}` is missing or empty: {what}, as the dashboard shows it")));
        }
    }
    variables("template", &members)?;
    let Some(cards) = given(&members, "carouselCards") else { return Ok(()) };
    let Some(cards) = parts::list(cards) else {
        let what = parts::kind(cards).in_words();
        return Err(bad(format!("`template.carouselCards` is {what}, expected a list of objects")));
    };
    cards.into_iter().enumerate().try_for_each(|(n, card)| {
        let at = format!("template.carouselCards[{n}]");
        let members = object(&at, card)?;
        slips(&at, &members)?;
        variables(&at, &members)
    })
}

/// A name that stands for one of [`NAMES`] which is not there, as other APIs have it: the provider would pass over it,
/// and the values with it.
fn slips(at: &str, members: &[(String, &RawValue)]) -> Result<(), Reason> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let is_there = |name: &str| members.iter().any(|(other, _)| other == name);
    for (name, _) in members.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())) {
        let found = plain(name);
        let meant = NAMES.iter().find(|meant| {
            let meant = plain(meant);
            found == meant
                || found.strip_suffix('s').unwrap_or(&found) == meant.trim_end_matches("values")
                || (found == "language" && meant == "languagecode")
        });
        if let Some(meant) = meant.filter(|meant| !is_there(meant)) {
            return Err(bad(format!("`{at}` has `{name}`: did you mean `{meant}`?")));
        }
    }
    Ok(())
}

/// `data.message` of a session message of type `Text`.
pub(crate) fn session_text(kind: &str, data: Option<&RawValue>) -> Result<(), Reason> {
    let members = session_data(kind, data)?;
    let text = given(&members, "message").map(|value| string("data.message", value)).transpose()?;
    if text.is_none_or(|text| text.trim().is_empty()) {
        return Err(bad(format!("`type` is {kind}, and `data.message` is missing or empty: give the text")));
    }
    Ok(())
}

/// `data.mediaUrl` of a session message with a file.
pub(crate) fn session_media(kind: &str, data: Option<&RawValue>) -> Result<(), Reason> {
    let members = session_data(kind, data)?;
    let url = given(&members, "mediaUrl").map(|value| string("data.mediaUrl", value)).transpose()?;
    let Some(url) = url.filter(|url| !url.trim().is_empty()) else {
        return Err(bad(format!("`type` is {kind}, and `data.mediaUrl` is missing or empty: give the file's address")));
    };
    if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(bad(
            "`data.mediaUrl` does not begin with https:// or http://: WhatsApp fetches the file from there",
        ));
    }
    Ok(())
}

/// `data.message` of a session message with buttons or a list.
pub(crate) fn session_interactive(kind: &str, data: Option<&RawValue>) -> Result<(), Reason> {
    let members = session_data(kind, data)?;
    let Some(message) = given(&members, "message") else {
        let what = "give the object that WhatsApp describes";
        return Err(bad(format!("`type` is {kind}, and `data.message` is missing: {what}")));
    };
    if object("data.message", message)?.is_empty() {
        return Err(bad("`data.message` is an empty object: give `type`, `body` and `action`"));
    }
    Ok(())
}

fn session_data<'p>(kind: &str, data: Option<&'p RawValue>) -> Result<Vec<(String, &'p RawValue)>, Reason> {
    match data {
        Some(data) => object("data", data),
        None => Err(bad(format!("`type` is {kind}, and there is no `data`: it holds the message"))),
    }
}

fn object<'p>(at: &str, value: &'p RawValue) -> Result<Vec<(String, &'p RawValue)>, Reason> {
    let what = parts::kind(value);
    parts::members(value.get()).ok_or_else(|| bad(format!("`{at}` is {}, expected an object", what.in_words())))
}

/// The variables of a template or a card.
fn variables(at: &str, members: &[(String, &RawValue)]) -> Result<(), Reason> {
    for name in VARIABLES {
        if let Some((_, value)) = members.iter().find(|(other, _)| other == name) {
            values(&format!("{at}.{name}"), value)?;
        }
    }
    let Some((_, buttons)) = members.iter().find(|(other, _)| other == "buttonValues") else { return Ok(()) };
    let at = format!("{at}.buttonValues");
    let members = parts::members(buttons.get()).ok_or_else(|| {
        let what = parts::kind(buttons).in_words();
        bad(format!("`{at}` is {what}, expected an object such as {{\"0\": [\"…\"]}}: a button's index and its values"))
    })?;
    members.into_iter().try_for_each(|(index, value)| {
        if index.is_empty() || index.len() > 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad(format!("`{at}` has a key that is no index of a button: expected \"0\", \"1\", …")));
        }
        values(&format!("{at}.{index}"), value)
    })
}

/// A list of strings, none of them empty: WhatsApp refuses a message with an empty variable.
fn values(at: &str, value: &RawValue) -> Result<(), Reason> {
    let Some(items) = parts::list(value) else {
        let what = parts::kind(value).in_words();
        return Err(bad(format!("`{at}` is {what}, expected a list of strings")));
    };
    items.into_iter().enumerate().try_for_each(|(n, item)| {
        let n = n + 1;
        match (parts::kind(item), parts::text(item)) {
            (Kind::Text, Some(text)) if !text.trim().is_empty() => Ok(()),
            (Kind::Text, _) => Err(bad(format!("variable {n} of `{at}` is empty: WhatsApp takes no empty variable"))),
            (Kind::Null, _) => Err(bad(format!("variable {n} of `{at}` is missing (null): give it a default"))),
            (what, _) => {
                let what = what.in_words();
                Err(bad(format!("variable {n} of `{at}` is {what}, expected a string (in jq, `tostring` makes one)")))
            }
        }
    })
}
