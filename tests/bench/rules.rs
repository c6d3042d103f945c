//! `make bench`: what rules cost an event. Routing with 10 and with 1,000 routes; a condition and a transform in jq
//! inside this process, and asked of a worker process as the daemon does. The figures of a machine mean little; ratios
//! travel.

#![allow(clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookrelay::config::{self, Config};
use hookrelay::registry::KINDS;
use hookrelay::route::Destination;
use hookrelay::route::jq::child::{Known, answer};
use hookrelay::route::jq::frame::{Request, Step};
use hookrelay::route::jq::{Ask, Asker};
use sink_api::{Event, Timestamp, Uuid};

/// Events a cell is measured with.
const EVENTS: u32 = 100_000;
/// The same where jq is asked.
const ASKED: usize = 20_000;
/// Events asked about at once, as the daemon does.
const SLICE: usize = 64;
/// How often a cell is measured; the median counts.
const ROUNDS: usize = 5;

const WHERE: &str = r#".data.message.message_status == "Failed""#;
const TRANSFORM: &str = "{to: .data.customer.channel_phone_number, why: .data.message.channel_failure_reason}";
const BODY: &str = include_str!("../fixtures/interakt/message_api_failed.json");

struct NoEnv;

impl config::Env for NoEnv {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn read_file(&self, _path: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [few, many] = [routing(10)?, routing(1_000)?];
    println!("routing: 10 routes {few:.0?} an event, 1,000 routes {many:.0?}: {:.2} times", ratio(many, few));
    let [inside, outside] = [in_process(), asked()?];
    println!("jq: in process {inside:.1?} an event, worker process {outside:.1?}: {:.2} times", ratio(outside, inside));
    Ok(())
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// The median time of one of `count` things done in `round`.
fn median(count: u32, mut round: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            round();
            begun.elapsed() / count
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn load(routes: &str) -> Result<Config, Box<dyn Error>> {
    let text = format!(
        "[sources.interakt]\nkind = \"interakt\"\npath = \"/w\"\nsecret = \"a-long-secret\"\n\
         [sinks.out]\nkind = \"file\"\npath = \"out/{{type}}.jsonl\"\n{routes}"
    );
    Ok(config::load(&text, Path::new("config.toml"), &NoEnv, KINDS)?)
}

fn event(kind: &str) -> Arc<Event> {
    Arc::new(Event {
        id: Uuid::now_v7(),
        source: "interakt".into(),
        kind: kind.into(),
        subject: "m-1".into(),
        key: "m-1".into(),
        time: Timestamp::now(),
        method: "POST".into(),
        path: "/w".into(),
        remote: "127.0.0.1".into(),
        headers: vec![],
        body: Bytes::from_static(BODY.as_bytes()),
        rendered: Default::default(),
    })
}

/// A route per type, and one for all; an event goes by two of them.
fn routing(routes: u32) -> Result<Duration, Box<dyn Error>> {
    let mut text = String::new();
    for n in 1..routes {
        write!(text, "[[routes]]\nname = \"r{n}\"\nmatch = [\"type_{n}\", \"other_{n}_*\"]\nto = \"out\"\n")?;
    }
    let config = load(&format!("{text}[[routes]]\nmatch = \"*\"\ntransform = \"api_log\"\nto = \"out\"\n"))?;
    let to = Destination { name: "out".into(), config: Arc::clone(&config.sinks[0].config), key: None };
    let events: Vec<_> = (1..10).map(|n| event(&format!("type_{n}"))).collect();
    Ok(median(EVENTS, || {
        for n in 0..EVENTS as usize {
            let event = &events[n % events.len()];
            let routed = config.rules.route(&to, event, &mut ());
            assert_eq!(routed.deliveries.len(), 2);
        }
    }))
}

fn in_process() -> Duration {
    let programs = [Known::new(WHERE.to_owned()), Known::new(TRANSFORM.to_owned())];
    let steps = vec![Step { condition: Some(0), transform: Some(1), is_final: false }];
    let event = Bytes::from_static(br#"{"id":"e","type":"t","headers":{}}"#);
    let request = Request { steps, show: false, time: 0, event, body: Bytes::from_static(BODY.as_bytes()) };
    median(u32::try_from(ASKED).unwrap_or(u32::MAX), || {
        for _ in 0..ASKED {
            assert_eq!(answer(&programs, &request).len(), 2);
        }
    })
}

fn asked() -> Result<Duration, Box<dyn Error>> {
    let route =
        format!("[[routes]]\nmatch = \"*\"\nwhere = '''{WHERE}'''\ntransform = '''{TRANSFORM}'''\nto = \"out\"\n");
    let config = load(&route)?;
    let executable = Path::new(env!("CARGO_BIN_EXE_hookrelay"));
    let mut asker = Asker::with_executable(&config.rules, executable).ok_or("no program to ask")?;
    let event = event("t");
    let questions = config.rules.questions("out", "interakt", "t");
    let asks = vec![Ask { event, questions, show: false }; SLICE];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = None;
    let time = median(u32::try_from(ASKED).unwrap_or(u32::MAX), || {
        for _ in 0..ASKED / SLICE {
            if let Err(error) = runtime.block_on(asker.ask(&asks)) {
                failed = Some(error);
            }
        }
    });
    failed.map_or(Ok(time), |error| Err(error.into()))
}
