//! What is sent in the place of a message that failed: the send API's body, or what is missing for it, in words. Pure.
//!
//! "The same" is made of the status that says that the message failed, where that suffices ([`same`](super::same));
//! else it is the request that we sent, where we did. A rule's own template needs only the customer's number, which is
//! taken from the same two places. The user's own text to be called back with is kept.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sink_api::Origin;
use sink_api::origin::{MAX_OWN, TooLong};

use super::keys::{ResendKeys, With};
use super::rules::Failed;
use super::same;
use crate::message::lenient::{members, object, text};
use crate::message::{Said, digits};

/// What is to be sent, or why it cannot be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Again {
    /// The API's body as JSON, `callbackData` the user's own text.
    pub request: Option<Box<str>>,
    /// What is missing, in words; then there is no request.
    pub missing: Option<String>,
    /// The customer's phone, `+` and digits.
    pub phone: Option<String>,
    /// The name of the template.
    pub template: Option<String>,
}

/// The keys by which a request names the customer's number.
const NUMBER_KEYS: [&str; 3] = ["fullPhoneNumber", "countryCode", "phoneNumber"];
/// What is missing where there is no number.
const NUMBER: &str = "the customer's number";

/// What a rule has sent in the place of that message.
pub(super) fn again(failed: &Failed<'_>, keys: &ResendKeys) -> Again {
    let sent: Option<Map<String, Value>> = failed.sent.and_then(|sent| serde_json::from_slice(sent).ok());
    let made = match (keys.with, &keys.template) {
        (With::Template, Some(template)) => {
            let template = serde_json::to_value(template).unwrap_or_default();
            with_template(failed, sent.as_ref(), template)
        }
        _ => the_same(failed, sent),
    };
    let made = made.and_then(|request| match own_length(&request) {
        length if length > MAX_OWN => Err(TooLong(length).to_string()),
        _ => Ok(request),
    });
    let phone = failed.said.customer_phone.clone();
    match made {
        Ok(request) => Again {
            phone: phone.or_else(|| phone_of(&request)),
            template: request.get("template").and_then(|template| Some(template.get("name")?.as_str()?.to_owned())),
            request: Some(Value::Object(request).to_string().into()),
            missing: None,
        },
        Err(missing) => Again { request: None, missing: Some(missing), phone, template: failed.said.template.clone() },
    }
}

/// The same message once more.
fn the_same(failed: &Failed<'_>, sent: Option<Map<String, Value>>) -> Result<Map<String, Value>, String> {
    let mut lacks = Vec::new();
    let content = same::content(&failed.event.body, failed.said).map_err(|what| lacks.extend(what));
    let number = number(&failed.event.body, failed.said).ok_or_else(|| lacks.push(NUMBER.to_owned()));
    match (content, number) {
        (Ok(content), Ok(number)) => {
            let own = own_text(failed.said).map(|own| ("callbackData".to_owned(), own.into()));
            let mut made: Map<String, Value> = number.into_iter().chain(own).chain(content).collect();
            complete(&mut made, sent.unwrap_or_default());
            Ok(made)
        }
        // What we sent has the user's own text in it already.
        _ => sent.ok_or_else(|| lacks.join("; ")),
    }
}

/// Adds what no status holds and the request that we sent had: `campaignId`, `template_category`, keys yet unknown.
fn complete(made: &mut Map<String, Value>, sent: Map<String, Value>) {
    let content = ["type", "template", "data"];
    // A number that is said twice would be refused.
    let is_known = |key: &str| content.contains(&key) || NUMBER_KEYS.contains(&key);
    for (key, value) in sent {
        match (made.get_mut(&key), value) {
            // Of the template, too, unless it is another one.
            (Some(Value::Object(template)), Value::Object(sent)) if template.get("name") == sent.get("name") => {
                sent.into_iter().for_each(|(key, value)| _ = template.entry(key).or_insert(value));
            }
            (None, value) if !is_known(&key) => _ = made.insert(key, value),
            _ => {}
        }
    }
}

/// Another template for the same customer.
fn with_template(
    failed: &Failed<'_>,
    sent: Option<&Map<String, Value>>,
    template: Value,
) -> Result<Map<String, Value>, String> {
    let of_sent = |key: &str| Some((key.to_owned(), sent?.get(key)?.clone()));
    let sent_to = || -> Vec<(String, Value)> { NUMBER_KEYS.into_iter().filter_map(of_sent).collect() };
    let number = number(&failed.event.body, failed.said).unwrap_or_else(sent_to);
    if number.is_empty() {
        return Err(NUMBER.to_owned());
    }
    let own = own_text(failed.said).map(|own| ("callbackData".to_owned(), own.into()));
    let own = own.or_else(|| of_sent("callbackData"));
    let rest = [("type".to_owned(), "Template".into()), ("template".to_owned(), template)];
    Ok(number.into_iter().chain(own).chain(rest).collect())
}

/// The customer's number as the API takes it: in two parts, or whole, and never both.
fn number(body: &[u8], said: &Said) -> Option<Vec<(String, Value)>> {
    let phone = said.customer_phone.as_deref()?;
    let body: Option<&RawValue> = serde_json::from_slice(body).ok();
    let [data, top] = members(body, ["data", "customer"]);
    let [customer] = members(data, ["customer"]);
    let [country, national] = members(object(customer).or(top), ["country_code", "phone_number"]);
    let parts = text(country).and_then(|country| Some([digits(&country)?, digits(&text(national)?)?]));
    let fits = |[country, national]: &[String; 2]| phone.strip_prefix('+') == Some(&format!("{country}{national}"));
    Some(match parts.filter(fits) {
        Some([country, national]) => {
            vec![("countryCode".to_owned(), format!("+{country}").into()), ("phoneNumber".to_owned(), national.into())]
        }
        None => vec![("fullPhoneNumber".to_owned(), phone.trim_start_matches('+').into())],
    })
}

/// The text that the user has the message called back with, without what we wrote before it.
fn own_text(said: &Said) -> Option<&str> {
    let whole = said.callback_data.as_deref()?;
    Some(Origin::read(whole).map_or(whole, |(_, own)| own)).filter(|own| !own.is_empty())
}

/// How long the text is that the user has the message called back with, in characters: ours is to stand before it.
fn own_length(request: &Map<String, Value>) -> usize {
    request.get("callbackData").and_then(Value::as_str).map_or(0, |own| own.chars().count())
}

/// `+` and the digits of the number that a request names.
fn phone_of(request: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| digits(request.get(key)?.as_str()?);
    let whole = text("fullPhoneNumber").or_else(|| Some(text("countryCode")? + &text("phoneNumber")?))?;
    Some(format!("+{whole}"))
}
