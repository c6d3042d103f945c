//! `file`: lines, one write and one flush a batch.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Row, Sample};
use crate::contestant::SinkFile;
use crate::recipe::sink;

/// As the sink's kind has it.
const BATCH: u64 = 4096;

pub struct FileRow {
    folder: PathBuf,
    sink: SinkFile,
}

impl FileRow {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), sink: SinkFile::new(folder.join("leaving.jsonl")) }
    }
}

impl Row for FileRow {
    fn name(&self) -> &'static str {
        "file"
    }

    fn tables(&self) -> String {
        sink(self.name(), "kind = \"file\"\npath = \"leaving.jsonl\"\n", "")
    }

    fn arrived(&mut self, _: u64) -> Result<u64, Box<dyn Error>> {
        self.sink.count_on()?;
        Ok(self.sink.lines)
    }

    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>> {
        let begun = Instant::now();
        let mut file = File::create(self.folder.join("by-hand.jsonl"))?;
        let (mut lines, mut samples) = (Vec::new(), samples.iter().cycle());
        let mut left = events;
        while left > 0 {
            let batch = left.min(BATCH);
            lines.clear();
            for sample in samples.by_ref().take(batch as usize) {
                lines.extend_from_slice(sample.body.as_bytes());
                lines.push(b'\n');
            }
            file.write_all(&lines)?;
            file.sync_data()?;
            left -= batch;
        }
        Ok(begun.elapsed())
    }
}
