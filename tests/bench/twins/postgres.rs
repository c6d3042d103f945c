//! `postgres`: one INSERT of many rows a batch, prepared once, on as many connections as the sink has batches under
//! way. Both speak to the server in the clear.

use std::error::Error;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sink_testkit::postgres::PostgresServer;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use super::{Row, Sample, sql};
use crate::recipe::sink;

const EXAMPLE: &str = include_str!("../../../sinks/postgres/example.toml");
/// Batches under way, as the sink's kind has it.
const CONCURRENCY: usize = 2;

pub struct PostgresRow {
    url: String,
    table: String,
    /// Drives the connection that looks.
    runtime: Runtime,
    reader: Client,
}

impl PostgresRow {
    pub fn new(server: &PostgresServer, round: u32) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let url = format!("{}?sslmode=disable", server.bare());
        let reader = runtime.block_on(connect(&url))?;
        Ok(Self { url, table: format!("bench_{}_{round}", std::process::id()), runtime, reader })
    }

    fn number(&self, query: &str) -> Result<u64, Box<dyn Error>> {
        let row = self.runtime.block_on(self.reader.query_one(query, &[]))?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    fn table_by_hand(&self) -> String {
        format!("{}_by_hand", self.table)
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(driver);
    Ok(client)
}

impl Row for PostgresRow {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn tables(&self) -> String {
        let setup = sql::setup(EXAMPLE, &self.table).unwrap_or_default();
        let table = format!(
            "kind = \"postgres\"\nurl = \"{}\"\ntable = \"{}\"\nsetup = \"\"\"{setup}\"\"\"\n",
            self.url, self.table
        );
        sink(self.name(), &table, "transform = \"interakt.message_status\"\n")
    }

    /// The last number that was given to a row, which costs little; the rows themselves once they must all be there.
    fn arrived(&mut self, events: u64) -> Result<u64, Box<dyn Error>> {
        let given = format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}_id_seq", self.table);
        match self.number(&given)? {
            given if given < events => Ok(given),
            _ => self.number(&format!("SELECT count(*) FROM {}", self.table)),
        }
    }

    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>> {
        let table = self.table_by_hand();
        self.runtime.block_on(self.reader.batch_execute(&sql::setup(EXAMPLE, &table)?))?;
        let names: Vec<String> = (0..sql::COLUMNS.len()).map(|n| format!("c{n}")).collect();
        let insert = format!(
            "INSERT INTO {table} ({}) SELECT c0, c1, c2, c3, c4, c5, c6::timestamptz \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS u ({}) \
             ON CONFLICT DO NOTHING",
            sql::COLUMNS.join(", "),
            names.join(", ")
        );
        let left = AtomicI64::new(i64::try_from(events)?);
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        thread::scope(|scope| {
            let work = || insert_all(&self.url, &insert, samples, &next, &left).map_err(|error| error.to_string());
            let threads: Vec<_> = (0..CONCURRENCY).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a twin panicked".to_owned())?)
        })?;
        let took = begun.elapsed();
        let there = self.number(&format!("SELECT count(*) FROM {table}"))?;
        if there == events { Ok(took) } else { Err(format!("{there} rows by hand, not {events}").into()) }
    }
}

impl Drop for PostgresRow {
    fn drop(&mut self) {
        // What cannot be dropped goes with the folder of all servers.
        let sql = format!("DROP TABLE IF EXISTS {}, {}", self.table, self.table_by_hand());
        let _ = self.runtime.block_on(self.reader.batch_execute(&sql));
    }
}

/// Batches, one after the other, until none is left.
fn insert_all(
    url: &str,
    insert: &str,
    samples: &[Sample],
    next: &AtomicUsize,
    left: &AtomicI64,
) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(url).await?;
        let statement = client.prepare(insert).await?;
        loop {
            let before = left.fetch_sub(sql::BATCH as i64, Ordering::Relaxed);
            let Ok(batch) = usize::try_from(before.min(sql::BATCH as i64)) else { return Ok(()) };
            if batch == 0 {
                return Ok(());
            }
            let mut columns: [Vec<String>; 7] = Default::default();
            let first = next.fetch_add(batch, Ordering::Relaxed);
            for n in first..first + batch {
                let row = sql::row(&samples[n % samples.len()].body)?;
                columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
            let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column as _).collect();
            client.execute(&statement, &values).await?;
        }
    })
}
