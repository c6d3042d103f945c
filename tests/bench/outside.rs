//! A server that is not ours, at a URL, in turn with the bare one: the same requests, the same client. Its processor
//! time and memory are told where its process is named.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use crate::client::{self, Aim, Load};
use crate::contestant::Contestant;
use crate::figures::{self, Cells, Figure, Values, connections_of};
use crate::front::in_turn;
use crate::options::{Options, Part};
use crate::proc;
use crate::recipe::Recipe;

/// Measures it at each number of connections, and prints the table.
pub fn measure(options: &Options, url: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (address, path) = aim_of(url)?;
    let aim = Aim { address, path, secret: options.secret.clone() };
    let mut cells = Cells::default();
    for round in 1..=options.rounds() {
        eprintln!("round {round} of {}", options.rounds());
        let mut bare = Contestant::start(&Recipe::bare(), folder)?;
        for &connections in &options.connections {
            let load = Load { threads: options.client_threads, ..Load::full(connections, options.window()) };
            for is_bare in in_turn(vec![true, false], round) {
                let (server, values) = if is_bare {
                    ("bare", bare.measure(&load)?)
                } else {
                    ("url", measure_there(&aim, options.pid, &load)?)
                };
                cells.push(Part::Front, &connections_of(connections), server, round, values);
            }
        }
        bare.stop()?;
    }
    println!("\n{url} beside the bare server; medians of {} rounds\n", options.rounds());
    let all = [Figure::PerSecond, Figure::P99, Figure::Cpu, Figure::Resident];
    print!("{}", figures::table(&cells, Part::Front, &all, Some("bare")));
    Ok(())
}

fn measure_there(aim: &Aim, pid: Option<u32>, load: &Load) -> Result<Values, Box<dyn Error>> {
    let before = pid.map(proc::cpu_time).transpose()?;
    let answers = client::press(aim, load)?;
    let mut values = Values::from([
        (Figure::PerSecond, answers.latencies.len() as f64 / load.window.as_secs_f64()),
        (Figure::P99, figures::percentile(answers.latencies, 99.0).as_secs_f64() * 1e3),
    ]);
    if let Some((pid, before)) = pid.zip(before) {
        let cpu = proc::cpu_time(pid)?.saturating_sub(before);
        values.insert(Figure::Cpu, cpu.as_secs_f64() * 1e6 / answers.all.max(1) as f64);
        values.insert(Figure::Resident, proc::resident(pid)?.0 as f64 / 1e6);
    }
    Ok(values)
}

/// Where an `http://HOST:PORT/PATH` leads.
pub fn aim_of(url: &str) -> Result<(SocketAddr, String), Box<dyn Error>> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: only http:// can be measured"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = host.to_socket_addrs()?.next().ok_or_else(|| format!("{host} has no address"))?;
    Ok((address, format!("/{path}")))
}
