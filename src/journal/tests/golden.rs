//! The bytes of format version 1, as they are kept in `tests/fixtures/journal/v1/`: read by this build, and made again
//! by it to the last bit. They must never change.

use std::path::PathBuf;

use super::faulty::segments;
use super::*;

/// Set to write the fixture anew: only ever for a new version of the format, in a new folder.
const WRITE: &str = "HOOKRELAY_WRITE_JOURNAL_FIXTURE";

fn fixture() -> PathBuf {
    // From this file, so that the crate may be built from anywhere.
    let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal/v1"));
    here.to_owned()
}

/// Five records in two segments, written by the journal with a fixed clock and salt.
fn written() -> (World, Vec<u64>) {
    let world = World::new();
    let mut offsets = Vec::new();
    for numbers in [0..3, 3..5] {
        let (journal, _) = world.open();
        offsets.extend(fill(&journal, numbers));
        run(journal.close()).unwrap();
    }
    (world, offsets)
}

#[test]
fn the_writer_still_makes_the_bytes_of_version_1() {
    let (world, _) = written();
    let made = segments(&world.dir);
    assert_eq!(made.len(), 2);
    for path in made {
        let (bytes, name) = (std::fs::read(&path).unwrap(), path.file_name().unwrap());
        let kept = fixture().join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(fixture()).unwrap();
            std::fs::write(&kept, &bytes).unwrap();
        }
        assert!(bytes == std::fs::read(&kept).unwrap(), "{} differs", kept.display());
    }
}

#[test]
fn a_journal_of_version_1_is_read_whole() {
    let world = World::new();
    std::fs::create_dir_all(&world.dir).unwrap();
    for file in segments(&fixture()) {
        std::fs::copy(&file, world.dir.join(file.file_name().unwrap())).unwrap();
    }
    let (journal, recovered) = world.open();
    assert_eq!((recovered.segments, recovered.scanned, recovered.had_records), (2, 0, true));
    let first = 1_790_000_000_000_000;
    let expected: Vec<(u64, u64)> =
        vec![(0, first), (1, first + 1), (2, first + 2), (3, first + 3 + 65_536), (4, first + 4 + 65_536)];
    assert_eq!(read_from(&journal, 0, 1 << 20), expected);
    assert_eq!(journal.fingerprints(0, 10).len(), 3);
    let counts: Vec<(String, u64)> =
        run(journal.counts(at(0))).unwrap().into_iter().map(|c| (c.kind.to_string(), c.events)).collect();
    assert_eq!(counts, [("message_api_read".to_owned(), 3), ("message_api_sent".to_owned(), 2)]);
    assert_eq!(run(journal.seek(START + 3 * SECOND)).unwrap().at(0).offset, first + 3 + 65_536);
}
