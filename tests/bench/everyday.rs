//! What an event costs where there are few: at a steady rate, far below what the daemon can take; and whether sick
//! sinks beside the healthy one are felt by who sends.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::WARM_UP;
use crate::client::Load;
use crate::contestant::{Contestant, Recipe};
use crate::figures::Cell;

/// Requests a second.
pub const RATES: [u32; 2] = [200, 2_000];
/// Connections that they come in by.
const CONNECTIONS: u16 = 16;
/// How long the slow sink takes for an answer.
const SLOW: Duration = Duration::from_secs(1);
/// Most connections that a sick receiver holds; more are closed.
const MOST_HELD: usize = 256;

/// The servers, in the order of the table: bare, a healthy daemon, one with three sick sinks besides.
pub fn recipes() -> Result<Vec<Recipe>, Box<dyn Error>> {
    let sink = |name: &str, address: SocketAddr| {
        format!(
            "[sinks.{name}]\nkind = \"http\"\nurl = \"http://{address}/\"\n\
             [[routes]]\nmatch = \"*\"\nto = [\"{name}\"]\n"
        )
    };
    // Nobody listens where a listener was closed.
    let refusing = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let tables = [sink("refusing", refusing), sink("hanging", receiver(None)?), sink("slow", receiver(Some(SLOW))?)];
    Ok(vec![Recipe::bare(), Recipe::relay(), Recipe::with("sick", tables.concat())])
}

/// A receiver that answers after so long, or never. It ends with the bench.
fn receiver(answer_after: Option<Duration>) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            match answer_after {
                Some(after) => drop(std::thread::spawn(move || answer(stream, after))),
                None if held.len() < MOST_HELD => held.push(stream),
                None => {}
            }
        }
    });
    Ok(address)
}

/// Reads what comes, and answers it late; then the connection is closed.
fn answer(mut stream: TcpStream, after: Duration) {
    let _ = stream.read(&mut [0; 4096]);
    std::thread::sleep(after);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

/// One round at every rate; each server starts afresh.
pub fn measure_round(
    recipes: &[Recipe],
    folder: &Path,
    round: u32,
    window: Duration,
    cells: &mut Vec<Cell>,
) -> Result<(), Box<dyn Error>> {
    for rate in RATES {
        for recipe in recipes {
            let mut contestant = Contestant::start(recipe, &folder.join(&recipe.name))?;
            let load = Load { connections: CONNECTIONS, threads: 1, warm_up: WARM_UP, window, rate: Some(rate) };
            let cell = contestant.measure(&load, round)?;
            eprintln!("  {cell}");
            cells.push(cell);
            contestant.stop()?;
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}
