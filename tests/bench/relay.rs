//! `make bench`: compares the daemon with a bare hyper server that reads the body and answers 200, and with a bare
//! durable one that also checks the signature and flushes the body to disk before it answers. All run on the same
//! machine, in turns. The figures of one machine mean little, but their ratios can be compared between machines.
//! Only loopback is used, and every loop is bounded.
//!
//! Rooms: `client` makes the load; `bare` and `durable` are the servers compared with; `contestant` starts,
//! measures and stops each; `everyday` is what few events cost, and beside sick sinks; `scraper` asks a daemon for
//! its metrics; `figures` turns cells into a table. The daemon runs as shipped: journal on disk, one file sink
//! following, dedupe off.

#![allow(clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

mod bare;
mod client;
mod contestant;
mod durable;
mod everyday;
mod figures;
mod scraper;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use client::Load;
use contestant::{Contestant, Recipe};
use figures::Cell;

/// Measures the daemon against a bare hyper server, and a bare durable one.
#[derive(Parser)]
#[command(name = "make bench ARGS=…")]
struct Options {
    /// One short round, to see that it works; its figures are noise.
    #[arg(long)]
    quick: bool,
    /// How often each cell is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Length of a measurement, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Connections at once; several, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [16, 64, 256, 1024],
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    connections: Vec<u16>,
    /// Threads of the load client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    client_threads: u16,
    /// A further daemon with more environment, measured in turn: NAME:KEY=VALUE,KEY=VALUE. May be repeated.
    #[arg(long, value_name = "NAME:KEY=VALUE", value_parser = Recipe::parse)]
    variant: Vec<Recipe>,
    /// Also the daemon with all that watches it at work: figures scraped every second, a silence, its own events.
    #[arg(long)]
    watched: bool,
    /// Also at 200 and 2,000 requests/s, and there beside sick sinks.
    #[arg(long)]
    everyday: bool,
    /// Also the daemon with so many file sinks; several, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(2..=64))]
    sinks: Vec<u16>,
    /// A further build of the daemon, measured in turn. May be repeated.
    #[arg(long, value_name = "PROGRAM", value_parser = Recipe::other)]
    build: Vec<Recipe>,
    /// Handed over by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the bare server, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    serve_bare: Option<PathBuf>,
    /// Be the bare durable server, which keeps bodies in that folder, until standard input ends.
    #[arg(long, hide = true, value_name = "FOLDER")]
    serve_durable: Option<PathBuf>,
}

/// Time in which connections are made and warmed up before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// A steady rate is measured for so many times as long: there are few requests in it.
const EVERYDAY_WINDOWS: u64 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match (&options.serve_bare, &options.serve_durable) {
        (Some(_), _) => bare::serve(),
        (_, Some(folder)) => durable::serve(folder),
        (None, None) => compare(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    contestant::warn_where_a_flush_costs_nothing(&folder)?;
    let mut recipes = vec![Recipe::bare(), Recipe::durable(), Recipe::relay()];
    recipes.extend(options.sinks.iter().copied().map(Recipe::sinks));
    recipes.extend(options.watched.then(Recipe::watched));
    recipes.extend(options.variant.iter().chain(&options.build).cloned());
    let (rounds, window) = match options.quick {
        true => (1, Duration::from_secs(1)),
        false => (options.rounds, Duration::from_secs(options.seconds)),
    };
    let everyday = everyday::recipes()?;
    let mut cells = Vec::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        measure_round(options, &recipes, &folder, round, window, &mut cells)?;
        if options.everyday {
            let window = window * EVERYDAY_WINDOWS as u32;
            everyday::measure_round(&everyday, &folder, round, window, &mut cells)?;
        }
    }
    let threads = std::thread::available_parallelism()?;
    println!(
        "\n{} B signed bodies, HTTP/1.1 keep-alive; medians of {rounds} rounds of {} s; \
         {threads} cores, client included\n",
        client::BODY_BYTES,
        window.as_secs()
    );
    print!("{}", figures::table(&cells, &recipes, &options.connections));
    if options.everyday {
        println!("\nAt a steady rate, {} s each\n", window.as_secs() * EVERYDAY_WINDOWS);
        print!("{}", figures::everyday(&cells, &everyday, &everyday::RATES));
    }
    println!("\nevery acknowledged event was found in each file sink");
    Ok(())
}

/// One round: everybody starts afresh, then takes turns at each number of connections. The order turns round each time,
/// so that being first or last favours nobody.
fn measure_round(
    options: &Options,
    recipes: &[Recipe],
    folder: &Path,
    round: u32,
    window: Duration,
    cells: &mut Vec<Cell>,
) -> Result<(), Box<dyn Error>> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let mut contestants = Vec::new();
    for recipe in recipes {
        contestants.push(Contestant::start(recipe, &folder.join(&recipe.name))?);
    }
    if round.is_multiple_of(2) {
        contestants.reverse();
    }
    for &connections in &options.connections {
        for contestant in &mut contestants {
            let load = Load { connections, threads: options.client_threads, warm_up: WARM_UP, window, rate: None };
            let cell = contestant.measure(&load, round)?;
            eprintln!("  {cell}");
            cells.push(cell);
        }
    }
    for contestant in contestants {
        contestant.stop()?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
