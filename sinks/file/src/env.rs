//! The clock and the two disk calls, which tests replace in order to go through days at once and to make writes fail
//! half-way.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use sink_api::Timestamp;

/// What the sink takes from the world.
#[derive(Clone)]
pub(crate) struct Env {
    /// The time now.
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Lines on their way to a file.
    pub(crate) disk: Arc<dyn Disk>,
}

impl Env {
    /// The system's.
    pub(crate) fn real() -> Self {
        Self { now: Arc::new(Timestamp::now), disk: Arc::new(RealDisk) }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }
}

/// Lines on their way to a file.
pub(crate) trait Disk: Send + Sync {
    /// Appends all of it.
    fn append(&self, file: &File, lines: &[u8]) -> io::Result<()>;
    /// Flushes it to the disk.
    fn flush(&self, file: &File) -> io::Result<()>;
}

struct RealDisk;

impl Disk for RealDisk {
    fn append(&self, mut file: &File, lines: &[u8]) -> io::Result<()> {
        file.write_all(lines)
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
