//! Seeking by time, counts, fingerprints: what footers know, and what must be read for.

use super::*;

fn filled(n: u64) -> (World, LocalJournal, Vec<u64>) {
    let world = World::with_segments(2048);
    let (journal, _) = world.open();
    let offsets = fill(&journal, 0..n);
    (world, journal, offsets)
}

/// Runs a check on a journal as it is, and again after it was closed and opened.
fn both(n: u64, check: impl Fn(&LocalJournal, &[u64])) {
    let (world, journal, offsets) = filled(n);
    check(&journal, &offsets);
    run(journal.close()).unwrap();
    check(&world.open().0, &offsets);
}

#[test]
fn seek_finds_the_first_record_at_or_after_a_time() {
    both(40, |journal, offsets| {
        for (n, offset) in offsets.iter().enumerate() {
            let time = START + n as i64 * SECOND;
            for asked in [time - 1, time] {
                assert_eq!(run(journal.seek(asked)).unwrap().at(0).offset, *offset, "record {n}");
            }
        }
        assert_eq!(run(journal.seek(0)).unwrap().at(0), journal.oldest());
        assert_eq!(run(journal.seek(START + 40 * SECOND)).unwrap().at(0), journal.end());
    });
}

#[test]
fn counts_from_any_position_are_those_of_the_records_after_it() {
    both(40, |journal, offsets| {
        for (n, offset) in offsets.iter().enumerate() {
            let sent = (n..40).filter(|n| n.is_multiple_of(3)).count() as u64;
            let count = |kind: &str, events| TypeCount { source: "interakt".into(), kind: kind.into(), events };
            let mut expected = vec![count("message_api_read", 40 - n as u64 - sent), count("message_api_sent", sent)];
            expected.retain(|count| count.events > 0);
            assert_eq!(run(journal.counts(at(*offset))).unwrap(), expected, "from record {n}");
        }
        assert_eq!(run(journal.counts(journal.end())).unwrap(), []);
    });
}

#[test]
fn fingerprints_are_the_newest_ones_since_a_time_oldest_first() {
    both(40, |journal, _| {
        let ids = |since: i64, max| -> Vec<u64> {
            let found = journal.fingerprints(START + since * SECOND, max);
            found
                .iter()
                .map(|f| {
                    let n = u128::from_be_bytes(f.id) as u64;
                    assert_eq!((f.time, &*f.source), (record(n).time, "interakt"));
                    assert_eq!(Some(f.fingerprint), record(n).fingerprint);
                    n
                })
                .collect()
        };
        assert_eq!(ids(0, 1000), (0..40).step_by(2).collect::<Vec<_>>());
        assert_eq!(ids(30, 1000), [30, 32, 34, 36, 38]);
        assert_eq!(ids(0, 3), [34, 36, 38]);
        assert_eq!(ids(0, 0), [0; 0]);
    });
}

#[test]
fn the_figures_of_the_journal_are_those_of_its_records() {
    both(40, |journal, _| {
        let stat = journal.stat();
        assert_eq!((stat.events, stat.oldest_time), (Some(40), Some(START)));
        assert!(stat.segments > 4 && stat.bytes.unwrap() > 40 * 150);
    });
}
