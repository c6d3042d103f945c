//! The journal against the plainest model there is: a list. Whatever is done to it, in whatever order, what was told
//! durable is there, in order, unchanged, and nothing else is.

use proptest::prelude::*;

use super::faulty::{Act, EIO, Op};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// So many records of about so many bytes, all at once.
    Append(u64, usize),
    /// One flush, write or creation from here on fails.
    Fail(u8),
    /// Reads on from one of the known positions, in chunks of so many bytes.
    Read(usize, u64),
    Close,
    Crash,
    /// A crash that leaves this much rubbish behind the last record.
    Torn(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40u64, 0..3000usize).prop_map(|(n, bytes)| Step::Append(n, bytes)),
        2 => (0..3u8).prop_map(Step::Fail),
        3 => (any::<usize>(), 1..20_000u64).prop_map(|(n, bytes)| Step::Read(n, bytes)),
        1 => Just(Step::Close),
        2 => Just(Step::Crash),
        1 => (1..2000u16).prop_map(Step::Torn),
    ]
}

struct Run {
    world: World,
    journal: LocalJournal,
    /// What was told durable: number, position, in order.
    model: Vec<(u64, u64)>,
    next: u64,
}

impl Run {
    fn append(&mut self, count: u64, bytes: usize) {
        let reports = Reports::default();
        for n in self.next..self.next + count {
            self.journal.append(sized(n, bytes), OnFailure::Keep, reports.of(n));
        }
        self.next += count;
        reports.until_final(count as usize);
        let new = reports.durable();
        assert_eq!(new.len() as u64, count, "all were kept");
        let last = self.model.last().map_or(0, |(_, at)| *at);
        assert!(new[0].1 > last, "a position was given twice");
        self.model.extend(new);
    }

    fn reopen(&mut self) {
        let (journal, recovered) = self.world.open();
        assert_eq!((recovered.rot.len(), recovered.torn.len(), recovered.set_aside.len()), (0, 0, 0));
        self.journal = journal;
        self.check(0, 1 << 20);
        let end = self.model.last().map_or(0, |(_, at)| at + 1);
        assert!(self.journal.end().offset >= end);
    }

    fn check(&self, place: usize, bytes: u64) {
        let expected = self.model.get(place..).unwrap_or_default();
        let from = if place == 0 { 0 } else { expected.first().map_or(self.journal.end().offset, |(_, at)| *at) };
        assert_eq!(read_from(&self.journal, from, bytes), expected);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append(count, bytes) => self.append(count, bytes),
            Step::Fail(what) => self.world.disk.on(1, Act::Fail(EIO), move |op| match what {
                0 => matches!(op, Op::Sync(_)),
                1 => matches!(op, Op::Write(..)),
                _ => matches!(op, Op::Create(_)),
            }),
            Step::Read(place, bytes) => self.check(place % (self.model.len() + 1), bytes),
            Step::Close => {
                run(self.journal.close()).unwrap();
                self.reopen();
            }
            Step::Crash => {
                self.journal.crash();
                self.reopen();
            }
            Step::Torn(bytes) => {
                self.journal.crash();
                if let Some(newest) = faulty::segments(&self.world.dir).last() {
                    edit(newest, |all| all.extend((0..bytes).map(|n| (n % 251) as u8)));
                }
                self.reopen();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_told_durable_is_there_in_order_and_nothing_else_is(
        segment in 1500..40_000u64,
        // Without room made ahead, and with.
        ahead in prop_oneof![Just(0), Just(8192u64)],
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let world = World { ahead, ..World::with_segments(segment) };
        let (journal, _) = world.open();
        let mut run = Run { world, journal, model: Vec::new(), next: 0 };
        steps.iter().for_each(|step| run.take(step));
        run.check(0, 1 << 20);
        run.journal.crash();
    }
}
