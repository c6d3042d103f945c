//! What is killed when, as a seed draws it; and what is sent: which events there are, and what the target says to them.

use std::time::Duration;

use crate::dice::Dice;

/// How many daemons there are, and how many brokers.
pub const NODES: usize = 3;
/// Those that send, each of which waits for an answer before it sends the next.
pub const SENDERS: u64 = 8;
/// Keys of events, each of one sender alone: a key's events are sent one after the other.
pub const KEYS: u64 = 64;
/// How often the target refuses a stubborn event before it takes it: more often than a delivery is tried before it is
/// parked.
pub const REFUSALS: u32 = 4;

/// How long it goes on, and by which seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Kills of daemons, and as many of brokers.
    pub kills: u64,
    /// One of each is killed in this time.
    pub period: Duration,
}

/// A daemon and a broker that are killed and started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    pub daemon: Blow,
    pub broker: Blow,
}

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// Which one.
    pub node: usize,
    /// When it comes, from the beginning of the round.
    pub after: Duration,
    /// How long it stays away.
    pub away: Duration,
}

impl Plan {
    /// Draws all rounds. Half of the daemons are back within their session, half after it; a broker is back early
    /// enough for its copies to be in sync again when the next one goes.
    pub fn rounds(&self) -> Vec<Round> {
        let mut dice = Dice::new(self.seed);
        let round = |_| {
            let away = if dice.roll(2) == 0 { Duration::ZERO } else { self.period / 2 };
            Round { daemon: self.blow(&mut dice, away), broker: self.blow(&mut dice, Duration::ZERO) }
        };
        (0..self.kills).map(round).collect()
    }

    fn blow(&self, dice: &mut Dice, away: Duration) -> Blow {
        let node = usize::try_from(dice.roll(NODES as u64)).unwrap();
        let sixth = u64::try_from(self.period.as_millis() / 6).unwrap();
        let [after, longer] = [(); 2].map(|()| Duration::from_millis(dice.roll(sixth)));
        Blow { node, after, away: away + longer }
    }
}

/// The key of an event.
pub fn key_of(n: u64) -> u64 {
    n % KEYS
}

/// The sender of an event.
pub fn sender_of(n: u64) -> usize {
    usize::try_from(n % SENDERS).unwrap()
}

/// Whether the target never takes it: it becomes a dead letter.
pub fn is_refused(n: u64) -> bool {
    n % 41 == 5
}

/// Whether the target takes it only after [`REFUSALS`] tries, so that it is parked and what follows of its key with it.
pub fn is_stubborn(n: u64) -> bool {
    !is_refused(n) && n % 23 == 3
}

/// The body of an event: [`numbered`](crate::bodies::numbered), about a message that is its key.
pub fn body(n: u64) -> Vec<u8> {
    format!(
        concat!(
            r#"{{"version": "1.0","timestamp":"2026-01-13T10:30:00.000001","type":"message_api_sent","data":{{"#,
            r#""customer":{{"channel_phone_number":"919876543210","traits":{{"name":"Asha \u00e9 \ud83d"}}}},"#,
            r#""message":{{"id":"key-{key}","message_status":"Sent","meta_data":{{"number":"m-{n}"}}}}}}}}"#,
        ),
        key = key_of(n),
        n = n,
    )
    .into_bytes()
}
