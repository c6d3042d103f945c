//! Standard Webhooks signatures (symmetric, `v1`). Pure: no clock, no I/O.
//!
//! Source: the Standard Webhooks specification 1.0.0, "Signature scheme" and "Webhook headers".

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sink_api::{Secret, cloudevents};

/// What a symmetric secret begins with.
const PREFIX: &str = "whsec_";
/// What some dashboards show before the prefix: the version of the signatures that are made with the secret.
const VERSION: &str = "v1,";
/// Bytes of a key, by the specification (192 to 512 bits).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A signing key. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a secret is no key. Never shows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// No `whsec_` in front.
    #[error("does not begin with `whsec_`")]
    Prefix,
    /// The rest is not base64.
    #[error("is not base64 (with padding) behind `whsec_`")]
    Encoding,
    /// The key is too short or too long.
    #[error("holds a key of {0} bytes, expected 24 to 64")]
    Length(usize),
}

impl Key {
    /// Reads `whsec_<base64>`, or `v1,whsec_<base64>` as Supabase shows it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(secret: &Secret) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        let secret = secret.expose();
        let encoded = secret.strip_prefix(VERSION).unwrap_or(secret).strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let key = BASE64.decode(encoded).map_err(|_| KeyError::Encoding)?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(KeyError::Length(key.len()));
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| KeyError::Length(key.len()))
    }

    /// The value of `webhook-signature` for a message of this `webhook-id`, sent at these Unix seconds.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The `webhook-id` of a delivery: its id, percent-encoded where it is not plain ASCII, and without full stops.
/// The specification forbids full stops there, because they part the signed content; a route's name may hold some.
pub fn webhook_id(delivery_id: &str) -> String {
    cloudevents::header_value(delivery_id).replace('.', "%2E")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Key, KeyError> {
        Key::parse(&Secret::new(text))
    }

    fn whsec(bytes: usize) -> String {
        format!("whsec_{}", BASE64.encode(vec![7; bytes]))
    }

    #[test]
    fn the_reference_librarys_vector_is_reproduced() {
        let key = key("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = key.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn the_reference_library_signs_the_same_and_ours_takes_any_bytes() {
        let ours = key(&whsec(24)).unwrap();
        let theirs = standardwebhooks::Webhook::new(&whsec(24)).unwrap();
        for body in ["", "{}", "a.b.c\n", "é\u{0}"] {
            assert_eq!(ours.sign("id-1", 7, body.as_bytes()), theirs.sign("id-1", 7, body.as_bytes()).unwrap());
        }
        assert_ne!(ours.sign("id", 7, b"\xff\xfe"), ours.sign("id", 7, b"\xff\xff"));
    }

    #[test]
    fn keys_outside_the_specification_are_refused() {
        assert_eq!(key("").unwrap_err(), KeyError::Empty);
        assert_eq!(key("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap_err(), KeyError::Prefix);
        assert_eq!(key("whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap_err(), KeyError::Prefix);
        assert_eq!(key("whsec_not base64!").unwrap_err(), KeyError::Encoding);
        assert_eq!(key(&whsec(23)).unwrap_err(), KeyError::Length(23));
        assert_eq!(key(&whsec(65)).unwrap_err(), KeyError::Length(65));
        assert!(key(&whsec(24)).is_ok() && key(&whsec(64)).is_ok());
    }

    #[test]
    fn an_id_on_the_wire_holds_no_full_stop_and_nothing_outside_ascii() {
        assert_eq!(webhook_id("0198-a1"), "0198-a1");
        assert_eq!(webhook_id("0198-v1.2 état"), "0198-v1%2E2%20%C3%A9tat");
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", key(&whsec(24)).unwrap()), "***");
    }
}
