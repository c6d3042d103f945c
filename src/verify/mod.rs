//! Proofs of who sent a webhook: one scheme per file, pure and constant in time over the secret and the digest.
//!
//! Knows bytes; knows neither HTTP nor config nor events.

pub mod hmac;
#[cfg(test)]
mod scheme_tests;
pub mod standard_webhooks;
#[cfg(test)]
mod tests;
pub mod token;

pub use self::hmac::Hmac;
pub use self::token::Token;

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature or token, or something that it was made over is missing.
    #[error("the signature or token is missing")]
    Missing,
    /// There is something, but it is not one signature or token.
    #[error("the signature or token is malformed")]
    Malformed,
    /// The signature was not made with our secret over this body, or the token is another one.
    #[error("the signature or token does not match")]
    Wrong,
    /// The signature is right, and was made too long ago, or in the future.
    #[error("the signature's time is too far from now")]
    Stale,
}

/// Which of two secrets a proof was made with, while the secret is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The secret; also where a proof was made with both.
    Current,
    /// The previous one alone.
    Previous,
}

/// A signature that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The secret it was made with.
    pub which: Which,
    /// The digest the sender signed with: its first 32 bytes; zeros behind a shorter one.
    pub digest: [u8; 32],
    /// The digest of the same body under the other secret, where there are two: the same webhook, sent again while the
    /// secret is being changed, may carry that one.
    pub other: Option<[u8; 32]>,
}

/// A secret that would let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret is empty")]
pub struct EmptySecret;

fn is_empty(secret: &[u8]) -> bool {
    secret.trim_ascii().is_empty()
}

/// The only value of a header or parameter. Several are taken only where they are the same: of two different ones it
/// would not be known which a proxy in front has looked at.
fn only<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Result<&'h [u8], Refusal> {
    let mut values = values.into_iter().map(<[u8]>::trim_ascii);
    let first = values.next().ok_or(Refusal::Missing)?;
    if values.any(|other| other != first) { Err(Refusal::Malformed) } else { Ok(first) }
}
