//! What becomes of a message: a course of statuses, made by a pure function of template, phone, attempt and seed.
//!
//! A template's name can say it, so that a test or a demo reads as what it does:
//!
//! ```text
//! fail_131049_then_read              the first message fails, the second is read
//! fail_131049_131049_then_delivered  two fail, the third is delivered
//! fail_always_130429                 each fails
//! fail_always_131049_130429          each fails, with these codes in turn
//! fail_131049_yet_delivered          it fails, and is delivered all the same; further ones are read
//! then_read, then_delivered, then_sent, then_nothing    ends; what `_then_` is followed by
//! then_read_first                    its `read` comes before its `delivered`
//! then_twice                         read, each status told twice
//! then_late_failure                  delivered, and then said to have failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// A status of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// WhatsApp has it.
    Sent,
    /// The customer's phone has it.
    Delivered,
    /// The customer has seen it.
    Read,
    /// It failed with this `channel_error_code`.
    Failed(String),
}

impl Status {
    /// As `message_status` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sent => "Sent",
            Self::Delivered => "Delivered",
            Self::Read => "Read",
            Self::Failed(_) => "Failed",
        }
    }

    /// `channel_error_code`, and `channel_failure_reason`.
    pub fn failure(&self) -> Option<(&str, &'static str)> {
        let Self::Failed(code) = self else { return None };
        let reason = match code.as_str() {
            "1013" => "Recipient is not a valid WhatsApp user",
            "130429" => "Rate limit hit",
            "130472" => "User's number is part of an experiment",
            "131026" => "Message undeliverable",
            "131047" => "Re-engagement message",
            "131048" => "Spam rate limit hit",
            "131049" => "This message was not delivered to maintain healthy ecosystem engagement",
            _ => "Something went wrong",
        };
        Some((code, reason))
    }
}

/// One step of a course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long after the step before, or after the message was taken.
    pub after: Duration,
    /// What is told.
    pub status: Status,
    /// How often it is told, one after the other.
    pub times: u32,
}

/// The statuses of a message, in the order they are told.
pub type Course = Vec<Step>;

/// Which message a course is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The template's name; none for a session message.
    pub template: Option<&'a str>,
    /// `+` and digits.
    pub phone: &'a str,
    /// How many messages for this phone were taken before this one.
    pub attempt: u32,
    /// What chance begins with.
    pub seed: u64,
}

/// Says what becomes of a message. Pure: the same question has the same answer.
pub type Script = Arc<dyn Fn(&Asked<'_>) -> Course + Send + Sync>;

/// What a template's name says, and without a word about it an ordinary course, of which some are late, or repeated, or
/// have `read` before `delivered`. A status takes about as long as `pace`.
pub fn by_name(pace: Duration) -> Script {
    Arc::new(move |asked| {
        let mut chance = Chance::of(asked);
        let named = asked.template.and_then(parse);
        let mut steps = match named {
            Some(named) => named.course(asked.attempt),
            None => ordinary(&mut chance),
        };
        steps.iter_mut().for_each(|step| step.after = pace.mul_f64(step.after.as_secs_f64() * (0.5 + chance.share())));
        steps
    })
}

/// Whether a template's name says what becomes of its messages.
pub fn is_name(name: &str) -> bool {
    parse(name).is_some()
}

/// How a message ends that does not fail at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Nothing,
    Sent,
    Delivered,
    Read,
    ReadFirst,
    Twice,
    LateFailure,
}

#[derive(Debug, PartialEq, Eq)]
struct Named<'n> {
    /// Codes of the messages in turn.
    codes: Vec<&'n str>,
    /// Whether the codes begin again.
    always: bool,
    /// Whether a message that fails is delivered all the same.
    yet_delivered: bool,
    end: End,
}

fn parse(name: &str) -> Option<Named<'_>> {
    let end = |text: &str| {
        Some(match text {
            "nothing" => End::Nothing,
            "sent" => End::Sent,
            "delivered" => End::Delivered,
            "read" => End::Read,
            "read_first" => End::ReadFirst,
            "twice" => End::Twice,
            "late_failure" => End::LateFailure,
            _ => return None,
        })
    };
    if let Some(text) = name.strip_prefix("then_") {
        return Some(Named { codes: vec![], always: false, yet_delivered: false, end: end(text)? });
    }
    let (rest, end) = match name.strip_prefix("fail_")?.split_once("_then_") {
        Some((rest, text)) => (rest, end(text)?),
        None => (name.strip_prefix("fail_")?, End::Read),
    };
    let (rest, yet_delivered) = match rest.strip_suffix("_yet_delivered") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (rest, always) = match rest.strip_prefix("always_") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let codes: Vec<&str> = rest.split('_').collect();
    let are_codes = codes.iter().all(|code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()));
    are_codes.then_some(Named { codes, always, yet_delivered, end })
}

impl Named<'_> {
    /// In units of the pace.
    fn course(&self, attempt: u32) -> Course {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        let at = if self.always { at % self.codes.len().max(1) } else { at };
        if let Some(code) = self.codes.get(at) {
            let mut steps = vec![step(0.2, Status::Sent), step(0.6, Status::Failed((*code).to_owned()))];
            if self.yet_delivered {
                steps.push(step(0.4, Status::Delivered));
            }
            return steps;
        }
        let (sent, delivered, read) = (step(0.2, Status::Sent), step(0.6, Status::Delivered), step(1.0, Status::Read));
        match self.end {
            End::Nothing => vec![],
            End::Sent => vec![sent],
            End::Delivered => vec![sent, delivered],
            End::Read => vec![sent, delivered, read],
            End::ReadFirst => vec![sent, read, delivered],
            End::Twice => [sent, delivered, read].map(|step| Step { times: 2, ..step }).to_vec(),
            End::LateFailure => vec![sent, delivered, step(1.0, Status::Failed("131049".to_owned()))],
        }
    }
}

fn step(after: f64, status: Status) -> Step {
    Step { after: Duration::from_secs_f64(after), status, times: 1 }
}

/// As it mostly is: sent, delivered, read; and as it sometimes is.
fn ordinary(chance: &mut Chance) -> Course {
    let mut steps = vec![step(0.2, Status::Sent), step(0.6, Status::Delivered)];
    if chance.share() < 0.7 {
        steps.push(step(2.0, Status::Read));
    }
    match chance.share() {
        late if late < 0.1 => steps.iter_mut().for_each(|step| step.after *= 5),
        repeated if repeated < 0.2 => steps.iter_mut().for_each(|step| step.times = 2),
        turned if turned < 0.4 && steps.len() == 3 => steps.swap(1, 2),
        _ => {}
    }
    steps
}

/// Random numbers by SplitMix64 (Steele, Lea, Flood, 2014), from all that is asked.
struct Chance(u64);

impl Chance {
    fn of(asked: &Asked<'_>) -> Self {
        let Asked { phone, attempt, seed, .. } = asked;
        let digest = Sha256::digest(format!("{seed} {attempt} {phone}"));
        Self(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn statuses(template: &str, attempt: u32) -> Vec<Status> {
        let asked = Asked { template: Some(template), phone: "+919876543210", attempt, seed: 7 };
        by_name(Duration::from_secs(1))(&asked).into_iter().map(|step| step.status).collect()
    }

    #[test]
    fn a_templates_name_says_what_becomes_of_each_attempt() {
        use Status::{Delivered, Read, Sent};
        let failed = |code: &str| Status::Failed(code.to_owned());
        assert_eq!(statuses("fail_131049_then_read", 0), [Sent, failed("131049")]);
        assert_eq!(statuses("fail_131049_then_read", 1), [Sent, Delivered, Read]);
        assert_eq!(statuses("fail_131049_130429_then_delivered", 1), [Sent, failed("130429")]);
        assert_eq!(statuses("fail_131049_130429_then_delivered", 2), [Sent, Delivered]);
        assert_eq!(statuses("fail_always_130429", 9), [Sent, failed("130429")]);
        assert_eq!(statuses("fail_always_1_2", 3), [Sent, failed("2")]);
        assert_eq!(statuses("fail_131049_yet_delivered", 0), [Sent, failed("131049"), Delivered]);
        assert_eq!(statuses("then_read_first", 0), [Sent, Read, Delivered]);
        assert_eq!(statuses("then_nothing", 0), []);
        assert_eq!(statuses("then_late_failure", 0), [Sent, Delivered, failed("131049")]);
    }

    #[test]
    fn other_names_say_nothing() {
        for name in
            ["order_dispatched_v2", "fail_", "fail_always_", "fail_x_then_read", "fail_1_then_never", "then_", ""]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_ordinary_courses_differ() {
        let script = by_name(Duration::from_secs(1));
        let asked = |phone: &'static str, seed| Asked { template: None, phone, attempt: 0, seed };
        assert_eq!(script(&asked("+911", 1)), script(&asked("+911", 1)));
        let mut kinds: Vec<String> = (0..200)
            .map(|seed| {
                let steps = script(&asked("+911", seed));
                format!("{:?}", steps.iter().map(|step| (step.status.name(), step.times)).collect::<Vec<_>>())
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        assert!(kinds.len() >= 4, "{kinds:?}");
    }
}
