//! THE list of source kinds: the name of each, a line for people, the keys it takes beside those of every source, and,
//! for a preset, the table of kind `hmac` that it stands for.

use serde::Deserialize;

use super::config::SourceConfig;
use super::interakt;

/// What kind of source it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Interakt (WhatsApp Business).
    Interakt,
    /// Meta.
    Meta,
    /// GitHub.
    Github,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Shopify.
    Shopify,
    /// Any HMAC in a header.
    Hmac,
    /// Standard Webhooks.
    StandardWebhooks,
    /// A shared token in a header or parameter.
    Token,
    /// No proof.
    None,
}

/// A kind, as `kinds` lists it.
#[derive(Debug)]
pub struct KindInfo {
    /// The kind.
    pub kind: SourceKind,
    /// Its name in the config.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The keys it takes, beside [`COMMON`].
    pub keys: &'static [&'static str],
    preset: Option<&'static str>,
}

/// The keys every source takes.
pub const COMMON: &[&str] = &[
    "kind",
    "path",
    "dedupe",
    "on_journal_failure",
    "ack_deadline",
    "keep_headers",
    "status",
    "failure_budget",
    "answer_within",
    "silence",
];

macro_rules! kinds {
    ($($kind:ident $name:literal $about:literal [$($key:literal)*] $($preset:literal)?,)*) => {
        /// All kinds, in the order they are listed.
        pub const SOURCE_KINDS: &[KindInfo] = &[$(KindInfo {
            kind: SourceKind::$kind,
            name: $name,
            about: $about,
            keys: &[$($key),*],
            preset: kinds!(@preset $($preset)?),
        }),*];
    };
    (@preset $file:literal) => { Some(include_str!(concat!("presets/", $file))) };
    (@preset) => { None };
}

kinds! {
    Interakt "interakt" "Interakt (WhatsApp Business): HMAC-SHA256 in Interakt-Signature"
        ["secret" "previous_secret"] "interakt.toml",
    Meta "meta" "Meta (WhatsApp Cloud API, Messenger, Instagram): X-Hub-Signature-256; answers hub.challenge"
        ["secret" "previous_secret" "verify_token" "type" "subject" "id"] "meta.toml",
    Github "github" "GitHub: X-Hub-Signature-256, type from X-GitHub-Event"
        ["secret" "previous_secret" "type" "subject" "id"] "github.toml",
    Stripe "stripe" "Stripe: Stripe-Signature with its time"
        ["secret" "previous_secret" "tolerance" "type" "subject" "id"] "stripe.toml",
    Slack "slack" "Slack: X-Slack-Signature with its time; answers url_verification"
        ["secret" "previous_secret" "tolerance" "type" "subject" "id"] "slack.toml",
    Shopify "shopify" "Shopify: X-Shopify-Hmac-Sha256, type from X-Shopify-Topic"
        ["secret" "previous_secret" "type" "subject" "id"] "shopify.toml",
    Hmac "hmac" "any HMAC (SHA-1, SHA-256, SHA-512; hex, base64) in a header; the presets above are made of it"
        ["secret" "previous_secret" "header" "algorithm" "encoding" "prefix" "pairs" "signed" "time" "tolerance" "type"
         "subject" "id"],
    StandardWebhooks "standard_webhooks" "Standard Webhooks (webhook-signature or svix-signature), whsec_ secrets"
        ["secret" "previous_secret" "tolerance" "type" "subject"],
    Token "token" "a shared token in a header or query parameter, for senders that cannot sign"
        ["secret" "previous_secret" "header" "query" "prefix" "type" "subject" "id"],
    None "none" "no proof at all: whoever reaches the path is believed"
        ["type" "subject" "id"],
}

impl SourceKind {
    /// Its entry in the list.
    pub fn info(self) -> Option<&'static KindInfo> {
        SOURCE_KINDS.iter().find(|info| info.kind == self)
    }

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.info().map_or("", |info| info.name)
    }

    /// The types that such a source is known to send; none where they are not known.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Interakt => interakt::TYPES,
            _ => &[],
        }
    }

    /// Whether it may hold this key.
    pub fn takes(self, key: &str) -> bool {
        COMMON.contains(&key) || self.info().is_some_and(|info| info.keys.contains(&key))
    }
}

impl SourceConfig {
    /// The table with the keys of its preset filled in where it has none of its own.
    ///
    /// # Errors
    /// Where a preset cannot be read; a test sees to it that all can.
    pub fn with_preset(&self) -> Result<Self, toml::de::Error> {
        let own = self.clone();
        let Some(text) = self.kind.info().and_then(|info| info.preset) else { return Ok(own) };
        let preset: Self = toml::from_str(text)?;
        Ok(Self {
            keep_headers: own.keep_headers.or(preset.keep_headers),
            header: own.header.or(preset.header),
            algorithm: own.algorithm.or(preset.algorithm),
            encoding: own.encoding.or(preset.encoding),
            prefix: own.prefix.or(preset.prefix),
            pairs: own.pairs.or(preset.pairs),
            signed: own.signed.or(preset.signed),
            time: own.time.or(preset.time),
            tolerance: own.tolerance.or(preset.tolerance),
            kind_of_event: own.kind_of_event.or(preset.kind_of_event),
            subject: own.subject.or(preset.subject),
            id: own.id.or(preset.id),
            ..own
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_under_the_name_the_config_reads() {
        for info in SOURCE_KINDS {
            let table: SourceConfig = toml::from_str(&format!("kind = \"{}\"\npath = \"/\"", info.name)).unwrap();
            assert_eq!(table.kind, info.kind);
            assert_eq!(table.kind.name(), info.name);
        }
        let unknown = toml::from_str::<SourceConfig>("kind = \"x\"\npath = \"/\"").unwrap_err().to_string();
        let names = SOURCE_KINDS.iter().filter(|info| unknown.contains(&format!("`{}`", info.name)));
        assert_eq!(names.count(), unknown.matches('`').count() / 2 - 1, "{unknown}");
    }

    #[test]
    fn every_preset_is_a_table_of_kind_hmac() {
        let presets = SOURCE_KINDS.iter().filter_map(|info| Some((info, info.preset?)));
        for (info, text) in presets {
            let table: SourceConfig = toml::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", info.name));
            assert_eq!(table.kind, SourceKind::Hmac, "{}", info.name);
            assert_eq!(table.path, format!("/webhooks/{}", info.name));
            assert!(table.header.is_some());
        }
    }
}
