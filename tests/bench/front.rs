//! As many requests as go: the daemon beside the two bare servers; the same with server and client on a processor
//! each; and the daemon with one file sink and with many.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::client::Load;
use crate::contestant::Contestant;
use crate::figures::{Cells, connections_of};
use crate::options::{Options, Part};
use crate::proc;
use crate::recipe::Recipe;

/// Connections where their number is not what is varied.
pub const CONNECTIONS: u16 = 64;
/// File sinks of the daemon with many.
pub const MANY_SINKS: u16 = 16;

/// The servers of `front`, in the order of its table.
pub fn recipes(options: &Options) -> Vec<Recipe> {
    let mut recipes = vec![Recipe::bare(), Recipe::durable(), Recipe::relay()];
    recipes.extend(options.watched.then(Recipe::watched));
    recipes.extend(options.variant.iter().chain(&options.build).cloned());
    recipes
}

/// One round: everybody starts afresh, then takes turns at each number of connections. The order turns round each time,
/// so that being first or last favours nobody.
pub fn measure_round(options: &Options, folder: &Path, round: u32, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
    let mut contestants = Vec::new();
    for recipe in recipes(options) {
        contestants.push(Contestant::start(&recipe, &folder.join(&recipe.name))?);
    }
    if round.is_multiple_of(2) {
        contestants.reverse();
    }
    for &connections in &options.connections {
        for contestant in &mut contestants {
            let load = Load { threads: options.client_threads, ..Load::full(connections, options.window()) };
            let values = contestant.measure(&load)?;
            cells.push(Part::Front, &connections_of(connections), &contestant.name, round, values);
        }
    }
    for contestant in contestants {
        contestant.stop()?;
    }
    Ok(())
}

/// Server and client bound to a processor each; nothing where there is only one.
pub fn measure_pinned(folder: &Path, round: u32, window: Duration, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
    let [first, second, ..] = proc::processors()?[..] else { return Ok(()) };
    for recipe in in_turn(vec![Recipe::bare(), Recipe::durable(), Recipe::relay()], round) {
        let start = || Contestant::start(&recipe, &folder.join(&recipe.name));
        let mut contestant = proc::on_processor(first, start)??;
        let load = Load::full(CONNECTIONS, window);
        let values = proc::on_processor(second, || contestant.measure(&load))??;
        cells.push(Part::Pinned, &connections_of(CONNECTIONS), &recipe.name, round, values);
        contestant.stop()?;
    }
    Ok(())
}

/// What `pinned` measures.
pub fn pinned_means() -> Result<String, Box<dyn Error>> {
    Ok(match proc::processors()?[..] {
        [first, second, ..] => format!("Pinned: the server on processor {first}, the client on {second}."),
        _ => "Pinned: not measured, there is one processor.".to_owned(),
    })
}

/// One file sink and many, each in a fresh process, so that the most memory is that of this load.
pub fn measure_sinks(folder: &Path, round: u32, window: Duration, cells: &mut Cells) -> Result<(), Box<dyn Error>> {
    for recipe in in_turn(vec![Recipe::sinks(1), Recipe::sinks(MANY_SINKS)], round) {
        let mut contestant = Contestant::start(&recipe, &folder.join(&recipe.name))?;
        let values = contestant.measure(&Load::full(CONNECTIONS, window))?;
        cells.push(Part::Sinks, &connections_of(CONNECTIONS), &recipe.name, round, values);
        contestant.stop()?;
        proc::remove(folder)?;
    }
    Ok(())
}

/// The same in the other order in every second round.
pub fn in_turn<T>(mut all: Vec<T>, round: u32) -> Vec<T> {
    if round.is_multiple_of(2) {
        all.reverse();
    }
    all
}
