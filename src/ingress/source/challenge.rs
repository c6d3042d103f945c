//! Questions a provider asks before it sends: Meta's `hub.challenge` (a GET with a token agreed upon) and Slack's
//! `url_verification` (a signed POST). They are answered and not kept: they are no events, and Slack's holds a token.
//! Pure.

use bytes::Bytes;
use sink_api::Fault;

use super::config::SourceConfig;
use super::extraction::BodyPath;
use super::kinds::SourceKind;
use super::proof::parameters;
use super::typing::scalar;
use crate::verify::Token;

/// Longest challenge that is sent back.
const MAX_CHALLENGE: usize = 1024;
/// Largest body that is looked at as a question.
const MAX_QUESTION: usize = 8 << 10;

/// What the provider of a source asks before it sends.
#[derive(Debug)]
pub(in crate::ingress) enum Challenge {
    /// Nothing.
    None,
    /// Meta asks with this token.
    Hub(Token),
    /// Slack asks with a type and a challenge in the body.
    UrlVerification { kind: BodyPath, challenge: BodyPath },
}

impl Challenge {
    /// What the provider of this source asks.
    ///
    /// # Errors
    /// A key that the kind needs is missing or empty.
    pub fn of(config: &SourceConfig) -> Result<Self, Fault> {
        match config.kind {
            SourceKind::Meta => {
                let Some(token) = &config.verify_token else {
                    let message = "missing key `verify_token`".to_owned();
                    let fault = Fault { at: sink_api::At::Table, message, help: None };
                    return Err(
                        fault.help("the \"Verify token\" of the app's dashboard, any text you choose".to_owned())
                    );
                };
                let token = Token::new("", token.expose().as_bytes(), None);
                token.map(Self::Hub).map_err(|_| Fault::at_key("verify_token", "verify_token is empty"))
            }
            SourceKind::Slack => {
                Ok(Self::UrlVerification { kind: BodyPath::name("type"), challenge: BodyPath::name("challenge") })
            }
            _ => Ok(Self::None),
        }
    }

    /// The answer to a GET: the challenge, `Err` where the question came with another token, `None` where there is
    /// none.
    pub fn get(&self, query: Option<&str>) -> Option<Result<Bytes, ()>> {
        let Self::Hub(token) = self else { return None };
        let one = |name| parameters(query, name).next();
        if &*one("hub.mode")? != b"subscribe" {
            return None;
        }
        let given: Vec<_> = parameters(query, "hub.verify_token").collect();
        let challenge = one("hub.challenge").filter(|challenge| challenge.len() <= MAX_CHALLENGE);
        let is_right = token.verify(given.iter().map(|value| &**value)).is_ok();
        Some(challenge.filter(|_| is_right).map(|challenge| Bytes::copy_from_slice(&challenge)).ok_or(()))
    }

    /// The answer to a verified POST that is a question.
    pub fn post(&self, body: &[u8]) -> Option<Bytes> {
        let Self::UrlVerification { kind, challenge } = self else { return None };
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_QUESTION)?;
        if scalar(kind.find(text)?, MAX_CHALLENGE).ok()? != "url_verification" {
            return None;
        }
        scalar(challenge.find(text)?, MAX_CHALLENGE).ok().map(|text| Bytes::copy_from_slice(text.as_bytes()))
    }
}
