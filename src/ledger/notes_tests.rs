//! What did not arrive is never told as delivered: not when there are more single rows than are kept, and not when a
//! replay adds as many. What there was no room to note is told as that.

use super::fates::{DeliveryFate, FateKind, Rest};
use super::runs::{Call, Ended, Passed, Run, suffix};
use super::tests::letter;
use super::*;

fn at(offset: u64) -> Position {
    Position { shard: 1, offset }
}

fn event(n: u64) -> Uuid {
    Uuid::from_u128(u128::from(n) + 1)
}

fn row(n: u64, due: Option<i64>) -> HeldDelivery {
    HeldDelivery { position: at(n), due, ..letter(&event(n).to_string()) }
}

/// A step that passes the events of these rows, each of which has no other delivery.
fn step(rows: Vec<HeldDelivery>, from: u64, to: u64) -> Settlement {
    let mut step = Settlement { passed: Passed::from(from), ..Settlement::to("crm", at(to)) };
    for row in rows {
        let ended = vec![Ended::Held { suffix: suffix(&row.id).into() }];
        step.passed.add(Run { first: row.position.offset, events: 1, ended });
        step.held.push(row);
    }
    step
}

async fn drop_letter(ledger: &Ledger, n: u64) {
    assert_eq!(ledger.change_dead("crm", vec![event(n).to_string()], Change::Drop).await.unwrap().letters, 1);
}

async fn fates(ledger: &Ledger, n: u64) -> Vec<DeliveryFate> {
    ledger.fates(at(n), *event(n).as_bytes()).await.unwrap().remove(0).deliveries
}

/// The row that the sink has behind so many others of a kind.
fn fill(file: &rusqlite::Connection, kind: i64, nth: i64) {
    let sql = "INSERT INTO fates VALUES ('crm', ?1, ?2, 9, 0, '', 0, 0, 0, NULL, '', '', '')";
    file.execute(sql, [kind, nth]).unwrap();
}

#[tokio::test]
async fn a_letter_that_was_dropped_is_never_told_as_delivered_however_many_were_dropped_since() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    let mut rows: Vec<HeldDelivery> = (1..6).map(|n| row(n, None)).collect();
    rows.push(row(7, Some(9)));
    ledger.settle(vec![step(rows, 0, 9)]).await.unwrap();
    let fate = Fate::Delivered(Call::default(), 4);
    let arrived = ParkedFate { id: event(7).to_string(), lane: "k".into(), fate };
    ledger
        .settle(vec![Settlement { sink: "crm".into(), fates: vec![arrived], ..Settlement::default() }])
        .await
        .unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let dropped = async |n| {
        let [fate] = <[DeliveryFate; 1]>::try_from(fates(&ledger, n).await).unwrap();
        assert_eq!(fate.kind, FateKind::Dropped, "{n}: {fate:?}");
        (fate.code.unwrap(), fate.detail)
    };
    // The older rows lose their details first…
    drop_letter(&ledger, 3).await;
    let full = "the dead letter was dropped: 400 Bad Request";
    assert_eq!(dropped(3).await, ("http_4xx".to_owned(), Some(full.to_owned())));
    fill(&file, 2, 50_000);
    drop_letter(&ledger, 1).await;
    assert_eq!(dropped(3).await, ("http_4xx".to_owned(), None));
    // … and where they go it is known up to where one is missing.
    fill(&file, 2, 500_000);
    drop_letter(&ledger, 2).await;
    assert_eq!(dropped(3).await.0, "unknown");
    assert_eq!((dropped(1).await.0, dropped(2).await.0), ("http_4xx".to_owned(), "http_4xx".to_owned()));
    let events = vec![(at(3), *event(3).as_bytes()), (at(7), *event(7).as_bytes())];
    let had = ledger.had("crm", events).await.unwrap();
    assert_eq!([3, 7].map(|n| had[usize::from(n == 7)].has(&event(n).to_string())), [false, true]);
    // What arrived and is told by no row any more did arrive.
    assert_eq!(file.execute("DELETE FROM fates WHERE kind = 0", []).unwrap(), 1);
    let told = fates(&ledger, 7).await;
    assert_eq!((told[0].kind, told[0].time), (FateKind::Delivered, None));
    ledger.close();
}

#[tokio::test]
async fn rows_of_replays_push_out_none_of_live_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    ledger.settle(vec![step(vec![row(3, None), row(4, None)], 0, 5)]).await.unwrap();
    drop_letter(&ledger, 3).await;
    drop_letter(&ledger, 4).await;
    let replayed = Settlement { replay: Some(1), ..step(vec![row(3, None), row(4, None)], 0, 5) };
    ledger.settle(vec![replayed]).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    drop_letter(&ledger, 3).await;
    let kinds: Vec<(i64, i64)> = {
        let mut rows = file.prepare("SELECT kind, nth FROM fates ORDER BY kind, nth").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(kinds, [(2, 1), (2, 2), (5, 1)]);
    fill(&file, 5, 500_000);
    drop_letter(&ledger, 4).await;
    let codes = |fates: Vec<DeliveryFate>| fates.into_iter().map(|fate| fate.code.unwrap()).collect::<Vec<_>>();
    assert_eq!(codes(fates(&ledger, 3).await), ["http_4xx", "unknown"], "live, then the replay's");
    assert_eq!(codes(fates(&ledger, 4).await), ["http_4xx", "http_4xx"]);
    ledger.close();
}

#[tokio::test]
async fn of_an_event_of_too_many_bytes_and_behind_too_many_endings_it_is_told_that_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path).unwrap();
    let outputs = |first: u64, n: u32, name: &str| {
        let one = |n: u32| Ended::Delivered {
            suffix: format!("-{name}-{}", n + 2).into(),
            call: Call::new(i64::from(n % 7) * 100_000_000_000, std::time::Duration::from_secs(u64::from(n % 3))),
            attempts: 1,
        };
        Run { first, events: 1, ended: (0..n).map(one).collect() }
    };
    let mut step = Settlement { passed: Passed::from(0), ..Settlement::to("crm", at(40)) };
    let runs = [outputs(1, 1, "a"), outputs(2, 12_000, "b"), outputs(3, 1, "c"), outputs(5, 12_000, "d")];
    runs.into_iter().for_each(|run| step.passed.add(run));
    ledger.settle(vec![step]).await.unwrap();
    let next = Settlement { passed: Passed::from(40), ..Settlement::to("crm", at(50)) };
    ledger.settle(vec![next]).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let longest: i64 = file.query_row("SELECT max(length(runs)) FROM steps", [], |row| row.get(0)).unwrap();
    assert!(longest < 2000, "{longest}");
    let mut told = Vec::new();
    for n in [1, 2, 3, 4, 5, 39, 40] {
        let fates = ledger.fates(at(n), *event(n).as_bytes()).await.unwrap().remove(0);
        told.push((n, fates.rest, fates.deliveries.len()));
    }
    let (known, over) = (Rest::Nothing, Rest::Over);
    let all = [(1, known, 1), (2, over, 0), (3, known, 1), (4, known, 0), (5, over, 0), (39, over, 0), (40, known, 0)];
    assert_eq!(told, all);
    ledger.close();
}
