//! What an event costs as work grows: larger bodies, more connections, sinks, routes and waiting events. One thing is
//! varied at a time; each cell has a fresh daemon.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::backlog;
use crate::client::Load;
use crate::contestant::Contestant;
use crate::everyday;
use crate::figures::{Cells, connections_of};
use crate::front::CONNECTIONS;
use crate::options::Part;
use crate::proc;
use crate::recipe::Recipe;

/// What was measured.
pub const MEANS: &str = "One thing is varied at a time; otherwise 64 connections, bodies of 900 B, one file sink, one \
                         route, nothing waiting. Of many routes one matches. What waits does so for a further sink, \
                         which is down. 4,096 connections are the daemon's own bound (`max_connections`).";

const BODIES: [usize; 4] = [200, 1_000, 10_000, 100_000];
const CONNECTIONS_AT_ONCE: [u16; 6] = [1, 16, 64, 256, 1024, 4096];
const SINKS: [u16; 6] = [1, 2, 4, 8, 16, 32];
const ROUTES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const BACKLOGS: [u64; 4] = [0, 100_000, 1_000_000, 10_000_000];

/// One round of all tables; backlogs up to the one that was asked for.
pub fn measure_round(
    folder: &Path,
    round: u32,
    window: Duration,
    backlog: u64,
    cells: &mut Cells,
) -> Result<(), Box<dyn Error>> {
    let usual = Load::full(CONNECTIONS, window);
    let mut measure = |at: &str, recipe: &Recipe, load: Load, waiting: u64| -> Result<(), Box<dyn Error>> {
        let mut contestant = Contestant::start(recipe, &folder.join("relay"))?;
        if waiting > 0 {
            backlog::fill(&mut contestant, waiting)?;
        }
        let values = contestant.measure(&load)?;
        cells.push(Part::Costs, at, "relay", round, values);
        contestant.stop()?;
        proc::remove(folder)
    };
    for body in BODIES {
        measure(&format!("body {:.1} KB", body as f64 / 1e3), &Recipe::relay(), Load { body, ..usual }, 0)?;
    }
    for connections in CONNECTIONS_AT_ONCE {
        measure(&connections_of(connections), &Recipe::relay(), Load { connections, ..usual }, 0)?;
    }
    for sinks in SINKS {
        measure(&format!("{sinks} sinks"), &Recipe::sinks(sinks), usual, 0)?;
    }
    for routes in ROUTES {
        measure(&format!("{routes} routes"), &Recipe::with("relay", 1, further_routes(routes - 1)?), usual, 0)?;
    }
    for waiting in BACKLOGS.into_iter().filter(|waiting| *waiting <= backlog) {
        let tables = format!("{}[journal]\nmax_size = \"1TiB\"\n", everyday::http("down", everyday::nobody()?));
        measure(&format!("backlog {waiting}"), &Recipe::with("relay", 1, tables), usual, waiting)?;
    }
    Ok(())
}

/// Routes that match no event of this bench.
fn further_routes(routes: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for n in 0..routes {
        write!(text, "[[routes]]\nmatch = [\"type_{n}\", \"other_{n}_*\"]\nto = [\"archive1\"]\n")?;
    }
    Ok(text)
}
