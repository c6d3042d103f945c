//! A shared token sent as it is, in a header or a query parameter. It proves who knows the token, and nothing about the
//! body. Compared by its SHA-256, in constant time: not even its length shows. Pure; knows no names.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{EmptySecret, Refusal, Which, is_empty, only};

/// A token, and the previous one while the token is being changed.
#[derive(Clone)]
pub struct Token {
    prefix: String,
    current: [u8; 32],
    previous: Option<[u8; 32]>,
}

impl Token {
    /// A check for this token, behind a prefix (`Bearer `; may be empty).
    ///
    /// # Errors
    /// [`EmptySecret`] where either holds nothing but blanks.
    pub fn new(prefix: &str, token: &[u8], previous: Option<&[u8]>) -> Result<Self, EmptySecret> {
        let hash = |token: &[u8]| if is_empty(token) { Err(EmptySecret) } else { Ok(Sha256::digest(token).into()) };
        let prefix = prefix.trim_ascii_start().to_owned();
        Ok(Self { prefix, current: hash(token)?, previous: previous.map(hash).transpose()? })
    }

    /// Checks all values of the header or parameter.
    ///
    /// # Errors
    /// [`Refusal`]; never panics, whatever the bytes.
    pub fn verify<'h>(&self, values: impl IntoIterator<Item = &'h [u8]>) -> Result<Which, Refusal> {
        let value = only(values)?;
        let claimed = match value.split_at_checked(self.prefix.len()) {
            Some((start, token)) if start.eq_ignore_ascii_case(self.prefix.as_bytes()) => token.trim_ascii(),
            _ => return Err(Refusal::Malformed),
        };
        if claimed.is_empty() {
            return Err(Refusal::Malformed);
        }
        let claimed: [u8; 32] = Sha256::digest(claimed).into();
        let is_current = claimed.ct_eq(&self.current);
        let is_previous = self.previous.map_or(Choice::from(0), |previous| claimed.ct_eq(&previous));
        match (bool::from(is_current), bool::from(is_previous)) {
            (true, _) => Ok(Which::Current),
            (false, true) => Ok(Which::Previous),
            (false, false) => Err(Refusal::Wrong),
        }
    }
}

/// Shows no token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}
