//! Which failures are tried again, when, and with what. Pure.
//!
//! The first rule in the file that matches decides, alone. Its word on a code comes before our own table's
//! ([`codes`](super::codes)); a code that neither knows is never tried again, unless the rule says so of all others.

use globset::GlobMatcher;
use sink_api::{Event, Origin, Timestamp, Uuid};

use super::codes::Wish;
use super::keys::{ByClock, ResendKeys};
use super::planned::{Chain, Planned, State};
use super::quiet::{Clock, Quiet};
use super::request::{self, Again};
use super::wanted::nameable;
use crate::message::{self, Said};
use crate::news::SOURCE;
use crate::route::glob;
use crate::times::Zone;

/// How long a message is put off whose rule leaves no hour of the day: then it is looked at again.
const ONE_DAY: i64 = 24 * 60 * 60;

/// The longest code of a provider that is kept, in bytes: one that is longer is known by its beginning.
const MAX_CODE: usize = 100;

/// A message that failed, and was not delivered as far as is known, nor was any other of its chain.
#[derive(Clone, Debug)]
pub struct Failed<'e> {
    /// The event that says so.
    pub event: &'e Event,
    /// What it says.
    pub said: &'e Said,
    /// Why we sent the message, where we did.
    pub origin: Option<&'e Origin>,
    /// What was planned for its first message so far.
    pub chain: &'e Chain,
    /// The request that sent it, `callbackData` the user's own text; where we did, and it is still there.
    pub sent: Option<&'e [u8]>,
}

/// What is to be done about a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// No rule is for it.
    NoRule,
    /// The rule says that it is never tried again.
    Never {
        /// Which rule.
        rule: String,
        /// The provider's code.
        code: String,
        /// Why, in words.
        why: String,
    },
    /// It was tried as often, or as long, as the rule says.
    Exhausted {
        /// Which rule.
        rule: String,
        /// The provider's code.
        code: String,
        /// Which bound, in words.
        why: String,
    },
    /// It is tried again.
    Resend(Box<Planned>),
}

/// The rules in force, in the order of the file. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

/// One rule.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    keys: ResendKeys,
    to: String,
    globs: Vec<GlobMatcher>,
    quiet: Option<Quiet>,
}

impl Rules {
    /// The rules of a config, each with its name and the sink that sends. They have no faults
    /// ([`ResendKeys::check`]): a glob that is none matches nothing. Customers whose zone is not known live by `zone`.
    pub fn new(rules: impl IntoIterator<Item = (String, ResendKeys, String)>, zone: &Zone) -> Self {
        let rule = |(name, keys, to): (String, ResendKeys, String)| {
            let globs = keys.globs.iter().filter_map(|text| Some(glob::read(text).ok()?.compile_matcher())).collect();
            let quiet = keys.quiet.as_ref().map(|quiet| Quiet {
                hours: quiet.hours,
                by: match &quiet.timezone {
                    ByClock::Customer => Clock::Customer(zone.clone()),
                    ByClock::Zone(zone) => Clock::Zone(zone.clone()),
                },
            });
            Rule { name, keys, to, globs, quiet }
        };
        Self(rules.into_iter().map(rule).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The sinks that send for them; one may be named several times.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|rule| rule.to.as_str())
    }

    /// Each rule, with the sink that sends for it.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|rule| (rule.name.as_str(), rule.to.as_str()))
    }

    /// The sink that sends for the rule of that name; none where there is no such rule.
    pub fn sink_of(&self, rule: &str) -> Option<&str> {
        self.of(rule).map(|rule| rule.to.as_str())
    }

    /// What is to be done about a failure.
    pub fn decide(&self, failed: &Failed<'_>, now: Timestamp) -> Decision {
        let rule =
            self.0.iter().find(|rule| rule.takes(failed.event)).filter(|_| !message::is_sample(&failed.event.body));
        let Some(rule) = rule else { return Decision::NoRule };
        let code = code(failed.said);
        match rule.decide(failed, code, now) {
            Ok(decision) => decision,
            Err(why) => Decision::Exhausted { rule: rule.name.clone(), code: code.to_owned(), why },
        }
    }

    /// Until when a customer of that phone is not to be disturbed by messages of that rule; none: not now.
    pub fn is_quiet(&self, rule: &str, phone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        let quiet = self.of(rule)?.quiet.as_ref()?;
        let never = || Timestamp::from_second(now.as_second().saturating_add(ONE_DAY)).ok();
        quiet.free_from(phone, now).or_else(never).filter(|free| *free > now)
    }

    /// Most further tries for a first message, by the rule of that name.
    pub fn max_attempts(&self, rule: &str) -> Option<u32> {
        self.of(rule).map(|rule| rule.keys.max_attempts)
    }

    /// Whether there is a rule of that name.
    pub fn has(&self, rule: &str) -> bool {
        self.of(rule).is_some()
    }

    fn of(&self, name: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.name == name)
    }
}

impl Rule {
    /// Whether it is for events of that source and type.
    fn takes(&self, event: &Event) -> bool {
        let source = self.keys.source.as_deref();
        let is_source = source.map_or(*event.source != *SOURCE, |wanted| wanted == &*event.source);
        is_source && self.globs.iter().any(|glob| glob.is_match(&*event.kind))
    }

    /// What it wants; an error is the bound that is reached.
    fn decide(&self, failed: &Failed<'_>, code: &str, now: Timestamp) -> Result<Decision, String> {
        let Failed { event, said, origin, chain, .. } = failed;
        let Wish::Again { after, times } = self.keys.wish(code) else {
            let why = match code {
                "" => "it failed without a code, and such failures are not tried again".to_owned(),
                code => format!("failures with code {code} are not tried again"),
            };
            return Ok(Decision::Never { rule: self.name.clone(), code: code.to_owned(), why });
        };
        let id = said.message_id.as_deref().unwrap_or(&event.subject);
        let origin = origin.filter(|origin| origin.attempt > 0);
        let of = origin.map_or_else(|| nameable(id), |origin| origin.of.clone());
        if id.is_empty() {
            return Err("the message has no id by which its further tries could be known".to_owned());
        }
        let before = chain.total.max(origin.map_or(0, |origin| origin.attempt));
        if before >= self.keys.max_attempts {
            return Err(format!("it was sent again {before} times, and `max_attempts` is {}", self.keys.max_attempts));
        }
        if chain.by_code.get(code).is_some_and(|so_far| *so_far >= times) {
            return Err(format!("it was sent again {times} times for code {code}, as often as the rule says"));
        }

        // A provider's clock that is ahead puts nothing off.
        let failed_at = said.occurred(&event.kind).map_or(event.time, |time| time.min(event.time));
        let first_sent = || said.received.map_or(failed_at, |time| time.min(failed_at)).as_second();
        let since = failed.origin.map_or_else(first_sent, |origin| origin.since.min(event.time.as_second()));
        let until = since.saturating_add(seconds(self.keys.max_age.0));
        let Again { request, missing, phone, template } = request::again(failed, &self.keys);
        let due = match missing {
            // It becomes a dead letter that says what is missing: nobody has to wait for that.
            Some(_) => now,
            None => self.due(failed_at, after, phone.as_deref(), now)?,
        };
        if due.as_second() > until {
            let age = humantime::format_duration(self.keys.max_age.0);
            return Err(format!(
                "it would be sent at {due:.0}, and the first message is older than `max_age` ({age}) then"
            ));
        }
        Ok(Decision::Resend(Box::new(Planned {
            id: Uuid::now_v7(),
            rule: self.name.clone(),
            to: self.to.clone(),
            failed: id.to_owned(),
            of,
            attempt: before + 1,
            since,
            until,
            due,
            planned: now,
            code: code.to_owned(),
            phone,
            request,
            missing,
            template,
            state: State::Waiting,
            message: None,
            why: None,
        })))
    }

    /// When it is to be sent: so long after the failure, and not in quiet hours.
    fn due(
        &self,
        failed_at: Timestamp,
        after: std::time::Duration,
        phone: Option<&str>,
        now: Timestamp,
    ) -> Result<Timestamp, String> {
        let due = failed_at.checked_add(after).map_or(now, |due| due.max(now));
        match &self.quiet {
            None => Ok(due),
            Some(quiet) => quiet.free_from(phone, due).ok_or_else(|| {
                "its quiet hours leave no hour of the day in all zones of the customer's country: name one in \
                 `quiet.timezone`"
                    .to_owned()
            }),
        }
    }
}

/// The code of a failure, as it is kept.
fn code(said: &Said) -> &str {
    let code = said.error_code.as_deref().map(str::trim).unwrap_or_default();
    code.get(..code.floor_char_boundary(MAX_CODE)).unwrap_or(code)
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
