//! What the SQLite sink promises, tried on real files. This file: the table of contents and the helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

/// The suite every sink runs.
mod conformance;
/// Whose fault: locks, full disks, deadlines, files that go away.
mod failures;
/// One row a message.
mod ladder;
/// Which databases and tables it opens on, and what it says to the others.
mod opening;
/// One bad row among good ones.
mod poison;
/// Payload → columns, repeats, order.
mod writing;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;
use sink_api::{BuildError, Delivery, Fault, Settings, Sink, SinkConfig, SinkContext};
use sink_testkit::{context, event};
use tempfile::TempDir;

/// A sink's config and folder.
pub struct Fixture {
    pub dir: TempDir,
    pub config: Box<dyn SinkConfig>,
}

/// A table with an id of its own, `event_id`, and these columns.
pub fn table(columns: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE{columns})")
}

pub fn read(toml: &str) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    (sink_sqlite::KIND.read)(Settings::new(toml::de::DeTable::parse(toml).unwrap()))
}

impl Fixture {
    /// `x.db`, table `t`, with these further lines of config.
    pub fn new(lines: &str) -> Self {
        let config = read(&format!("database = \"x.db\"\ntable = \"t\"\n{lines}\n")).unwrap();
        config.check().unwrap();
        Self { dir: TempDir::new().unwrap(), config }
    }

    /// With `setup` making a table of these columns.
    pub fn with(columns: &str) -> Self {
        Self::new(&format!("setup = '''{}'''", table(columns)))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn context(&self) -> SinkContext {
        context("statuses", self.dir.path())
    }

    pub async fn build(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.config.build(&self.context()).await
    }

    pub async fn open(&self) -> Box<dyn Sink> {
        self.build().await.unwrap()
    }

    pub async fn refused(&self) -> String {
        match self.build().await {
            Err(BuildError::Refused(text)) => text,
            Err(other) => panic!("not refused but {other:?}"),
            Ok(_) => panic!("not refused"),
        }
    }

    /// Another program's connection.
    pub fn other(&self) -> Connection {
        connect(&self.path("x.db"))
    }

    /// The cells of a query, as SQLite holds them.
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        rows(&self.other(), sql)
    }

    /// The first column of a query, as text.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        texts(&self.other(), sql)
    }
}

pub fn connect(path: &Path) -> Connection {
    Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

pub fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let read = statement.query_map([], |row| (0..width).map(|at| row.get(at)).collect());
    read.unwrap().collect::<Result<_, _>>().unwrap()
}

pub fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let text = |row: Vec<Value>| match &row[0] {
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    rows(conn, sql).into_iter().map(text).collect()
}

/// A delivery of this payload, with an id and a key of its own.
pub fn delivery(json: impl Into<String>) -> Delivery {
    event("t").json(json.into()).delivery()
}

/// A delivery of this payload with this id, of this key.
pub fn keyed(id: &str, key: &str, json: &str) -> Delivery {
    event("t").key(key).delivery_id(id).json(json.to_owned()).delivery()
}
