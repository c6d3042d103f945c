//! `[sources.*]` in `config.toml`.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::settings::{one_or_many, some_table, table};
use sink_api::{Period, Secret};

use super::failure_budget::{BudgetKey, FailureBudget};
use super::kinds::SourceKind;
use super::silence::{Silence, SilenceKey};
use crate::verify::hmac::{Algorithm, Encoding};

/// What a source answers while the journal cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnJournalFailure {
    /// 200, the event kept in memory: for providers that never send again.
    Accept,
    /// 503 with `Retry-After`.
    Refuse,
}

/// A span of time that can be switched off: how long repeats are recognised, how old a signature may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Not at all.
    Off,
    /// For this long.
    For(Period),
}

impl Window {
    /// How long, where it is on.
    pub fn window(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::For(period) => Some(period.0),
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        use serde::de::IntoDeserializer;
        Period::deserialize(text.as_str().into_deserializer()).map(Self::For).map_err(|why: serde::de::value::Error| {
            let why = why.to_string();
            if why.contains("at most") {
                return D::Error::custom(why);
            }
            let unexpected = serde::de::Unexpected::Str(&text);
            D::Error::invalid_value(unexpected, &"\"off\" or a time span such as \"10m\"")
        })
    }
}

/// Where something is found in a request: `{ header = "…" }`, `{ body = ".path" }` or `{ value = "…" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "{ header = \"…\" }, { body = \".path\" } or { value = \"…\" }")]
pub struct Locator {
    /// A request header.
    pub header: Option<String>,
    /// A path into the JSON body.
    pub body: Option<String>,
    /// Always this.
    pub value: Option<String>,
}

/// A locator in a list.
#[derive(Deserialize)]
#[serde(transparent)]
struct Listed(#[serde(deserialize_with = "table")] Locator);

/// One locator or several; the first that finds something counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locators(pub Vec<Locator>);

impl<'de> Deserialize<'de> for Locators {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Locators;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ header = \"…\" }, { body = \".path\" }, { value = \"…\" } or a list of these")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Locators, A::Error> {
                Locator::deserialize(MapAccessDeserializer::new(map)).map(|one| Locators(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Locators, A::Error> {
                let mut all = Vec::new();
                while let Some(Listed(locator)) = seq.next_element()? {
                    all.push(locator);
                }
                Ok(Locators(all))
            }
        }
        from.deserialize_any(OneOrMany)
    }
}

/// The names that count in a header of `name=value` pairs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairNames {
    /// The name of the digests.
    pub signature: String,
    /// The name of the time.
    #[serde(default)]
    pub time: Option<String>,
}

/// One `[sources.NAME]` table. Which keys belong to which kind is listed in [`super::kinds`]; what they mean, in the
/// README.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Preset or scheme.
    pub kind: SourceKind,
    /// Request path, exact.
    pub path: String,
    /// The shared secret or token. Empty is a fault.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Still accepted while the secret is being changed.
    #[serde(default)]
    pub previous_secret: Option<Secret>,
    /// What Meta's `hub.verify_token` must be.
    #[serde(default)]
    pub verify_token: Option<Secret>,
    /// How long repeats are recognised; by default 10 minutes for Interakt, not at all for others.
    #[serde(default)]
    pub dedupe: Option<Window>,
    /// What to answer while the journal cannot write; by default `accept` for Interakt, `refuse` for others.
    #[serde(default)]
    pub on_journal_failure: Option<OnJournalFailure>,
    /// How long a flush is waited for before `on_journal_failure` applies.
    #[serde(default = "ack_deadline")]
    pub ack_deadline: Period,
    /// Request headers kept with the event (lower case). Never authorization, cookie, the signature or a token.
    #[serde(default)]
    pub keep_headers: Option<Vec<String>>,
    /// The status of success, 200 to 299.
    #[serde(default)]
    pub status: Option<u16>,
    /// How many answers that are no success the provider bears; by default 5 within 10 minutes for Interakt, not known
    /// for others.
    #[serde(default)]
    pub failure_budget: Option<BudgetKey>,
    /// A later answer counts as a failure, too; by default after 3 s for Interakt, never for others.
    #[serde(default)]
    pub answer_within: Option<Period>,
    /// When the feed counts as gone quiet; by default never.
    #[serde(default)]
    pub silence: Option<SilenceKey>,
    /// Headers the signature or token may be in: the first that the request has.
    #[serde(default, deserialize_with = "some_names")]
    pub header: Option<Vec<String>>,
    /// The query parameter the token is in.
    #[serde(default)]
    pub query: Option<String>,
    /// The hash.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// How the digest is written.
    #[serde(default)]
    pub encoding: Option<Encoding>,
    /// What stands in front of the digest or token.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The header's value is `name=value` pairs.
    #[serde(default, deserialize_with = "some_table")]
    pub pairs: Option<PairNames>,
    /// What is signed, of `{body}`, `{time}`, `{id}` and text.
    #[serde(default)]
    pub signed: Option<String>,
    /// Where the time is at which it was signed.
    #[serde(default)]
    pub time: Option<Locators>,
    /// The longest time between then and now, in either direction.
    #[serde(default)]
    pub tolerance: Option<Window>,
    /// Where the event's type is.
    #[serde(default, rename = "type")]
    pub kind_of_event: Option<Locators>,
    /// Where the event's subject is.
    #[serde(default)]
    pub subject: Option<Locators>,
    /// Where the provider's id of the message is.
    #[serde(default)]
    pub id: Option<Locators>,
}

impl SourceConfig {
    /// A table of this kind without further keys.
    pub fn new(kind: SourceKind, path: &str) -> Self {
        Self {
            kind,
            path: path.into(),
            secret: None,
            previous_secret: None,
            verify_token: None,
            dedupe: None,
            on_journal_failure: None,
            ack_deadline: ack_deadline(),
            keep_headers: None,
            status: None,
            failure_budget: None,
            answer_within: None,
            silence: None,
            header: None,
            query: None,
            algorithm: None,
            encoding: None,
            prefix: None,
            pairs: None,
            signed: None,
            time: None,
            tolerance: None,
            kind_of_event: None,
            subject: None,
            id: None,
        }
    }

    /// For how long repeats are recognised; zero: not at all. Interakt is known to send twice at the same moment.
    pub(super) fn dedupe_window(&self) -> Duration {
        let window = match (self.dedupe, self.kind) {
            (Some(own), _) => own,
            (None, SourceKind::Interakt) => Window::For(Period::secs(600)),
            (None, _) => Window::Off,
        };
        window.window().unwrap_or_default()
    }

    /// How many failures the provider bears.
    pub(super) fn budget(&self) -> Option<FailureBudget> {
        match (self.failure_budget, self.kind) {
            (Some(own), _) => own.budget(),
            (None, SourceKind::Interakt) => Some(FailureBudget::default()),
            (None, _) => None,
        }
    }

    /// When an answer is late, where there is a budget that it could be taken from.
    pub(super) fn answer_within(&self) -> Option<Duration> {
        let default = (self.kind == SourceKind::Interakt).then_some(Period::secs(3));
        self.budget().and(self.answer_within.or(default)).map(|within| within.0)
    }

    /// When the feed counts as gone quiet.
    pub(super) fn silence(&self) -> Option<Silence> {
        match &self.silence {
            Some(SilenceKey::After(silence)) => Some(silence.clone()),
            Some(SilenceKey::Off) | None => None,
        }
    }

    /// What to answer while the journal cannot write. Interakt never sends again.
    pub(super) fn on_failure(&self) -> OnJournalFailure {
        self.on_journal_failure.unwrap_or(match self.kind {
            SourceKind::Interakt => OnJournalFailure::Accept,
            _ => OnJournalFailure::Refuse,
        })
    }
}

/// The headers kept where neither table nor preset names any.
pub(super) const KEPT: [&str; 2] = ["content-type", "user-agent"];

fn ack_deadline() -> Period {
    Period::millis(2500)
}

fn some_names<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(from).map(Some)
}
