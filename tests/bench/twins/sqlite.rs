//! `sqlite`: a prepared statement, one transaction a batch, in WAL mode with `synchronous = FULL` as the sink has it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::{Row, Sample, sql};
use crate::recipe::sink;

const EXAMPLE: &str = include_str!("../../../sinks/sqlite/example.toml");
const TABLE: &str = "leaving";

pub struct SqliteRow {
    folder: PathBuf,
    setup: String,
    /// Looks what the daemon has put in.
    reader: Option<Connection>,
}

impl SqliteRow {
    pub fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self { folder: folder.to_owned(), setup: sql::setup(EXAMPLE, TABLE)?, reader: None })
    }
}

impl Row for SqliteRow {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn tables(&self) -> String {
        let table = format!(
            "kind = \"sqlite\"\ndatabase = \"leaving.db\"\ntable = \"{TABLE}\"\nsetup = \"\"\"{}\"\"\"\n",
            self.setup
        );
        sink(self.name(), &table, "transform = \"interakt.message_status\"\n")
    }

    fn arrived(&mut self, _: u64) -> Result<u64, Box<dyn Error>> {
        let path = self.folder.join("leaving.db");
        if self.reader.is_none() && path.exists() {
            self.reader = Some(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
        }
        let Some(reader) = &self.reader else { return Ok(0) };
        // Rows are numbered as they come, and none is deleted.
        let last = format!("SELECT coalesce(max(id), 0) FROM {TABLE}");
        Ok(reader.query_row(&last, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>> {
        let mut database = Connection::open(self.folder.join("by-hand.db"))?;
        database.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute_batch(&self.setup)?;
        let insert = format!(
            "INSERT INTO {TABLE} ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            sql::COLUMNS.join(", ")
        );
        let begun = Instant::now();
        let (mut left, mut samples) = (events, samples.iter().cycle());
        while left > 0 {
            let batch = left.min(sql::BATCH);
            let transaction = database.transaction()?;
            {
                let mut statement = transaction.prepare_cached(&insert)?;
                for sample in samples.by_ref().take(batch as usize) {
                    statement.execute(params_from_iter(sql::row(&sample.body)?))?;
                }
            }
            transaction.commit()?;
            left -= batch;
        }
        Ok(begun.elapsed())
    }
}
