//! A source, made ready: everything about it that does not change from request to request.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};

use super::SetupError;
use super::config::{OnJournalFailure, SourceConfig, SourceKind};
use super::counts::SourceCounts;
use super::throttle::Throttle;
use super::typing::{self, Envelope};
use crate::journal::OnFailure;
use crate::verify::HmacSha256;

/// What a kind of source stands for.
pub(super) struct Preset {
    /// Where the signature is.
    pub signature: HeaderName,
    /// How type and subject are read.
    pub envelope: fn(&[u8]) -> Envelope<'_>,
}

fn preset(kind: SourceKind) -> Preset {
    match kind {
        SourceKind::Interakt => {
            Preset { signature: HeaderName::from_static("interakt-signature"), envelope: typing::interakt }
        }
    }
}

/// One source.
pub(super) struct Source {
    pub name: Arc<str>,
    pub path: Arc<str>,
    pub preset: Preset,
    pub verifier: HmacSha256,
    /// Zero: dedupe is off.
    pub window: Duration,
    pub on_failure: OnFailure,
    pub ack_deadline: Duration,
    /// Kept headers, with their names as events have them.
    keep: Vec<(HeaderName, Arc<str>)>,
    pub counts: Arc<SourceCounts>,
    pub refused: Throttle,
    pub at_risk: Throttle,
    pub unavailable: Throttle,
}

impl Source {
    pub fn new(name: String, config: SourceConfig) -> Result<Self, SetupError> {
        let previous = config.previous_secret.as_ref().map(|s| s.expose().as_bytes());
        let verifier = HmacSha256::new(config.secret.expose().as_bytes(), previous)
            .map_err(|_| SetupError::EmptySecret { source_name: name.clone() })?;
        let preset = preset(config.kind);
        let never = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, preset.signature.clone()];
        let names = config.keep_headers.iter().filter_map(|n| HeaderName::from_bytes(n.as_bytes()).ok());
        Ok(Self {
            path: config.path.into(),
            verifier,
            window: config.dedupe.window().unwrap_or_default(),
            on_failure: match config.on_journal_failure {
                OnJournalFailure::Accept => OnFailure::Keep,
                OnJournalFailure::Refuse => OnFailure::GiveBack,
            },
            ack_deadline: config.ack_deadline.0,
            keep: names.filter(|n| !never.contains(n)).map(|n| (n.clone(), n.as_str().into())).collect(),
            preset,
            name: name.into(),
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
