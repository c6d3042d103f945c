//! Lists dead letters for the admin listener, changes them, and forgets those that are too old.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use sink_api::{Timestamp, Uuid};
use tracing::warn;

use super::own_events;
use super::refusals::{nobody_delivers, optional_time, unable};
use crate::admin::Refusal;
use crate::admin::dead::{DeadAct, DeadAsk, DeadDone, DeadPage, DeadView, ReasonView};
use crate::event;
use crate::ledger::held::{Change, Content, Filter, Letter, MAX_PAGE, Page};
use crate::ledger::{Ledger, Settle, Storage};
use crate::news::News;
use crate::route::PayloadView;

/// How often the daemon looks for letters that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The page that was asked for.
pub(super) async fn list(ledger: &Ledger, ask: DeadAsk) -> Result<DeadPage, Refusal> {
    let (filter, page) = read(ask)?;
    let (letters, more) = ledger.dead(filter, page).await.map_err(unable)?;
    let next = letters.last().filter(|_| more).map(|last| (last.sink.clone(), last.id.clone()));
    Ok(DeadPage { letters: letters.into_iter().map(view).collect(), next })
}

/// Changes one page of the letters that match. `sinks` are those of the config: nobody else could deliver.
pub(super) async fn change(
    storage: &Storage,
    ask: DeadAsk,
    act: DeadAct,
    sinks: &[String],
) -> Result<DeadDone, Refusal> {
    let change = match act {
        DeadAct::Drop => Change::Drop,
        DeadAct::Retry => Change::Retry { due: Timestamp::now().as_microsecond(), as_was: ask.as_was },
    };
    if let (DeadAct::Retry, Some(sink)) = (act, &ask.sink)
        && !sinks.contains(sink)
    {
        return Err(nobody_delivers(sink));
    }
    let (filter, page) = read(DeadAsk { whole: false, ..ask })?;
    let (letters, more) = storage.ledger.dead(filter, page).await.map_err(unable)?;
    let next = letters.last().filter(|_| more).map(|last| (last.sink.clone(), last.id.clone()));
    let letters = letters.into_iter().filter(|letter| act == DeadAct::Drop || sinks.contains(&letter.sink));
    Ok(DeadDone { letters: apply(&*storage.settle, letters, change).await?, next })
}

/// Changes these letters, which come in the order of their sinks; gives how many were changed.
async fn apply(settle: &dyn Settle, letters: impl Iterator<Item = Letter>, change: Change) -> Result<u64, Refusal> {
    let mut changed = 0;
    let mut by_sink: Vec<(String, Vec<String>)> = Vec::new();
    for letter in letters {
        match by_sink.last_mut() {
            Some((sink, ids)) if *sink == letter.sink => ids.push(letter.id),
            _ => by_sink.push((letter.sink, vec![letter.id])),
        }
    }
    for (sink, ids) in by_sink {
        changed += settle.change_dead(&sink, ids, change).await.map_err(unable)?.letters;
    }
    Ok(changed)
}

/// Forgets letters that were given up longer ago than `max_age`, over and over until the task is ended.
pub(super) async fn forget_old(storage: Storage, max_age: Duration, news: News) {
    let age = i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX);
    loop {
        let before = Timestamp::now().as_microsecond().saturating_sub(age);
        let filter = Filter { given_up_before: Some(before), ..Filter::default() };
        let (mut after, mut dropped, mut told) = (None, 0, BTreeMap::<String, u64>::new());
        // A ledger that is not open, or cannot be read now, may be at the next look.
        while let Ok((letters, more)) =
            storage.ledger.dead(filter.clone(), Page { after: after.take(), limit: MAX_PAGE, whole: false }).await
        {
            after = letters.last().map(|last| (last.sink.clone(), last.id.clone()));
            let mut of_page = BTreeMap::<String, u64>::new();
            for letter in letters.iter().filter(|letter| !own_events::is_own(&letter.kind)) {
                *of_page.entry(letter.sink.clone()).or_default() += 1;
            }
            match apply(&*storage.settle, letters.into_iter(), Change::Drop).await {
                Ok(letters) => {
                    dropped += letters;
                    of_page.into_iter().for_each(|(sink, n)| *told.entry(sink).or_default() += n);
                }
                Err(_) => break,
            }
            if !more {
                break;
            }
        }
        if dropped > 0 {
            warn!(dropped, max_age = ?max_age, "dead letters past [dead_letters] max_age are forgotten");
        }
        for (sink, letters) in told {
            let why = "they were dead letters for longer than [dead_letters] max_age";
            news.tell(own_events::dropped(&sink, letters, "max_age", why));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Which letters are asked for, and which page of them.
fn read(ask: DeadAsk) -> Result<(Filter, Page), Refusal> {
    if ask.ids.len() > MAX_PAGE {
        return Err(Refusal::Question(format!("more than {MAX_PAGE} ids at once")));
    }
    let filter = Filter {
        ids: ask.ids,
        sink: ask.sink,
        kind: ask.kind,
        code: ask.code,
        since: optional_time("since", ask.since.as_deref())?,
        until: optional_time("until", ask.until.as_deref())?,
        given_up_before: None,
    };
    Ok((filter, Page { after: ask.after, limit: ask.limit.unwrap_or(MAX_PAGE), whole: ask.whole }))
}

fn view(letter: Letter) -> DeadView {
    let [time, first_try, last_try] = letter.times.map(rfc3339);
    let [code, detail] = letter.reason;
    let mut view = DeadView {
        sink: letter.sink,
        id: letter.id,
        kind: letter.kind,
        subject: letter.subject,
        time,
        attempts: letter.attempts,
        first_try,
        last_try,
        reason: ReasonView { code, detail },
        key: None,
        source: None,
        event_id: None,
        event: None,
        payload: None,
        target: None,
    };
    if let Some(content) = letter.content {
        view.key = Some(letter.key);
        fill(&mut view, content);
    }
    view
}

fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// Adds the event, the payload and the target.
fn fill(view: &mut DeadView, content: Content) {
    let record = &content.event;
    // Both forms of a payload are JSON, so that this does not fail.
    let raw = |bytes: &[u8]| to_raw_value(&PayloadView::of(bytes)).ok();
    // An event that a later build has written, which this one cannot decode, is shown as the bytes it is.
    let body = event::decode(record).map_or_else(|_| record.payload.clone(), |event| event.body);
    view.source = Some(record.source.to_string());
    view.event_id = Some(Uuid::from_bytes(record.id).to_string());
    view.event = raw(&body);
    view.payload = content.payload.and_then(|payload| raw(&payload));
    view.target = RawValue::from_string(content.target).ok();
}
