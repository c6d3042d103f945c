//! The API's rules about a request's body: what it refuses, in its own words where they are known. Pure.

use serde_json::{Map, Value};

use super::course;

/// The longest `callbackData`, in characters.
const MAX_CALLBACK: usize = 512;
/// Country codes that the stand-in can tell from a full number.
const COUNTRIES: [&str; 5] = ["+91", "+971", "+44", "+62", "+1"];
/// What a message may be, besides a template.
const SESSION: [&str; 8] =
    ["Text", "Image", "Audio", "Video", "Document", "Sticker", "InteractiveButton", "InteractiveList"];

/// A call that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `message` of the answer.
    pub message: String,
    /// Further header lines, each with its end.
    pub(super) headers: String,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: String::new() }
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(400, message)
}

/// A template that the stand-in's account has.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its code name.
    pub name: String,
    /// `en`.
    pub language: String,
    /// `UTILITY`, `MARKETING` or `AUTHENTICATION`.
    pub category: String,
    /// `TEXT`, `IMAGE`, `VIDEO`, `DOCUMENT`; none without a header.
    pub header_format: Option<String>,
    /// The header's text, where it is one.
    pub header: Option<String>,
    /// Its text, with `{{1}}` and so on.
    pub body: String,
    /// Text and URL of each button; one whose URL holds `{{1}}` takes a value.
    pub buttons: Vec<(String, String)>,
}

impl Template {
    /// One with this text, in English, without header and buttons.
    pub fn new(name: &str, body: &str) -> Self {
        let text = str::to_owned;
        let (language, category) = (text("en"), text("UTILITY"));
        Self {
            name: text(name),
            language,
            category,
            header_format: None,
            header: None,
            body: text(body),
            buttons: vec![],
        }
    }

    /// Those of the fixtures, and one with an image in its header.
    pub fn samples() -> Vec<Self> {
        let dispatched = Self::new("order_dispatched_v2", "Hi {{1}}, your order {{2}} has left our Pune warehouse.");
        let code = Self::new("login_code_v1", "{{1}} is your verification code.");
        let offer = Self::new("festive_offer", "Hi {{1}}, this week {{2}} off.");
        vec![
            Self { buttons: vec![("Track Order".into(), "https://shop.example.com/t/{{1}}".into())], ..dispatched },
            Self {
                category: "AUTHENTICATION".into(),
                buttons: vec![("Copy code".into(), "https://www.whatsapp.com/otp/code/?code=otp{{1}}".into())],
                ..code
            },
            Self { category: "MARKETING".into(), header_format: Some("IMAGE".into()), ..offer },
        ]
    }

    /// How many values the header takes.
    fn header_values(&self) -> usize {
        match self.header_format.as_deref() {
            None => 0,
            Some("TEXT") => variables(self.header.as_deref().unwrap_or_default()),
            Some(_) => 1,
        }
    }
}

/// How many variables a text has: the largest `{{n}}`.
fn variables(text: &str) -> usize {
    let numbers = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()?.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Message {
    /// `+` and digits.
    pub phone: String,
    /// The country's code, with `+`, and the number without it; none where the stand-in cannot tell them apart.
    pub country: Option<(String, String)>,
    /// `callbackData`.
    pub callback: Option<String>,
    /// `campaignId`.
    pub campaign: Option<String>,
    /// The template, and its values; none for a session message.
    pub template: Option<(Template, Values)>,
    /// The whole request.
    pub request: Value,
}

/// What stands in a template's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Of the header: a text, or a file's URL.
    pub header: Vec<String>,
    /// Of the text.
    pub body: Vec<String>,
    /// Of each button that has some, by its index.
    pub buttons: Vec<(usize, Vec<String>)>,
}

impl Message {
    /// The template's name.
    pub fn template_name(&self) -> Option<&str> {
        self.template.as_ref().map(|(template, _)| template.name.as_str())
    }
}

/// Reads a request's body, as the API would.
///
/// # Errors
/// What the API answers in the place of 201.
pub fn check(body: &[u8], templates: &[Template]) -> Result<Message, Refusal> {
    let request: Value = serde_json::from_slice(body).map_err(|error| bad(format!("JSON parse error - {error}")))?;
    let Value::Object(keys) = &request else { return Err(bad("Invalid data. Expected a dictionary")) };
    let (phone, country) = phone(keys)?;
    let callback = optional(keys, "callbackData")?;
    if callback.as_ref().is_some_and(|text| text.chars().count() > MAX_CALLBACK) {
        return Err(bad("Ensure callbackData has no more than 512 characters."));
    }
    let campaign = optional(keys, "campaignId")?;
    let template = match optional(keys, "type")?.as_deref() {
        Some("Template") => Some(template(keys, templates)?),
        Some(kind) if SESSION.contains(&kind) => {
            let data = keys.get("data").and_then(Value::as_object).ok_or_else(|| bad("data is required"))?;
            let needed =
                if matches!(kind, "Text" | "InteractiveButton" | "InteractiveList") { "message" } else { "mediaUrl" };
            data.get(needed)
                .filter(|value| !value.is_null())
                .ok_or_else(|| bad(format!("data.{needed} is required")))?;
            None
        }
        Some(kind) => return Err(bad(format!("\"{kind}\" is not a valid choice of type"))),
        None => return Err(bad("type is required")),
    };
    Ok(Message { phone, country, callback, campaign, template, request })
}

/// A text that may be left out, or be null.
fn optional(keys: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match keys.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("{name} is not a valid string"))),
    }
}

/// A full number, and its country's code with what follows it.
type Phone = (String, Option<(String, String)>);

fn phone(keys: &Map<String, Value>) -> Result<Phone, Refusal> {
    let (full, country, number) =
        (optional(keys, "fullPhoneNumber")?, optional(keys, "countryCode")?, optional(keys, "phoneNumber")?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (full, country, number) {
        (Some(full), None, None) => {
            let full = full.strip_prefix('+').unwrap_or(&full);
            if !digits(full) || full.len() < 8 || full.len() > 15 {
                return Err(bad("fullPhoneNumber is not a valid phone number"));
            }
            let full = format!("+{full}");
            let parts = COUNTRIES.iter().find_map(|code| Some((*code, full.strip_prefix(code)?)));
            let parts = parts.map(|(code, number)| (code.to_owned(), number.to_owned()));
            Ok((full, parts))
        }
        (None, country, Some(number)) => {
            let country = country.unwrap_or_else(|| "+91".to_owned());
            if !country.strip_prefix('+').is_some_and(digits) {
                return Err(bad("countryCode is not a valid country code"));
            }
            if !digits(&number) || number.starts_with('0') || number.len() > 14 {
                return Err(bad("phoneNumber is not a valid phone number"));
            }
            Ok((format!("{country}{number}"), Some((country, number))))
        }
        (None, _, None) => Err(bad("Either fullPhoneNumber, or countryCode and phoneNumber is required")),
        (Some(_), _, _) => Err(bad("Either fullPhoneNumber, or countryCode and phoneNumber; both are not allowed")),
    }
}

fn template(keys: &Map<String, Value>, templates: &[Template]) -> Result<(Template, Values), Refusal> {
    let asked = keys.get("template").and_then(Value::as_object).ok_or_else(|| bad("template is required"))?;
    let name = optional(asked, "name")?.ok_or_else(|| bad("template.name is required"))?;
    let language = optional(asked, "languageCode")?.ok_or_else(|| bad("template.languageCode is required"))?;
    // Names are case-sensitive.
    let known = templates.iter().find(|one| one.name == name && one.language == language).cloned();
    let by_course =
        || course::is_name(&name).then(|| Template::new(&name, "Hi {{1}}, this came by way of a stand-in."));
    let unknown = || bad(format!("No approved template found with name '{name}' and language '{language}'"));
    let template = known.or_else(by_course).ok_or_else(unknown)?;
    if optional(keys, "template_category")?.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&template.category)) {
        return Err(bad(format!("Template category mismatch: it is {}", template.category)));
    }
    let values = Values {
        header: list(asked.get("headerValues"), "headerValues")?,
        body: list(asked.get("bodyValues"), "bodyValues")?,
        buttons: buttons(asked.get("buttonValues"))?,
    };
    let missing = |what: &str, expected: usize| {
        bad(format!("Missing variable values for template's {what}, expected number of values are {expected}"))
    };
    if values.body.len() != variables(&template.body) {
        return Err(missing("body", variables(&template.body)));
    }
    if values.header.len() != template.header_values() {
        return Err(missing("header", template.header_values()));
    }
    for (index, (_, url)) in template.buttons.iter().enumerate() {
        let given = values.buttons.iter().find(|(at, _)| *at == index).map_or(0, |(_, values)| values.len());
        if given != variables(url) {
            return Err(missing(&format!("button at index {index}"), variables(url)));
        }
    }
    Ok((template, values))
}

fn list(value: Option<&Value>, name: &str) -> Result<Vec<String>, Refusal> {
    let texts = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    texts.ok_or_else(|| bad(format!("template.{name} is not a list of strings")))
}

fn buttons(value: Option<&Value>) -> Result<Vec<(usize, Vec<String>)>, Refusal> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let odd = || bad("template.buttonValues is not a dictionary of lists by index");
    let each = value.as_object().ok_or_else(odd)?.iter();
    each.map(|(index, values)| Ok((index.parse().map_err(|_| odd())?, list(Some(values), "buttonValues")?))).collect()
}
