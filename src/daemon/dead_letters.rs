//! Lists dead letters, and what is parked, for the admin listener; changes dead letters, says what became of those that
//! were retried, and forgets those that are too old.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use sink_api::{Timestamp, Uuid};
use tracing::warn;

use super::own_events;
use super::refusals::{known_sink, nobody_delivers, optional_time, unable};
use crate::admin::Refusal;
use crate::admin::dead::{Count, DeadAct, DeadAsk, DeadBy, DeadDone, DeadView, OutcomeView, OutcomesAsk, ReasonView};
use crate::admin::list::List;
use crate::config::{Masker, Masks};
use crate::event;
use crate::ids;
use crate::journal::Position;
use crate::ledger::fates::FateKind;
use crate::ledger::held::{By, Change, Content, Filter, Held, Letter, MAX_CANDIDATES, MAX_PAGE, Page};
use crate::ledger::{Ledger, Settle, Storage};
use crate::mask;
use crate::news::News;
use crate::route::PayloadView;
use crate::times::Zone;

/// How often the daemon looks for letters that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Most short ids in one question: each is looked for by itself.
const MAX_SHORT: usize = 50;

/// What of the config in force matters here.
#[derive(Clone, Copy)]
pub(super) struct InForce<'c> {
    /// Its sinks: nobody else could deliver.
    pub sinks: &'c [String],
    /// By whose clock times are read.
    pub zone: &'c Zone,
    /// Its secrets, which may stand in a target, or in what a target said.
    pub masks: &'c Masks,
}

/// Sees that there is such a sink: one of the config, or one that is out of it and has rows still.
async fn known(ledger: &Ledger, ask: &DeadAsk, InForce { sinks, .. }: InForce<'_>) -> Result<(), Refusal> {
    let Some(sink) = ask.sink.as_deref().filter(|sink| !sinks.iter().any(|known| known == sink)) else { return Ok(()) };
    let mut all = sinks.to_vec();
    for held in [Held::Dead, Held::Parked] {
        let rows = ledger.held_by(Filter { held, ..Filter::default() }, By::Sink).await.map_err(unable)?;
        all.extend(rows.into_iter().map(|(sink, _)| sink));
    }
    all.sort_unstable();
    all.dedup();
    known_sink(sink, all.iter())
}

/// The page that was asked for.
pub(super) async fn list(
    ledger: &Ledger,
    held: Held,
    ask: DeadAsk,
    config: InForce<'_>,
) -> Result<List<DeadView>, Refusal> {
    known(ledger, &ask, config).await?;
    let clear = ask.clear;
    let (filter, page) = read(ledger, held, ask, config.zone).await?;
    let (letters, more) = ledger.held(filter, page).await.map_err(unable)?;
    let next = next(&letters, more);
    let masker = config.masks.masker();
    let shown = |letter| {
        let view = without_secrets(view(letter), &masker);
        if clear { view } else { masked(view) }
    };
    Ok(List::new(letters.into_iter().map(shown).collect(), next))
}

/// How many there are of each key.
pub(super) async fn counts(
    ledger: &Ledger,
    held: Held,
    ask: DeadAsk,
    config: InForce<'_>,
) -> Result<List<Count>, Refusal> {
    known(ledger, &ask, config).await?;
    let by = match ask.by {
        Some(DeadBy::Code) | None => By::Code,
        Some(DeadBy::Sink) => By::Sink,
        Some(DeadBy::Type) => By::Type,
    };
    let (filter, _) = read(ledger, held, ask, config.zone).await?;
    let counts = ledger.held_by(filter, by).await.map_err(unable)?;
    Ok(List::new(counts.into_iter().map(|(key, count)| Count { key, count }).collect(), None))
}

/// Where the next page begins.
fn next(letters: &[Letter], more: bool) -> Option<String> {
    letters.last().filter(|_| more).map(|last| format!("{}/{}", last.sink, last.id))
}

/// Changes one page of the letters that match.
pub(super) async fn change(
    storage: &Storage,
    ask: DeadAsk,
    act: DeadAct,
    config: InForce<'_>,
) -> Result<DeadDone, Refusal> {
    let change = match act {
        DeadAct::Drop => Change::Drop,
        DeadAct::Retry => Change::Retry { due: Timestamp::now().as_microsecond(), as_was: ask.as_was },
    };
    if let (DeadAct::Retry, Some(sink)) = (act, &ask.sink)
        && !config.sinks.contains(sink)
    {
        return Err(nobody_delivers(sink));
    }
    known(&storage.ledger, &ask, config).await?;
    let (filter, page) = read(&storage.ledger, Held::Dead, DeadAsk { whole: false, ..ask }, config.zone).await?;
    let (letters, more) = storage.ledger.held(filter, page).await.map_err(unable)?;
    let next = next(&letters, more);
    let letters = letters.into_iter().filter(|letter| act == DeadAct::Drop || config.sinks.contains(&letter.sink));
    let sinks = apply(&*storage.settle, letters, change).await?;
    Ok(DeadDone { letters: sinks.values().sum(), sinks, next, unanswered: vec![] })
}

/// Changes these letters, which come in the order of their sinks; gives how many of each were changed.
async fn apply(
    settle: &dyn Settle,
    letters: impl Iterator<Item = Letter>,
    change: Change,
) -> Result<BTreeMap<String, u64>, Refusal> {
    let mut changed = BTreeMap::new();
    let mut by_sink: Vec<(String, Vec<String>)> = Vec::new();
    for letter in letters {
        match by_sink.last_mut() {
            Some((sink, ids)) if *sink == letter.sink => ids.push(letter.id),
            _ => by_sink.push((letter.sink, vec![letter.id])),
        }
    }
    for (sink, ids) in by_sink {
        let letters = settle.change_dead(&sink, ids, change).await.map_err(unable)?.letters;
        if letters > 0 {
            changed.insert(sink, letters);
        }
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
            storage.ledger.held(filter.clone(), Page { after: after.take(), limit: MAX_PAGE, whole: false }).await
        {
            after = letters.last().map(|last| (last.sink.clone(), last.id.clone()));
            let mut of_page = BTreeMap::<String, u64>::new();
            for letter in letters.iter().filter(|letter| !own_events::is_own(&letter.kind)) {
                *of_page.entry(letter.sink.clone()).or_default() += 1;
            }
            match apply(&*storage.settle, letters.into_iter(), Change::Drop).await {
                Ok(letters) => {
                    dropped += letters.values().sum::<u64>();
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

/// Which deliveries are asked for, and which page of them.
async fn read(ledger: &Ledger, held: Held, ask: DeadAsk, zone: &Zone) -> Result<(Filter, Page), Refusal> {
    if ask.ids.len() > MAX_PAGE {
        return Err(Refusal::Question(format!("more than {MAX_PAGE} ids at once")));
    }
    let after = ask.after.as_deref().map(|after| {
        let (sink, id) = after.split_once('/').ok_or_else(|| {
            Refusal::Question(format!("`after` is `{after}`, expected the `next` of the page before"))
        })?;
        Ok((sink.to_owned(), id.to_owned()))
    });
    let after = after.transpose()?;
    if ask.ids.iter().filter(|id| ids::event(id).is_none()).count() > MAX_SHORT {
        return Err(Refusal::Question(format!("more than {MAX_SHORT} short ids at once: give whole ones")));
    }
    let mut ids = Vec::with_capacity(ask.ids.len());
    for id in ask.ids {
        ids.push(whole_id(ledger, held, id).await?);
    }
    let filter = Filter {
        held,
        ids,
        sink: ask.sink,
        kind: ask.kind,
        code: ask.code,
        since: optional_time("since", ask.since.as_deref(), zone)?,
        until: optional_time("until", ask.until.as_deref(), zone)?,
        given_up_before: None,
    };
    Ok((filter, Page { after, limit: ask.limit.unwrap_or(MAX_PAGE), whole: ask.whole }))
}

/// The whole id that a short one stands for; what stands for none stays as it is, and matches nothing.
///
/// # Errors
/// It stands for several.
async fn whole_id(ledger: &Ledger, held: Held, id: String) -> Result<String, Refusal> {
    if id.len() < ids::SHORT || ids::event(&id).is_some() {
        return Ok(id);
    }
    let ids = ledger.held_ids(held, id.clone()).await.map_err(unable)?;
    the_one(id, &ids)
}

/// The only one of the ids that the short one stands for.
fn the_one(id: String, ids: &[String]) -> Result<String, Refusal> {
    match ids {
        [] => Ok(id),
        [only] => Ok(only.clone()),
        several => {
            let more = if several.len() > MAX_CANDIDATES { ", …" } else { "" };
            let several: Vec<&str> = several.iter().take(MAX_CANDIDATES).map(String::as_str).collect();
            Err(Refusal::Question(format!("`{id}` stands for several ids: {}{more}", several.join(", "))))
        }
    }
}

/// What became of deliveries that were dead letters and are tried again.
pub(super) async fn outcomes(ledger: &Ledger, ask: OutcomesAsk) -> Result<List<OutcomeView>, Refusal> {
    if ask.of.len() > MAX_PAGE {
        return Err(Refusal::Question(format!("more than {MAX_PAGE} deliveries at once")));
    }
    let keys = ask.of.iter().map(|(sink, id, _)| (sink.clone(), id.clone())).collect();
    let found = ledger.held_states(keys).await.map_err(unable)?;
    let mut items = Vec::with_capacity(found.len());
    for ((sink, id, at), state) in ask.of.into_iter().zip(found) {
        let (outcome, code) = match state {
            Some((Held::Dead, code)) => ("dead", Some(code)),
            Some((Held::Parked, code)) => ("pending", Some(code).filter(|code| !code.is_empty())),
            None => (ended(ledger, &sink, &id, &at).await?, None),
        };
        items.push(OutcomeView { sink, id, outcome: outcome.to_owned(), code });
    }
    Ok(List::new(items, None))
}

/// The place in the journal that a letter's `at` tells.
pub(super) fn position(at: &str) -> Option<Position> {
    let (shard, offset) = at.split_once('/')?;
    Some(Position { shard: shard.parse().ok()?, offset: offset.parse().ok()? })
}

/// What became of a delivery that is not held any more. Of one of which nothing is noted, and that the sink has passed,
/// it is taken that it arrived.
async fn ended(ledger: &Ledger, sink: &str, id: &str, at: &str) -> Result<&'static str, Refusal> {
    let Some((position, event)) = position(at).zip(ids::event(id)) else {
        return Err(Refusal::Question(format!(
            "`{id}` at `{at}` is no delivery, expected `id` and `at` of a dead letter"
        )));
    };
    let fates = ledger.fates(position, *event.as_bytes()).await.map_err(unable)?;
    let (mut kinds, mut is_known) = (Vec::<FateKind>::new(), false);
    for fates in fates.into_iter().filter(|fates| fates.sink == sink) {
        is_known = fates.is_passed;
        kinds.extend(fates.deliveries.iter().filter(|fate| fate.id == id).map(|fate| fate.kind));
    }
    if kinds.is_empty() && !is_known {
        // Of a shard that is another daemon's nothing is known.
        return Ok("pending");
    }
    let ends = [(FateKind::Delivered, "delivered"), (FateKind::Filtered, "filtered"), (FateKind::Dropped, "dropped")];
    Ok(ends.iter().find(|(kind, _)| kinds.contains(kind)).map_or("delivered", |(_, word)| word))
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
        next_try: letter.due.map(rfc3339),
        at: format!("{}/{}", letter.position.shard, letter.position.offset),
        reason: ReasonView { code, detail },
        answer: None,
        key: None,
        source: None,
        event_id: None,
        event: None,
        payload: None,
        target: None,
    };
    if let Some(content) = letter.content {
        view.key = Some(letter.key);
        view.answer = letter.answer;
        fill(&mut view, content);
    }
    view
}

/// The same without personal data.
fn masked(view: DeadView) -> DeadView {
    let json = |raw: Box<RawValue>| RawValue::from_string(mask::body(raw.get().as_bytes())).ok();
    DeadView {
        subject: mask::text(&view.subject),
        reason: ReasonView { detail: mask::text(&view.reason.detail), ..view.reason },
        answer: view.answer.as_deref().map(mask::text),
        key: view.key.as_deref().map(mask::text),
        event: view.event.and_then(json),
        payload: view.payload.and_then(json),
        target: view.target.and_then(json),
        ..view
    }
}

fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// The same without what the config holds of secrets.
fn without_secrets(view: DeadView, masker: &Masker<'_>) -> DeadView {
    let ReasonView { code, detail } = view.reason;
    DeadView {
        reason: ReasonView { code, detail: masker.mask(&detail) },
        answer: view.answer.as_deref().map(|answer| masker.mask(answer)),
        target: view.target.and_then(|target| RawValue::from_string(masker.mask(target.get())).ok()),
        ..view
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_whole_id_is_a_short_one_however_long_and_there_is_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        ledger.attach(&dir.path().join("ledger.db")).unwrap();
        let zone = Zone::utc();
        let ask = |ids: Vec<String>| read(&ledger, Held::Dead, DeadAsk { ids, ..DeadAsk::default() }, &zone);
        let whole = |n: usize| format!("0192f0c1-2d4b-7a5e-8c3d-{n:012x}-archive");
        let (filter, _) = ask((0..MAX_PAGE).map(whole).collect()).await.unwrap();
        assert_eq!(filter.ids.len(), MAX_PAGE);
        let short = |n: usize| format!("{n:08x}-{}", "archive".repeat(6));
        let Err(Refusal::Question(why)) = ask((0..=MAX_SHORT).map(short).collect()).await else { panic!("taken") };
        assert!(why.contains("short ids"), "{why}");
        assert!(ask((0..MAX_SHORT).map(short).collect()).await.is_ok());
    }

    #[test]
    fn what_is_shown_masked_says_nothing_of_a_person() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
        let view = DeadView {
            sink: "crm".into(),
            id: "a".into(),
            kind: "t".into(),
            subject: "+91 98765 43210".into(),
            time: String::new(),
            attempts: 1,
            first_try: String::new(),
            last_try: String::new(),
            next_try: None,
            at: "0/1".into(),
            reason: ReasonView { code: "http_4xx".into(), detail: "asha@example.org is unknown".into() },
            answer: Some("no asha@example.org here".into()),
            key: Some("919876543210".into()),
            source: None,
            event_id: None,
            event: raw("{\"phone\":\"919876543210\"}"),
            payload: raw("{\"email\":\"asha@example.org\"}"),
            target: raw("{\"url\":\"https://x.example/asha@example.org\"}"),
        };
        let text = serde_json::to_string(&masked(view)).unwrap();
        assert!(!text.contains("asha") && !text.contains("98765") && text.contains("http_4xx"), "{text}");
    }

    #[test]
    fn a_short_id_that_stands_for_several_is_refused_with_all_of_them() {
        let ids = |n: usize| (0..n).map(|n| format!("{n}-12345678")).collect::<Vec<_>>();
        let one = |n| the_one("12345678".into(), &ids(n));
        assert_eq!((one(0), one(1)), (Ok("12345678".into()), Ok("0-12345678".into())));
        let Err(Refusal::Question(why)) = one(2) else { panic!("one was taken") };
        assert_eq!(why, "`12345678` stands for several ids: 0-12345678, 1-12345678");
        assert!(one(MAX_CANDIDATES + 1).unwrap_err().to_string().ends_with(", …"));
    }
}
