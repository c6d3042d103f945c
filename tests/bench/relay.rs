//! `make bench`: compares the daemon with a bare hyper server that reads the body and answers 200, with a bare durable
//! one that also checks the signature and flushes the body to disk before it answers, and its sinks with plain clients
//! of the same targets. All run on the same machine, in turns. The figures of one machine mean little, but their ratios
//! can be compared between machines. Only loopback is used, and every loop is bounded. docs/benchmarks.md says what
//! each figure means.
//!
//! Rooms: `options` is the command line. A part of the run each: `front` (also pinned, and with many sinks),
//! `everyday`, `catch_up` with its `twins`, `backlog`, `costs`, `several` with its `quota`; `outside` measures a server
//! that is not ours. `client` makes the load; `bare`, `durable` and `receiver` are servers; `recipe` says which server
//! to start and how, `contestant` starts, measures and stops it; `admin` asks a daemon; `proc` is what the operating
//! system accounts. `figures` turns cells into tables, `targets` is the list of what is wanted. The daemon runs as
//! shipped: journal on disk, dedupe off because all bodies are alike.

#![allow(clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

mod admin;
mod backlog;
mod bare;
mod catch_up;
mod client;
mod contestant;
mod costs;
mod durable;
mod everyday;
mod figures;
mod front;
mod options;
mod outside;
mod proc;
mod quota;
mod receiver;
mod recipe;
mod several;
mod targets;
mod twins;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use figures::{Cells, Figure};
use options::{Options, Part};

fn main() -> ExitCode {
    let options = Options::parse();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let done = match &options {
        Options { serve_bare: Some(_), .. } => bare::serve(),
        Options { serve_durable: Some(folder), .. } => durable::serve(folder),
        Options { serve_receiver: Some(_), .. } => receiver::serve(Duration::ZERO),
        Options { serve_slow_receiver: Some(_), .. } => receiver::serve(several::TAKES),
        Options { url: Some(url), .. } => outside::measure(&options, url, &folder),
        _ => compare(&options, &folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all parts, round by round, and prints them.
fn compare(options: &Options, folder: &Path) -> Result<(), Box<dyn Error>> {
    proc::warn_where_a_flush_costs_nothing(folder)?;
    let open_files = proc::raise_open_files()?;
    let parts = options.parts();
    let (rounds, window) = (options.rounds(), options.window());
    let everyday = everyday::recipes()?;
    let catch_up = parts.contains(&Part::CatchUp).then(|| catch_up::CatchUp::new(options.events()));
    let mut cells = Cells::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for part in &parts {
            proc::remove(folder)?;
            match part {
                Part::Front => front::measure_round(options, folder, round, &mut cells)?,
                Part::Pinned => front::measure_pinned(folder, round, window, &mut cells)?,
                Part::Sinks => front::measure_sinks(folder, round, window, &mut cells)?,
                Part::Everyday => everyday::measure_round(&everyday, folder, round, window, &mut cells)?,
                Part::CatchUp => {
                    if let Some(catch_up) = &catch_up {
                        catch_up.measure_round(folder, round, &mut cells)?;
                    }
                }
                Part::Costs => costs::measure_round(folder, round, window, options.backlog(), &mut cells)?,
                Part::Several => several::measure_round(folder, round, window, &mut cells)?,
                Part::Backlog => {}
            }
        }
    }
    if parts.contains(&Part::Backlog) {
        backlog::measure(folder, rounds, window, options.backlog(), &mut cells)?;
    }
    proc::remove(folder)?;
    let threads = std::thread::available_parallelism()?;
    println!(
        "\n{} B signed bodies, HTTP/1.1 keep-alive; medians of {rounds} rounds of {} s; \
         {threads} cores, client included\n",
        client::BODY_BYTES,
        window.as_secs()
    );
    for part in &parts {
        print_part(options, *part, &cells, catch_up.as_ref())?;
    }
    println!("every acknowledged event was found in each file sink");
    if parts != [Part::Front] {
        println!("\nA process may open {open_files} files. What is wanted:\n");
        print!("{}", targets::table(&cells, options.backlog()));
    }
    Ok(())
}

fn print_part(
    options: &Options,
    part: Part,
    cells: &Cells,
    catch_up: Option<&catch_up::CatchUp>,
) -> Result<(), Box<dyn Error>> {
    use Figure::{Cpu, Idle, Leaving, P99, Peak, PerSecond, Ready, Resident, Written, WrittenOfBodies};
    let all = [PerSecond, P99, Cpu, Resident, Peak];
    match part {
        Part::Front => {
            let servers: Vec<String> = front::recipes(options).into_iter().map(|recipe| recipe.name).collect();
            print!("{}", figures::front(cells, &servers, &options.connections));
            println!("\nThe config of relay:\n\n```toml\n{}```", recipe::Recipe::relay().config());
        }
        Part::Pinned => {
            println!("{}\n", front::pinned_means()?);
            print!("{}", figures::table(cells, part, &[PerSecond, Cpu], Some("bare")));
        }
        Part::Sinks => {
            println!("Full load by 64 connections; each server is fresh. Config: the same, with so many file sinks.\n");
            print!("{}", figures::table(cells, part, &all, Some("1 sink")));
        }
        Part::Everyday => {
            println!("At a steady rate, {} s each.\n", everyday::window(options.window()).as_secs());
            print!("{}", figures::table(cells, part, &[P99, Cpu, Resident], Some("relay")));
        }
        Part::CatchUp => {
            if let Some(catch_up) = catch_up {
                println!("{}\n", catch_up.means());
                print!("{}", figures::table(cells, part, &[Leaving], Some("twin")));
            }
        }
        Part::Backlog => {
            println!("{}\n", backlog::means(options.backlog()));
            print!("{}", figures::table(cells, part, &all, Some("empty")));
            println!();
            print!("{}", figures::table(cells, part, &[Ready, Written, WrittenOfBodies], None));
        }
        Part::Costs => {
            println!("{}\n", costs::MEANS);
            print!("{}", figures::table(cells, part, &all, None));
        }
        Part::Several => {
            println!("{}\n", several::MEANS);
            print!("{}", figures::table(cells, part, &[Leaving, Cpu, Idle], None));
        }
    }
    println!();
    Ok(())
}
