//! Damage by name: torn tails, rot, headers, footers, and a crash between any two steps.

use std::path::PathBuf;

use super::faulty::segments;
use super::*;

/// Bytes of the header and of each of the records `record(0..n)`, as offsets of the records and of their end.
fn offsets(n: u64) -> Vec<usize> {
    let mut all = vec![1024];
    (0..n).for_each(|n| all.push(all[n as usize] + format::record_len(&record(n)).unwrap() as usize));
    all
}

fn quarantine(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(world.dir.join("quarantine")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn only_segment(world: &World) -> PathBuf {
    let files = segments(&world.dir);
    assert_eq!(files.len(), 1);
    files[0].clone()
}

/// Checks that a journal goes on: what is there is `expected`, and a further record comes after it, above `last`.
fn goes_on(world: &World, expected: &[u64], last: u64) -> Recovered {
    let (journal, recovered) = world.open();
    assert_eq!(numbers(&journal), expected);
    let new = fill(&journal, 900..901);
    assert!(new[0] > last, "a position was given twice");
    let all = [expected, &[900]].concat();
    assert_eq!(numbers(&journal), all);
    run(journal.close()).unwrap();
    let (journal, again) = world.open();
    assert_eq!((numbers(&journal), again.scanned), (all, 0), "and once more");
    run(journal.close()).unwrap();
    recovered
}

#[test]
fn a_tail_torn_at_any_byte_of_the_last_record_is_cut_and_the_journal_goes_on() {
    let ends = offsets(3);
    for cut in ends[2]..ends[3] {
        let world = World::new();
        let last = world.crashed_after(3)[2];
        let mut left = 0;
        edit(&only_segment(&world), |bytes| {
            bytes.truncate(cut);
            // Zeros at the very end are room that nothing was written to.
            left = bytes[ends[2]..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        });
        let recovered = goes_on(&world, &[0, 1], last);
        assert_eq!(recovered.cut_bytes, left as u64);
        assert_eq!((recovered.rot, recovered.torn), (vec![], vec![]), "cut at {cut}");
    }
}

#[test]
fn a_tail_of_rubbish_is_cut() {
    let ends = offsets(3);
    for byte in [0xff, b'{'] {
        let world = World::new();
        let last = world.crashed_after(3)[2];
        edit(&only_segment(&world), |bytes| bytes[ends[2]..].fill(byte));
        goes_on(&world, &[0, 1], last);
        assert_eq!(std::fs::read(&quarantine(&world)[0]).unwrap(), vec![byte; ends[3] - ends[2]], "kept, in case");
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_rot_and_the_good_records_after_it_are_delivered() {
    let ends = offsets(5);
    for place in [ends[1], ends[1] + 9, ends[1] + 60, ends[2] - 1] {
        let world = World::new();
        let last = world.crashed_after(5)[4];
        let before = std::fs::read(only_segment(&world)).unwrap();
        edit(&only_segment(&world), |bytes| bytes[place] ^= 4);
        let recovered = goes_on(&world, &[0, 2, 3, 4], last);
        let [rot] = &recovered.rot[..] else { panic!("{recovered:?}") };
        assert_eq!((rot.from, rot.to, rot.lost), (ends[1] as u64, ends[2] as u64, 1));
        let copy = std::fs::read(world.dir.join(rot.copy.as_ref().unwrap())).unwrap();
        let mut damaged = before[ends[1]..ends[2]].to_vec();
        damaged[place - ends[1]] ^= 4;
        assert_eq!(copy, damaged, "the damaged bytes are kept aside");
        assert_eq!((recovered.cut_bytes, recovered.torn.len()), (0, 0));
    }
}

#[test]
fn a_hole_in_the_last_batch_is_a_torn_write_and_no_rot() {
    let world = World::new();
    let (journal, _) = world.open();
    let given = fill_batch(&world, &journal, 0..10);
    journal.crash();
    let ends = offsets(10);
    edit(&only_segment(&world), |bytes| bytes[ends[4]..ends[6]].fill(0));
    let recovered = goes_on(&world, &[0, 1, 2, 3, 6, 7, 8, 9], given[9]);
    assert_eq!(recovered.rot, []);
    let [torn] = &recovered.torn[..] else { panic!("{recovered:?}") };
    assert_eq!((torn.from, torn.to, torn.lost), (ends[4] as u64, ends[6] as u64, 2));
}

#[test]
fn a_hole_that_reaches_into_an_earlier_batch_is_rot() {
    let world = World::new();
    let (journal, _) = world.open();
    let given = fill_batch(&world, &journal, 0..10);
    journal.crash();
    let ends = offsets(10);
    edit(&only_segment(&world), |bytes| bytes[ends[0] + 70..ends[3]].fill(0));
    let recovered = goes_on(&world, &[3, 4, 5, 6, 7, 8, 9], given[9]);
    assert_eq!((recovered.rot.len(), recovered.torn.len()), (1, 0));
}

#[test]
fn a_record_inside_a_damaged_records_body_is_not_taken_for_one() {
    let world = World::new();
    let (journal, _) = world.open();
    let reports = Reports::default();
    // A body that holds the very bytes of a record, except that its maker cannot know the segment's salt.
    let mut forged = Vec::new();
    let next = 1 + journal.end().offset;
    format::encode_record(&mut forged, 0, next, 0, &record(666));
    let body = Record { payload: Bytes::from(forged), ..record(0) };
    journal.append(body, OnFailure::Keep, reports.of(0));
    reports.until_final(1);
    fill(&journal, 1..3);
    journal.crash();
    edit(&only_segment(&world), |bytes| bytes[1024 + 4] ^= 1);
    let (journal, recovered) = world.open();
    assert_eq!((numbers(&journal), recovered.rot.len()), (vec![1, 2], 1));
}

#[test]
fn a_reader_is_told_once_how_many_damaged_records_it_has_passed() {
    // A record at the beginning of a segment, in the middle, and the last ones of one.
    for (at_byte, len) in [(1024 + 80, 1), (1500, 1), (1800, 500)] {
        let world = World::with_segments(2048);
        let (journal, _) = world.open();
        let given = fill(&journal, 0..30);
        let _ = run(journal.close());
        edit(&segments(&world.dir)[1], |bytes| {
            let end = bytes.len().min(at_byte + len);
            bytes[at_byte..end].iter_mut().for_each(|b| *b ^= 1);
        });
        let (journal, _) = world.open();
        let found = numbers(&journal);
        let lost: Vec<u64> = (0..30).filter(|n| !found.contains(n)).map(|n| given[n as usize]).collect();
        assert!(!lost.is_empty());
        for max_bytes in [1, 400, 1 << 20] {
            let (mut from, mut gaps, mut read) = (at(given[0]), Vec::new(), 0);
            while read < found.len() {
                let chunk = run(journal.read(from, max_bytes)).unwrap();
                read += chunk.entries.len();
                gaps.extend(chunk.gap);
                from = chunk.next;
            }
            let within = |gap: &Gap| (gap.from.offset, gap.to.offset) == (lost[0], lost[lost.len() - 1] + 1);
            assert!(gaps.iter().all(within), "{gaps:?} {lost:?}");
            let records: Vec<u64> = gaps.iter().map(|gap| gap.lost).collect();
            assert_eq!(records, [lost.len() as u64], "{max_bytes} bytes at once");
            assert!(gaps.iter().all(|gap| gap.deleted.is_empty()));
        }
    }
}

#[test]
fn rot_in_a_sealed_segment_is_passed_over_by_readers_and_its_bytes_are_kept_aside() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    fill(&journal, 0..30);
    run(journal.close()).unwrap();
    let files = segments(&world.dir);
    edit(&files[1], |bytes| bytes[1024 + 80] ^= 1);
    let (journal, recovered) = world.open();
    assert_eq!((recovered.scanned, recovered.rot.len()), (0, 0), "a sealed segment is not read at the start");
    let found = numbers(&journal);
    assert_eq!(found.len(), 29);
    assert_eq!(numbers(&journal), found, "and again");
    assert_eq!(quarantine(&world).len(), 1);
    let lost: Vec<u64> = (0..30).filter(|n| !found.contains(n)).collect();
    let copy = std::fs::read(&quarantine(&world)[0]).unwrap();
    assert_eq!(copy.len() as u64, format::record_len(&record(lost[0])).unwrap());
}

#[test]
fn one_header_copy_is_enough_and_without_both_the_file_is_moved_aside_whole() {
    for copies in [&[0usize][..], &[512], &[0, 512]] {
        let world = World::with_segments(2048);
        let (journal, _) = world.open();
        let given = fill(&journal, 0..30);
        run(journal.close()).unwrap();
        let file = segments(&world.dir)[1].clone();
        edit(&file, |bytes| copies.iter().for_each(|copy| bytes[copy + 20] ^= 1));
        let (journal, recovered) = world.open();
        let found = numbers(&journal);
        if copies.len() == 1 {
            assert_eq!((found.len(), recovered.set_aside.len()), (30, 0));
        } else {
            assert!(found.len() < 30 && recovered.set_aside.len() == 1);
            assert_eq!((found[0], *found.last().unwrap()), (0, 29));
            let first_lost = (0..30).find(|n| !found.contains(n)).unwrap();
            let chunk = run(journal.read(at(given[first_lost as usize]), 1)).unwrap();
            assert_eq!(chunk.gap.map(|gap| gap.to), Some(chunk.entries[0].position), "what is gone is told as a gap");
        }
    }
}

#[test]
fn of_an_older_segment_cut_down_to_nothing_what_is_left_is_kept_aside_and_its_loss_told() {
    for left in [0, 30] {
        let world = World::with_segments(2048);
        let (journal, _) = world.open();
        fill(&journal, 0..30);
        run(journal.close()).unwrap();
        edit(&segments(&world.dir)[1], |bytes| bytes.truncate(left));
        let (journal, recovered) = world.open();
        assert_eq!((recovered.set_aside.len(), quarantine(&world).len()), (1, 1), "{left} bytes");
        let found = numbers(&journal);
        assert_eq!((found[0], *found.last().unwrap()), (0, 29));
    }
}

#[test]
fn a_footer_that_is_missing_cut_or_damaged_is_rebuilt_by_a_scan() {
    for damage in 0..4 {
        let world = World::with_segments(2048);
        let (journal, _) = world.open();
        fill(&journal, 0..30);
        let counts = run(journal.counts(at(0))).unwrap();
        let prints = journal.fingerprints(0, 1000);
        run(journal.close()).unwrap();
        let sealed: Vec<Vec<u8>> = segments(&world.dir).iter().map(|f| std::fs::read(f).unwrap()).collect();
        for file in segments(&world.dir) {
            edit(&file, |bytes| match damage {
                0 => bytes.truncate(bytes.len() - 1),
                1 => bytes.truncate(bytes.len() - 100),
                2 => *bytes.last_mut().unwrap() ^= 1,
                _ => {
                    let core = bytes.len() - 80;
                    bytes[core] ^= 1;
                }
            });
        }
        let (journal, recovered) = world.open();
        assert_eq!((recovered.scanned, recovered.rot.len()), (30, 0), "damage {damage}");
        assert_eq!(numbers(&journal), (0..30).collect::<Vec<_>>());
        assert_eq!(run(journal.counts(at(0))).unwrap(), counts);
        assert_eq!(journal.fingerprints(0, 1000), prints);
        run(journal.close()).unwrap();
        let again: Vec<Vec<u8>> = segments(&world.dir).iter().map(|f| std::fs::read(f).unwrap()).collect();
        assert!(again == sealed, "the same footers as before");
    }
}

#[test]
fn fingerprints_that_rotted_in_a_footer_are_read_from_the_records() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..30);
    run(journal.close()).unwrap();
    let end = offsets(30)[30];
    edit(&only_segment(&world), |bytes| bytes[end + 20] ^= 1);
    let (journal, recovered) = world.open();
    assert_eq!((recovered.scanned, journal.fingerprints(0, 1000).len()), (0, 15));
}

#[test]
fn records_missing_from_the_end_of_an_older_segment_are_rot_for_its_successor_says_where_it_ended() {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    let given = fill(&journal, 0..30);
    journal.crash();
    let file = segments(&world.dir)[1].clone();
    let size = 1024 + 2 * 190;
    edit(&file, |bytes| bytes.truncate(size));
    let (journal, recovered) = world.open();
    let found = numbers(&journal);
    assert!(found.len() < 30 && found.last() == Some(&29));
    let lost: u64 = recovered.rot.iter().map(|r| r.lost).sum();
    assert_eq!(lost as usize, 30 - found.len());
    assert!(fill(&journal, 900..901)[0] > given[29]);
}

#[test]
fn a_crash_between_any_two_steps_of_a_roll_loses_nothing() {
    // The new segment's file: not there, empty, half a header, a header alone; the old one: without its footer.
    for step in 0..4 {
        let world = World::with_segments(2048);
        let (journal, _) = world.open();
        let mut given = fill(&journal, 0..1);
        let mut n = 1;
        while segments(&world.dir).len() < 2 {
            given.extend(fill(&journal, n..n + 1));
            n += 1;
        }
        journal.crash();
        let files = segments(&world.dir);
        let end = offsets(n - 1)[n as usize - 1];
        edit(&files[0], |bytes| bytes.truncate(end));
        match step {
            0 => std::fs::remove_file(&files[1]).unwrap(),
            1 => edit(&files[1], Vec::clear),
            2 => edit(&files[1], |bytes| bytes.truncate(40)),
            _ => edit(&files[1], |bytes| bytes.truncate(1024)),
        }
        let recovered = goes_on(&world, &(0..n - 1).collect::<Vec<_>>(), given[n as usize - 1]);
        assert_eq!((recovered.rot.len(), recovered.cut_bytes, recovered.set_aside.len()), (0, 0, 0), "step {step}");
    }
}

#[test]
fn blocks_that_cannot_be_read_at_the_start_are_damage_and_no_reason_to_stay_down() {
    let world = World::new();
    let (journal, _) = world.open();
    let reports = Reports::default();
    for n in 0..20 {
        journal.append(sized(n, 3000), OnFailure::Keep, reports.of(n));
        reports.until_final(n as usize + 1);
    }
    journal.crash();
    let bad = 20_000;
    let hit = move |op: &Op| matches!(op, Op::Read(_, at, n) if *at <= bad && bad < at + *n as u64);
    world.disk.on(usize::MAX, Act::Fail(5), hit);
    let (journal, recovered) = world.open();
    let [rot] = &recovered.rot[..] else { panic!("{recovered:?}") };
    assert!(rot.from <= bad && bad < rot.to && (1..4).contains(&rot.lost), "{rot:?}");
    let found = numbers(&World { disk: FaultyDisk::new(), ..reopened(world, journal) }.open().0);
    assert_eq!(found.len(), 20, "a block that can be read again is read again");
}

fn reopened(world: World, journal: LocalJournal) -> World {
    journal.crash();
    world
}

#[test]
fn a_segment_of_a_later_version_is_not_touched_and_says_why() {
    let world = World::new();
    world.crashed_after(1);
    edit(&only_segment(&world), |bytes| {
        for copy in [0, 512] {
            bytes[copy + 8] = 2;
            let crc = crc32c::crc32c(&bytes[copy..copy + 60]);
            bytes[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
        }
    });
    let before = std::fs::read(only_segment(&world)).unwrap();
    let Err(JournalError::Format { why, .. }) = world.try_open() else { panic!("opened") };
    assert!(why.contains("version 2"));
    assert!(std::fs::read(only_segment(&world)).unwrap() == before);
}
