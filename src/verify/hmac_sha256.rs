//! HMAC-SHA256 over the raw body, in hex: what Interakt sends as `Interakt-Signature: sha256=<64 hex digits>`.
//!
//! Tolerant in form (`sha256=` optional and in any case, hex in any case, blanks around it), strict in substance: all
//! 32 bytes count, and they are compared in constant time. Pure; knows no header names.

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{EmptySecret, Refusal, Verified};

const PREFIX: &[u8] = b"sha256=";

/// One live secret, and the one before it while it is being changed. The key schedule is made once.
#[derive(Clone)]
pub struct HmacSha256 {
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl HmacSha256 {
    /// A verifier with this secret, and the previous one where it is still believed.
    ///
    /// # Errors
    /// [`EmptySecret`] where either holds nothing but blanks.
    pub fn new(secret: &[u8], previous: Option<&[u8]>) -> Result<Self, EmptySecret> {
        Ok(Self { current: keyed(secret)?, previous: previous.map(keyed).transpose()? })
    }

    /// Checks the values of all signature headers of a request against its raw body. Several are taken only where
    /// they are the same: two different ones would leave open which of them a proxy in front has looked at.
    ///
    /// # Errors
    /// [`Refusal`]; never panics, whatever the bytes.
    pub fn verify<'h>(&self, headers: impl IntoIterator<Item = &'h [u8]>, body: &[u8]) -> Result<Verified, Refusal> {
        let mut headers = headers.into_iter().map(<[u8]>::trim_ascii);
        let first = headers.next().ok_or(Refusal::Missing)?;
        if headers.any(|other| other != first) {
            return Err(Refusal::Malformed);
        }
        let claimed = CtOutput::<Hmac<Sha256>>::new(parse(first).ok_or(Refusal::Malformed)?.into());
        let current = digest(&self.current, body);
        let Some(previous) = self.previous.as_ref().map(|key| digest(key, body)) else {
            let digest = current.as_bytes().0;
            return if claimed == current { Ok(Verified { digest, other: None }) } else { Err(Refusal::Wrong) };
        };
        // Both are compared, whichever matches.
        let (is_current, is_previous) = (claimed == current, claimed == previous);
        let (current, previous) = (current.as_bytes().0, previous.as_bytes().0);
        match (is_current, is_previous) {
            (true, _) => Ok(Verified { digest: current, other: Some(previous) }),
            (false, true) => Ok(Verified { digest: previous, other: Some(current) }),
            (false, false) => Err(Refusal::Wrong),
        }
    }

    /// The header value a sender with this secret would put on the body.
    pub fn sign(&self, body: &[u8]) -> String {
        format!("sha256={}", hex::encode(digest(&self.current, body).as_bytes()))
    }
}

/// Shows no key.
impl std::fmt::Debug for HmacSha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HmacSha256").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

fn keyed(secret: &[u8]) -> Result<Hmac<Sha256>, EmptySecret> {
    if secret.trim_ascii().is_empty() {
        return Err(EmptySecret);
    }
    // HMAC takes keys of any length: the only fault there is is ours above.
    Hmac::new_from_slice(secret).map_err(|_| EmptySecret)
}

fn digest(key: &Hmac<Sha256>, body: &[u8]) -> CtOutput<Hmac<Sha256>> {
    key.clone().chain_update(body).finalize()
}

/// The 32 bytes a trimmed header value claims.
fn parse(value: &[u8]) -> Option<[u8; 32]> {
    let digits = match value.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => value,
    };
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).ok().map(|()| digest)
}
