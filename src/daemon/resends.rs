//! What waits to be sent again, as the admin listener lists it and gives it up; and how a message that is sent again is
//! shown.

use sink_api::{Timestamp, Uuid};

use super::refusals::unable;
use crate::admin::sending::{ResendView, ResendsAsk};
use crate::admin::status::ResendsStatus;
use crate::admin::{List, Refusal};
use crate::mask;
use crate::message::digits;
use crate::outbox::{Cursor, Outbox, Planned, Rules};

/// Fewest digits that are taken for a phone.
const PHONE_DIGITS: usize = 8;
/// Most rows of one answer, and how many there are where nobody says.
const MOST: (usize, usize) = (1_000, 200);

/// A page of what waits, in the order in which it is due.
///
/// # Errors
/// `after` is none of ours, or the outbox cannot be read.
pub(super) async fn list(outbox: &Outbox, rules: &Rules, ask: ResendsAsk) -> Result<List<ResendView>, Refusal> {
    let after = ask.after.as_deref().map(read).transpose()?;
    let limit = ask.limit.unwrap_or(MOST.1).clamp(1, MOST.0);
    let mut rows = outbox.waiting(after, limit + 1).await.map_err(unable)?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|last| written(last.cursor()));
    let shown = |row: Planned| {
        let rule_gone = !rules.has(&row.rule);
        ResendView { rule_gone, ..view(row, ask.clear) }
    };
    Ok(List::new(rows.into_iter().map(shown).collect(), next))
}

/// Whether the sink is done with a delivery of that fate.
pub(super) fn is_over(fate: &str) -> bool {
    !matches!(fate, "pending" | "parked")
}

/// Why there is nothing to give up.
pub(super) fn nothing_to_cancel(id: &str, over: &[ResendView]) -> String {
    if let Some(ResendView { id, to, attempt, fate, why, .. }) = over.first() {
        let because = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        return match fate.as_deref() {
            Some("dead") => format!(
                "try {attempt} is not sent: it is a dead letter of `{to}`{because}. `hookrelay dead drop {id}` forgets \
                 it, `hookrelay dead retry {id}` tries it again"
            ),
            _ => format!("there is nothing to give up: `{to}` is done with try {attempt}{because}"),
        };
    }
    if is_phone(id) {
        return "that is a phone: say the id of a resend, or of a message; `message show` with the phone has both"
            .into();
    }
    let help = "`resend list` has those that wait; what was sent, or is being sent, stays";
    format!("no resend that waits is, or is of, `{}`: {help}", mask::text(id))
}

/// Whether somebody means a customer's phone by that.
fn is_phone(text: &str) -> bool {
    digits(text).is_some_and(|digits| digits.len() >= PHONE_DIGITS)
}

/// What is to be said of a reload: which rules are gone whose messages wait, and how many do.
pub(super) fn without_rule(outbox: &Outbox, rules: &Rules) -> Vec<String> {
    let waiting = outbox.counts().waiting.into_iter();
    let gone = waiting.filter(|(rule, count)| *count > 0 && !rules.has(rule));
    let told = |(rule, count): (String, u64)| {
        let (messages, wait) = if count == 1 { ("message", "waits") } else { ("messages", "wait") };
        format!(
            "remark: {count} {messages} of [resend.{rule}] {wait} to be sent again, and the rule is not in the config \
             any more: each is given up when it is due\n  help: a rule of that name, put back before, has them sent"
        )
    };
    gone.map(told).collect()
}

/// How many wait, and when the next is due. None where the outbox cannot be read.
pub(super) async fn status(outbox: &Outbox) -> Option<ResendsStatus> {
    let next = outbox.next_due().await.ok()?;
    Some(ResendsStatus { waiting: outbox.counts().waiting.values().sum(), next: next.map(|at| at.to_string()) })
}

/// A message that is, or was, to be sent again.
pub(super) fn view(row: Planned, clear: bool) -> ResendView {
    let text = |text: String| if clear { text } else { mask::text(&text) };
    let personal = |text: String| if clear { text } else { mask::hidden(&text) };
    ResendView {
        id: row.id.to_string(),
        rule: row.rule,
        to: row.to,
        attempt: row.attempt,
        code: text(row.code),
        due: row.due.to_string(),
        planned: row.planned.to_string(),
        failed: text(row.failed),
        of: text(row.of),
        state: row.state.word().to_owned(),
        fate: None,
        why: row.why.map(text),
        rule_gone: false,
        message: row.message.map(text),
        phone: row.phone.map(personal),
        template: row.template.map(text),
        missing: row.missing.map(text),
    }
}

/// A place in the list as text that [`read`] reads.
fn written(Cursor { due, id }: Cursor) -> String {
    format!("{}/{id}", due.as_microsecond())
}

fn read(text: &str) -> Result<Cursor, Refusal> {
    let place = || {
        let (due, id) = text.split_once('/')?;
        let due = Timestamp::from_microsecond(due.parse().ok()?).ok()?;
        Some(Cursor { due, id: Uuid::try_parse(id).ok()? })
    };
    place().ok_or_else(|| Refusal::Question(format!("`after` is `{text}`, expected the `next` of another answer")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::State;

    #[test]
    fn what_cannot_be_given_up_is_told_as_it_is() {
        let over = |fate: &str, why: &str| {
            let (id, to) = ("01a229fc-587e-73e0-88ad-88f36097dc45".to_owned(), "whatsapp".to_owned());
            vec![ResendView {
                id,
                to,
                attempt: 2,
                fate: Some(fate.into()),
                why: Some(why.into()),
                ..ResendView::default()
            }]
        };
        let dead = nothing_to_cancel("m-1", &over("dead", "http_4xx: 400"));
        assert!(dead.contains("try 2 is not sent: it is a dead letter of `whatsapp` (http_4xx: 400)"), "{dead}");
        assert!(dead.contains("dead drop 01a229fc") && dead.contains("dead retry 01a229fc"), "{dead}");
        let dropped = nothing_to_cancel("m-1", &over("dropped", "skip"));
        assert_eq!(dropped, "there is nothing to give up: `whatsapp` is done with try 2 (skip)");
        assert!(nothing_to_cancel("+919876543210", &[]).contains("that is a phone"));
        assert!(nothing_to_cancel("m-2", &[]).contains("no resend that waits is, or is of, `m-2`"));
        assert!(["dead", "dropped", "filtered", "delivered"].iter().all(|fate| is_over(fate)) && !is_over("parked"));
    }

    #[test]
    fn a_row_is_shown_without_whose_it_is_unless_that_is_asked_for() {
        let now: Timestamp = "2026-11-30T09:00:00Z".parse().unwrap();
        let row = Planned {
            id: Uuid::now_v7(),
            rule: "marketing".into(),
            to: "whatsapp".into(),
            failed: "919876543210".into(),
            of: "m-1".into(),
            attempt: 2,
            since: 0,
            until: 0,
            due: now,
            planned: now,
            code: "131049".into(),
            phone: Some("+919876543210".into()),
            request: Some("{\"fullPhoneNumber\":\"919876543210\"}".into()),
            missing: None,
            template: Some("sale".into()),
            state: State::Waiting,
            message: None,
            why: None,
        };
        let masked = view(row.clone(), false);
        assert_eq!((masked.phone.as_deref(), masked.code.as_str()), (Some("***10"), "131049"));
        assert!(!serde_json::to_string(&masked).unwrap().contains("98765"), "{masked:?}");
        let clear = view(row.clone(), true);
        assert_eq!((clear.phone.as_deref(), clear.state.as_str()), (Some("+919876543210"), "waiting"));
        assert_eq!(read(&written(row.cursor())), Ok(row.cursor()));
        for bad in ["", "7", "7/x", "x/01a229fc-587e-73e0-88ad-88f36097dc45"] {
            assert!(matches!(read(bad), Err(Refusal::Question(_))), "{bad}");
        }
    }
}
