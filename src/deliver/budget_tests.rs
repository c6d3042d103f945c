//! The division of the memory: its bound, its shares, and who is woken.

use std::time::Duration;

use proptest::prelude::*;
use sink_api::{Delivery, Event};

use super::*;
use crate::deliver::item::Item;
use crate::deliver::window;
use crate::journal::Record;
use crate::ledger::runs::Ended;

const MIB: u64 = 1 << 20;

/// What a worker does: reads where it may, or settles a part of what it holds.
#[derive(Clone, Debug)]
enum Act {
    Join,
    Leave(usize),
    Read(usize, u64),
    Settle(usize, u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Join),
        1 => any::<usize>().prop_map(Act::Leave),
        8 => (any::<usize>(), 1..4 * MIB).prop_map(|(who, most)| Act::Read(who, most)),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(who, part)| Act::Settle(who, part)),
    ]
}

proptest! {
    /// Whatever workers do, what they hold together stays within the memory while their number does; each always has
    /// its share; and the sums are those of the parts.
    #[test]
    fn the_memory_is_never_exceeded_and_no_share_is_ever_taken(
        memory in 8 * MIB..64 * MIB,
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        let mut division = Division::new(memory);
        let mut numbers = vec![division.join()];
        // Who joins makes shares smaller: until somebody has settled more, the others may hold what was theirs.
        let mut allowed = memory;
        for act in acts {
            match act {
                Act::Join => {
                    numbers.push(division.join());
                    allowed = memory.max(division.held + division.share() * numbers.len() as u64);
                }
                Act::Leave(who) => division.leave(numbers.swap_remove(who % numbers.len())),
                Act::Read(who, most) => {
                    let number = numbers[who % numbers.len()];
                    if let Some(granted) = division.reads(number, most) {
                        prop_assert!((1..=most).contains(&granted));
                        let held = division.part(number).held + granted;
                        division.set(number, Part { held, reading: 0 });
                    }
                }
                Act::Settle(who, part) => {
                    let number = numbers[who % numbers.len()];
                    let held = division.part(number).held * u64::from(part) / 255;
                    division.set(number, Part { held, reading: 0 });
                }
            }
            if numbers.is_empty() {
                numbers.push(division.join());
            }
            let parts: Vec<u64> = numbers.iter().map(|number| division.part(*number).bytes()).collect();
            prop_assert_eq!(division.held, parts.iter().sum::<u64>());
            let beyond: u64 = parts.iter().map(|part| part.saturating_sub(division.share())).sum();
            prop_assert_eq!(division.beyond, beyond);
            prop_assert!(division.held <= allowed);
            for number in &numbers {
                let own = division.share().saturating_sub(division.part(*number).bytes());
                prop_assert!(division.room(*number) >= own);
                prop_assert!(own < division.share() / 2 || division.may_read(*number));
            }
        }
    }
}

#[test]
fn one_sink_alone_may_have_all_and_many_share_half() {
    let mut division = Division::new(64 * MIB);
    let first = division.join();
    assert_eq!(division.reads(first, u64::MAX), Some(64 * MIB));
    let others: Vec<u64> = (0..15).map(|_| division.join()).collect();
    assert!(!division.may_read(first), "it holds more than its share and what is common");
    for other in others {
        assert_eq!(division.reads(other, u64::MAX), Some(2 * MIB));
    }
}

#[test]
fn an_event_larger_than_all_memory_is_read_by_whoever_holds_nothing() {
    let mut division = Division::new(8 * MIB);
    let (large, other) = (division.join(), division.join());
    division.set(large, Part { held: 100 * MIB, reading: 0 });
    assert!(!division.may_read(large));
    assert_eq!(division.reads(other, MIB), Some(MIB));
    division.set(large, Part::default());
    assert!(division.may_read(large));
}

#[test]
fn what_is_kept_free_for_a_read_is_in_nobodys_way_when_the_same_part_asks_again() {
    let mut division = Division::new(8 * MIB);
    let (greedy, reader) = (division.join(), division.join());
    division.set(greedy, Part { held: 6 * MIB, reading: 0 });
    assert_eq!([(); 2].map(|()| division.reads(reader, 4 * MIB)), [Some(2 * MIB); 2]);
}

#[tokio::test]
async fn who_waits_for_room_is_woken_when_another_gives_some_back_or_leaves() {
    let budget = Budget::new(8 * MIB);
    let (other, mut waiting) = (budget.join(), budget.join());
    for gives_back in [true, false] {
        let greedy = budget.join();
        greedy.holds(6 * MIB);
        waiting.holds(2 * MIB);
        assert!(!waiting.may_read());
        let waits = tokio::time::timeout(Duration::from_secs(60), waiting.freed());
        let gives = async {
            if gives_back {
                greedy.holds(0);
            }
            gives_back.then_some(greedy)
        };
        let (woken, _greedy) = tokio::join!(waits, gives);
        assert!(woken.is_ok() && waiting.may_read(), "{gives_back}");
    }
    drop((other, waiting));
    assert_eq!(budget.now(), Memory { all: 8 * MIB, held: 0, most: 8 * MIB });
}

/// What an event is charged covers what is made of it: each part twice where it stands in two places, or in a table
/// that has room for more.
#[test]
fn an_event_is_charged_what_it_takes() {
    let event = size_of::<Event>() + size_of::<Record>() + 2 * 16;
    let texts = 5 * 32 + 64;
    let delivery = size_of::<Delivery>() + 16 + 48 + 48 + 64;
    let places = 2 * size_of::<Item>() + 3 * 32 + 2 * size_of::<window::Event>() + size_of::<Ended>();
    let all = (event + texts + delivery + places) as u64;
    assert!((EVENT / 2..=EVENT / 4 * 3).contains(&all), "{all}");
}
