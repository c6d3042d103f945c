//! What an event costs where there are few: at a steady rate, far below what the daemon can take; and whether sick
//! sinks beside the healthy one are felt by who sends.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::client::Load;
use crate::contestant::Contestant;
use crate::figures::Cells;
use crate::front::in_turn;
use crate::options::Part;
use crate::proc;
use crate::recipe::{Recipe, sink};

/// Requests a second.
pub const RATES: [u32; 2] = [200, 2_000];
/// Connections that they come in by.
const CONNECTIONS: u16 = 16;
/// How long the slow sink takes for an answer.
const SLOW: Duration = Duration::from_secs(1);
/// Most connections that a sick receiver holds; more are closed.
const MOST_HELD: usize = 256;

/// The servers, in the order of the table: bare, bare durable, a healthy daemon, one with three sick sinks besides.
pub fn recipes() -> Result<Vec<Recipe>, Box<dyn Error>> {
    let tables =
        [http("refusing", nobody()?), http("hanging", receiver(None)?), http("slow", receiver(Some(SLOW))?)].concat();
    Ok(vec![Recipe::bare(), Recipe::durable(), Recipe::relay(), Recipe::with("sick", 1, tables)])
}

/// A sink of kind `http` that takes everything and delivers there.
pub fn http(name: &str, address: SocketAddr) -> String {
    sink(name, &format!("kind = \"http\"\nurl = \"http://{address}/\"\n"), "")
}

/// An address at which nobody listens: a listener was closed there.
pub fn nobody() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
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

/// How long each cell is measured: longer than others, as there are few requests in it.
pub fn window(window: Duration) -> Duration {
    window * 3
}

/// Where a cell of that rate stands.
pub fn at(rate: u32) -> String {
    format!("{rate} requests/s")
}

/// One round at every rate; each server starts afresh.
pub fn measure_round(
    recipes: &[Recipe],
    folder: &Path,
    round: u32,
    usual: Duration,
    cells: &mut Cells,
) -> Result<(), Box<dyn Error>> {
    for rate in RATES {
        for recipe in in_turn(recipes.to_vec(), round) {
            let mut contestant = Contestant::start(&recipe, &folder.join(&recipe.name))?;
            let load = Load { rate: Some(rate), ..Load::full(CONNECTIONS, window(usual)) };
            let values = contestant.measure(&load)?;
            cells.push(Part::Everyday, &at(rate), &recipe.name, round, values);
            contestant.stop()?;
            proc::remove(folder)?;
        }
    }
    Ok(())
}
