//! What statuses say: which message was delivered or read, which call a message came of, and which failed, so that a
//! rule may have it sent again. The same whatever order they come in, and however often.

use std::sync::Arc;

use rusqlite::{Connection, params};
use sink_api::{Batch, CallId, Delivery, Origin, Timestamp, Yielder};

use super::facts::{NotAgain, Verdict};
use super::planned::Planned;
use super::rules::{Decision, Failed, Rules};
use super::store::{Horizon, Key};
use super::thread::Step;
use super::trim::{MOST_WAITING, STRETCH};
use super::wanted::{MAX_REQUEST, nameable};
use super::{MAX_AGE, MAX_MESSAGE_ID, bounds, calls, not_again, resends};
use crate::message::{self, Said, Status};
use crate::news::{Item, Kind};

/// The longest name of a template, or sentence about what is missing or why nothing is sent, that is kept; bytes.
const MAX_TEXT: usize = 300;

/// What one event says of a message.
#[derive(Debug)]
pub struct Fact {
    message: String,
    /// The highest status that it tells of.
    status: Status,
    /// Why we sent it, where it carries that.
    origin: Option<Origin>,
    /// When it was accepted.
    accepted: Timestamp,
    /// The event and all that it says, where it tells of a failure.
    failure: Option<(Arc<Delivery>, Box<Said>)>,
}

/// What these events say of messages that were sent; others say nothing.
pub fn facts(batch: &Batch) -> Vec<Fact> {
    let mut yielder = Yielder::default();
    let facts = batch.deliveries.iter().filter_map(|delivery| {
        yielder.step();
        Fact::of(delivery)
    });
    facts.collect()
}

impl Fact {
    fn of(delivery: &Arc<Delivery>) -> Option<Self> {
        let event = &delivery.event;
        let said = Said::read(&event.body)?;
        let own = message::status(&event.kind, &said)?;
        // What a click says of its message counts; that a body tells of more than its event, too.
        let status = message::rungs(&event.kind, &said).into_iter().map(|rung| rung.status).max()?;
        let is_message = *event.kind != *"message_received" && status != Status::Received;
        let message = said.message_id.clone().filter(|id| is_message && id.len() <= MAX_MESSAGE_ID)?;
        let origin = said.callback_data.as_deref().and_then(Origin::read).map(|(origin, _)| origin);
        let has_failed = own == Status::Failed && status == Status::Failed;
        let failure = has_failed.then(|| (Arc::clone(delivery), Box::new(said)));
        Some(Self { message, status, origin, accepted: event.time, failure })
    }
}

/// Takes note of facts, in their order.
pub fn take(step: &mut Step<'_>, facts: &[Fact], rules: &Rules, now: Timestamp) -> Result<(), rusqlite::Error> {
    // Where nothing was sent yet, statuses cost little more than their reading.
    let has_calls = has_rows(step.connection, "calls")?;
    let mut has_resends = has_rows(step.connection, "resends")?;
    for fact in facts {
        let origin = fact.origin.as_ref();
        // A copied text says of its own message that it is a try of that chain, so that its bounds hold; of the message
        // that it was copied from it says nothing.
        let call = match origin.map(|origin| origin.call) {
            Some(call) if calls::is_anothers(step.connection, call, &fact.message)? => None,
            call => call,
        };
        if let Some(call) = call {
            calls::confirmed(step, call, &fact.message)?;
        }
        if has_calls {
            calls::note(step.connection, call, &fact.message, fact.status)?;
        }
        match &fact.failure {
            _ if fact.status >= Status::Delivered => {
                if has_resends || call.is_some() {
                    delivered(step, call, &fact.message, fact.accepted)?;
                } else {
                    remember(step.connection, &fact.message, fact.accepted)?;
                }
            }
            Some((delivery, said)) if !rules.is_empty() => {
                failed(step, fact, call, (delivery, said), (rules, now))?;
                has_resends = true;
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_rows(connection: &Connection, table: &str) -> Result<bool, rusqlite::Error> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
    connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
}

/// A message was delivered or read: what waits of its chain is not needed.
pub fn delivered(
    step: &mut Step<'_>,
    call: Option<CallId>,
    message: &str,
    accepted: Timestamp,
) -> Result<(), rusqlite::Error> {
    let root = resends::root(step.connection, call, message)?;
    remember(step.connection, &root, accepted)?;
    resends::overtake(step, &root)
}

fn remember(connection: &Connection, root: &str, accepted: Timestamp) -> Result<(), rusqlite::Error> {
    let stretch = accepted.as_second().div_euclid(STRETCH);
    let sql = "INSERT INTO heard (stretch, root) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let new = connection.prepare_cached(sql)?.execute(params![stretch, Key::of_message(root)])?;
    if new > 0 {
        let sql = "INSERT INTO stretches (stretch, roots) VALUES (?1, 1)
                   ON CONFLICT (stretch) DO UPDATE SET roots = roots + 1";
        connection.prepare_cached(sql)?.execute([stretch])?;
    }
    Ok(())
}

/// Whether a message of that chain was delivered or read.
pub fn is_delivered(connection: &Connection, root: &str) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM stretches CROSS JOIN heard USING (stretch) WHERE root = ?1)";
    connection.prepare_cached(sql)?.query_row([Key::of_message(root)], |row| row.get(0))
}

/// A message failed: the rules say whether it is sent again, unless that is known already. `own`: the call that is
/// known to have sent it.
fn failed(
    step: &mut Step<'_>,
    Fact { message, origin, .. }: &Fact,
    own: Option<CallId>,
    (delivery, said): (&Delivery, &Said),
    (rules, now): (&Rules, Timestamp),
) -> Result<(), rusqlite::Error> {
    // Where the status does not say why it was sent, what is remembered may.
    let remembered = match origin {
        Some(_) => None,
        None => calls::origin_of(step.connection, message)?,
    };
    let origin = origin.as_ref().or(remembered.as_ref());
    let call = origin.map(|origin| origin.call);
    let own = own.or(remembered.as_ref().map(|origin| origin.call));
    let root = resends::root(step.connection, call, message)?;
    let tried = origin.map_or(0, |origin| origin.attempt);
    if is_delivered(step.connection, &root)? || resends::is_planned(step.connection, message, &root, tried)? {
        return Ok(());
    }
    let chain = resends::chain(step.connection, &root)?;
    let sent = calls::request(step.connection, own, message)?;
    let failed = Failed { event: &delivery.event, said, origin, chain: &chain, sent: sent.as_deref() };
    let of = origin.filter(|one| one.attempt > 0).map_or(message, |one| &one.of);
    let decision = match rules.decide(&failed, now) {
        Decision::Resend(planned) if origin.is_none() && root == *message => strange(step, planned, rules, now)?,
        decision => decision,
    };
    match decision {
        Decision::NoRule => {}
        Decision::Never { rule, code, why } => {
            not_again(
                step,
                NotAgain { failed: message.to_owned(), rule, verdict: Verdict::Never, code, why, at: now },
                &root,
            )?;
        }
        Decision::Exhausted { rule, code, why } => {
            let item = exhausted(message, of, &code, &rule, &why);
            let verdict = Verdict::Exhausted;
            if not_again(step, NotAgain { failed: message.to_owned(), rule, verdict, code, why, at: now }, &root)? {
                step.tally.tell(item);
            }
        }
        Decision::Resend(mut planned) => {
            if tried == 0 {
                planned.of = nameable(&root);
            }
            plan(step, bounded(*planned), &root)?;
        }
    }
    Ok(())
}

/// What is to become of a message that nobody is known to have sent. It may be a further try of ours all the same, of
/// which neither the call's id came back nor the id that its call was answered with: each would begin a chain of its
/// own, without an end. So further tries to the same customer count of which no status tells.
fn strange(step: &Step<'_>, planned: Box<Planned>, rules: &Rules, now: Timestamp) -> Result<Decision, rusqlite::Error> {
    let Planned { rule, phone, code, .. } = &*planned;
    let unheard = match phone {
        Some(phone) => bounds::unheard_of(step.connection, phone, rule, now)?,
        None => 0,
    };
    let most = rules.max_attempts(rule).unwrap_or_default();
    if unheard < i64::from(most) {
        return Ok(Decision::Resend(planned));
    }
    let why = format!(
        "no status tells of the last {unheard} messages that it had sent again to the same customer, of which this may \
         be one, and `max_attempts` is {most}"
    );
    Ok(Decision::Exhausted { rule: rule.clone(), code: code.clone(), why })
}

/// Remembers, and counts, that a message is not sent again. False: it was so before, and is no news.
fn not_again(step: &mut Step<'_>, mut what: NotAgain, root: &str) -> Result<bool, rusqlite::Error> {
    what.why = short(&what.why).to_owned();
    let is_new = not_again::note(step.connection, &what, root)?;
    if is_new {
        step.tally.resend(&what.rule, what.verdict.word());
    }
    Ok(is_new)
}

fn exhausted(message: &str, of: &str, code: &str, rule: &str, why: &str) -> Item {
    let text = format!("message {message} failed and is not sent again by [resend.{rule}]: {why}");
    let item = Item::new(Kind::ResendExhausted, message, text).reason("exhausted").with("rule", rule);
    item.with("of", of).with("code", code).with("detail", why)
}

/// What is planned, within the bounds of what is kept.
fn bounded(mut planned: Planned) -> Planned {
    let age = i64::try_from(MAX_AGE.as_secs()).unwrap_or(i64::MAX);
    planned.until = planned.until.min(planned.since.saturating_add(age));
    let length = planned.request.as_ref().map_or(0, |request| request.len());
    if length > MAX_REQUEST {
        planned.request = None;
        planned.missing = Some(format!("the request has {length} bytes, at most {MAX_REQUEST} are kept"));
    }
    // Both are texts of others, which may be long.
    planned.template = planned.template.map(|text| short(&text).to_owned());
    planned.missing = planned.missing.map(|text| short(&text).to_owned());
    planned
}

/// Its beginning, as far as that is kept.
fn short(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

fn plan(step: &mut Step<'_>, planned: Planned, root: &str) -> Result<(), rusqlite::Error> {
    let horizon = Horizon::Messages.read(step.connection)?;
    if horizon.is_some_and(|horizon| planned.since.saturating_mul(1_000_000) <= horizon) {
        // It would be refused when it is due.
        let why = "what became of messages so early is not remembered: it may have been delivered";
        return not_again(step, NotAgain::never(&planned, why), root).map(drop);
    }
    if step.waiting.saturating_add(step.tally.more_waiting()) >= MOST_WAITING {
        step.tally.is_full(&planned.rule);
        return not_again(step, NotAgain::never(&planned, "too many messages wait to be sent again"), root).map(drop);
    }
    not_again::forget(step.connection, &planned.failed)?;
    resends::plan(step, &planned, root)
}
