//! Events wait for a sink that is down: what that costs who sends, memory, a restart and the disk. The daemon beside it
//! has the same config and an empty journal.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{BODY_BYTES, Load};
use crate::contestant::Contestant;
use crate::everyday;
use crate::figures::{Cells, Figure, Values, connections_of};
use crate::front::{CONNECTIONS, in_turn};
use crate::options::Part;
use crate::proc::{self, wait_until};
use crate::recipe::Recipe;

/// How the names of the threads begin that write the journal.
const JOURNAL: &str = "journal";
/// The sink that is down.
const DOWN: &str = "down";
/// Slowest that events may come in, a second, and the time that is granted besides.
const SLOWEST: u64 = 2_000;
const GRANTED: Duration = Duration::from_secs(60);

/// The daemon; with room in its journal for more than the default, where so many events take more.
fn recipe(name: &str) -> Result<Recipe, Box<dyn Error>> {
    let tables = format!("{}[journal]\nmax_size = \"1TiB\"\n", everyday::http(DOWN, everyday::nobody()?));
    Ok(Recipe::with(name, 0, tables))
}

/// Where the cells of so many events stand.
pub fn at(events: u64) -> String {
    format!("{events} events")
}

/// What was measured.
pub fn means(events: u64) -> String {
    format!(
        "{events} events wait for a sink of kind `http` at whose address nobody listens; {CONNECTIONS} connections \
         send at full load meanwhile. Config: that sink alone, `[journal] max_size` raised so that nothing is dropped. \
         `empty` has the same config, and only what it is sent in its turn. MB at most: over the life of the process \
         that is loaded. Ready: from the start of the process until `/readyz` says so. Written: what \
         the journal's threads handed to the system while the events came in (`wchar` of /proc/PID/task/TID/io); \
         payload is what the journal's segments hold."
    )
}

/// Fills one daemon, then restarts and loads it in turn with an empty one, round by round.
pub fn measure(
    folder: &Path,
    rounds: u32,
    window: Duration,
    events: u64,
    cells: &mut Cells,
) -> Result<(), Box<dyn Error>> {
    let waiting = recipe("waiting")?;
    let own = folder.join("waiting");
    proc::remove(folder)?;
    let mut contestant = Contestant::start(&waiting, &own)?;
    let before = proc::written(contestant.pid(), JOURNAL)?;
    fill(&mut contestant, events)?;
    cells.push(Part::Backlog, &at(events), "filling", 0, written(&contestant, before)?);
    let mut acknowledged = contestant.acknowledged;
    contestant.stop()?;
    for round in 1..=rounds {
        for is_waiting in in_turn(vec![true, false], round) {
            let recipe = if is_waiting { waiting.clone() } else { recipe("empty")? };
            let place = if is_waiting { own.clone() } else { folder.join("empty") };
            let begun = Instant::now();
            let mut contestant = Contestant::start(&recipe, &place)?;
            let ready = || Ok(contestant.admin()?.is_ready().then_some(()));
            wait_until(ready, || format!("{} is not ready", recipe.name))?;
            let ready = begun.elapsed().as_secs_f64();
            let mut values = contestant.measure(&Load::full(CONNECTIONS, window))?;
            values.insert(Figure::Ready, ready);
            cells.push(Part::Backlog, &at(events), &recipe.name, round, values);
            if is_waiting {
                acknowledged += contestant.acknowledged;
                are_all_there(&contestant, acknowledged)?;
            } else {
                are_all_there(&contestant, contestant.acknowledged)?;
            }
            contestant.stop()?;
            proc::remove(&folder.join("empty"))?;
        }
        eprintln!("  {}: all {acknowledged} acknowledged events wait", connections_of(CONNECTIONS));
    }
    proc::remove(folder)
}

/// Sends so many events to a daemon whose sink of that name is down.
pub fn fill(contestant: &mut Contestant, events: u64) -> Result<(), Box<dyn Error>> {
    contestant.fill(events, 1, Duration::from_secs(events / SLOWEST) + GRANTED)?;
    are_all_there(contestant, contestant.acknowledged)
}

/// Waits until the sink that is down is owed whatever was acknowledged; more would be wrong, too.
fn are_all_there(contestant: &Contestant, acknowledged: u64) -> Result<(), Box<dyn Error>> {
    let mut last = (0, 0);
    let look = || {
        last = contestant.admin()?.owed(DOWN)?;
        Ok((last == (acknowledged, acknowledged)).then_some(()))
    };
    let waited: Result<(), Box<dyn Error>> = wait_until(look, || "LOST".to_owned());
    let (owed, pending) = last;
    waited.map_err(|error| {
        format!("{error}: {acknowledged} acknowledged, {owed} owed and {pending} pending for a sink that is down")
            .into()
    })
}

/// What was written while the events came in, of what the journal holds and of the bodies.
fn written(contestant: &Contestant, before: u64) -> Result<Values, Box<dyn Error>> {
    let written = proc::written(contestant.pid(), JOURNAL)?.saturating_sub(before) as f64;
    let held = contestant.admin()?.journal_bytes()? as f64;
    let bodies = contestant.acknowledged as f64 * BODY_BYTES as f64;
    if written < bodies {
        return Err(format!("threads named {JOURNAL}-… wrote less than came in: who writes the journal?").into());
    }
    let (_, peak) = proc::resident(contestant.pid())?;
    Ok(Values::from([
        (Figure::Written, written / held.max(1.0)),
        (Figure::WrittenOfBodies, written / bodies.max(1.0)),
        (Figure::Peak, peak as f64 / 1e6),
    ]))
}
