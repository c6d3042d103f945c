//! The command line of `make bench`, and the parts of a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::recipe::Recipe;

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// As many requests as go, beside the two bare servers.
    Front,
    /// The same with server and client bound to a processor each.
    Pinned,
    /// One file sink, and sixteen.
    Sinks,
    /// At 200 and 2,000 requests/s, and there beside sick sinks.
    Everyday,
    /// A backlog leaves through each kind of sink, beside a plain client of the same target.
    CatchUp,
    /// Events wait for a sink that is down.
    Backlog,
    /// Tables of costs: body, connections, sinks, routes, backlog.
    Costs,
    /// One, two and three daemons on one Kafka.
    Several,
}

impl Part {
    /// What runs where nothing is said.
    const USUAL: [Self; 6] = [Self::Front, Self::Pinned, Self::Sinks, Self::Everyday, Self::CatchUp, Self::Backlog];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Pinned => "pinned",
            Self::Sinks => "sinks",
            Self::Everyday => "everyday",
            Self::CatchUp => "catch-up",
            Self::Backlog => "backlog",
            Self::Costs => "costs",
            Self::Several => "several",
        }
    }
}

/// Measures the daemon beside a bare hyper server, a bare durable one, and plain clients of what its sinks deliver to.
#[derive(Parser)]
#[command(name = "bench", bin_name = "make bench ARGS=…")]
pub struct Options {
    /// One short round with small backlogs, to see that it works; its figures are noise.
    #[arg(long)]
    pub quick: bool,
    /// Only these parts; all but `costs` and `several` where nothing is said, `front` alone with --build or --variant.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// How often each cell is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Length of a measurement, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Connections at once, in `front`; several, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [16, 64, 256, 1024],
        value_parser = clap::value_parser!(u16).range(1..=4096)
    )]
    pub connections: Vec<u16>,
    /// Threads of the load client, in `front`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub client_threads: u16,
    /// Events that leave in each row of `catch-up`.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    events: u64,
    /// Events that wait, in `backlog`.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    backlog: u64,
    /// A further daemon with more environment, measured in turn in `front`: NAME:KEY=VALUE,KEY=VALUE. May be repeated.
    #[arg(long, value_name = "NAME:KEY=VALUE", value_parser = Recipe::parse)]
    pub variant: Vec<Recipe>,
    /// A further build of the daemon, measured in turn in `front`. May be repeated.
    #[arg(long, value_name = "PROGRAM", value_parser = Recipe::other)]
    pub build: Vec<Recipe>,
    /// In `front` also the daemon with all that watches it at work: figures scraped, a silence, its own events.
    #[arg(long)]
    pub watched: bool,
    /// Measure the server at that URL instead, in turn with the bare one: http://HOST:PORT/PATH.
    #[arg(long)]
    pub url: Option<String>,
    /// What requests to --url are signed with (Interakt-Signature: sha256=…).
    #[arg(long, default_value = crate::client::SECRET, requires = "url")]
    pub secret: String,
    /// The process behind --url, for its processor time and memory; it must run on this machine.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// Handed over by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the bare server, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub serve_bare: Option<PathBuf>,
    /// Be the bare durable server, which keeps bodies in that folder, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub serve_durable: Option<PathBuf>,
    /// Be a receiver that counts, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub serve_receiver: Option<PathBuf>,
    /// Be one that takes its time for each answer, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub serve_slow_receiver: Option<PathBuf>,
}

/// Of a quick run.
const QUICK_EVENTS: u64 = 40_000;
const QUICK_BACKLOG: u64 = 100_000;

impl Options {
    /// The parts that are run.
    pub fn parts(&self) -> Vec<Part> {
        match self.only.as_slice() {
            [] if self.build.is_empty() && self.variant.is_empty() => Part::USUAL.to_vec(),
            [] => vec![Part::Front],
            only => only.to_vec(),
        }
    }

    /// How often each cell is measured.
    pub fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Length of a measurement.
    pub fn window(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.seconds })
    }

    /// Events of each row of `catch-up`.
    pub fn events(&self) -> u64 {
        if self.quick { QUICK_EVENTS.min(self.events) } else { self.events }
    }

    /// Events that wait.
    pub fn backlog(&self) -> u64 {
        if self.quick { QUICK_BACKLOG.min(self.backlog) } else { self.backlog }
    }
}
