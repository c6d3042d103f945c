//! A stand-in of Interakt's send API as a program, for `make demo`: it is not Interakt and sends nothing to anybody.
//! What it is told stands in its environment: `INTERAKT_API_KEY`, and where its webhooks go, `INTERAKT_WEBHOOK_URL`,
//! signed with `INTERAKT_WEBHOOK_SECRET`; `STAND_IN_LISTEN` (a free port of the loopback), `STAND_IN_PACE_MS` (500).
//! Its first line of output is the base of its API. It ends when it is killed.
#![allow(clippy::print_stdout, reason = "its output is what it says")]

use std::net::SocketAddr;
use std::time::Duration;

use sink_testkit::interakt::{Options, StandIn, Webhooks, course};

/// How long a status takes, where nothing is said.
const PACE_MS: u64 = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let said = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let pace =
        said("STAND_IN_PACE_MS").map_or(Ok(PACE_MS), |text| text.parse().map_err(|_| "STAND_IN_PACE_MS: a number"))?;
    let listen = said("STAND_IN_LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let listen: SocketAddr = listen.parse().map_err(|_| "STAND_IN_LISTEN: an address with a port")?;
    let (url, secret) = (said("INTERAKT_WEBHOOK_URL")?, said("INTERAKT_WEBHOOK_SECRET")?);
    let stand_in = StandIn::start(Options {
        listen,
        key: said("INTERAKT_API_KEY")?,
        script: course::by_name(Duration::from_millis(pace)),
        webhooks: Some(Webhooks { url, secret, until_taken: None }),
        ..Options::default()
    })
    .await;
    println!("{}", stand_in.url());
    println!(
        "this is a stand-in of Interakt's API, not Interakt; a template such as fail_131049_then_read says what happens"
    );
    std::future::pending().await
}
