//! Indexes: lookups give what a scan gives, whatever becomes of the index files, and read little where they are whole.

use proptest::prelude::*;

use super::faulty::segments;
use super::*;
use crate::journal::index::{BuildError, Growing, Of, build, index_base, index_name};
use crate::journal::indexing::Indexes;
use crate::journal::retention::Chores;
use crate::journal::{disk::Disk as _, format};

fn indexes(world: &World) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&world.dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "index"));
    paths.sort();
    paths
}

/// Waits until every ended segment has its index.
fn until_indexed(journal: &LocalJournal) {
    wait_until("indexed", || {
        journal.core().chores.kick();
        let view = journal.core().view();
        view.segments.iter().all(|segment| !segment.ended || segment.index.is_some())
    });
}

/// What lookups of a subject and of an event give.
fn looked_up(journal: &LocalJournal, what: Find, most: usize) -> Vec<(u64, u64)> {
    let found = run(journal.find(what, Within::newest(most))).unwrap();
    found.entries.iter().map(|entry| (number(&entry.record), entry.position.offset)).collect()
}

fn about(digit: u64) -> Find {
    Find::Subject(digit.to_string().into())
}

fn event(n: u64) -> Find {
    Find::Event(record(n).id)
}

/// Lookups give what reading gives, live and from the folder. Retention deletes on a thread of its own: where it did so
/// meanwhile, they are compared once more.
fn agree(world: &World, journal: &LocalJournal) {
    let bases = || journal.core().view().segments.iter().map(|segment| segment.base).collect::<Vec<_>>();
    loop {
        let before = bases();
        let difference = difference(world, journal);
        if bases() == before {
            assert_eq!(difference, None);
            return;
        }
    }
}

/// The first lookup that gives something else than reading does.
fn difference(world: &World, journal: &LocalJournal) -> Option<String> {
    let all = read_from(journal, 0, 1 << 20);
    let differs = |what: String, got: Vec<(u64, u64)>, expected: &[(u64, u64)]| {
        (got != expected).then(|| format!("{what}: {got:?}, not {expected:?}"))
    };
    let about_digits = (0..10).find_map(|digit| {
        let expected: Vec<_> = all.iter().copied().filter(|(n, _)| n % 10 == digit).collect();
        let newest = &expected[expected.len().saturating_sub(2)..];
        let offline = find(&world.dir, &about(digit), usize::MAX, subject_of).unwrap();
        // What the journal has let go of may have its file a moment longer.
        let is_there = |n: &u64| all.first().is_some_and(|(first, _)| n >= first);
        let offline: Vec<u64> = offline.iter().map(number).filter(is_there).collect();
        let is_same = offline.iter().eq(expected.iter().map(|(n, _)| n));
        differs(format!("about {digit}"), looked_up(journal, about(digit), usize::MAX), &expected)
            .or_else(|| differs(format!("the newest about {digit}"), looked_up(journal, about(digit), 2), newest))
            .or_else(|| (!is_same).then(|| format!("in the folder, about {digit}: {offline:?}, not {expected:?}")))
    });
    about_digits
        .or_else(|| {
            let mut some = all.iter().step_by(7);
            some.find_map(|one| differs(format!("event {}", one.0), looked_up(journal, event(one.0), 1), &[*one]))
        })
        .or_else(|| differs("about nothing".to_owned(), looked_up(journal, about(11), 9), &[]))
        .or_else(|| differs("no event".to_owned(), looked_up(journal, event(1 << 40), 9), &[]))
}

#[test]
fn a_lookup_has_bounds_and_says_where_it_was_cut() {
    let world = World::with_segments(4096);
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..200);
    let look = |within: Within| {
        let found = run(journal.find(about(3), within)).unwrap();
        (found.entries.iter().map(|entry| number(&entry.record)).collect::<Vec<_>>(), found.is_cut)
    };
    let all: Vec<u64> = (3..200).step_by(10).collect();
    let size = |n| record(n).payload.len();
    let three = size(173) + size(183) + size(193);
    for indexed in [false, true] {
        if indexed {
            until_indexed(&journal);
        }
        assert_eq!(look(Within::newest(usize::MAX)), (all.clone(), false));
        assert_eq!(look(Within::newest(2)), (vec![183, 193], true));
        assert_eq!(look(Within { bytes: three, ..Within::newest(9) }), (vec![173, 183, 193], true));
        assert_eq!(look(Within { bytes: 1, ..Within::newest(9) }), (vec![193], true), "one of any size");
        let before = Some(at(offsets[43]).into());
        assert_eq!(look(Within { before: before.clone(), ..Within::newest(9) }), (vec![3, 13, 23, 33], false));
        assert_eq!(look(Within { before, ..Within::newest(2) }), (vec![23, 33], true));
    }
    let gone = std::sync::atomic::AtomicBool::new(true);
    let given_up = crate::journal::lookup::find(journal.core(), &about(3), &Within::newest(9), &gone);
    assert!(given_up.is_err(), "it goes on although nobody waits for it");
}

#[test]
fn a_lookup_reads_only_segments_that_hold_what_is_looked_for() {
    let world = World::with_segments(4096);
    let (journal, _) = world.open();
    fill(&journal, 0..200);
    until_indexed(&journal);
    let (bases, newest): (Vec<u64>, u64) = {
        let view = journal.core().view();
        (view.segments.iter().map(|s| s.base).collect(), view.segments.last().unwrap().base)
    };
    assert!(bases.len() > 5);
    let read = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let seen = Arc::clone(&read);
    world.disk.on(usize::MAX, Act::Hang, move |op| {
        if let Op::Read(name, ..) = op {
            seen.lock().unwrap().insert(name.clone());
        }
        false
    });
    let all = read_from(&journal, 0, 1 << 20);
    read.lock().unwrap().clear();
    let (n, at) = all[all.len() / 2];
    assert_eq!(looked_up(&journal, event(n), 9), [(n, at)]);
    let own = bases.iter().rev().find(|base| **base <= at).unwrap();
    // What is being written has no index.
    let expected = [*own, newest].map(format::segment_name);
    assert_eq!(read.lock().unwrap().iter().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn an_index_goes_with_its_segment_and_one_of_no_segment_goes_at_the_next_start() {
    let mut world = World::with_segments(2048);
    world.config.retention = Period::secs(60);
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..60);
    until_indexed(&journal);
    let before = indexes(&world).len();
    assert!(
        before > 4
            && journal.stat().bytes.unwrap() > segments(&world.dir).iter().map(|s| s.metadata().unwrap().len()).sum()
    );
    world.clock.fetch_add(7200 * SECOND, Ordering::Relaxed);
    journal.hold("sink", &at(offsets[30]).into());
    journal.begin();
    wait_until("deleted", || indexes(&world).len() < before);
    wait_until("all of them", || {
        let left: Vec<String> =
            segments(&world.dir).iter().map(|s| s.file_stem().unwrap().display().to_string()).collect();
        indexes(&world).iter().all(|index| left.contains(&index.file_stem().unwrap().display().to_string()))
    });
    agree(&world, &journal);
    run(journal.close()).unwrap();
    for name in [index_name(77), format!("{}.new", index_name(offsets[30]))] {
        assert!(index_base(&name).is_some());
        std::fs::write(world.dir.join(name), "of nobody").unwrap();
    }
    let (journal, _) = world.open();
    until_indexed(&journal);
    let names = crate::journal::disk::RealDisk.list(&world.dir).unwrap();
    assert!(!names.iter().any(|name| name.ends_with(".new") || *name == index_name(77)), "{names:?}");
    agree(&world, &journal);
}

#[test]
fn a_disk_without_room_costs_indexes_and_nothing_else() {
    let world = World::with_segments(2048);
    world.disk.indexes.store(true, Ordering::Relaxed);
    world.disk.on(
        usize::MAX,
        Act::Half(faulty::ENOSPC),
        |op| matches!(op, Op::Write(name, ..) if name.contains(".index")),
    );
    let (journal, _) = world.open();
    fill(&journal, 0..40);
    wait_until("it was tried", || {
        world.disk.log().iter().any(|op| matches!(op, Op::Write(name, ..) if name.contains(".index")))
    });
    agree(&world, &journal);
    run(journal.close()).unwrap();
    assert!(indexes(&world).is_empty());
    let names = crate::journal::disk::RealDisk.list(&world.dir).unwrap();
    assert!(names.iter().all(|name| !name.contains(".index")), "half an index was left: {names:?}");
}

#[test]
fn verify_and_repair_know_indexes_and_a_start_makes_them_anew() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..40);
    until_indexed(&journal);
    run(journal.close()).unwrap();
    let sound = verify::verify(&world.dir, |_, _| {}).unwrap();
    assert_eq!(sound.findings, []);
    let broken = indexes(&world);
    edit(&broken[1], |bytes| *bytes.last_mut().unwrap() ^= 4);
    std::fs::copy(&broken[0], &broken[2]).unwrap();
    let check = verify::verify(&world.dir, |_, _| {}).unwrap();
    let found: Vec<_> = check.findings.iter().map(|one| (one.file.clone(), one.sort)).collect();
    let name = |path: &PathBuf| path.file_name().unwrap().display().to_string();
    assert_eq!(found, [1, 2].map(|n| (name(&broken[n]), verify::Sort::Index)));
    assert!(check.is_sound());
    let whole = |path: &PathBuf| std::fs::read(path).ok();
    let (mended, recovered) = verify::repair(&world.dir, START).unwrap();
    assert_eq!((mended.len(), recovered.rot.len()), (2, 0));
    assert_eq!([0, 1, 2].map(|n| whole(&broken[n]).is_some()), [true, false, false]);
    let (journal, _) = world.open();
    until_indexed(&journal);
    agree(&world, &journal);
    run(journal.close()).unwrap();
    assert_eq!(verify::verify(&world.dir, |_, _| {}).unwrap().findings, []);
}

#[test]
fn a_folder_that_cannot_be_listed_is_looked_through_again_and_no_index_is_forgotten() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..40);
    until_indexed(&journal);
    let known = || journal.core().view().segments.iter().filter(|segment| segment.index.is_some()).count();
    let before = known();
    world.disk.indexes.store(true, Ordering::Relaxed);
    world.disk.log();
    let mut another = Indexes::default();
    world.disk.unlistable.store(1, Ordering::Relaxed);
    another.look(journal.core());
    assert!(known() == before && another.rest().is_some(), "it is known, and looked for later");
    another.look(journal.core());
    assert!(known() == before && another.rest().is_none());
    let log = world.disk.log();
    assert!(!log.iter().any(|op| matches!(op, Op::Create(name) if name.contains(".index"))), "{log:?}");
    agree(&world, &journal);
}

#[test]
fn the_making_of_an_index_is_broken_off_where_there_is_more_to_do_and_gone_on_with() {
    let world = World::with_segments(1 << 20);
    let (journal, _) = world.open();
    fill(&journal, 0..3000);
    let segment = journal.core().view().segments.last().unwrap().clone();
    let file = segment.file.clone().unwrap();
    let of = Of { salt: segment.salt, base: segment.base, next: segment.next, end: segment.end };
    let make = |growing: &mut Growing, go_on| build(growing, &*file, &of, subject_of, || go_on);
    let (mut broken, mut whole) = (Growing::new(of.base), Growing::new(of.base));
    for n in 1..3 {
        assert!(matches!(make(&mut broken, false), Err(BuildError::Ended)));
        assert!(broken.pairs.len() > n * 1500, "it gets on");
    }
    assert_eq!(make(&mut broken, true).unwrap(), make(&mut whole, true).unwrap());
    let chores = Chores::default();
    assert!(!chores.are_wanted());
    chores.kick();
    assert!(chores.are_wanted());
    // Of too many nothing is kept, and nothing is read again.
    let all = whole.pairs.len();
    for (most, is_held) in [(all, true), (all - 1, false)] {
        let mut growing = Growing::new(of.base);
        growing.most = most;
        for _ in 0..2 {
            let grown = growing.grow(&*file, of.salt, of.end, subject_of, || true);
            assert_eq!(matches!(grown, Err(BuildError::TooMany)), !is_held);
            assert_eq!(growing.pairs.capacity(), if is_held { most } else { 0 });
        }
    }
}

/// What happens to a journal and its indexes.
#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    /// The segment is ended.
    Roll,
    /// An index is deleted.
    Delete(usize),
    /// A bit of one is flipped.
    Flip(usize, usize),
    /// One is cut.
    Cut(usize, usize),
    /// One gets another's place.
    Swap(usize, usize),
    /// Every segment has its index.
    Wait,
    Retain,
    Close,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..25u64).prop_map(Step::Append),
        1 => Just(Step::Roll),
        1 => any::<usize>().prop_map(Step::Delete),
        2 => any::<(usize, usize)>().prop_map(|(n, at)| Step::Flip(n, at)),
        1 => any::<(usize, usize)>().prop_map(|(n, at)| Step::Cut(n, at)),
        1 => any::<(usize, usize)>().prop_map(|(n, at)| Step::Swap(n, at)),
        3 => Just(Step::Wait),
        1 => Just(Step::Retain),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
    ]
}

/// Changes one of the indexes, where there is any.
fn meddle(world: &World, n: usize, change: impl FnOnce(&Path, &[PathBuf])) {
    let all = indexes(world);
    if let Some(path) = all.get(n % all.len().max(1)) {
        change(path, &all);
    }
}

fn take(world: &World, journal: &mut LocalJournal, next: &mut u64, step: &Step) {
    match *step {
        Step::Append(count) => {
            fill(journal, *next..*next + count);
            *next += count;
        }
        Step::Roll => journal.closes_soon(),
        Step::Delete(n) => meddle(world, n, |path, _| drop(std::fs::remove_file(path))),
        Step::Flip(n, at) => meddle(world, n, |path, _| {
            edit(path, |bytes| {
                let at = at % (bytes.len() * 8).max(1);
                bytes.get_mut(at / 8).into_iter().for_each(|byte| *byte ^= 1 << (at % 8));
            });
        }),
        Step::Cut(n, at) => meddle(world, n, |path, _| edit(path, |bytes| bytes.truncate(at % (bytes.len() + 1)))),
        Step::Swap(n, other) => meddle(world, n, |path, all| {
            let _ = std::fs::copy(&all[other % all.len()], path);
        }),
        Step::Wait => until_indexed(journal),
        Step::Retain => {
            journal.begin();
            world.clock.fetch_add(2 * 86_400 * SECOND, Ordering::Relaxed);
            let core = journal.core();
            let start = core.looks.load(Ordering::Relaxed);
            wait_until("retention looks", || {
                core.chores.kick();
                core.looks.load(Ordering::Relaxed) > start + 1
            });
        }
        Step::Close | Step::Crash => {
            if matches!(step, Step::Close) {
                run(journal.close()).unwrap();
            }
            journal.crash();
            *journal = world.open().0;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn lookups_equal_a_scan_whatever_becomes_of_the_indexes(
        segment in 1600..12_000u64,
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let world = World::with_segments(segment);
        let (mut journal, _) = world.open();
        let mut next = 0;
        for step in &steps {
            take(&world, &mut journal, &mut next, step);
            agree(&world, &journal);
        }
        journal.crash();
    }
}
