//! A source's plan: its table read once, with everything that does not change from request to request. Ingress, `send`,
//! `explain` and `test` all use it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use sink_api::{Event, Fault, Rendered, Secret, Timestamp, Uuid};

use super::challenge::Challenge;
use super::check::faults_of_keys;
use super::config::{KEPT, OnJournalFailure, SourceConfig};
use super::extraction::{Lookup, Reading, first};
use super::failure_budget::FailureBudget;
use super::kinds::SourceKind;
use super::proof::Proof;
use super::silence::Silence;
use super::typing::Envelope;
use crate::journal::OnFailure;
use crate::verify::{Verified, Which};

/// The method of all events.
const METHOD: &str = "POST";

/// One source, ready to be served. `Debug` shows no secret.
#[derive(Debug)]
pub struct SourcePlan {
    /// Its name in the config.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: SourceKind,
    /// The request path, exact.
    pub path: Arc<str>,
    /// The status of success.
    pub status: StatusCode,
    /// For how long repeats are recognised; zero: not at all.
    pub dedupe_window: Duration,
    pub(in crate::ingress) proof: Proof,
    pub(in crate::ingress) challenge: Challenge,
    pub(in crate::ingress) on_failure: OnFailure,
    pub(in crate::ingress) ack_deadline: Duration,
    /// How many failures its provider bears, where that is known.
    pub failure_budget: Option<FailureBudget>,
    /// After how long an answer is one of them. `None` where there is no budget.
    pub answer_within: Option<Duration>,
    /// When the feed counts as gone quiet.
    pub silence: Option<Silence>,
    /// Tells one previous secret from another, where there is one.
    pub(in crate::ingress) previous: Option<[u8; 32]>,
    pub(super) reading: Reading,
    /// Where the provider's id of a message is.
    pub(super) id: Vec<Lookup>,
    /// The token as a sender sends it, where the proof is a token.
    pub(super) token: Option<Secret>,
    /// Kept headers, with their names as events have them.
    keep: Vec<(HeaderName, Arc<str>)>,
    method: Arc<str>,
}

/// What an event is made of, beside its source.
#[derive(Debug)]
pub struct Received<'r> {
    /// The event's id.
    pub id: Uuid,
    /// When it was accepted.
    pub time: Timestamp,
    /// The client's address.
    pub remote: Arc<str>,
    /// All headers.
    pub headers: &'r HeaderMap,
    /// The type that was read from it.
    pub kind: Arc<str>,
    /// The subject that was read from it.
    pub subject: Arc<str>,
    /// The body.
    pub body: Bytes,
}

impl SourcePlan {
    /// The plan of a `[sources.NAME]`.
    ///
    /// # Errors
    /// All faults of the table. They show no secret.
    pub fn read(name: &str, table: &SourceConfig) -> Result<Self, Vec<Fault>> {
        let faults = faults_of_keys(name, table);
        // Further faults of keys that belong to other kinds would be of no use.
        if !faults.is_empty() {
            return Err(faults);
        }
        let preset_fault = |error: toml::de::Error| {
            vec![Fault::at_key("kind", format!("the preset cannot be read: {}", error.message()))]
        };
        let filled = table.with_preset().map_err(preset_fault)?;
        let id = Lookup::all("id", filled.id.as_ref());
        let proof = Proof::of(&filled, id.as_deref().unwrap_or_default());
        match (proof, Challenge::of(&filled), Reading::of(&filled), id) {
            (Ok(proof), Ok(challenge), Ok(reading), Ok(id)) => {
                Ok(Self::of(name, &filled, proof, challenge, (reading, id)))
            }
            (proof, challenge, reading, id) => {
                let several = proof.err().into_iter().chain(reading.err()).flatten();
                Err(several.chain(challenge.err()).chain(id.err()).collect())
            }
        }
    }

    fn of(
        name: &str,
        filled: &SourceConfig,
        proof: Proof,
        challenge: Challenge,
        (reading, id): (Reading, Vec<Lookup>),
    ) -> Self {
        let secret = filled.secret.as_ref().map_or("", Secret::expose);
        let token = match &proof {
            Proof::Header(..) => Some(format!("{}{secret}", filled.prefix.as_deref().unwrap_or_default())),
            Proof::Query(..) => Some(secret.to_owned()),
            Proof::Signature(_) | Proof::Nothing => None,
        };
        let never = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];
        let is_kept = |name: &HeaderName| !never.contains(name) && !proof.headers().contains(name);
        let defaults = || KEPT.map(String::from).into();
        let names = filled.keep_headers.clone().unwrap_or_else(defaults);
        // Names that are none were found above.
        let names = names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).filter(is_kept);
        Self {
            name: name.into(),
            kind: filled.kind,
            path: filled.path.as_str().into(),
            status: filled.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default(),
            dedupe_window: filled.dedupe_window(),
            on_failure: match filled.on_failure() {
                OnJournalFailure::Accept => OnFailure::Keep,
                OnJournalFailure::Refuse => OnFailure::GiveBack,
            },
            ack_deadline: filled.ack_deadline.0,
            failure_budget: filled.budget(),
            answer_within: filled.answer_within(),
            silence: filled.silence(),
            previous: filled.previous_secret.as_ref().map(|secret| Sha256::digest(secret.expose()).into()),
            keep: names.map(|name| (name.clone(), name.as_str().into())).collect(),
            // Standard Webhooks sign an id, which stays when a message is sent again while time and signature change.
            id: if filled.id.is_none() { proof.signed_id().to_vec() } else { id },
            token: token.as_deref().map(Secret::new),
            method: METHOD.into(),
            proof,
            challenge,
            reading,
        }
    }

    /// Whether repeats are recognised.
    pub fn dedupes(&self) -> bool {
        !self.dedupe_window.is_zero()
    }

    /// Whether a request header of this name is kept with the event.
    pub fn keeps(&self, name: &HeaderName) -> bool {
        self.keep.iter().any(|(keep, _)| keep == name)
    }

    /// Type and subject of a request.
    pub fn envelope<'r>(&'r self, headers: &'r HeaderMap, body: &'r [u8]) -> Envelope<'r> {
        self.reading.envelope(headers, body)
    }

    /// The event that a request becomes.
    pub fn event(&self, received: Received<'_>) -> Event {
        let Received { id, time, remote, headers, kind, subject, body } = received;
        Event {
            id,
            source: Arc::clone(&self.name),
            kind,
            key: if subject.is_empty() { id.to_string().into() } else { Arc::clone(&subject) },
            subject,
            time,
            method: Arc::clone(&self.method),
            path: Arc::clone(&self.path),
            remote,
            headers: self.kept(headers),
            body,
            rendered: Rendered::default(),
        }
    }

    /// The digest that a request is known by, for its repeats to be recognised: of type and the provider's id of the
    /// message, where there is one; also of the body where the signature does not cover the id (otherwise anybody who
    /// has seen an id could send another body under it, or use up the id of the next event). Without an id it is the
    /// signature's digest, and where nothing is signed, the body's. The envelope comes along where it had to be read
    /// for that, so that it is read once.
    pub(in crate::ingress) fn identity<'r>(
        &'r self,
        verified: Option<Verified>,
        headers: &'r HeaderMap,
        body: &'r [u8],
    ) -> (Option<Verified>, Option<Envelope<'r>>) {
        if !self.dedupes() {
            return (verified, None);
        }
        let found =
            self.id.iter().find_map(|lookup| Some((lookup, first(std::slice::from_ref(lookup), headers, body)?)));
        let (digest, envelope) = match (found, verified) {
            (Some((lookup, id)), _) => {
                let envelope = self.envelope(headers, body);
                let known = Sha256::new().chain_update(&*envelope.kind).chain_update([0]).chain_update(&*id);
                let is_covered = matches!(lookup, Lookup::Body(_)) || self.proof.signed_id().contains(lookup);
                let known = match verified {
                    Some(_) if !is_covered => known.chain_update([0]).chain_update(Sha256::digest(body)),
                    _ => known,
                };
                (known.finalize(), Some(envelope))
            }
            (None, Some(verified)) => return (Some(verified), None),
            (None, None) => (Sha256::digest(body), None),
        };
        let which = verified.map_or(Which::Current, |verified| verified.which);
        (Some(Verified { which, digest: digest.into(), other: None }), envelope)
    }

    /// The headers kept with an event, names in lower case.
    fn kept(&self, headers: &HeaderMap) -> Vec<(Arc<str>, Arc<str>)> {
        let mut kept = Vec::with_capacity(self.keep.len());
        for (name, value) in headers {
            if let Some((_, name)) = self.keep.iter().find(|(keep, _)| keep == name) {
                kept.push((Arc::clone(name), String::from_utf8_lossy(value.as_bytes()).into()));
            }
        }
        kept
    }
}

#[cfg(test)]
impl SourcePlan {
    /// The provider's id of a message.
    pub(in crate::ingress) fn message_id<'r>(
        &'r self,
        headers: &'r HeaderMap,
        body: &'r [u8],
    ) -> Option<std::borrow::Cow<'r, str>> {
        first(&self.id, headers, body)
    }
}
