//! What a message that we send carries of why it was sent: a prefix of the text that the provider calls back with
//! (Interakt's `callbackData`). So a status tells, without anything being remembered, which call brought the message
//! about, and as how many-th try for which first message. Pure.
//!
//! ```text
//! hr1.<call>.<attempt>.<since>.<of>~<the user's own text>
//!     call     32 hexadecimal digits
//!     attempt  0 for a message that is nobody's further try, else 1, 2, …
//!     since    seconds since 1970, UTC: when the first message was sent, or what it was sent for came in
//!     of       the first message's id; empty where `attempt` is 0
//! ```

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest text that Interakt calls back with, in characters.
pub const MAX_CALLBACK: usize = 512;
/// The longest prefix of ours, in characters, the `~` not counted. The user's own text has what is left.
pub const MAX_PREFIX: usize = 95;
/// The longest text of the user's own, in characters.
pub const MAX_OWN: usize = MAX_CALLBACK - MAX_PREFIX - 1;
/// The longest id of a first message, in bytes.
pub const MAX_OF: usize = 40;
/// How our prefix begins; the number is that of its format. A body without it has no text of ours.
pub const MARK: &str = "hr1.";

/// Names one delivery's calls: the same for every try of the same delivery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u128);

impl CallId {
    /// The calls that a sink makes for a delivery.
    pub fn of(sink: &str, delivery: &str) -> Self {
        let digest = Sha256::new().chain_update(sink).chain_update([0]).chain_update(delivery).finalize();
        let mut half = [0; 16];
        half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(u128::from_be_bytes(half))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a message was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The call that sent it.
    pub call: CallId,
    /// How many-th further try it is; 0: none. At most 99,999, which no bound of the config reaches.
    pub attempt: u32,
    /// When the first message was sent, or what it was sent for came in; seconds since 1970.
    pub since: i64,
    /// The first message's id; empty where `attempt` is 0. At most [`MAX_OF`] bytes, none of them `~` or a control
    /// character: see [`Origin::may_name`].
    pub of: String,
}

/// The user's own text is too long to stand beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("callbackData has {0} characters, at most {MAX_OWN} are left beside hookrelay's own {MAX_PREFIX}")]
pub struct TooLong(pub usize);

impl Origin {
    /// Whether a message of that id can be named as the first one.
    pub fn may_name(of: &str) -> bool {
        of.len() <= MAX_OF && !of.chars().any(|c| c == '~' || c.is_control())
    }

    /// The text to be called back with: the prefix, and the user's own text behind it.
    ///
    /// # Errors
    /// Both do not fit into [`MAX_CALLBACK`] characters.
    pub fn write(&self, own: &str) -> Result<String, TooLong> {
        let length = own.chars().count();
        if length > MAX_OWN {
            return Err(TooLong(length));
        }
        let Self { call, attempt, since, of } = self;
        Ok(format!("{MARK}{call}.{attempt}.{since}.{of}~{own}"))
    }

    /// What such a text says, and the user's own text behind it. None where the text is not ours.
    pub fn read(text: &str) -> Option<(Self, &str)> {
        let (prefix, own) = text.strip_prefix(MARK)?.split_once('~')?;
        let mut parts = prefix.splitn(4, '.');
        let (call, attempt, since, of) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let id = CallId(u128::from_str_radix(call, 16).ok()?);
        let origin = Self { call: id, attempt: attempt.parse().ok()?, since: since.parse().ok()?, of: of.to_owned() };
        // Each has one form alone: no sign, no zeros before it, no capitals.
        let is_ours = origin.call.to_string() == call
            && origin.attempt.to_string() == attempt
            && origin.since.to_string() == since;
        let is_whole = Self::may_name(of) && (origin.attempt == 0) == of.is_empty();
        (is_ours && is_whole).then_some((origin, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(attempt: u32, of: &str) -> Origin {
        Origin { call: CallId::of("interakt", "e-1"), attempt, since: 1_768_300_870, of: of.to_owned() }
    }

    #[test]
    fn what_is_written_is_read_again_with_the_users_own_text() {
        for (one, own) in [
            (origin(0, ""), ""),
            (origin(0, ""), "otp:77"),
            (origin(2, "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf"), "a~b~hr1.c"),
            (origin(1, "with.dots"), "ü"),
        ] {
            let text = one.write(own).unwrap();
            assert_eq!(Origin::read(&text), Some((one, own)), "{text}");
        }
    }

    #[test]
    fn prefix_and_text_fit_where_each_is_as_long_as_it_may_be() {
        let longest = Origin { attempt: 99_999, since: 99_999_999_999, ..origin(1, &"x".repeat(MAX_OF)) };
        let text = longest.write(&"ü".repeat(MAX_OWN)).unwrap();
        assert!(text.chars().count() <= MAX_CALLBACK, "{}", text.chars().count());
        assert!(text.find('~').unwrap() <= MAX_PREFIX, "{text}");
        assert_eq!(longest.write(&"x".repeat(MAX_OWN + 1)), Err(TooLong(MAX_OWN + 1)));
    }

    #[test]
    fn a_text_that_is_not_ours_is_left_alone() {
        let call = "0".repeat(32);
        let of = "x".repeat(MAX_OF + 1);
        for text in [
            String::new(),
            "otp:77".to_owned(),
            format!("hr1.{call}.0.1."),
            format!("hr2.{call}.0.1.~x"),
            format!("hr1.{}.0.1.~x", &call[1..]),
            format!("hr1.{}A.0.1.~x", &call[1..]),
            format!("hr1.{call}.-1.1.~x"),
            format!("hr1.{call}.+1.1.a~x"),
            format!("hr1.{call}.0.1.a~x"),
            format!("hr1.{call}.1.1.~x"),
            format!("hr1.{call}.1.1.{of}~x"),
            format!("hr1.{call}.1.x.a~x"),
            format!("hr1.{call}.1.+1.a~x"),
            format!("hr1.{call}.1.01.a~x"),
            format!("hr1.{call}.01.1.a~x"),
            format!("hr1.{call}.00.1.~x"),
            format!("hr1.+{}.0.1.~x", &call[1..]),
            format!("hr1.{call}.1~x"),
        ] {
            assert_eq!(Origin::read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_delivery_is_the_same_call_each_time_and_no_others() {
        assert_eq!(CallId::of("a", "b"), CallId::of("a", "b"));
        assert_ne!(CallId::of("a", "b"), CallId::of("ab", ""));
        assert_ne!(CallId::of("a", "b"), CallId::of("b", "a"));
    }
}
