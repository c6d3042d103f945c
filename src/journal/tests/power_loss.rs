//! Power losses, failing operations and full disks in any order, on a simulated disk ([`super::sim`]), against the
//! plainest model there is: a list. What was told durable is there after every crash, in order, unchanged, where it was
//! said to be; nothing is invented; no position is given twice; appending goes on.

use proptest::prelude::*;

use super::faulty::{EIO, ENOSPC};
use super::sim::{Kind, Plug, SimDisk};
use super::*;

/// How many cases are run, where the environment does not say.
const CASES: u32 = 200;
/// Set to run more.
const CASES_VAR: &str = "HOOKRELAY_POWER_LOSS_CASES";
const SINK: &str = "sink";

#[derive(Clone, Debug)]
enum Step {
    /// So many records of about so many bytes, all at once.
    Append(u64, usize),
    /// An operation of this kind fails, after so many others of it.
    Fail(Kind, usize, i32),
    /// The disk has room for so many bytes more, until the next power loss, close or `Free`.
    Full(usize),
    Free,
    /// Reads on from one of the known positions, in chunks of so many bytes.
    Read(usize, u64),
    /// The sink has settled what stands before one of the known positions; nobody else needs it.
    Settle(usize),
    /// Old segments that are settled are deleted.
    Retain,
    Close,
    /// The process ends; what it wrote is in the cache still.
    Kill,
    PowerLoss(u64),
    /// The power goes in the middle of an operation, after so many others.
    Cut(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => Just(Kind::Write), 4 => Just(Kind::Sync), 2 => Just(Kind::Create), 2 => Just(Kind::SyncDir),
        1 => Just(Kind::Truncate), 1 => Just(Kind::Unlink), 1 => Just(Kind::Rename),
    ];
    prop_oneof![
        8 => (1..30u64, 0..2500usize).prop_map(|(n, bytes)| Step::Append(n, bytes)),
        3 => (kind, 0..4usize, prop_oneof![Just(EIO), Just(ENOSPC)]).prop_map(|(k, skip, e)| Step::Fail(k, skip, e)),
        1 => (0..20_000usize).prop_map(Step::Full),
        1 => Just(Step::Free),
        2 => (any::<usize>(), 1..20_000u64).prop_map(|(n, bytes)| Step::Read(n, bytes)),
        1 => any::<usize>().prop_map(Step::Settle),
        1 => Just(Step::Retain),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        3 => any::<u64>().prop_map(Step::PowerLoss),
        3 => (0..30usize, any::<u64>()).prop_map(|(after, seed)| Step::Cut(after, seed)),
    ]
}

struct Run {
    disk: Arc<SimDisk>,
    clock: Arc<AtomicI64>,
    salt: Arc<AtomicU64>,
    cursors: Arc<MemoryCursors>,
    config: JournalConfig,
    ahead: u64,
    journal: Option<LocalJournal>,
    /// What this life was told.
    reports: Reports,
    given: u64,
    /// What was told durable in earlier lives, or found after a crash and flushed: number, position.
    model: Vec<(u64, u64)>,
    /// Payload bytes of every record there ever was, by number.
    sizes: Vec<usize>,
    /// Before this position nobody needs anything.
    floor: u64,
    /// The seed of the power loss that an armed cut ends in.
    seed: u64,
    losses: usize,
}

impl Run {
    fn new(segment: u64, ahead: u64) -> Self {
        let size = Size(segment);
        let config = JournalConfig { min_free: Size(0), segment_size: size, ..JournalConfig::default() };
        let mut run = Self {
            disk: SimDisk::new(segment),
            clock: Arc::new(AtomicI64::new(START)),
            salt: Arc::default(),
            cursors: Arc::default(),
            config,
            ahead,
            journal: None,
            reports: Reports::default(),
            given: 0,
            model: Vec::new(),
            sizes: Vec::new(),
            floor: 0,
            seed: 0,
            losses: 0,
        };
        run.open();
        run
    }

    fn journal(&self) -> &LocalJournal {
        self.journal.as_ref().unwrap()
    }

    /// All that was told durable, in order.
    fn durable(&self) -> Vec<(u64, u64)> {
        [self.model.clone(), self.reports.durable()].concat()
    }

    fn try_open(&self) -> Result<(LocalJournal, Recovered), JournalError> {
        let (clock, salt) = (Arc::clone(&self.clock), Arc::clone(&self.salt));
        let env = Env {
            disk: Arc::new(Plug(Arc::clone(&self.disk))),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            // No two alike, as in life: blocks of another file must not pass for this one's.
            salt: Arc::new(move || (salt.fetch_add(1, Ordering::Relaxed) as u32 + 1).wrapping_mul(0x9e37_79b9)),
            pauses: (Duration::from_micros(50), Duration::from_millis(1)),
            ahead: self.ahead,
            subject_of,
        };
        let cursors = Arc::clone(&self.cursors) as Arc<dyn Cursors>;
        LocalJournal::open_with(env, Path::new("/journal"), &self.config, cursors, Box::new(|| 0))
    }

    /// Opens, over whatever fails or cuts the power meanwhile.
    fn open(&mut self) {
        for _ in 0..100 {
            let failed = self.disk.failed_syncs();
            match self.try_open() {
                Ok((journal, recovered)) if !self.disk.is_dead() => {
                    journal.hold(SINK, &at(self.floor).into());
                    self.journal = Some(journal);
                    let clean = self.disk.failed_syncs() == failed;
                    return self.found(&recovered, clean);
                }
                Ok((journal, _)) => journal.crash(),
                Err(JournalError::Io { .. }) => {}
                Err(other) => panic!("it cannot be opened: {other}"),
            }
            if self.disk.is_dead() {
                self.lose_power();
            }
        }
        panic!("it cannot be opened");
    }

    /// What was told durable is there; what else is there now stays, where its flush did not fail.
    fn found(&mut self, recovered: &Recovered, clean: bool) {
        let Some(all) = self.check(0, 1 << 20) else { return self.after_cut() };
        // Given-up segments are set aside; rot is only what had been flushed.
        if self.disk.failed_syncs() == 0 {
            assert_eq!(recovered.rot, [], "no flush has failed");
        }
        if clean {
            self.model = all;
        }
    }

    fn lose_power(&mut self) {
        self.losses += 1;
        self.disk.lose_power(self.seed.wrapping_add(self.losses as u64));
    }

    /// Ends this life; what it was told counts from now on.
    fn end(&mut self) {
        if let Some(journal) = self.journal.take() {
            journal.crash();
        }
        self.model = self.durable();
        (self.reports, self.given) = (Reports::default(), 0);
    }

    fn reopen(&mut self, power_lost: bool) {
        self.end();
        if power_lost {
            self.lose_power();
        }
        self.open();
    }

    /// Where the power went meanwhile, it comes again.
    fn after_cut(&mut self) {
        if self.disk.is_dead() {
            self.reopen(true);
        }
    }

    /// Waits until every record of this life has had its last word, or the power is gone.
    fn until_final(&self) {
        let reports = || self.reports.all().iter().filter(|(_, p)| *p != Progress::AtRisk).count() as u64;
        let end = Instant::now() + DEADLINE;
        while reports() < self.given && !self.disk.is_dead() {
            assert!(Instant::now() < end, "only told {:?} of {}", self.reports.all(), self.given);
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn append(&mut self, count: u64, bytes: usize, wait: bool) {
        let before = self.durable().last().map_or(0, |(_, at)| *at);
        let first = self.sizes.len() as u64;
        let mut batch = Vec::new();
        for n in first..first + count {
            let (record, on_progress) = (sized(n, bytes), self.reports.of(n));
            self.sizes.push(record.payload.len());
            batch.push(Append { record, on_failure: OnFailure::Keep, on_progress, notify: None });
        }
        self.given += count;
        self.journal().append_all(batch);
        if wait {
            self.until_final();
        }
        let durable = self.durable();
        let new = durable.iter().filter(|(n, _)| *n >= first);
        assert!(new.clone().all(|(_, at)| *at > before), "a position was given twice: {new:?} after {before}");
    }

    /// Reads from one of the known positions on and compares; `None` where the power goes meanwhile.
    fn check(&self, place: usize, bytes: u64) -> Option<Vec<(u64, u64)>> {
        let known = self.durable();
        let start = if place == 0 { 0 } else { known.get(place).map_or(0, |(_, at)| *at) };
        let (mut from, mut found) = (at(start), Vec::new());
        loop {
            let chunk = match run(self.journal().read(from, bytes)) {
                Ok(chunk) => chunk,
                Err(_) if self.disk.is_dead() => return None,
                Err(error) => panic!("cannot be read: {error}"),
            };
            if chunk.entries.is_empty() {
                break;
            }
            for entry in &chunk.entries {
                let n = number(&entry.record);
                let size = self.sizes.get(n as usize).unwrap_or_else(|| panic!("record {n} was invented"));
                assert!(*entry.record == sized(n, *size), "record {n} was changed");
                found.push((n, entry.position.offset));
            }
            from = chunk.next;
        }
        if self.disk.is_dead() {
            return None;
        }
        assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "out of order, or twice: {found:?}");
        let needed = known.iter().filter(|(_, at)| *at >= start.max(self.floor));
        let missing: Vec<_> = needed.filter(|one| found.binary_search(one).is_err()).collect();
        assert!(missing.is_empty(), "lost: {missing:?}\nfound: {found:?}");
        if place == 0 && !self.agree(&found, &from) {
            return None;
        }
        Some(found)
    }

    /// Lookups give what reading gave, whatever became of the indexes; `false` where the power goes meanwhile. Since
    /// reading ended, what lies from `end` on may have become durable, and what nobody needs may have been deleted.
    fn agree(&self, found: &[(u64, u64)], end: &Position) -> bool {
        for digit in 0..10 {
            let what = Find::Subject(digit.to_string().into());
            let within = Within { before: Some((*end).into()), ..Within::newest(usize::MAX) };
            let looked_up = match run(self.journal().find(what, within)) {
                Ok(found) => found.entries,
                Err(_) if self.disk.is_dead() => return false,
                Err(error) => panic!("cannot be looked up: {error}"),
            };
            let looked_up: Vec<_> = looked_up.iter().map(|e| (number(&e.record), e.position.offset)).collect();
            let mut expected: Vec<_> = found.iter().copied().filter(|(n, _)| n % 10 == digit).collect();
            if self.disk.is_dead() {
                return false;
            }
            expected.retain(|one| one.1 >= self.floor || looked_up.contains(one));
            assert_eq!(looked_up, expected, "about {digit}");
        }
        true
    }

    fn settle(&mut self, place: usize) {
        let known = self.durable();
        let Some((_, to)) = known.get(place % known.len().max(1)).filter(|(_, at)| *at > self.floor) else { return };
        self.cursors.settle(self.journal(), SINK, *to).unwrap();
        self.floor = *to;
    }

    /// Retention takes at least one whole look at a clock that has moved on.
    fn retain(&self) {
        self.clock.fetch_add(8 * 86_400 * SECOND, Ordering::Relaxed);
        let core = self.journal().core();
        self.journal().begin();
        let start = core.looks.load(Ordering::Relaxed);
        wait_until("retention looks", || {
            core.chores.kick();
            core.looks.load(Ordering::Relaxed) > start + 1
        });
    }

    fn take(&mut self, step: &Step, full: &mut bool) {
        match *step {
            Step::Append(count, bytes) => self.append(count, bytes, !*full),
            Step::Fail(kind, skip, errno) => self.disk.fail(kind, skip, errno),
            Step::Full(bytes) => {
                self.disk.room(bytes);
                *full = true;
            }
            Step::Read(place, bytes) => _ = self.check(place % (self.durable().len() + 1), bytes),
            Step::Settle(place) => self.settle(place),
            Step::Retain => self.retain(),
            Step::Cut(after, seed) => {
                self.seed = seed;
                self.disk.cut_after(after);
            }
            Step::PowerLoss(seed) => {
                self.seed = seed;
                self.reopen(true);
                *full = false;
            }
            Step::Kill => self.reopen(false),
            Step::Free | Step::Close => {
                self.disk.room(usize::MAX);
                *full = false;
                self.until_final();
                if matches!(step, Step::Close) && !self.disk.is_dead() {
                    run(self.journal().close()).unwrap();
                    // Then the power may go as well.
                    self.reopen(self.disk.is_dead());
                }
            }
        }
        if self.disk.is_dead() {
            *full = false;
        }
        self.after_cut();
    }
}

fn cases() -> u32 {
    std::env::var(CASES_VAR).map_or(CASES, |n| n.parse().unwrap_or_else(|_| panic!("{CASES_VAR}={n}: not a number")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_told_durable_outlives_every_power_loss(
        segment in 1500..40_000u64,
        // Without room made ahead, and with.
        ahead in prop_oneof![Just(0), Just(8192u64)],
        steps in prop::collection::vec(step(), 1..24),
        seed in any::<u64>(),
    ) {
        let mut run = Run::new(segment, ahead);
        let mut full = false;
        steps.iter().for_each(|step| run.take(step, &mut full));
        run.seed = seed;
        run.reopen(true);
        run.disk.heal();
        run.append(3, 100, true);
        run.reopen(true);
        run.check(0, 1 << 20);
        run.end();
    }
}

#[test]
fn the_simulation_notices_a_disk_that_lies() {
    let lost = (0..20).any(|seed| {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(10_000, 0);
            run.append(3, 100, true);
            run.disk.lie();
            run.append(3, 100, true);
            run.seed = seed;
            run.reopen(true);
        });
        outcome.is_err_and(|said| said.downcast_ref::<String>().is_some_and(|said| said.starts_with("lost: ")))
    });
    assert!(lost, "flushes that do nothing were not noticed");
}
