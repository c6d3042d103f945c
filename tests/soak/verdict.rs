//! Compares what arrived with what was answered 200.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::bodies::{number_in, numbered};
use crate::harness::{Daemon, column, lines_under, post_all};
use crate::plan::Plan;
use crate::{Record, STRANGERS, World};

/// Deliveries that may be settled but not yet in the ledger when a kill comes: twice `deliver::settler::EVENTS`, for
/// the step being gathered and the one being written.
const UNSETTLED: u64 = 2 * 1000;
/// How long to wait at the end while no sink comes any further.
const PATIENCE: Duration = Duration::from_secs(120);

/// One sink's outcome.
#[derive(Debug, Default)]
pub struct Outcome {
    missing: u64,
    spurious: u64,
    changed: u64,
    duplicates: u64,
    bound: u64,
    conserved: bool,
}

impl Outcome {
    fn is_good(&self) -> bool {
        self.missing + self.spurious + self.changed == 0 && self.duplicates <= self.bound && self.conserved
    }
}

/// The whole verdict.
pub struct Report {
    plan: Plan,
    early: u64,
    evils: BTreeMap<&'static str, u64>,
    answered: u64,
    sent: u64,
    refused: u64,
    /// The 99th percentile of the answers' times beside the strangers, in milliseconds.
    p99: u32,
    sinks: BTreeMap<&'static str, Outcome>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.answered >= self.plan.events && self.p99 <= self.plan.p99 && self.sinks.values().all(Outcome::is_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan: Plan { kills, seed, .. }, early, answered, sent, refused, .. } = self;
        writeln!(
            f,
            "seed {seed}: {kills} kills under load, {early} while starting; {sent} sent, {answered} answered 200, \
             {refused} answered 503"
        )?;
        let bound = if self.plan.p99 == u32::MAX { "not judged".into() } else { format!("at most {}", self.plan.p99) };
        writeln!(
            f,
            "  strangers: beside {STRANGERS} of them 99 of 100 answers took at most {} ms ({bound})",
            self.p99
        )?;
        for (evil, times) in &self.evils {
            writeln!(f, "  {evil}: {times}")?;
        }
        for (sink, outcome) in &self.sinks {
            let Outcome { missing, spurious, changed, duplicates, bound, conserved } = outcome;
            let adds_up = if *conserved { "adds up" } else { "DOES NOT ADD UP" };
            writeln!(
                f,
                "  {sink}: {missing} missing, {spurious} spurious, {changed} changed, {duplicates} duplicates (at \
                 most {bound}); {adds_up}"
            )?;
        }
        let (missing, spurious) = self.sinks.values().fold((0, 0), |sum, o| (sum.0 + o.missing, sum.1 + o.spurious));
        write!(f, "verdict: {missing} missing, {spurious} spurious: {}", if self.is_good() { "good" } else { "BAD" })
    }
}

/// Waits until the daemon owes no sink anything, a fresh event included, and compares.
pub async fn judge(
    world: &World,
    record: &Record,
    (plan, early, evils): (Plan, u64, BTreeMap<&'static str, u64>),
    daemon: &Daemon,
) -> Report {
    let next = record.next.load(std::sync::atomic::Ordering::SeqCst);
    let fresh = post_all(&daemon.url(), [numbered(next)]).await.remove(0);
    let mut answered = record.answered.lock().unwrap().clone();
    answered.insert(next, fresh);
    let (status, drained) = drained(world).await;
    let sent = next + 1;
    let kills = plan.kills + early;
    let mut sinks = BTreeMap::new();
    let mut add = |sink: &'static str, counts: BTreeMap<u64, u32>, changed: u64, under_way: u64| {
        let missing = answered.keys().filter(|n| !counts.contains_key(*n)).count() as u64;
        let spurious = counts.keys().filter(|n| **n >= sent).count() as u64;
        let duplicates = counts.values().map(|n| u64::from(*n) - 1).sum();
        // A parked delivery may come once more, too; it counts among those under way.
        let bound = kills * (2 * under_way + UNSETTLED);
        let conserved = drained && adds_up(&status["sinks"][sink]);
        sinks.insert(sink, Outcome { missing, spurious, changed, duplicates, bound, conserved });
    };
    let (lines, changed) = file(world);
    add("file", lines, changed, 200);
    let (got, spoiled) = world.target.figures();
    add("http", got.into_iter().collect(), spoiled.len() as u64, 8);
    let rows = column(&world.house.path("statuses.db"), "SELECT message_id FROM statuses");
    add("sqlite", counted(rows.iter().map(|row| number_in(row))), 0, 100);
    if let Some(postgres) = &world.postgres {
        add("postgres", counted(postgres.rows().await.into_iter()), 0, 1000);
    }
    if let Some(kafka) = &world.kafka {
        let (messages, spoiled) = kafka.messages();
        add("kafka", messages, spoiled.len() as u64, 200);
    }
    for (sink, outcome) in &mut sinks {
        // A table with a unique key cannot hold a duplicate.
        if matches!(*sink, "sqlite" | "postgres") {
            outcome.bound = 0;
        }
    }
    let refused = record.refused.load(std::sync::atomic::Ordering::SeqCst);
    Report { plan, early, evils, answered: answered.len() as u64, sent, refused, p99: record.p99(), sinks }
}

/// Waits until nothing is pending, for as long as something moves. Gives the last status, and whether nothing is
/// pending.
async fn drained(world: &World) -> (serde_json::Value, bool) {
    let (mut moved, mut last) = (Instant::now(), (0, 0));
    loop {
        let status = world.status().unwrap_or_default();
        let sum = |key: &str| -> u64 {
            let sinks = status["sinks"].as_object();
            sinks.map_or(u64::MAX, |sinks| sinks.values().filter_map(|sink| sink[key].as_u64()).sum())
        };
        let now = (sum("pending"), sum("delivered"));
        if now.0 == 0 {
            return (status, true);
        }
        if now != last {
            (moved, last) = (Instant::now(), now);
        }
        if moved.elapsed() > PATIENCE {
            eprintln!("soak: nothing moves any more: {status}");
            return (status, false);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether all that was accepted was delivered, with nothing dead, dropped or filtered.
fn adds_up(sink: &serde_json::Value) -> bool {
    let n = |key: &str| sink[key].as_u64().unwrap_or(u64::MAX);
    n("accepted") == n("delivered") && n("dead") + n("pending") + n("filtered") + n("dropped") == 0
}

fn counted(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    numbers.for_each(|n| *counts.entry(n).or_default() += 1);
    counts
}

/// Reads the file sink's lines. Each is a CloudEvent whose data is the body, without the whitespace between tokens.
fn file(world: &World) -> (BTreeMap<u64, u32>, u64) {
    let (mut counts, mut changed) = (BTreeMap::new(), 0);
    for line in lines_under(&world.house.path("out"), ".jsonl") {
        let n = number_in(&line);
        let body = String::from_utf8(sink_api::json::compact(&numbered(n)).unwrap()).unwrap();
        if line.contains(&format!("\"data\":{body}")) {
            *counts.entry(n).or_default() += 1;
        } else {
            changed += 1;
        }
    }
    (counts, changed)
}
