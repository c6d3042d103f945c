//! Which failures are worth another try, by the provider's error code, where a rule does not say otherwise. Pure.
//!
//! Source: Meta's list of Cloud API error codes, and what its entries advise; Interakt's webhook samples (1013). Both
//! sorts of codes come as texts. `docs/sending.md` has the same table, and a test holds them together.
//!
//! A code that is not listed here is never tried again on a guess: a message that the customer has is worse than one
//! that is missing.

use std::time::Duration;

/// What is to be done about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Never,
    /// Another try.
    Again {
        /// How long after the failure.
        after: Duration,
        /// How often for one first message.
        times: u32,
    },
}

const fn again(minutes: u64, times: u32) -> Wish {
    Wish::Again { after: Duration::from_secs(60 * minutes), times }
}

/// One line of the table: the code, what is done about it by default, and why.
pub(super) const DEFAULTS: &[(&str, Wish, &str)] = &[
    ("130429", again(10, 3), "the account's throughput was used up; Meta: try again later"),
    ("131000", again(10, 3), "something went wrong at Meta; Meta: try again"),
    ("131016", again(10, 3), "a service of Meta's was not available; Meta: try again later"),
    ("131049", again(24 * 60, 2), "enough marketing for this customer for now; Meta: not at once, and ever less often"),
    ("131056", again(10, 3), "too many messages to this number in a short time; Meta: wait, then try again"),
    ("131057", again(60, 3), "the account was in maintenance, as while its throughput is raised"),
    ("133004", again(10, 3), "the server was not available; Meta: try again later"),
    ("368", Wish::Never, "the account is blocked for a breach of the rules"),
    ("1013", Wish::Never, "not a WhatsApp user"),
    ("130472", Wish::Never, "the customer is in an experiment without marketing; Meta: do not try again"),
    ("130497", Wish::Never, "the account may not write to this country"),
    ("131005", Wish::Never, "a permission is missing"),
    ("131008", Wish::Never, "a parameter is missing"),
    ("131009", Wish::Never, "a parameter is not valid"),
    ("131021", Wish::Never, "sender and customer are the same number"),
    ("131026", Wish::Never, "undeliverable: not on WhatsApp, blocked, old app, terms not accepted"),
    ("131031", Wish::Never, "the account is locked"),
    ("131042", Wish::Never, "the account has a payment problem: what fails meanwhile fails again"),
    ("131045", Wish::Never, "the number's registration is not right"),
    ("131047", Wish::Never, "more than 24 hours since the customer's last message: only a template may be sent"),
    ("131048", Wish::Never, "too much was reported as spam: more messages make it worse"),
    ("131050", Wish::Never, "the customer has stopped marketing; Meta: do not try again"),
    ("131051", Wish::Never, "a type of message that is not supported"),
    ("131052", Wish::Never, "the media could not be downloaded"),
    ("131053", Wish::Never, "the media could not be uploaded"),
    ("132000", Wish::Never, "the number of values is not the template's"),
    ("132001", Wish::Never, "no such template in this language"),
    ("132005", Wish::Never, "the text with its values is too long"),
    ("132007", Wish::Never, "the template breaks a rule"),
    ("132012", Wish::Never, "a value has not the form that the template wants"),
    ("132015", Wish::Never, "the template is paused for its quality"),
    ("132016", Wish::Never, "the template is disabled for its quality"),
    ("133010", Wish::Never, "the sender's number is not registered"),
];

/// What is done about a code by default; none where it is not known.
pub(super) fn default_of(code: &str) -> Option<Wish> {
    DEFAULTS.iter().find(|(known, ..)| *known == code).map(|(_, wish, _)| *wish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::in_words;

    #[test]
    fn every_code_stands_once_and_in_the_guide_as_it_stands_here() {
        let guide = include_str!("../../docs/sending.md");
        for (n, (code, wish, why)) in DEFAULTS.iter().enumerate() {
            assert!(DEFAULTS.iter().take(n).all(|(other, ..)| other != code), "{code} stands twice");
            let cells = match wish {
                Wish::Never => "never |".to_owned(),
                Wish::Again { after, times } => {
                    let hours = after.as_secs() / 3600;
                    let after = if hours > 0 { format!("{hours}h") } else { format!("{}m", after.as_secs() / 60) };
                    format!("after {after}, {times} times |")
                }
            };
            let row = format!("| `{code}` | {cells} {why} |");
            assert!(guide.contains(&row), "docs/sending.md lacks the row\n{row}");
        }
    }

    #[test]
    fn every_code_is_said_in_words_in_a_message_s_timeline() {
        let silent: Vec<&str> = DEFAULTS.iter().map(|(code, ..)| *code).filter(|c| in_words(c).is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn a_code_that_nobody_knows_has_no_default() {
        assert_eq!(default_of("999999"), None);
        assert_eq!(default_of("131026"), Some(Wish::Never));
    }
}
