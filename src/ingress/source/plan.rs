//! A source, made ready: everything about it that does not change from request to request.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use sink_api::Fault;

use super::challenge::Challenge;
use super::config::{OnJournalFailure, SourceConfig};
use super::place::{Find, Reading, first};
use super::proof::Proof;
use crate::ingress::SetupError;
use crate::ingress::counts::SourceCounts;
use crate::ingress::throttle::Throttle;
use crate::journal::OnFailure;
use crate::verify::Verified;

/// One source.
pub(in crate::ingress) struct Source {
    pub name: Arc<str>,
    pub path: Arc<str>,
    pub proof: Proof,
    pub challenge: Challenge,
    pub reading: Reading,
    /// The status of success.
    pub status: StatusCode,
    /// Where the provider's id of a message is.
    id: Vec<Find>,
    /// Zero: dedupe is off.
    pub window: Duration,
    pub on_failure: OnFailure,
    pub ack_deadline: Duration,
    /// Kept headers, with their names as events have them.
    keep: Vec<(HeaderName, Arc<str>)>,
    pub counts: Arc<SourceCounts>,
    /// Its table in dedupe.
    pub slot: usize,
    pub refused: Throttle,
    pub at_risk: Throttle,
    pub unavailable: Throttle,
}

impl Source {
    pub fn new(name: String, config: SourceConfig) -> Result<Self, SetupError> {
        let fault = |fault: Vec<Fault>| setup_error(&name, &config, fault);
        let filled = config.with_preset().map_err(|error| setup_error(&name, &config, preset_fault(&error)))?;
        let proof = Proof::of(&filled).map_err(fault)?;
        let challenge = Challenge::of(&filled).map_err(|one| fault(vec![one]))?;
        let reading = Reading::of(&filled).map_err(fault)?;
        // Standard Webhooks have one by themselves: it stays when a message is sent again, time and signature change.
        let id = match &filled.id {
            None => proof.signed_id().to_vec(),
            given => Find::all("id", given.as_ref()).map_err(|one| fault(vec![one]))?,
        };
        let status = config.status.map_or(Ok(StatusCode::OK), StatusCode::from_u16);
        let status = status.map_err(|_| fault(vec![Fault::at_key("status", "status is no HTTP status")]))?;
        let never: Vec<_> =
            [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].iter().chain(proof.headers()).cloned().collect();
        let names = config.kept_headers();
        let names = names.iter().filter_map(|n| HeaderName::from_bytes(n.as_bytes()).ok());
        let keep = names.filter(|n| !never.contains(n)).map(|n| (n.clone(), n.as_str().into())).collect();
        Ok(Self {
            window: config.dedupe_window(),
            on_failure: match config.on_failure() {
                OnJournalFailure::Accept => OnFailure::Keep,
                OnJournalFailure::Refuse => OnFailure::GiveBack,
            },
            ack_deadline: config.ack_deadline.0,
            path: config.path.into(),
            keep,
            proof,
            challenge,
            reading,
            status,
            id,
            name: name.into(),
            slot: 0,
            counts: Arc::default(),
            refused: Throttle::default(),
            at_risk: Throttle::default(),
            unavailable: Throttle::default(),
        })
    }

    /// Whether repeats are recognised.
    pub fn dedupes(&self) -> bool {
        !self.window.is_zero()
    }

    /// What a request is known by: the provider's id of the message within its type, where there is one and repeats
    /// are recognised, together with the body's digest where the signature does not cover the id (else anybody who has
    /// seen one could send another body under it, or take it from the next event); else the signature's digest; else,
    /// where nothing is signed, the body's.
    pub fn identity(&self, verified: Option<Verified>, headers: &HeaderMap, body: &[u8]) -> Option<Verified> {
        if !self.dedupes() {
            return verified;
        }
        let found = self.id.iter().find_map(|place| Some((place, first(std::slice::from_ref(place), headers, body)?)));
        let digest = match (found, verified) {
            (Some((place, id)), _) => {
                let kind = self.reading.envelope(headers, body).kind;
                let known = Sha256::new().chain_update(&*kind).chain_update([0]).chain_update(&*id);
                let is_covered = matches!(place, Find::Body(_)) || self.proof.signed_id().contains(place);
                let known = match verified {
                    Some(_) if !is_covered => known.chain_update([0]).chain_update(Sha256::digest(body)),
                    _ => known,
                };
                known.finalize()
            }
            (None, Some(verified)) => return Some(verified),
            (None, None) => Sha256::digest(body),
        };
        Some(Verified { digest: digest.into(), other: None })
    }

    /// The headers kept with an event, names in lower case.
    pub fn kept(&self, headers: &HeaderMap) -> Vec<(Arc<str>, Arc<str>)> {
        let mut kept = Vec::with_capacity(self.keep.len());
        for (name, value) in headers {
            if let Some((_, name)) = self.keep.iter().find(|(keep, _)| keep == name) {
                kept.push((Arc::clone(name), String::from_utf8_lossy(value.as_bytes()).into()));
            }
        }
        kept
    }
}

fn preset_fault(error: &toml::de::Error) -> Vec<Fault> {
    vec![Fault::at_key("kind", format!("the preset cannot be read: {}", error.message()))]
}

/// `check` finds the same, with its place in the file.
fn setup_error(name: &str, config: &SourceConfig, faults: Vec<Fault>) -> SetupError {
    let source_name = name.to_owned();
    if config.secret.as_ref().is_some_and(|secret| secret.expose().trim().is_empty()) {
        return SetupError::EmptySecret { source_name };
    }
    let why = faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ");
    SetupError::Source { source_name, why }
}
