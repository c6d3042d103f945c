//! An HMAC in a header's value, over the raw body, or over a text that holds the body beside a time and an id. Nearly
//! every provider sends one, each in a form of its own; a [`Scheme`] is that form as data.
//!
//! The form is read tolerantly (a prefix is optional and in any case, hex in any case, base64 with or without padding,
//! blanks around it); of the digest every byte counts, and is compared in constant time. Pure; knows no header names
//! and no clock.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac as Keyed, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::{EmptySecret, Refusal, Verified, Which, is_empty, only};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The hash below the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// 20 bytes. Still sound in an HMAC; for providers that have nothing better.
    Sha1,
    /// 32 bytes.
    #[default]
    Sha256,
    /// 64 bytes.
    Sha512,
}

/// How a digest is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// In either case.
    #[default]
    Hex,
    /// The standard alphabet.
    Base64,
}

/// How the header's value is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One digest, with this in front or without.
    One {
        /// `sha256=`; may be empty.
        prefix: String,
    },
    /// `name=value` pairs between commas; any of several digests may match.
    Pairs {
        /// The name of the digests.
        signature: String,
        /// The name of the time.
        time: Option<String>,
    },
    /// Digests between blanks, each with this in front; those with another prefix are of another scheme. Any may match.
    List {
        /// `v1,`
        prefix: String,
    },
}

/// A piece of the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// When it was signed, as it was sent.
    Time,
    /// The message's id, as it was sent.
    Id,
    /// The raw body.
    Body,
}

/// How a provider signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The hash.
    pub algorithm: Algorithm,
    /// How a digest is written.
    pub encoding: Encoding,
    /// How the value is laid out.
    pub form: Form,
    /// What is signed.
    pub signed: Vec<Piece>,
    /// The longest time between signing and now, in either direction; `None`: the time does not count.
    pub tolerance: Option<Duration>,
}

/// HMAC-SHA256 over the body, in hex, with or without `sha256=`.
impl Default for Scheme {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            form: Form::One { prefix: "sha256=".into() },
            signed: vec![Piece::Body],
            tolerance: None,
        }
    }
}

/// What came beside signature and body, and may be signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'h> {
    /// When it was signed.
    pub time: Option<&'h [u8]>,
    /// The message's id.
    pub id: Option<&'h [u8]>,
}

/// A scheme with its secret, and the previous one while the secret is being changed. The key schedules are made once.
#[derive(Clone)]
pub struct Hmac {
    scheme: Scheme,
    current: Key,
    previous: Option<Key>,
}

#[derive(Clone)]
enum Key {
    Sha1(Keyed<Sha1>),
    Sha256(Keyed<Sha256>),
    Sha512(Keyed<Sha512>),
}

/// A digest; zeros behind one that is shorter than SHA-512's.
#[derive(Clone, Copy)]
struct Tag([u8; 64]);

impl Hmac {
    /// The default scheme with this secret, and the previous one where it is still believed.
    ///
    /// # Errors
    /// [`EmptySecret`] where either holds nothing but blanks.
    pub fn new(secret: &[u8], previous: Option<&[u8]>) -> Result<Self, EmptySecret> {
        Self::with(Scheme::default(), secret, previous)
    }

    /// The same for any scheme.
    ///
    /// # Errors
    /// [`EmptySecret`] where either holds nothing but blanks.
    pub fn with(scheme: Scheme, secret: &[u8], previous: Option<&[u8]>) -> Result<Self, EmptySecret> {
        let key = |secret| Key::new(scheme.algorithm, secret);
        let (current, previous) = (key(secret)?, previous.map(key).transpose()?);
        Ok(Self { scheme, current, previous })
    }

    /// Checks a signature over the body alone; time does not count.
    ///
    /// # Errors
    /// [`Refusal`]; never panics, whatever the bytes.
    pub fn verify<'h>(&self, headers: impl IntoIterator<Item = &'h [u8]>, body: &[u8]) -> Result<Verified, Refusal> {
        self.verify_at(headers, Beside::default(), body, 0)
    }

    /// Checks all values of the signature's header against the raw body and what came beside it, at `now` (Unix
    /// seconds).
    ///
    /// # Errors
    /// [`Refusal`]; never panics, whatever the bytes.
    pub fn verify_at<'h>(
        &self,
        headers: impl IntoIterator<Item = &'h [u8]>,
        mut beside: Beside<'h>,
        body: &[u8],
        now: i64,
    ) -> Result<Verified, Refusal> {
        let value = only(headers)?;
        beside.time = self.scheme.form.time(value).or(beside.time);
        let mut claimed = self.claimed(value).peekable();
        if claimed.peek().is_none() {
            return Err(Refusal::Malformed);
        }
        if self.scheme.needs(&Piece::Time) && beside.time.is_none()
            || self.scheme.needs(&Piece::Id) && beside.id.is_none()
        {
            return Err(Refusal::Missing);
        }
        if !self.scheme.is_cut_once(beside) {
            return Err(Refusal::Malformed);
        }
        let current = self.current.digest(&self.scheme.signed, beside, body);
        let previous = self.previous.as_ref().map(|key| key.digest(&self.scheme.signed, beside, body));
        let (mut is_current, mut is_previous) = (Choice::from(0), Choice::from(0));
        for tag in claimed {
            // Both are compared, whichever matches, so that the time taken tells nothing.
            is_current |= tag.0.ct_eq(&current.0);
            is_previous |= previous.map_or(Choice::from(0), |previous| tag.0.ct_eq(&previous.0));
        }
        let verified = match (is_current.into(), bool::from(is_previous), previous) {
            (true, _, previous) => {
                let (which, digest) = (Which::Current, current.short());
                Verified { which, digest, other: previous.map(|tag| tag.short()) }
            }
            (false, true, Some(previous)) => {
                let (which, digest) = (Which::Previous, previous.short());
                Verified { which, digest, other: Some(current.short()) }
            }
            (false, ..) => return Err(Refusal::Wrong),
        };
        self.scheme.is_fresh(beside.time, now).map(|()| verified)
    }

    /// Whether the message's id is part of what is signed.
    pub fn signs_id(&self) -> bool {
        self.scheme.needs(&Piece::Id)
    }

    /// The header value a sender with this secret would put on the body.
    pub fn sign(&self, body: &[u8]) -> String {
        self.sign_with(Beside::default(), body)
    }

    /// The same for schemes that sign more than the body.
    pub fn sign_with(&self, beside: Beside<'_>, body: &[u8]) -> String {
        let tag = self.current.digest(&self.scheme.signed, beside, body);
        let bytes = tag.0.get(..self.scheme.algorithm.bytes()).unwrap_or(&tag.0);
        let digest = match self.scheme.encoding {
            Encoding::Hex => hex::encode(bytes),
            Encoding::Base64 => BASE64.encode(bytes),
        };
        match &self.scheme.form {
            Form::One { prefix } | Form::List { prefix } => format!("{prefix}{digest}"),
            Form::Pairs { signature, time } => {
                let at = String::from_utf8_lossy(beside.time.unwrap_or_default());
                let time = time.as_ref().map(|name| format!("{name}={at},")).unwrap_or_default();
                format!("{time}{signature}={digest}")
            }
        }
    }

    /// The digests that a header's value holds.
    fn claimed<'h>(&self, value: &'h [u8]) -> impl Iterator<Item = Tag> + use<'_, 'h> {
        let between = match self.scheme.form {
            Form::One { .. } => None,
            Form::Pairs { .. } => Some(b','),
            Form::List { .. } => Some(b' '),
        };
        let parts = value.split(move |byte| Some(*byte) == between);
        parts.filter_map(|part| self.scheme.decode(self.scheme.form.digest(part.trim_ascii())?))
    }
}

/// Shows no key.
impl std::fmt::Debug for Hmac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hmac").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

impl Algorithm {
    /// Bytes of a digest.
    fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl Form {
    /// The text of a digest in one part of the value.
    fn digest<'h>(&self, part: &'h [u8]) -> Option<&'h [u8]> {
        match self {
            Self::One { prefix } => Some(behind(part, prefix.as_bytes()).unwrap_or(part)),
            Self::List { prefix } => part.strip_prefix(prefix.as_bytes()),
            Self::Pairs { signature, .. } => named(part, signature),
        }
    }

    /// When it was signed, where the value says so.
    fn time<'h>(&self, value: &'h [u8]) -> Option<&'h [u8]> {
        let Self::Pairs { time: Some(name), .. } = self else { return None };
        value.split(|byte| *byte == b',').find_map(|part| named(part.trim_ascii(), name))
    }
}

/// What follows a prefix, in any case.
fn behind<'h>(text: &'h [u8], prefix: &[u8]) -> Option<&'h [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The value of `name=value`.
fn named<'h>(part: &'h [u8], name: &str) -> Option<&'h [u8]> {
    part.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

impl Scheme {
    fn needs(&self, piece: &Piece) -> bool {
        self.signed.contains(piece)
    }

    /// Whether the signed text can be taken apart into time, id and body in one way only. Otherwise a forger could cut
    /// it elsewhere than the sender did, and the signature would still match: so a field before the body must not hold
    /// the text that ends it, nor a field behind the body the text that begins it.
    fn is_cut_once(&self, beside: Beside<'_>) -> bool {
        let body = self.signed.iter().position(|piece| *piece == Piece::Body).unwrap_or(self.signed.len());
        let text = |at: Option<usize>| match at.and_then(|at| self.signed.get(at)) {
            Some(Piece::Text(text)) => text.as_bytes(),
            _ => &[],
        };
        self.signed.iter().enumerate().all(|(at, piece)| {
            let field = match piece {
                Piece::Text(_) | Piece::Body => return true,
                Piece::Time => beside.time.unwrap_or_default(),
                Piece::Id => beside.id.unwrap_or_default(),
            };
            if at < body {
                let (end, is_last) = (text(Some(at + 1)), at + 1 == self.signed.len());
                is_last || *piece == Piece::Time && ends_itself(field, end) || ends_first(field, end)
            } else {
                let begin: Vec<u8> = text(at.checked_sub(1)).iter().rev().copied().collect();
                let field: Vec<u8> = field.iter().rev().copied().collect();
                ends_first(&field, &begin)
            }
        })
    }

    /// A digest of exactly the right length.
    fn decode(&self, text: &[u8]) -> Option<Tag> {
        let (mut tag, bytes) = ([0; 64], self.algorithm.bytes());
        match self.encoding {
            Encoding::Hex => hex::decode_to_slice(text, tag.get_mut(..bytes)?).ok()?,
            Encoding::Base64 => {
                // 64 bytes, rounded up: base64 is decoded in groups of three.
                let mut room = [0; 66];
                let written = BASE64.decode_slice(text, &mut room).ok()?;
                tag.get_mut(..bytes)?.copy_from_slice(room.get(..written).filter(|_| written == bytes)?);
            }
        }
        Some(Tag(tag))
    }

    fn is_fresh(&self, time: Option<&[u8]>, now: i64) -> Result<(), Refusal> {
        let Some(tolerance) = self.tolerance else { return Ok(()) };
        let time = seconds(time.ok_or(Refusal::Missing)?).ok_or(Refusal::Malformed)?;
        if now.abs_diff(time) <= tolerance.as_secs() { Ok(()) } else { Err(Refusal::Stale) }
    }
}

/// Whether `end` comes first right behind the field, and neither in it nor across its end.
fn ends_first(field: &[u8], end: &[u8]) -> bool {
    let whole = [field, end].concat();
    !end.is_empty() && whole.windows(end.len()).position(|part| part == end) == Some(field.len())
}

/// Whether the form of a time tells where it ends, whatever follows: digits before something else, or RFC 3339.
fn ends_itself(time: &[u8], next: &[u8]) -> bool {
    is_digits(time) && !next.first().is_some_and(u8::is_ascii_digit) || is_rfc3339(time)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// `2026-01-31T12:00:00Z`, perhaps with a fraction or an offset, and no other form of a time.
fn is_rfc3339(text: &[u8]) -> bool {
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text
                .iter()
                .zip(shape)
                .all(|(byte, want)| if *want == b'0' { byte.is_ascii_digit() } else { byte == want })
    };
    let Some((start, rest)) = text.split_at_checked(19) else { return false };
    let rest = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0).unwrap_or_default()
        }
        _ => rest,
    };
    fits(start, b"0000-00-00T00:00:00") && (rest == b"Z" || fits(rest, b"+00:00") || fits(rest, b"-00:00"))
}

/// Unix seconds, milliseconds or microseconds (told apart by their size), or RFC 3339; as Unix seconds.
fn seconds(text: &[u8]) -> Option<i64> {
    let words = std::str::from_utf8(text).ok()?;
    if is_rfc3339(text) {
        return words.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    }
    match words.parse::<i64>().ok().filter(|_| is_digits(text))? {
        n @ ..100_000_000_000 => Some(n),
        n @ 100_000_000_000..100_000_000_000_000 => Some(n / 1000),
        n => Some(n / 1_000_000),
    }
}

impl Key {
    fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, EmptySecret> {
        if is_empty(secret) {
            return Err(EmptySecret);
        }
        // HMAC takes keys of any length, so these calls cannot fail.
        Ok(match algorithm {
            Algorithm::Sha1 => Self::Sha1(Keyed::new_from_slice(secret).map_err(|_| EmptySecret)?),
            Algorithm::Sha256 => Self::Sha256(Keyed::new_from_slice(secret).map_err(|_| EmptySecret)?),
            Algorithm::Sha512 => Self::Sha512(Keyed::new_from_slice(secret).map_err(|_| EmptySecret)?),
        })
    }

    fn digest(&self, signed: &[Piece], beside: Beside<'_>, body: &[u8]) -> Tag {
        match self {
            Self::Sha1(key) => digest(key.clone(), signed, beside, body),
            Self::Sha256(key) => digest(key.clone(), signed, beside, body),
            Self::Sha512(key) => digest(key.clone(), signed, beside, body),
        }
    }
}

fn digest(mut mac: impl Mac, signed: &[Piece], beside: Beside<'_>, body: &[u8]) -> Tag {
    for piece in signed {
        mac.update(match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Time => beside.time.unwrap_or_default(),
            Piece::Id => beside.id.unwrap_or_default(),
            Piece::Body => body,
        });
    }
    let mut tag = [0; 64];
    let digest = mac.finalize().into_bytes();
    tag.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    Tag(tag)
}

impl Tag {
    fn short(&self) -> [u8; 32] {
        let mut short = [0; 32];
        short.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        short
    }
}
