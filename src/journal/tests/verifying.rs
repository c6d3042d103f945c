//! What `journal verify` says of each kind of damage, and that `repair` leaves a journal that is sound, with every good
//! record in it. The damaged journals lie in `tests/fixtures/journal/damaged/`.

use std::path::{Path, PathBuf};

use super::faulty::segments;
use super::*;
use crate::journal::verify::{Sort, repair, verify};

/// Set to write the fixtures anew.
const WRITE: &str = "HOOKRELAY_WRITE_JOURNAL_FIXTURE";

fn fixtures() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal/damaged")).to_owned()
}

/// Offsets of the records `record(from..to)` in a segment, and of their end.
fn offsets(from: u64, to: u64) -> Vec<usize> {
    let mut all = vec![1024];
    (from..to).for_each(|n| all.push(all.last().unwrap() + format::record_len(&record(n)).unwrap() as usize));
    all
}

/// Two sealed segments of four records each, and one of three that was not sealed.
fn written() -> World {
    let world = World::new();
    for numbers in [0..4, 4..8] {
        let (journal, _) = world.open();
        fill(&journal, numbers);
        run(journal.close()).unwrap();
    }
    let (journal, _) = world.open();
    fill(&journal, 8..11);
    journal.crash();
    world
}

struct Case {
    name: &'static str,
    /// Which segment is damaged, and how.
    damage: (usize, fn(&mut Vec<u8>)),
    /// What verify says: the sort, the records lost.
    says: &'static [(Sort, u64)],
    /// What is still delivered.
    left: &'static [u64],
}

const ALL: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

const CASES: &[Case] = &[
    Case { name: "whole", damage: (0, |_| {}), says: &[], left: ALL },
    Case {
        name: "torn_tail",
        damage: (2, |bytes| {
            let ends = offsets(8, 11);
            bytes[ends[3] - 5..ends[3]].fill(0xee);
        }),
        says: &[(Sort::Torn, 0)],
        left: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    },
    Case {
        name: "rot_in_a_sealed_segment",
        damage: (0, |bytes| bytes[offsets(0, 4)[1] + 30] ^= 1),
        says: &[(Sort::Rot, 1)],
        left: &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    },
    Case {
        name: "rot_over_two_records",
        damage: (1, |bytes| {
            let ends = offsets(4, 8);
            bytes[ends[1] + 20..ends[2] + 20].fill(0);
        }),
        says: &[(Sort::Rot, 2)],
        left: &[0, 1, 2, 3, 4, 7, 8, 9, 10],
    },
    Case {
        name: "rot_of_the_last_record_of_a_sealed_segment",
        damage: (0, |bytes| bytes[offsets(0, 4)[4] - 1] ^= 1),
        says: &[(Sort::Rot, 1)],
        left: &[0, 1, 2, 4, 5, 6, 7, 8, 9, 10],
    },
    Case {
        name: "rot_before_the_last_batch",
        damage: (2, |bytes| bytes[offsets(8, 11)[1] + 40] ^= 1),
        says: &[(Sort::Rot, 1)],
        left: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10],
    },
    Case {
        name: "footer",
        damage: (1, |bytes| {
            let at = offsets(4, 8)[4] + 10;
            bytes[at] ^= 1;
        }),
        says: &[(Sort::Footer, 0)],
        left: ALL,
    },
    Case {
        name: "footer_and_rot",
        damage: (1, |bytes| {
            let ends = offsets(4, 8);
            bytes[ends[2] + 33] ^= 1;
            let last = bytes.len() - 3;
            bytes[last] ^= 1;
        }),
        says: &[(Sort::Rot, 1), (Sort::Footer, 0)],
        left: &[0, 1, 2, 3, 4, 5, 7, 8, 9, 10],
    },
    Case { name: "one_header", damage: (1, |bytes| bytes[20] ^= 1), says: &[], left: ALL },
    Case {
        name: "both_headers",
        damage: (1, |bytes| {
            bytes[20] ^= 1;
            bytes[532] ^= 1;
        }),
        says: &[(Sort::Header, 4)],
        left: &[0, 1, 2, 3, 8, 9, 10],
    },
];

/// The damaged journal of a case, as it is kept.
fn damaged(case: &Case) -> World {
    let kept = fixtures().join(case.name);
    if std::env::var_os(WRITE).is_some() {
        let world = written();
        edit(&segments(&world.dir)[case.damage.0], case.damage.1);
        std::fs::create_dir_all(&kept).unwrap();
        for file in segments(&world.dir) {
            // Room made ahead is zeros to no end.
            let bytes = std::fs::read(&file).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            std::fs::write(kept.join(file.file_name().unwrap()), &bytes[..end.max(1024)]).unwrap();
        }
    }
    let world = World::new();
    std::fs::create_dir_all(&world.dir).unwrap();
    for file in segments(&kept) {
        std::fs::copy(&file, world.dir.join(file.file_name().unwrap())).unwrap();
    }
    world
}

fn said(world: &World) -> Vec<(Sort, u64)> {
    let verified = verify(&world.dir, |done, total| assert!(done <= total)).unwrap();
    verified.findings.iter().map(|finding| (finding.sort, finding.lost)).collect()
}

#[test]
fn verify_says_what_is_damaged_and_changes_nothing() {
    for case in CASES {
        let world = damaged(case);
        assert_eq!(segments(&world.dir).len(), 3, "{}", case.name);
        let bytes = || segments(&world.dir).iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>();
        let before = bytes();
        assert_eq!(said(&world), case.says, "{}", case.name);
        let sound = !case.says.iter().any(|(sort, _)| sort.is_rot());
        assert_eq!(verify(&world.dir, |_, _| {}).unwrap().is_sound(), sound, "{}", case.name);
        assert!(bytes() == before && !world.dir.join("quarantine").exists(), "{}", case.name);
    }
}

#[test]
fn a_start_delivers_every_good_record_of_a_damaged_journal() {
    for case in CASES {
        let world = damaged(case);
        let (journal, _) = world.open();
        assert_eq!(numbers(&journal), case.left, "{}", case.name);
        run(journal.close()).unwrap();
    }
}

#[test]
fn repair_leaves_a_sound_journal_with_every_good_record_and_the_damage_aside() {
    for case in CASES {
        let world = damaged(case);
        let (mended, recovered) = repair(&world.dir, START).unwrap();
        let findings = verify(&world.dir, |_, _| {}).unwrap();
        assert!(findings.is_sound(), "{}: {findings:?}", case.name);
        let rot = case.says.iter().any(|(sort, _)| matches!(sort, Sort::Rot | Sort::Header));
        if rot {
            assert!(world.dir.join("quarantine").exists(), "{}", case.name);
        }
        assert!(!rot || !mended.is_empty() || !recovered.rot.is_empty() || !recovered.set_aside.is_empty());
        let (again, recovered) = repair(&world.dir, START).unwrap();
        assert_eq!((again, recovered.rot, recovered.cut_bytes), (vec![], vec![], 0), "{}: once is enough", case.name);
        let (journal, recovered) = world.open();
        assert_eq!(recovered.rot, [], "{}", case.name);
        assert_eq!(numbers(&journal), case.left, "{}", case.name);
        run(journal.close()).unwrap();
    }
}

#[test]
fn repair_wants_the_journal_to_itself_and_verify_does_not() {
    let world = World::new();
    let (journal, _) = world.open();
    fill(&journal, 0..3);
    assert!(matches!(repair(&world.dir, START), Err(JournalError::Locked { .. })));
    let verified = verify(&world.dir, |_, _| {}).unwrap();
    assert_eq!((verified.records, verified.findings), (3, vec![]), "room made ahead is no damage");
    run(journal.close()).unwrap();
}

#[test]
fn a_scan_gives_the_records_of_a_span_over_damage() {
    let world = damaged(&CASES[2]);
    let mut seen = Vec::new();
    let span = (START + 2 * SECOND, START + 9 * SECOND);
    let scanned = crate::journal::scan(&world.dir, span, |found, at| -> std::io::Result<()> {
        assert!(at.bytes.0 <= at.bytes.1);
        seen.push(found.time);
        Ok(())
    });
    assert_eq!(scanned.unwrap().damaged, 1);
    let expected: Vec<i64> = [2, 3, 4, 5, 6, 7, 8].map(|n| record(n).time).to_vec();
    assert_eq!(seen, expected);
}

#[test]
fn a_segment_that_waits_for_its_footer_is_sound_and_one_that_is_not_there_is_told_until_it_is_noted() {
    let world = damaged(&CASES[0]);
    edit(&segments(&world.dir)[1], |bytes| {
        bytes.truncate(offsets(4, 8)[4]);
        bytes.extend([0; 4096]);
    });
    assert_eq!(said(&world), [], "room made ahead, and no footer yet");
    std::fs::remove_file(&segments(&world.dir)[1]).unwrap();
    let lost = said(&world);
    assert!(matches!(lost[..], [(Sort::Gone, 4)]), "{lost:?}");
    let (mended, _) = repair(&world.dir, START).unwrap();
    assert_eq!(mended.iter().map(|one| one.sort).collect::<Vec<_>>(), [Sort::Gone]);
    assert_eq!(said(&world), [(Sort::Known, 4)]);
    std::fs::remove_file(&segments(&world.dir)[0]).unwrap();
    assert_eq!(said(&world), [], "the oldest ones go by retention");
}
