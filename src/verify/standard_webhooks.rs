//! Standard Webhooks (symmetric, `v1`) as a [`Scheme`]: HMAC-SHA256 over `{id}.{timestamp}.{body}`, in base64, several
//! signatures in one header while the sender changes its key; and its `whsec_` secrets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::hmac::{Algorithm, Encoding, Form, Hmac, Piece, Scheme};
use super::{EmptySecret, is_empty};

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// What some dashboards show before that: the version of the signatures made with it.
const VERSION: &str = "v1,";

/// Why a secret is no key. Never shows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// No `whsec_` in front.
    #[error("does not begin with `whsec_`, expected `whsec_` and the key in base64, as the provider shows it")]
    Prefix,
    /// The rest is not base64.
    #[error("is not base64 (with padding) behind its prefix")]
    Encoding,
}

impl From<EmptySecret> for KeyError {
    fn from(_: EmptySecret) -> Self {
        Self::Empty
    }
}

/// The key in `whsec_<base64>`, of any length. `v1,` may stand before it, as Supabase shows it.
///
/// # Errors
/// [`KeyError`].
pub fn key(secret: &str) -> Result<Vec<u8>, KeyError> {
    if is_empty(secret.as_bytes()) {
        return Err(KeyError::Empty);
    }
    let secret = secret.trim();
    let encoded =
        secret.strip_prefix(VERSION).unwrap_or(secret).trim_start().strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
    let key = STANDARD.decode(encoded).map_err(|_| KeyError::Encoding)?;
    if key.is_empty() { Err(KeyError::Empty) } else { Ok(key) }
}

/// How it is signed.
pub fn scheme(tolerance: Option<Duration>) -> Scheme {
    let dot = || Piece::Text(".".into());
    Scheme {
        algorithm: Algorithm::Sha256,
        encoding: Encoding::Base64,
        form: Form::List { prefix: "v1,".into() },
        signed: vec![Piece::Id, dot(), Piece::Time, dot(), Piece::Body],
        tolerance,
    }
}

/// A verifier with these secrets.
///
/// # Errors
/// [`KeyError`] of either.
pub fn new(secret: &str, previous: Option<&str>, tolerance: Option<Duration>) -> Result<Hmac, KeyError> {
    let previous = previous.map(key).transpose()?;
    Ok(Hmac::with(scheme(tolerance), &key(secret)?, previous.as_deref())?)
}
