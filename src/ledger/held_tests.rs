//! Dead letters are found by what they are, read back whole, and changed with the counts or not at all.

use super::held::{MAX_CANDIDATES, OVERHEAD, dead_size_of, size_of};
use super::tests::{letter, step};
use super::*;

fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

async fn ledger(folder: &tempfile::TempDir, letters: Vec<(&str, HeldDelivery)>) -> Ledger {
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    for (sink, letter) in letters {
        ledger.settle(vec![step(sink, 1, vec![letter])]).await.unwrap();
    }
    ledger
}

async fn ids(ledger: &Ledger, filter: Filter) -> Vec<String> {
    let (letters, more) = ledger.held(filter, Page { limit: 100, ..Page::default() }).await.unwrap();
    assert!(!more);
    letters.into_iter().map(|letter| letter.id).collect()
}

async fn counters(ledger: &Ledger, sink: &str) -> Counters {
    let counters = ledger.load(sink).await.unwrap().unwrap().counters;
    assert_eq!(counters.accepted, 2 * (counters.delivered), "the helper's steps");
    counters
}

#[tokio::test]
async fn letters_are_found_by_sink_type_code_time_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let with = |id: &str, kind: &str, code: &str, accepted| HeldDelivery {
        kind: kind.into(),
        code: code.into(),
        times: [accepted, accepted + 1, accepted + 2],
        ..letter(id)
    };
    let all = vec![
        ("crm", with("a", "message_api_sent", "http_4xx", 10)),
        ("crm", with("b", "message_api_failed", "http_4xx", 20)),
        ("files", with("a", "click", "disk", 30)),
    ];
    let ledger = ledger(&folder, all).await;
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (Filter::default(), vec!["a", "b", "a"]),
        (Filter { sink: some("crm"), ..Filter::default() }, vec!["a", "b"]),
        (Filter { kind: some("message_api_*"), ..Filter::default() }, vec!["a", "b"]),
        (Filter { kind: some("message_api_failed"), ..Filter::default() }, vec!["b"]),
        (Filter { code: some("disk"), ..Filter::default() }, vec!["a"]),
        (Filter { since: Some(20), ..Filter::default() }, vec!["b", "a"]),
        (Filter { until: Some(20), ..Filter::default() }, vec!["a"]),
        (Filter { given_up_before: Some(23), ..Filter::default() }, vec!["a", "b"]),
        (Filter { ids: vec!["b".into(), "c".into()], ..Filter::default() }, vec!["b"]),
        (Filter { sink: some("crm"), code: some("disk"), ..Filter::default() }, vec![]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(ids(&ledger, filter.clone()).await, wanted, "{filter:?}");
    }
    ledger.close();
}

#[tokio::test]
async fn pages_follow_each_other_and_a_letter_is_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["a", "b", "c", "d", "e"].map(|id| ("crm", letter(id))).into();
    let ledger = ledger(&folder, all).await;
    let (mut page, mut seen) = (Page { limit: 2, whole: true, ..Page::default() }, vec![]);
    loop {
        let (letters, more) = ledger.held(Filter::default(), page.clone()).await.unwrap();
        assert!(letters.len() <= 2);
        seen.extend(letters);
        if !more {
            break;
        }
        page.after = seen.last().map(|letter: &Letter| (letter.sink.clone(), letter.id.clone()));
    }
    assert_eq!(seen.iter().map(|letter| letter.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    let (was, is) = (letter("a"), &seen[0]);
    assert_eq!((&is.kind, &is.subject, &is.key), (&was.kind, &was.subject, &was.key));
    assert_eq!((is.attempts, is.times), (was.attempts, was.times));
    assert_eq!(is.reason, [was.code.clone(), was.detail.clone()]);
    assert_eq!(is.size, size_of(&was));
    let content = is.content.as_ref().unwrap();
    let event = crate::journal::Record { time: was.times[0], ..(*was.event).clone() };
    assert_eq!((&*content.event, &content.payload, &content.target), (&event, &was.payload, &was.target));
    ledger.close();
}

#[tokio::test]
async fn a_retried_letter_is_due_and_no_longer_dead_and_a_dropped_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["a", "b", "c"].map(|id| ("crm", letter(id))).into();
    let ledger = ledger(&folder, all).await;
    let retry = |as_was| Change::Retry { due: 77, as_was };
    let one = |id: &str| vec![id.to_owned(), "nothing".to_owned()];
    let size = size_of(&letter("a"));
    assert_eq!(ledger.held_budget().total(), Dead { letters: 3, bytes: 3 * size });
    let done = ledger.change_dead("crm", one("a"), retry(true)).await.unwrap();
    assert_eq!(done, Dead { letters: 1, bytes: size });
    assert_eq!(ledger.change_dead("crm", one("a"), retry(false)).await.unwrap().letters, 0, "it is not dead any more");
    assert_eq!(ledger.change_dead("crm", one("a"), Change::Drop).await.unwrap().letters, 0, "nor is it dropped then");
    assert_eq!(ledger.change_dead("other", one("b"), Change::Drop).await.unwrap().letters, 0, "of another sink");
    assert_eq!(ledger.change_dead("crm", one("b"), Change::Drop).await.unwrap().letters, 1);
    ledger.change_dead("crm", one("c"), retry(false)).await.unwrap();
    let c = counters(&ledger, "crm").await;
    assert_eq!((c.dead, c.dropped), (0, 1), "two are pending");
    assert_eq!(ledger.held_budget().total(), Dead::default());
    assert!(ids(&ledger, Filter::default()).await.is_empty());
    ledger.close();
    let file = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    let mut rows = file.prepare("SELECT id, due, how, nth FROM held ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let rows: Vec<(String, i64, String, i64)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [("a".into(), 77, "as_was".into(), 0), ("c".into(), 77, "by_rules".into(), 0)]);
}

#[tokio::test]
async fn a_change_and_its_counts_are_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder, vec![("crm", letter("a"))]).await;
    let other = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    other.execute_batch("CREATE TRIGGER fails BEFORE UPDATE ON sinks BEGIN SELECT raise(ABORT, 'disk'); END").unwrap();
    ledger.change_dead("crm", vec!["a".into()], Change::Drop).await.unwrap_err();
    assert_eq!(ids(&ledger, Filter::default()).await, ["a"]);
    assert_eq!(ledger.held_budget().total().letters, 1);
    ledger.close();
}

#[tokio::test]
async fn a_letter_that_takes_the_place_of_another_leaves_as_many_dead_as_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let larger = HeldDelivery { payload: Some(bytes::Bytes::from(vec![b' '; 1000])), ..letter("a") };
    let ledger = ledger(&folder, vec![("crm", letter("a")), ("crm", larger.clone())]).await;
    let c = counters(&ledger, "crm").await;
    assert_eq!((c.dead, c.dropped), (1, 1));
    assert_eq!(ledger.held_budget().total(), Dead { letters: 1, bytes: size_of(&larger) });
    ledger.close();
}

#[tokio::test]
async fn a_ledger_of_an_earlier_build_is_completed_and_its_letters_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    ledger(&folder, vec![("crm", letter("a")), ("crm", letter("b"))]).await.close();
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "ALTER TABLE sinks DROP COLUMN dead_bytes; ALTER TABLE held DROP COLUMN how; ALTER TABLE held DROP COLUMN nth;
         ALTER TABLE held DROP COLUMN answer; ALTER TABLE held DROP COLUMN replay;
         DROP INDEX held_given_up",
    )
    .unwrap();
    drop(old);
    let (ledger, opened) = Ledger::open(&path).unwrap();
    assert!(!opened.fresh);
    let size = size_of(&letter("a"));
    // The thread reads it before it answers.
    ledger.load("crm").await.unwrap();
    assert_eq!(ledger.held_budget().total(), Dead { letters: 2, bytes: 2 * size });
    assert_eq!(size, OVERHEAD + b"event bytes".len() as u64 + 2, "the same in SQL");
    assert_eq!(ledger.change_dead("crm", vec!["a".into()], Change::Drop).await.unwrap().bytes, size);
    ledger.close();
}

#[tokio::test]
async fn what_is_dead_and_what_is_parked_are_told_apart_counted_and_found_by_the_end_of_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let with = |id: &str, code: &str, due| HeldDelivery { code: code.into(), due, ..letter(id) };
    let mut all: Vec<(&str, HeldDelivery)> = vec![
        ("crm", with("a-12345678", "x", None)),
        ("files", with("a-12345678", "y", None)),
        ("crm", with("b-12345678", "y", None)),
        ("crm", with("c-12345678", "z", Some(9))),
    ];
    let many: Vec<String> = (0..MAX_CANDIDATES + 5).map(|n| format!("{n}-99999999")).collect();
    all.extend(many.iter().map(|id| ("crm", with(id, "many", Some(9)))));
    let ledger = ledger(&folder, all).await;
    let parked = || Filter { held: Held::Parked, code: Some("z".into()), ..Filter::default() };
    assert_eq!(ids(&ledger, parked()).await, ["c-12345678"]);
    let (row, _) = ledger.held(parked(), Page { limit: 1, ..Page::default() }).await.unwrap();
    assert_eq!(row[0].due, Some(9));
    let by = |by| ledger.held_by(Filter::default(), by);
    assert_eq!(by(By::Code).await.unwrap(), [("y".to_owned(), 2), ("x".to_owned(), 1)]);
    assert_eq!(by(By::Sink).await.unwrap(), [("crm".to_owned(), 2), ("files".to_owned(), 1)]);
    let end = |held, end: &str| ledger.held_ids(held, end.to_owned());
    assert_eq!(end(Held::Dead, "12345678").await.unwrap(), ["a-12345678", "b-12345678"], "of two sinks, once");
    assert_eq!(end(Held::Parked, "12345678").await.unwrap(), ["c-12345678"]);
    assert_eq!(end(Held::Parked, "99999999").await.unwrap().len(), MAX_CANDIDATES + 1);
    assert!(end(Held::Dead, "1_345678").await.unwrap().is_empty(), "it is no pattern");
    let of = [("crm", "b-12345678"), ("crm", "c-12345678"), ("files", "b-12345678")];
    let states = ledger.held_states(of.map(|(sink, id)| (sink.to_owned(), id.to_owned())).into()).await.unwrap();
    assert_eq!(states, [Some((Held::Dead, "y".to_owned())), Some((Held::Parked, "z".to_owned())), None]);
    ledger.close();
}

#[tokio::test]
async fn what_the_target_said_is_kept_and_takes_room_once_the_delivery_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let spent = Spent { attempts: 1, uncounted: 2, micros: 3 };
    let said = |id: &str, due| HeldDelivery { answer: Some("né".into()), due, spent, ..letter(id) };
    let ledger = ledger(&folder, vec![("crm", said("a", None)), ("crm", said("b", Some(7)))]).await;
    let dead = dead_size_of(&said("a", None));
    assert_eq!((dead, ledger.held_budget().total().bytes), (size_of(&letter("a")) + 3, dead));
    let rows = ledger.parked("crm", false, vec!["b".into()]).await.unwrap();
    assert_eq!((rows[0].held.answer.as_deref(), rows[0].size), (Some("né"), size_of(&letter("b"))));
    assert_eq!(rows[0].held.spent, spent);
    let tried = Try {
        attempts: 4,
        spent: Spent::default(),
        times: [1, 2],
        code: "y".into(),
        detail: String::new(),
        answer: None,
    };
    let fate = ParkedFate { id: "b".into(), lane: "b".into(), fate: Fate::Dead(tried) };
    ledger.settle(vec![Settlement { sink: "crm".into(), fates: vec![fate], ..Settlement::default() }]).await.unwrap();
    let (letters, _) = ledger.held(Filter::default(), Page { limit: 9, ..Page::default() }).await.unwrap();
    let answers: Vec<Option<&str>> = letters.iter().map(|letter| letter.answer.as_deref()).collect();
    assert_eq!(answers, [Some("né"), None], "the last try was not answered");
    assert_eq!(ledger.change_dead("crm", vec!["a".into()], Change::Drop).await.unwrap().bytes, dead);
    ledger.close();
}

#[tokio::test]
async fn what_the_rules_make_of_a_replays_dead_letter_is_the_replays_and_its_counts_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder, vec![]).await;
    ledger.settle(vec![step("crm", 1, vec![])]).await.unwrap();
    let span = |place| crate::journal::Marks::from(at(place));
    let replay = Replay { sink: "crm".into(), first: span(0), at: span(0), until: span(9), ..Replay::default() };
    let id = ledger.begin_replay(vec![replay]).await.unwrap();
    let delta = Counters { accepted: 2, dead: 2, ..Counters::default() };
    let held = vec![letter("a"), letter("b")];
    let brought = Settlement { replay: Some(id), delta, held, ..Settlement::to("crm", at(5)) };
    ledger.settle(vec![brought]).await.unwrap();
    let wanted = Change::Retry { due: 5, as_was: false };
    assert_eq!(ledger.change_dead("crm", vec!["a".into(), "b".into()], wanted).await.unwrap().letters, 2);
    let parked = |id: &str| HeldDelivery { due: Some(5), ..letter(id) };
    // A rule fails for the one; the other comes to two outputs and a failure.
    let by = [("a", vec![letter("a")]), ("b", vec![parked("b"), parked("b-2"), letter("b-c")])];
    let fates = by.map(|(id, by)| ParkedFate { id: id.into(), lane: id.into(), fate: Fate::Replaced(by) }).into();
    ledger.settle(vec![Settlement { sink: "crm".into(), fates, ..Settlement::default() }]).await.unwrap();
    let counts = || async { ledger.replay_counts(id).await.unwrap().remove(0).counts };
    assert_eq!(counts().await, Counters { accepted: 4, dead: 2, ..Counters::default() });
    let call = runs::Call::default();
    let fates = ["b", "b-2"].map(|id| ParkedFate { id: id.into(), lane: id.into(), fate: Fate::Delivered(call, 1) });
    ledger.settle(vec![Settlement { sink: "crm".into(), fates: fates.into(), ..Settlement::default() }]).await.unwrap();
    let all = vec!["a".into(), "b-c".into()];
    assert_eq!(ledger.change_dead("crm", all, Change::Drop).await.unwrap().letters, 2);
    assert_eq!(counts().await, Counters { accepted: 4, delivered: 2, dropped: 2, ..Counters::default() });
    ledger.close();
}
