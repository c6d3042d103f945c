//! `[resend.NAME]` as it is written: which failures are tried again, when, and with what. Read and checked here, for
//! the config; `rules` makes use of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sink_api::settings::one_or_many;
use sink_api::{At, Fault, Period};

use super::MAX_AGE;
use super::codes::{self, Wish};
use crate::route::glob;
use crate::times::{Hours, Zone};

/// The code that stands for all that neither the rule nor our own table names.
pub const ANY_CODE: &str = "*";
/// Longest code.
const MAX_CODE: usize = 32;
/// Most further tries that a rule may want.
const MOST_TRIES: u32 = 100;
/// What is expected of a code's value, for messages.
const WISH: &str = "\"never\" or a table such as { after = \"24h\", times = 2 }";

/// One rule, as written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResendKeys {
    /// Globs over the type of the status that says that a message failed.
    #[serde(rename = "match", default, deserialize_with = "one_or_many")]
    pub globs: Vec<String>,
    /// The source whose statuses it takes; without it, those of every source.
    #[serde(default)]
    pub source: Option<String>,
    /// What is done about a code: where it says nothing, the table in `codes` does.
    #[serde(default)]
    pub codes: BTreeMap<String, CodeKey>,
    /// What is sent: the same again, or a template.
    #[serde(default)]
    pub with: With,
    /// The template.
    #[serde(default)]
    pub template: Option<TemplateKeys>,
    /// The sink that sends it. Where one sink sends, it need not be named.
    #[serde(default)]
    pub to: Option<String>,
    /// Most further tries for a first message, whatever the codes.
    #[serde(default = "three")]
    pub max_attempts: u32,
    /// Nothing is sent this long after the first message.
    #[serde(default = "seven_days")]
    pub max_age: Period,
    /// When customers are not to be disturbed; by default never.
    #[serde(default, deserialize_with = "quiet")]
    pub quiet: Option<QuietKeys>,
}

fn three() -> u32 {
    3
}

fn seven_days() -> Period {
    Period(MAX_AGE)
}

/// What a message is sent again with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// What failed.
    #[default]
    Same,
    /// A template of the rule's own.
    Template,
}

/// A template, in the words of the send API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TemplateKeys {
    /// Its code name.
    #[serde(default)]
    pub name: String,
    /// Its language.
    #[serde(default)]
    pub language_code: String,
    /// Values of the header: a text, or the URL of a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_values: Vec<String>,
    /// Values of the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body_values: Vec<String>,
    /// Values of buttons, by the button's number from 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub button_values: BTreeMap<String, Vec<String>>,
    /// The name of the header's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
}

/// Quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietKeys {
    /// Which: `21:00-09:00`.
    pub hours: Hours,
    /// By whose clock; by default the customer's.
    #[serde(default)]
    pub timezone: ByClock,
}

/// By whose clock hours are quiet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ByClock {
    /// `"customer"`: by that of the customer's country.
    #[default]
    Customer,
    /// By that of a zone.
    Zone(Zone),
}

/// Quiet hours, of which a text alone is a slip: it may be a zone as well as hours.
fn quiet<'de, D: Deserializer<'de>>(from: D) -> Result<Option<QuietKeys>, D::Error> {
    struct Key;
    impl<'de> Visitor<'de> for Key {
        type Value = QuietKeys;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table such as { hours = \"21:00-09:00\" }")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QuietKeys, A::Error> {
            QuietKeys::deserialize(MapAccessDeserializer::new(map))
        }
    }
    from.deserialize_any(Key).map(Some)
}

impl<'de> Deserialize<'de> for ByClock {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "customer" => Ok(Self::Customer),
            name => name.parse().map(Self::Zone).map_err(D::Error::custom),
        }
    }
}

/// What is done about a code, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKey {
    /// `"never"`.
    Never,
    /// `{ after = "24h", times = 2 }`.
    Again(Again),
}

/// Another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// How long after the failure.
    pub after: Period,
    /// How often for one first message.
    pub times: u32,
}

impl<'de> Deserialize<'de> for CodeKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = CodeKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(WISH)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<CodeKey, E> {
                if text == "never" { Ok(CodeKey::Never) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CodeKey, A::Error> {
                Again::deserialize(MapAccessDeserializer::new(map)).map(CodeKey::Again)
            }
        }
        from.deserialize_any(Key)
    }
}

impl CodeKey {
    pub(super) fn wish(self) -> Wish {
        match self {
            Self::Never => Wish::Never,
            Self::Again(Again { after, times }) => Wish::Again { after: after.0, times },
        }
    }
}

impl ResendKeys {
    /// What is done about a code: as the rule says, else as our own table does, else as the rule says of all others.
    pub(super) fn wish(&self, code: &str) -> Wish {
        let own = |code: &str| self.codes.get(code).map(|key| key.wish());
        own(code).or_else(|| codes::default_of(code)).or_else(|| own(ANY_CODE)).unwrap_or(Wish::Never)
    }

    /// The codes that it wants another try for, and when and how often.
    pub fn tries(&self) -> impl Iterator<Item = (&str, Again)> {
        self.codes.iter().filter_map(|(code, key)| match key {
            CodeKey::Never => None,
            CodeKey::Again(again) => Some((code.as_str(), *again)),
        })
    }

    /// What is wrong with it, as far as the table alone tells.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.globs.is_empty() {
            let fault = Fault::at_key("match", "key `match`: expected at least one glob over the event type");
            faults.push(fault.help("such as match = \"message_*_failed\""));
        }
        for (n, text) in self.globs.iter().enumerate() {
            let why =
                glob::read(text).err().or_else(|| text.is_empty().then(|| "an empty glob matches nothing".into()));
            faults.extend(why.map(|why| Fault::at_key(format!("match.{n}"), format!("key `match`: {why}"))));
        }
        if self.max_attempts == 0 || self.max_attempts > MOST_TRIES {
            let message = format!("`max_attempts` is {}, expected 1 to {MOST_TRIES}", self.max_attempts);
            let help = match self.max_attempts {
                0 => "to send nothing again, leave the rule out".to_owned(),
                _ => format!(
                    "write max_attempts = {MOST_TRIES} at most: it bounds all further tries of one message, whatever \
                     their codes"
                ),
            };
            faults.push(Fault::at_key("max_attempts", message).help(help));
        }
        faults.extend(self.max_age.fault("max_age", Period::secs(1)..=Period(MAX_AGE)));
        faults.extend(self.codes.iter().flat_map(|(code, key)| self.of_code(code, *key)));
        faults.extend(self.of_template());
        if self.quiet.as_ref().is_some_and(|quiet| quiet.hours.is_all_day()) {
            let message = "`quiet.hours` are all day: nothing would ever be sent";
            faults.push(Fault::at_key("quiet.hours", message).help("such as hours = \"21:00-09:00\""));
        }
        faults
    }

    fn of_code(&self, code: &str, key: CodeKey) -> Vec<Fault> {
        let mut faults = Vec::new();
        let at = format!("codes.{code}");
        let is_code = (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_code && code != ANY_CODE {
            let message =
                format!("`codes`: `{code}` is no code, expected one such as \"131049\", or \"*\" for all others");
            faults.push(Fault::at_key("codes", message));
        }
        let CodeKey::Again(Again { after, times }) = key else { return faults };
        if times == 0 || times > MOST_TRIES {
            let message = format!("`codes.{code}`: `times` is {times}, expected 1 to {MOST_TRIES}");
            let help = match times {
                0 => "for no further try write \"never\" in the place of the table".to_owned(),
                _ => format!(
                    "write times = {MOST_TRIES} at most; of all codes together no more than `max_attempts` are made"
                ),
            };
            faults.push(Fault::at_key(at.clone(), message).help(help));
        }
        // Where `max_age` is at fault itself, nothing is compared with it.
        if after.0 > self.max_age.0 && self.max_age.0 > Duration::ZERO {
            let message = format!(
                "`codes.{code}`: `after` is longer than `max_age` ({}): it would never be sent",
                humantime::format_duration(self.max_age.0)
            );
            faults.push(Fault::at_key(at, message).help("make `after` shorter, or `max_age` longer (\"7d\" at most)"));
        }
        faults
    }

    fn of_template(&self) -> Vec<Fault> {
        let fault = |at: At, message: &str, help: &str| {
            vec![Fault { at, message: message.to_owned(), help: Some(help.to_owned()) }]
        };
        let template = match (self.with, &self.template) {
            (With::Template, None) => {
                let help = "add template = { name = \"…\", languageCode = \"en\" }, or take `with` out";
                return fault(At::Key("with".into()), "`with` is \"template\", and there is no `template`", help);
            }
            (With::Same, Some(_)) => {
                let help = "write with = \"template\", or take `template` out";
                let message = "`template` has no effect: `with` is \"same\", which sends again what failed";
                return fault(At::Key("template".into()), message, help);
            }
            (With::Same, None) => return vec![],
            (With::Template, Some(template)) => template,
        };
        let mut faults = Vec::new();
        for (key, value) in [("name", &template.name), ("languageCode", &template.language_code)] {
            if value.trim().is_empty() {
                let message = format!("`template.{key}` is missing or empty");
                let fault = Fault::at_key(format!("template.{key}"), message);
                faults.push(fault.help("such as template = { name = \"order_sent\", languageCode = \"en\" }"));
            }
        }
        for button in template.button_values.keys().filter(|key| key.parse::<u8>().is_err()) {
            let message = format!("`template.buttonValues`: `{button}` is no button, expected its number from \"0\"");
            faults.push(Fault::at_key("template.buttonValues", message));
        }
        faults
    }
}
