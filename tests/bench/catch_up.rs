//! A backlog that waited leaves as fast as it can, through each kind of sink; and beside it the same events through a
//! plain client written by hand. One daemon has all the sinks, each held by `sink pause` while the events come in; then
//! one after the other is let go.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::contestant::Contestant;
use crate::figures::{Cells, Figure, Values};
use crate::front::in_turn;
use crate::options::Part;
use crate::proc::{self, LOOK, PATIENCE, wait_until};
use crate::recipe::Recipe;
use crate::twins::{KEYS, Row, Sample, Services, samples};

/// Longest that a sink is watched; one that is slower is measured by what it delivered by then.
const LONGEST: Duration = Duration::from_secs(15);
/// Longest that the events may take to come in.
const FILLING: Duration = Duration::from_secs(300);

/// What all rounds share.
pub struct CatchUp {
    events: u64,
    samples: Vec<Sample>,
    services: Services,
}

impl CatchUp {
    /// Looks which servers there are.
    pub fn new(events: u64) -> Self {
        let services = Services::of_environment();
        services.skipped.iter().for_each(|row| eprintln!("catch-up leaves out {row}"));
        Self { events, samples: samples(), services }
    }

    /// What was measured, and what was not.
    pub fn means(&self) -> String {
        let skipped: Vec<String> = self.services.skipped.iter().map(|row| format!("\nNot measured: {row}.")).collect();
        format!(
            "{} events of {KEYS} messages leave through one sink after the other (`sink resume`), in events/s; a row \
             that takes longer than {} s is measured by what left in that time. Config: each sink with the least keys \
             that it takes, and `transform = \"interakt.message_status\"` for tables; `kafka_one_key` has `key = \
             \"{{type}}\"`. The twins: batches and batches under way as the sinks have by default.{}",
            self.events,
            LONGEST.as_secs(),
            skipped.concat()
        )
    }

    /// One round of all rows.
    pub fn measure_round(&self, folder: &Path, round: u32, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
        let folder = folder.join("catch-up");
        std::fs::create_dir_all(&folder)?;
        let mut rows = self.services.rows(&folder, round)?;
        let tables: Vec<String> = rows.iter().map(|row| row.tables()).collect();
        let mut daemon = Contestant::start(&Recipe::with("relay", 0, tables.concat()), &folder)?;
        for row in &rows {
            let hold = || Ok(daemon.admin()?.change(row.name(), "pause").ok());
            wait_until(hold, || format!("the sink {} cannot be paused", row.name()))?;
        }
        daemon.fill(self.events, KEYS, FILLING)?;
        for row in &mut rows {
            for is_twin in in_turn(vec![false, true], round) {
                let (server, rate) = if is_twin {
                    let took = row.by_hand(&self.samples, self.events)?;
                    ("twin", self.events as f64 / took.as_secs_f64())
                } else {
                    ("relay", self.let_go(&daemon, row.as_mut())?)
                };
                let values = Values::from([(Figure::Leaving, rate)]);
                cells.push(Part::CatchUp, row.name(), server, round, values);
            }
        }
        daemon.stop()?;
        drop(rows);
        proc::remove(&folder)
    }

    /// Lets a sink go, and watches what arrives: events a second.
    fn let_go(&self, daemon: &Contestant, row: &mut dyn Row) -> Result<f64, Box<dyn Error>> {
        let before = row.arrived(self.events)?;
        if before > 0 {
            return Err(format!("{}: {before} events left while the sink was paused", row.name()).into());
        }
        let begun = Instant::now();
        daemon.admin()?.change(row.name(), "resume")?;
        let mut last = (0, begun);
        loop {
            let arrived = row.arrived(self.events)?;
            let took = begun.elapsed();
            if arrived >= self.events {
                return Ok(arrived as f64 / took.as_secs_f64());
            }
            if took > LONGEST && arrived > 0 {
                daemon.admin()?.change(row.name(), "pause")?;
                eprintln!("  {}: {arrived} of {} events in {took:.0?}", row.name(), self.events);
                return Ok(arrived as f64 / took.as_secs_f64());
            }
            if arrived > last.0 {
                last = (arrived, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                let all = daemon.acknowledged;
                return Err(format!("LOST: {all} acknowledged, {arrived} at the target of {}", row.name()).into());
            }
            std::thread::sleep(LOOK);
        }
    }
}
