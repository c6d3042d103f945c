//! Makes the send API's body anew of a status: of a template that was sent, its name and language (`raw_template`) and
//! its values (`message`); of any other message its text or its file. Pure.
//!
//! Nothing is guessed: a value that the template needs and the status does not hold is named as missing. What a status
//! never holds in full (a carousel's cards, the parts of an interactive message) is missing as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::message::Said;
use crate::message::lenient::{Raw, members, object, text};

/// Most values of a part of a template; one that claims more is taken for broken.
const MOST_VALUES: usize = 256;
/// Types of content that are one file, each under the API's name for it.
const MEDIA: &[&str] = &["Image", "Video", "Document", "Audio", "Sticker"];
/// Kinds of a header that is one file.
const FILES: &[&str] = &["image", "video", "document"];

/// All members of the body that say what is sent: `type`, and `template` or `data`.
///
/// # Errors
/// What is missing, each in words.
pub(super) fn content(body: &[u8], said: &Said) -> Result<Map<String, Value>, Vec<String>> {
    let message = message(body);
    let [is_template, raw_template, media_url] = members(message, ["is_template_message", "raw_template", "media_url"]);
    let kind = said.content_type.as_deref().unwrap_or_default();
    if said.template.is_some() || kind == "Template" || text(is_template).as_deref() == Some("true") {
        let parts = said.content.as_deref().and_then(|content| serde_json::from_str(content).ok());
        let template = Template::of(raw_template)?;
        let made = template.filled(&Given::of(parts.as_ref()), text(media_url))?;
        return Ok(map(json!({ "type": "Template", "template": made })));
    }
    let file = || text(media_url).ok_or_else(|| vec!["the address of its file (`media_url`)".to_owned()]);
    match kind {
        "Text" => match &said.content {
            Some(content) => Ok(map(json!({ "type": "Text", "data": { "message": content } }))),
            None => Err(vec!["its text (`message`)".to_owned()]),
        },
        media if MEDIA.contains(&media) => {
            let mut data = map(json!({ "mediaUrl": file()? }));
            data.extend(said.content.as_deref().map(|caption| ("message".to_owned(), caption.into())));
            Ok(map(json!({ "type": media, "data": data })))
        }
        "" => Err(vec!["what sort of message it was (`message_content_type`)".to_owned()]),
        other => Err(vec![format!("the parts of a message of type `{other}`, which its status does not hold")]),
    }
}

/// The body's `message`, wherever it stands.
fn message(body: &[u8]) -> Raw<'_> {
    let body: &RawValue = serde_json::from_slice(body).ok()?;
    let [data, top] = members(Some(body), ["data", "message"]);
    let [message] = members(data, ["message"]);
    object(message).or(top)
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What `raw_template` says of a template.
struct Template {
    name: String,
    language: String,
    category: Option<String>,
    /// `IMAGE`, `TEXT` … ; none without a header.
    header_format: Option<String>,
    /// How many values the header's text has.
    header: usize,
    /// How many values the body has.
    body: usize,
    /// The buttons whose address has a value.
    buttons: BTreeSet<usize>,
}

impl Template {
    fn of(raw: Raw<'_>) -> Result<Self, Vec<String>> {
        // It is JSON as a text, or an object.
        let inner = text(raw);
        let parsed = inner.as_deref().and_then(|inner| serde_json::from_str::<&RawValue>(inner).ok());
        let raw = object(raw).or(parsed);
        let [name, language, category, format, header, header_text, body, buttons, is_carousel, cards] = members(
            raw,
            [
                "name",
                "language",
                "category",
                "header_format",
                "header",
                "header_text",
                "body",
                "buttons",
                "is_carousel",
                "carousel_cards",
            ],
        );
        let mut lacks = Vec::new();
        let mut needed = |value: Raw<'_>, what: &str| {
            text(value).unwrap_or_else(|| {
                lacks.push(format!("the template's {what} (`raw_template`)"));
                String::new()
            })
        };
        let (name, language) = (needed(name, "name"), needed(language, "language"));
        let has_cards = list(cards).is_some_and(|cards| !cards.is_empty());
        if text(is_carousel).as_deref() == Some("true") || has_cards {
            lacks.push("the cards of its carousel, which its status does not hold".to_owned());
        }
        if !lacks.is_empty() {
            return Err(lacks);
        }
        let count = |value: Raw<'_>| text(value).map_or(0, |text| places(&text));
        let has_value =
            |button: &Value| button.get("url").and_then(Value::as_str).is_some_and(|url| url.contains("{{"));
        let buttons = list(buttons).unwrap_or_default();
        Ok(Self {
            name,
            language,
            category: text(category),
            header_format: text(format).map(|format| format.to_ascii_lowercase()),
            header: count(header_text).max(count(header)),
            body: count(body),
            buttons: buttons.iter().enumerate().filter(|(_, button)| has_value(button)).map(|(n, _)| n).collect(),
        })
    }

    /// The template with these values, as the API takes it.
    fn filled(&self, given: &Given, media_url: Option<String>) -> Result<Value, Vec<String>> {
        let mut lacks = given.strange.clone();
        let values = |values: &[Option<String>], wanted: usize, of: &str, lacks: &mut Vec<String>| {
            let count = values.len().max(wanted);
            let value = |n: usize| {
                let value = values.get(n).cloned().flatten();
                value.unwrap_or_else(|| {
                    lacks.push(format!("value {} of {of}", n + 1));
                    String::new()
                })
            };
            (0..count).map(value).collect::<Vec<String>>()
        };
        let mut made = map(json!({ "name": self.name, "languageCode": self.language }));
        let is_file = self.header_format.as_deref().is_some_and(|format| FILES.contains(&format));
        let header = match (&given.file, is_file) {
            (Some(link), _) => vec![link.clone()],
            (None, true) => match media_url {
                Some(link) => vec![link],
                None => {
                    lacks.push("the address of the header's file".to_owned());
                    vec![]
                }
            },
            (None, false) => {
                let wanted = if self.header_format.as_deref() == Some("text") { self.header } else { 0 };
                values(&given.header, wanted, "the header", &mut lacks)
            }
        };
        let body = values(&given.body, self.body, "the body", &mut lacks);
        let mut buttons = given.buttons.clone();
        for n in &self.buttons {
            // A code to log in with stands in the body and in the button alike.
            let code = body.first().filter(|_| self.category.as_deref() == Some("AUTHENTICATION"));
            if let Some(code) = code.filter(|_| !buttons.contains_key(n)) {
                buttons.insert(*n, vec![code.clone()]);
            }
            if !buttons.contains_key(n) {
                lacks.push(format!("the value of button {n}"));
            }
        }
        if !lacks.is_empty() {
            return Err(lacks);
        }
        let buttons: Map<String, Value> = buttons.into_iter().map(|(n, value)| (n.to_string(), value.into())).collect();
        for (key, values) in [("headerValues", header), ("bodyValues", body)] {
            if !values.is_empty() {
                made.insert(key.to_owned(), values.into());
            }
        }
        if !buttons.is_empty() {
            made.insert("buttonValues".to_owned(), buttons.into());
        }
        made.extend(given.file_name.as_deref().map(|name| ("fileName".to_owned(), name.into())));
        Ok(made.into())
    }
}

/// How many values a text has: `{{1}}`, `{{name}}`, each counted once.
fn places(text: &str) -> usize {
    let names = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    names.take(MOST_VALUES).collect::<BTreeSet<_>>().len()
}

/// A list that is JSON, or JSON as a text. `"{}"` stands for none.
fn list(raw: Raw<'_>) -> Option<Vec<Value>> {
    let inner = text(raw);
    let all: Value = match &inner {
        Some(inner) => serde_json::from_str(inner).ok()?,
        None => serde_json::from_str(raw?.get()).ok()?,
    };
    match all {
        Value::Array(all) => Some(all),
        _ => None,
    }
}

/// The values that a template was sent with.
#[derive(Default)]
struct Given {
    header: Vec<Option<String>>,
    /// The address of the header's file, and its name.
    file: Option<String>,
    file_name: Option<String>,
    body: Vec<Option<String>>,
    buttons: BTreeMap<usize, Vec<String>>,
    /// What cannot be said again, in words.
    strange: Vec<String>,
}

impl Given {
    /// Of the parts as Meta's API has them: `[{"type":"body","parameters":[{"type":"text","text":"…"}]}]`.
    fn of(parts: Option<&Value>) -> Self {
        let mut given = Self::default();
        for part in parts.and_then(Value::as_array).into_iter().flatten() {
            let word = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
            let parameters = part.get("parameters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let parameters = parameters.get(..MOST_VALUES).unwrap_or(parameters);
            match word("type").as_str() {
                "header" => given.header_of(parameters),
                "body" => given.body = parameters.iter().map(value).collect(),
                "button" => {
                    // Its number is a text or a number.
                    let index = part.get("index").map(|index| index.to_string().trim_matches('"').to_owned());
                    let index = index.and_then(|index| index.parse::<u8>().ok()).map(usize::from).unwrap_or_default();
                    match word("sub_type").as_str() {
                        // What a quick reply brings back is made by the provider.
                        "quick_reply" => {}
                        "url" | "copy_code" => {
                            let values: Option<Vec<String>> = parameters.iter().map(value).collect();
                            _ = values.map(|values| given.buttons.insert(index, values));
                        }
                        other => given.strange.push(format!("what button {index} (`{other}`) was sent with")),
                    }
                }
                "footer" => {}
                other => given.strange.push(format!("the part `{other}`, which its status does not hold in full")),
            }
        }
        given
    }

    fn header_of(&mut self, parameters: &[Value]) {
        let file = |parameter: &Value| {
            let kind = FILES.iter().find(|kind| parameter.get(**kind).is_some())?;
            parameter.get(*kind).cloned()
        };
        let Some(file) = parameters.iter().find_map(file) else {
            self.header = parameters.iter().map(value).collect();
            return;
        };
        let text = |key: &str| file.get(key).and_then(Value::as_str).map(str::to_owned);
        self.file = text("link");
        self.file_name = text("filename");
    }
}

/// The text of a parameter.
fn value(parameter: &Value) -> Option<String> {
    let of = |object: &Value, keys: &[&str]| {
        keys.iter().find_map(|key| match object.get(*key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    };
    let amount = ["currency", "date_time"].iter().find_map(|key| parameter.get(*key));
    of(parameter, &["text", "payload", "coupon_code"]).or_else(|| of(amount?, &["fallback_value"]))
}

#[cfg(test)]
#[path = "same_tests.rs"]
mod tests;
