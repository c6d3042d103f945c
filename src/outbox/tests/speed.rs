//! How many events a second the follower can hear, for who asks: `--ignored --nocapture speed`.

use super::*;

const BATCHES: usize = 20;
const EVENTS: usize = 1000;

#[tokio::test]
#[ignore = "measures"]
async fn statuses_of_other_peoples_messages() {
    let house = House::new();
    let mut batches = Vec::new();
    for n in 0..BATCHES {
        // Three statuses of each message, one in fifty failed with a code of no rule's interest.
        let statuses = (0..EVENTS).map(|i| {
            let message = Uuid::from_u128(u128::from(fnv(n * EVENTS + i / 3)));
            let word = if i % 50 == 0 { "failed" } else { ["sent", "delivered", "read"][i % 3] };
            house.status(word, &message.to_string(), None, "131026")
        });
        batches.push(batch(statuses.collect()));
    }
    let begun = Instant::now();
    for batch in &batches {
        house.outbox.heard(batch).await.unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    println!("{:.0} events/s in batches of {EVENTS}", (BATCHES * EVENTS) as f64 / took);
}

/// Spreads numbers, as random ids are.
fn fnv(n: usize) -> u64 {
    n.to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
