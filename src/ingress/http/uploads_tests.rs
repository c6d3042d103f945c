//! Who is served, who waits and who is cut, on a clock of the test's own.

use std::task::{Context, Poll, Waker};

use super::uploads::*;

/// What each request takes of the base here.
const COST: usize = 100;
const NEW: Sender = Sender { connection: 0, is_proven: false };
const PROVEN: Sender = Sender { connection: 1, is_proven: true };

/// Room for ten requests, and for 1,000 bytes of small and of large bodies; slow is below 100 bytes a second.
fn uploads() -> Uploads {
    Uploads::new(10 * COST, 1000, 1000, 100)
}

fn state(uploads: &mut Uploads, id: u64) -> Poll<Result<(), UploadCut>> {
    uploads.poll(id, &Context::from_waker(Waker::noop()))
}

const HAS_IT: Poll<Result<(), UploadCut>> = Poll::Ready(Ok(()));
const IS_CUT: Poll<Result<(), UploadCut>> = Poll::Ready(Err(UploadCut));

#[test]
fn who_is_silent_is_cut_as_soon_as_another_needs_the_room_and_not_before() {
    let mut uploads = uploads();
    let silent: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, (0, 0), 0)).collect();
    assert!(silent.iter().all(|id| state(&mut uploads, *id) == HAS_IT));
    uploads.look(10 * PATIENCE);
    assert!(silent.iter().all(|id| state(&mut uploads, *id) == HAS_IT), "nobody needs it");
    let late = uploads.enter(NEW, COST, (10 * PATIENCE, 0), 10 * PATIENCE);
    let cut: Vec<&u64> = silent.iter().filter(|id| state(&mut uploads, **id) == IS_CUT).collect();
    assert_eq!((cut.len(), state(&mut uploads, late)), (1, Poll::Pending));
    uploads.look(11 * PATIENCE);
    assert_eq!(uploads.cut(), 1, "one is enough, though it is not gone yet");
    uploads.leave(*cut[0], 11 * PATIENCE);
    assert_eq!(state(&mut uploads, late), HAS_IT);
    assert_eq!((uploads.used()[0], uploads.cut()), (10 * COST, 1));
}

#[test]
fn while_nobody_is_slow_who_needs_room_waits_and_gets_what_is_given_back() {
    let mut uploads = uploads();
    let busy: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, (0, 0), 0)).collect();
    let late = uploads.enter(NEW, COST, (1, 0), 1);
    assert_eq!((state(&mut uploads, late), uploads.waiting()), (Poll::Pending, 1));
    uploads.leave(busy[0], 2);
    assert_eq!((state(&mut uploads, late), uploads.waiting()), (HAS_IT, 0));
    assert_eq!(uploads.cut(), 0);
}

#[test]
fn the_slowest_goes_first_and_a_steady_one_never() {
    let mut uploads = uploads();
    let ids: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, (0, 0), 0)).collect();
    for now in (100..=3000).step_by(100) {
        // 10 bytes every 100 ms are 100 a second; the second sends a tenth of that, the others something between.
        for (nth, id) in ids.iter().enumerate() {
            uploads.came(*id, [20, 1].get(nth).copied().unwrap_or(5), now);
            uploads.waits(*id, now);
        }
    }
    for _ in 0..9 {
        uploads.enter(PROVEN, COST, (3000, 0), 3000);
    }
    assert_eq!(uploads.cut(), 1, "one look is for all who come soon after");
    uploads.look(3000 + LOOK_AGAIN);
    assert_eq!(state(&mut uploads, ids[0]), HAS_IT);
    assert_eq!(uploads.cut(), 9);
    let mut uploads = self::uploads();
    let ids: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, (0, 0), 0)).collect();
    for (nth, id) in ids.iter().enumerate() {
        uploads.came(*id, if nth == 7 { 1 } else { 5 }, 190);
        uploads.waits(*id, 190);
    }
    uploads.enter(NEW, COST, (200, 0), 200);
    assert_eq!(state(&mut uploads, ids[7]), IS_CUT);
    assert_eq!(uploads.cut(), 1);
}

#[test]
fn a_body_that_turns_out_large_gives_back_what_it_had_of_the_small_pool() {
    let mut uploads = uploads();
    let id = uploads.enter(NEW, 120, (0, 70), 0);
    uploads.ask(id, Pool::Small, 300, 0);
    assert_eq!((state(&mut uploads, id), uploads.used()), (HAS_IT, [120, 300, 0]));
    uploads.ask(id, Pool::Large, 800, 0);
    assert_eq!((state(&mut uploads, id), uploads.used()), (HAS_IT, [120, 0, 800]));
    let other = uploads.enter(NEW, COST, (1, 0), 1);
    uploads.ask(other, Pool::Large, 800, 1);
    assert_eq!(state(&mut uploads, other), Poll::Pending);
    uploads.came(id, 100, 100);
    uploads.look(100 + 10 * PATIENCE);
    assert_eq!(state(&mut uploads, other), Poll::Pending, "what the first one sent may not be read yet");
    uploads.waits(id, 100);
    uploads.look(100 + PATIENCE - 1);
    assert_eq!(state(&mut uploads, other), Poll::Pending, "the first one is not slow");
    uploads.look(100 + 10 * PATIENCE + LOOK_AGAIN);
    assert_eq!((state(&mut uploads, id), state(&mut uploads, other)), (IS_CUT, Poll::Pending));
    uploads.leave(id, 500);
    assert_eq!(state(&mut uploads, other), HAS_IT);
    uploads.leave(other, 500);
    assert_eq!(uploads.used(), [0, 0, 0]);
}

#[test]
fn proven_connections_are_served_first_and_then_who_needs_least() {
    let mut uploads = uploads();
    let holder = uploads.enter(NEW, COST, (0, 0), 0);
    uploads.ask(holder, Pool::Large, 1000, 0);
    let asks = [(NEW, 900), (NEW, 800), (PROVEN, 1000)].map(|(sender, bytes)| {
        let id = uploads.enter(sender, COST, (0, 0), 0);
        uploads.ask(id, Pool::Large, bytes, 0);
        id
    });
    for (holder, next) in [(holder, asks[2]), (asks[2], asks[1]), (asks[1], asks[0])] {
        assert_eq!(state(&mut uploads, next), Poll::Pending);
        uploads.leave(holder, 1);
        assert_eq!(state(&mut uploads, next), HAS_IT);
    }
}

#[test]
fn who_waits_for_room_is_not_cut_however_long() {
    let mut uploads = uploads();
    let holder = uploads.enter(NEW, COST, (0, 0), 0);
    uploads.ask(holder, Pool::Large, 1000, 0);
    let patient = uploads.enter(NEW, COST, (0, 5), 0);
    uploads.ask(patient, Pool::Large, 1000, 0);
    for now in (100..5000).step_by(100) {
        uploads.came(holder, 100, now);
        uploads.look(now);
    }
    for _ in 0..20 {
        uploads.enter(NEW, COST, (5000, 0), 5000);
    }
    assert_eq!((state(&mut uploads, patient), uploads.cut()), (Poll::Pending, 0));
    uploads.leave(holder, 5000);
    assert_eq!(state(&mut uploads, patient), HAS_IT);
}

#[test]
fn connections_go_by_the_speed_of_their_bodies_and_no_proven_ones() {
    let mut uploads = uploads();
    uploads.enter(PROVEN, COST, (0, 0), 0);
    assert_eq!(uploads.by_speed(9999), [0; 0]);
    let sender = |connection| Sender { connection, is_proven: false };
    let quick = uploads.enter(sender(7), COST, (9000, 0), 9000);
    uploads.came(quick, 1000, 9900);
    let holder = uploads.enter(sender(8), COST, (9000, 0), 9000);
    uploads.ask(holder, Pool::Large, 1000, 9000);
    uploads.came(holder, 900, 9900);
    let waiting = uploads.enter(sender(9), COST, (9000, 1), 9000);
    uploads.ask(waiting, Pool::Large, 1000, 9000);
    uploads.enter(sender(10), COST, (9000, 0), 9000);
    assert_eq!(uploads.by_speed(9950), [10, 9, 8, 7]);
}

#[test]
fn what_is_larger_than_the_pool_gets_all_of_it_and_does_not_wait_for_ever() {
    let mut uploads = Uploads::new(100, 100, 100, 1);
    let id = uploads.enter(NEW, 1 << 20, (0, 0), 0);
    assert_eq!(state(&mut uploads, id), HAS_IT);
}
