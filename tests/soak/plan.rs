//! What a soak does, as its environment says.

use std::time::Duration;

pub use crate::dice::Dice;
use crate::several_chaos::plan::Plan as Kills;

/// How many events are acknowledged in each life before the kill.
pub const PER_LIFE: u64 = 500;

/// How long a soak runs, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub kills: u64,
    pub events: u64,
    pub seed: u64,
    /// Most that the 99th percentile of the answers' times may be, milliseconds. Without a word about how long to soak,
    /// the machine is taken to be busy with other tests, and speed is not judged.
    pub p99: u32,
}

/// A third of what Interakt waits: kills, starts and servers that come back share the processors with it.
const P99: u32 = 1000;

impl Plan {
    /// Reads `HOOKRELAY_SOAK_KILLS`, `…_EVENTS` and `…_SEED`; without them the soak is as long as CI has time for.
    pub fn from_env() -> Self {
        let number = |name: &str| std::env::var(format!("HOOKRELAY_SOAK_{name}")).ok()?.parse::<u64>().ok();
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let p99 = if number("KILLS").is_some() { P99 } else { u32::MAX };
        let kills = number("KILLS").unwrap_or(12).max(1);
        let events = number("EVENTS").unwrap_or(kills * 700);
        Self { kills, events: events.max(kills * PER_LIFE), seed: number("SEED").unwrap_or_else(now), p99 }
    }
}

/// What is sent again over kills.
#[derive(Clone, Copy, Debug)]
pub struct Resends {
    /// First messages, all of which fail.
    pub failed: u64,
    pub kills: u64,
    pub seed: u64,
}

impl Resends {
    /// Reads `HOOKRELAY_SOAK_RESENDS` (10,000; 0 is none), `…_RESEND_KILLS` (a tenth of `…_KILLS`) and `…_SEED`. None
    /// where nothing is said of kills: `make test` has a short form of it in `tests/it`.
    pub fn from_env(plan: &Plan) -> Option<Self> {
        let number = |name: &str| std::env::var(format!("HOOKRELAY_SOAK_{name}")).ok()?.parse::<u64>().ok();
        let kills = number("RESEND_KILLS").or(number("KILLS").map(|kills| kills / 10))?.max(1);
        let failed = number("RESENDS").unwrap_or(10_000);
        (failed > 0).then_some(Self { failed, kills, seed: plan.seed })
    }
}

/// A daemon and a broker are killed in this time.
const PERIOD: Duration = Duration::from_secs(30);

/// Reads `HOOKRELAY_SOAK_SEVERAL`, how many daemons and brokers are killed in the part of several daemons (0 is none).
/// None where nothing is said of it: `make test` has a short form of it in `tests/it`.
pub fn several(plan: &Plan) -> Option<Kills> {
    let kills = std::env::var("HOOKRELAY_SOAK_SEVERAL").ok()?.parse().ok().filter(|kills| *kills > 0)?;
    Some(Kills { seed: plan.seed, kills, period: PERIOD })
}

/// What may go wrong in a life besides the kill at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evil {
    /// The HTTP sink's target hangs, resets, answers garbage, 500, 429.
    Http(crate::target::Mood),
    /// PostgreSQL is killed (-9), and starts again in the next life.
    Postgres,
    /// Kafka is killed likewise.
    Kafka,
    /// Writes and flushes of journal and ledger fail.
    DiskFails,
    /// Writes of journal and ledger find the disk full.
    DiskFull,
    /// Flushes of journal and ledger hang.
    DiskHangs,
    /// The wall clock jumps by so many hours.
    Clock(i64),
}

impl Evil {
    /// Draws the evils of a life: one in the first lives, then several.
    pub fn draw(dice: &mut Dice, life: u64, kills: u64, servers: (bool, bool)) -> Vec<Self> {
        let count = if life * 2 < kills { 1 } else { 1 + dice.roll(3) };
        (0..count).filter_map(|_| Self::one(dice, servers)).collect()
    }

    fn one(dice: &mut Dice, (postgres, kafka): (bool, bool)) -> Option<Self> {
        Some(match dice.roll(9) {
            0..3 => Self::Http(crate::target::Mood::bad(dice)),
            3 if postgres => Self::Postgres,
            4 if kafka => Self::Kafka,
            5 => Self::DiskFails,
            6 => Self::DiskFull,
            7 => Self::DiskHangs,
            8 => Self::Clock(i64::try_from(dice.roll(97)).unwrap() - 48),
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Http(mood) => mood.name(),
            Self::Postgres => "postgres killed",
            Self::Kafka => "kafka killed",
            Self::DiskFails => "disk fails",
            Self::DiskFull => "disk full",
            Self::DiskHangs => "disk hangs",
            Self::Clock(_) => "clock jumps",
        }
    }
}
