//! What waits, many rows in one step.

use super::*;

#[tokio::test]
async fn many_that_wait_are_put_off_moved_and_handed_over_in_one_step_and_no_others() {
    let house = House::new();
    for n in 0..4 {
        house.hear([house.status("failed", &format!("m-{n}"), None, "131049")]).await;
    }
    let ids: Vec<Uuid> = house.waits().await.iter().map(|one| one.id).collect();
    let later = |seconds: i64| Timestamp::from_second(house.now().as_second() + seconds).unwrap();
    house.outbox.put_off(vec![(ids[0], later(9_000)), (ids[1], later(8_000))]).await.unwrap();
    let order: Vec<Uuid> = house.waits().await.iter().map(|one| one.id).collect();
    assert_eq!(order, [ids[2], ids[3], ids[1], ids[0]], "each at its own time");
    assert_eq!(house.outbox.follow("another", "there").await.unwrap(), 0, "it is another rule's");
    assert_eq!(house.outbox.follow("retry", "there").await.unwrap(), 4);
    assert_eq!(house.outbox.follow("retry", "there").await.unwrap(), 0, "all are there");
    assert!(house.waits().await.iter().all(|one| one.to == "there"));
    house.outbox.handed(vec![ids[0], ids[2]]).await.unwrap();
    house.outbox.put_off(vec![(ids[0], later(1))]).await.unwrap();
    let left: Vec<Uuid> = house.waits().await.iter().map(|one| one.id).collect();
    assert_eq!((left, house.outbox.counts().waiting["retry"]), (vec![ids[3], ids[1]], 2));
}
