//! Who may compute the next step of a TLS handshake. A handshake takes up to a millisecond of the processor, and
//! whoever can connect can ask for one. So strangers take turns: one of them at a time, over all serving threads, and
//! after it a rest as long as it took, so that all strangers together take at most half of one processor. The address
//! that has taken the fewest turns lately comes first, so that many connections from one address wait for each other.
//! An address that has brought a webhook with a good signature is no stranger, and waits for nobody.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::http2_share::thread_time;
use super::socket::Peer;

/// After a turn nobody has one for so many times as long as it took.
const REST: u32 = 1;
/// A rest shorter than this is added to the next one: timers are no finer.
const REST_MIN: Duration = Duration::from_millis(1);
/// Most time that counts for one turn.
const SPENT_MAX: Duration = Duration::from_millis(20);
/// Most addresses that are remembered as those of senders, the latest ones.
const SENDERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// How long, and for how many addresses, turns are counted.
const LATELY: Duration = Duration::from_secs(10);
const COUNTED: usize = 4096;

/// The turns.
pub struct HandshakeTurns(Mutex<State>);

struct State {
    /// Whether a stranger has its turn.
    is_taken: bool,
    /// When the next one may begin.
    next: Instant,
    /// Strangers that wait: turns that their address had before, and their number.
    waiting: BTreeMap<(u32, u64), oneshot::Sender<()>>,
    number: u64,
    /// How many turns each address has asked for since a time.
    asked: (HashMap<IpAddr, u32>, Instant),
    senders: LruCache<IpAddr, ()>,
}

impl Default for HandshakeTurns {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            is_taken: false,
            next: now,
            waiting: BTreeMap::new(),
            number: 0,
            asked: (HashMap::new(), now),
            senders: LruCache::new(SENDERS),
        }))
    }
}

/// What is known as one address: of IPv6 the network, as one machine has all of it.
fn address(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Ip(IpAddr::V6(v6)) => Some(IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into())),
        Peer::Ip(v4) => Some(v4),
        Peer::Local => None,
    }
}

impl State {
    /// Counts one more turn of an address, and gives how many it has asked for before.
    fn ask(&mut self, address: IpAddr, now: Instant) -> u32 {
        let (counts, since) = &mut self.asked;
        if now.duration_since(*since) > LATELY || counts.len() >= COUNTED {
            counts.clear();
            *since = now;
        }
        let count = counts.entry(address).or_default();
        *count += 1;
        *count - 1
    }

    /// The turn is over: the next one's.
    fn hand_over(&mut self) {
        while let Some((_, next)) = self.waiting.pop_first() {
            if next.send(()).is_ok() {
                return;
            }
        }
        self.is_taken = false;
    }
}

impl HandshakeTurns {
    /// This peer has brought a webhook with a good signature.
    pub fn know(&self, peer: Peer) {
        if let Some(address) = address(peer) {
            self.lock().senders.put(address, ());
        }
    }

    /// Waits for the peer's turn.
    pub async fn turn(&self, peer: Peer) -> Turn<'_> {
        let mut waits = {
            let mut state = self.lock();
            let Some(address) = address(peer).filter(|address| state.senders.get(address).is_none()) else {
                return Turn { turns: self, is_of_stranger: false };
            };
            let rank = state.ask(address, Instant::now());
            if state.is_taken {
                state.number += 1;
                let (key, (sender, receiver)) = ((rank, state.number), oneshot::channel());
                state.waiting.insert(key, sender);
                Some(Waits { turns: self, key, receiver, is_over: false })
            } else {
                state.is_taken = true;
                None
            }
        };
        if let Some(waits) = &mut waits {
            // The sender is dropped only when it has sent.
            let _ = (&mut waits.receiver).await;
            waits.is_over = true;
        }
        let turn = Turn { turns: self, is_of_stranger: true };
        let next = self.lock().next;
        if next.saturating_duration_since(Instant::now()) >= REST_MIN {
            sleep_until(next).await;
        }
        turn
    }

    /// Valid between any two statements, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stranger that waits. Where it gives up, it leaves the line, or hands on the turn that it was just given.
struct Waits<'t> {
    turns: &'t HandshakeTurns,
    key: (u32, u64),
    receiver: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.turns.lock();
        if state.waiting.remove(&self.key).is_none() {
            state.hand_over();
        }
    }
}

/// A turn, until it is dropped.
pub struct Turn<'t> {
    turns: &'t HandshakeTurns,
    is_of_stranger: bool,
}

impl Turn<'_> {
    /// Does what the turn is for.
    pub fn compute<T>(self, work: impl FnOnce() -> T) -> T {
        if !self.is_of_stranger {
            return work();
        }
        let began = thread_time();
        let done = work();
        let spent = thread_time().saturating_sub(began).min(SPENT_MAX);
        let mut state = self.turns.lock();
        state.next = state.next.max(Instant::now()) + spent * REST;
        drop(state);
        done
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_of_stranger {
            self.turns.lock().hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Ip(address.parse().unwrap())
    }

    async fn has_turn(turn: &mut (impl Future<Output = Turn<'static>> + Unpin)) -> Option<Turn<'static>> {
        timeout(Duration::ZERO, turn).await.ok()
    }

    fn turns() -> &'static HandshakeTurns {
        Box::leak(Box::default())
    }

    #[tokio::test]
    async fn strangers_take_turns_and_the_address_that_had_fewest_comes_first() {
        let turns = turns();
        let first = turns.turn(peer("10.0.0.1")).await;
        let (mut second, mut third) = (pin!(turns.turn(peer("10.0.0.1"))), pin!(turns.turn(peer("10.0.0.1"))));
        let mut other = pin!(turns.turn(peer("10.0.0.2")));
        for waits in [&mut second, &mut third, &mut other] {
            assert!(has_turn(waits).await.is_none());
        }
        drop(first);
        assert!(has_turn(&mut second).await.is_none());
        let turn = has_turn(&mut other).await.unwrap();
        drop(turn);
        let turn = has_turn(&mut second).await.unwrap();
        assert!(has_turn(&mut third).await.is_none());
        drop(turn);
        assert!(has_turn(&mut third).await.is_some());
    }

    #[tokio::test]
    async fn who_gives_up_hands_on_the_turn_that_it_was_just_given() {
        let turns = turns();
        let first = turns.turn(peer("10.0.0.1")).await;
        let mut last = pin!(turns.turn(peer("10.0.0.1")));
        {
            let mut gone = pin!(turns.turn(peer("10.0.0.2")));
            assert!(has_turn(&mut gone).await.is_none() && has_turn(&mut last).await.is_none());
            drop(first);
        }
        assert!(has_turn(&mut last).await.is_some());
    }

    #[tokio::test]
    async fn an_address_that_has_brought_a_good_webhook_waits_for_nobody() {
        let turns = turns();
        let _taken = turns.turn(peer("10.0.0.1")).await;
        turns.know(peer("2001:db8::1"));
        let mut known = pin!(turns.turn(peer("2001:db8::2")));
        assert!(has_turn(&mut known).await.is_some(), "one machine has all of a network");
        let mut strange = pin!(turns.turn(peer("2001:db8:0:1::1")));
        assert!(has_turn(&mut strange).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_turn_that_took_long_there_is_a_rest() {
        let turns = turns();
        turns.turn(peer("10.0.0.1")).await.compute(|| {
            let began = thread_time();
            while thread_time().saturating_sub(began) < 2 * REST_MIN {}
        });
        assert!(turns.lock().next > Instant::now());
        assert!(!turns.lock().is_taken);
        drop(turns.turn(peer("10.0.0.2")).await);
        assert!(turns.lock().next <= Instant::now());
    }
}
