//! Signatures of incoming webhooks: one scheme per file, pure and constant in time over the secret and the digest.
//!
//! Knows bytes; knows neither HTTP nor config nor events.

pub mod hmac_sha256;
#[cfg(test)]
mod tests;

pub use hmac_sha256::HmacSha256;

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature.
    #[error("the signature is missing")]
    Missing,
    /// There is something, but not one signature.
    #[error("the signature is malformed")]
    Malformed,
    /// It was not made with our secret over this body.
    #[error("the signature does not match")]
    Wrong,
}

/// A signature that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The digest the sender signed with.
    pub digest: [u8; 32],
    /// What the same body has under the other live secret, where there are two: the same webhook, sent again while the
    /// secret was being changed, carries this one.
    pub other: Option<[u8; 32]>,
}

/// A secret that would let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret is empty")]
pub struct EmptySecret;
