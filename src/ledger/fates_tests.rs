//! What is told of an event's deliveries is what became of them.

use super::fates::{DeliveryFate, FateKind, Rest};
use super::tests::{letter, step};
use super::*;

const EVENT: [u8; 16] = [1; 16];

fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

fn id(suffix: &str) -> String {
    format!("{}{suffix}", Uuid::from_bytes(EVENT))
}

#[tokio::test]
async fn what_is_held_of_an_event_is_told_under_its_sink_and_of_no_other_event() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    let dead = letter(&id(""));
    let parked = HeldDelivery { due: Some(9), ..letter(&id("-second-2")) };
    let other = letter(&Uuid::from_bytes([2; 16]).to_string());
    ledger.settle(vec![step("crm", 8, vec![dead, parked, other]), step("late", 7, vec![])]).await.unwrap();
    let fates = ledger.fates(at(7), EVENT).await.unwrap();
    let told: Vec<_> = fates.iter().map(|sink| (sink.sink.as_str(), sink.is_passed, sink.rest)).collect();
    assert_eq!(told, [("crm", true, Rest::Over), ("late", false, Rest::Pending)]);
    let first = DeliveryFate {
        id: id(""),
        kind: FateKind::Dead,
        time: Some(3),
        attempts: 3,
        took: None,
        code: Some("http_4xx".into()),
        detail: Some("400 Bad Request".into()),
        next_try: None,
        replay: None,
        route: None,
    };
    let second = DeliveryFate { id: id("-second-2"), kind: FateKind::Parked, next_try: Some(9), ..first.clone() };
    assert_eq!(fates[0].deliveries, [first, second]);
    assert!(fates[1].deliveries.is_empty());
    ledger.close();
}
