//! The folder, or files in it, are deleted, moved or replaced while the journal runs.

use std::fs;

use super::failing::sizes;
use super::faulty::{Act, EIO, Op, segments};
use super::*;
use crate::journal::verify::verify;

/// Waits until the segments in the folder hold so many records, and all are sound.
fn until_on_disk(world: &World, records: u64) {
    wait_until("on disk again", || {
        world.dir.is_dir()
            && verify(&world.dir, |_, _| {}).is_ok_and(|found| found.records == records && found.is_sound())
    });
}

/// Deletes the folder; where an index came into it meanwhile, once more.
fn deleted(world: &World) {
    wait_until("deleted", || match fs::remove_dir_all(&world.dir) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => false,
        done => done.map(|()| true).unwrap(),
    });
}

/// What a start after a crash finds.
fn after_a_crash(world: &World, journal: &LocalJournal) -> Vec<u64> {
    journal.crash();
    let (journal, recovered) = world.open();
    assert!(recovered.rot.is_empty(), "{recovered:?}");
    numbers(&journal)
}

#[test]
fn of_a_folder_that_is_deleted_nothing_is_lost_though_nothing_comes_after() {
    // Sealed segments and one that is being written, in memory and not.
    let world = World::with_segments(1024 + 3 * sizes(0..1));
    world.crashed_after(4);
    let (journal, _) = world.open();
    fill(&journal, 4..9);
    deleted(&world);
    assert_eq!(numbers(&journal), (0..9).collect::<Vec<_>>(), "from the files still open");
    until_on_disk(&world, 9);
    assert_eq!(after_a_crash(&world, &journal), (0..9).collect::<Vec<_>>());
}

#[test]
fn what_is_appended_after_the_folder_was_deleted_is_durable_in_the_next_one() {
    let world = World::new();
    let (journal, _) = world.open();
    let before = fill(&journal, 0..3);
    deleted(&world);
    let reports = Reports::default();
    journal.append(record(3), OnFailure::GiveBack, reports.of(3));
    reports.until_final(1);
    assert!(matches!(reports.about(3)[..], [Progress::Durable(at)] if at.offset > before[2]), "{:?}", reports.all());
    let there: Vec<_> = segments(&world.dir);
    assert!(!there.is_empty(), "told durable with no file");
    until_on_disk(&world, 4);
    assert_eq!(after_a_crash(&world, &journal), [0, 1, 2, 3]);
}

#[test]
fn a_batch_whose_file_is_deleted_under_it_is_told_durable_only_where_it_stays() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    world.disk.on(1, Act::Hang, |op| matches!(op, Op::Sync(_)));
    let reports = Reports::default();
    journal.append(record(3), OnFailure::GiveBack, reports.of(3));
    world.disk.until_hanging();
    deleted(&world);
    world.disk.release();
    reports.until_final(1);
    assert!(matches!(reports.about(3)[..], [Progress::Durable(_)]), "{:?}", reports.all());
    // At once: whatever else is to be put back.
    assert!(after_a_crash(&world, &journal).contains(&3));
}

#[test]
fn a_segment_that_is_deleted_alone_is_put_back_whichever_it_is() {
    for which in 0..3 {
        let world = World::with_segments(1024 + 3 * sizes(0..1));
        let (journal, _) = world.open();
        fill(&journal, 0..9);
        let files = segments(&world.dir);
        assert_eq!(files.len(), 3);
        fs::remove_file(&files[which]).unwrap();
        until_on_disk(&world, 9);
        fill(&journal, 9..10);
        assert_eq!(after_a_crash(&world, &journal), (0..10).collect::<Vec<_>>(), "{which}");
    }
}

#[test]
fn a_folder_that_is_moved_is_left_and_one_that_comes_back_is_taken_again() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    let elsewhere = world.dir.with_file_name("elsewhere");
    fs::rename(&world.dir, &elsewhere).unwrap();
    fill(&journal, 3..5);
    until_on_disk(&world, 5);
    fill(&journal, 5..7);
    deleted(&world);
    fs::rename(&elsewhere, &world.dir).unwrap();
    until_on_disk(&world, 7);
    fill(&journal, 7..8);
    assert_eq!(after_a_crash(&world, &journal), (0..8).collect::<Vec<_>>());
}

#[test]
fn where_no_folder_can_be_had_the_journal_cannot_write_until_one_can() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    let elsewhere = world.dir.with_file_name("elsewhere");
    fs::rename(&world.dir, &elsewhere).unwrap();
    fs::write(&world.dir, "no folder").unwrap();
    wait_until("it cannot write", || {
        let reports = Reports::default();
        journal.append(record(100), OnFailure::GiveBack, reports.of(100));
        reports.until_final(1);
        matches!(reports.about(100)[..], [Progress::Failed(AppendError::Unwritable(_))])
    });
    let reports = Reports::default();
    journal.append(record(3), OnFailure::Keep, reports.of(3));
    reports.until_at_risk(3);
    fs::remove_file(&world.dir).unwrap();
    reports.until_final(1);
    let wanted = numbers(&journal);
    assert!(wanted.starts_with(&[0, 1, 2]) && wanted.ends_with(&[3]), "{wanted:?}");
    until_on_disk(&world, wanted.len() as u64);
    assert_eq!(after_a_crash(&world, &journal), wanted);
}

#[test]
fn a_folder_that_somebody_else_holds_is_not_written_to() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..1);
    fs::rename(&world.dir, world.dir.with_file_name("elsewhere")).unwrap();
    fs::create_dir(&world.dir).unwrap();
    fs::set_permissions(&world.dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let other = crate::journal::lock::Lock::take(&world.dir).unwrap();
    wait_until("it cannot write", || {
        let reports = Reports::default();
        journal.append(record(100), OnFailure::GiveBack, reports.of(100));
        reports.until_final(1);
        matches!(reports.about(100)[..], [Progress::Failed(AppendError::Unwritable(_))])
    });
    assert!(segments(&world.dir).is_empty());
    drop(other);
    wait_until("it can again", || {
        let reports = Reports::default();
        journal.append(record(1), OnFailure::GiveBack, reports.of(1));
        reports.until_final(1);
        matches!(reports.about(1)[..], [Progress::Durable(_)])
    });
}

#[test]
fn a_segment_that_cannot_be_put_back_is_read_on_and_leaves_no_half_of_it() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    let name = segments(&world.dir)[0].file_name().unwrap().to_owned();
    world.disk.on(1, Act::Half(EIO), |op| matches!(op, Op::Write(name, 0, _) if name.ends_with(".new")));
    fs::remove_file(world.dir.join(&name)).unwrap();
    world.disk.log();
    wait_until("tried", || world.disk.log().iter().any(|op| matches!(op, Op::Unlink(name) if name.ends_with(".new"))));
    assert_eq!(numbers(&journal), [0, 1, 2]);
    assert_eq!(segments(&world.dir).len(), 0);
    until_on_disk(&world, 3);
}

#[test]
fn what_retention_deletes_stays_deleted() {
    let mut world = World::with_segments(1024 + 3 * sizes(0..1));
    world.config.retention = Period(Duration::ZERO);
    let (journal, _) = world.open();
    fill(&journal, 0..9);
    world.clock.store(START + 100 * SECOND, Ordering::Relaxed);
    journal.begin();
    wait_until("deleted", || segments(&world.dir).len() == 1);
    let looks = journal.core().looks.load(Ordering::Relaxed);
    wait_until("looked again", || journal.core().looks.load(Ordering::Relaxed) > looks + 1);
    assert_eq!(segments(&world.dir).len(), 1);
}

#[test]
fn a_link_in_the_place_of_a_segment_is_not_followed() {
    let world = World::new();
    world.crashed_after(2);
    let file = segments(&world.dir).remove(0);
    let victim = world.dir.with_file_name("victim");
    fs::rename(&file, &victim).unwrap();
    std::os::unix::fs::symlink(&victim, &file).unwrap();
    let bytes = fs::read(&victim).unwrap();
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal).len(), recovered.set_aside.len()), (0, 1));
    assert!(fs::read(&victim).unwrap() == bytes, "changed behind the link");
}
