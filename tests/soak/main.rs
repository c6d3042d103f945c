//! The soak: the real daemon with real sinks (file, HTTP, SQLite, and PostgreSQL and Kafka where they are there) under
//! load. It is killed again and again, while first one evil at a time, and then several, are done to what is around it;
//! strangers hold on to connections, heads and bodies all the while. A record outside the daemon keeps what was
//! answered 200. At the end every sink must hold all of that, unchanged, nothing else, and no more duplicates than the
//! kills explain.
//!
//! `make soak` runs it for as long as asked (REPORT.md has its results); `make test` runs a short one. Without a C
//! compiler there are no evils of disk and clock.
//!
//! - `plan`: how long it runs, the random numbers, the evils
//! - `target`: the HTTP sink's server; `servers`: PostgreSQL and Kafka; `shim.c`: disk and clock
//! - `verdict`: what arrived against what was answered
//! - `resends`: messages that failed and are sent again, over kills; only in `make soak`
//! - `several`: several daemons on one Kafka, of which daemons and brokers are killed; likewise

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[allow(dead_code)]
#[path = "../it/bodies.rs"]
mod bodies;
#[path = "../it/dice.rs"]
mod dice;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/hostile.rs"]
mod hostile;
mod plan;
#[path = "../it/resend_proof.rs"]
mod resend_proof;
mod resends;
mod servers;
mod several;
#[allow(dead_code)]
#[path = "../it/several_chaos/mod.rs"]
mod several_chaos;
#[allow(dead_code)]
mod shim;
mod target;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use bodies::numbered;
use harness::{Daemon, House, can_open, post, wait_until};
use hostile::{Crowd, SORTS};
use plan::{Dice, Evil, PER_LIFE, Plan, Resends};
use servers::{Kafka, Postgres};
use shim::Shim;
use target::{Mood, Target};

const SENDERS: usize = 16;
/// How many strangers there are, of all sorts in turn: more than `max_connections`.
const STRANGERS: usize = 600;
const PLACES: usize = 512;

/// The record that is kept outside the daemon: what was answered 200, and with which id.
#[derive(Default)]
pub struct Record {
    answered: Mutex<BTreeMap<u64, String>>,
    next: AtomicU64,
    refused: AtomicU64,
    /// How long answers took, in milliseconds, while disk and clock were well.
    times: Mutex<Vec<u32>>,
    is_timed: AtomicBool,
}

impl Record {
    async fn send(self: Arc<Self>, url: String, stop: Arc<AtomicBool>) {
        let client = reqwest::Client::new();
        while !stop.load(SeqCst) {
            let n = self.next.fetch_add(1, SeqCst);
            let (began, is_timed) = (Instant::now(), self.is_timed.load(SeqCst));
            match post(&client, &url, numbered(n)).await {
                Ok((200, answer)) => {
                    if is_timed {
                        self.times.lock().unwrap().push(u32::try_from(began.elapsed().as_millis()).unwrap());
                    }
                    self.answered.lock().unwrap().insert(n, answer["id"].as_str().unwrap().to_owned());
                }
                // On a broken disk the queue is full, and the daemon refuses.
                Ok((503, _)) => {
                    self.refused.fetch_add(1, SeqCst);
                }
                Ok((status, answer)) => panic!("answered {status}: {answer}"),
                Err(_) => return,
            }
        }
    }

    /// The 99th percentile of the answers' times, in milliseconds.
    fn p99(&self) -> u32 {
        let mut times = self.times.lock().unwrap().clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn count(&self) -> u64 {
        self.answered.lock().unwrap().len() as u64
    }
}

/// Everything around the daemon.
pub struct World {
    house: House,
    target: Target,
    postgres: Option<Postgres>,
    kafka: Option<Kafka>,
    shim: Option<Shim>,
}

impl World {
    async fn new() -> Self {
        let (target, postgres, kafka) = (Target::start().await, Postgres::new(), Kafka::new().await);
        let mut tables = format!(
            r#"
[sinks.file]
kind = "file"
path = "out/{{type}}.jsonl"
start = "beginning"
batch = {{ max_events = 200, linger = "50ms" }}
[sinks.http]
kind = "http"
url = "http://{}/hook"
start = "beginning"
concurrency = 8
timeout = "1s"
retry = {{ initial = "50ms", max = "1s" }}
breaker = {{ probe = "50ms", probe_max = "500ms" }}
[sinks.sqlite]
kind = "sqlite"
database = "statuses.db"
table = "statuses"
setup = "CREATE TABLE IF NOT EXISTS statuses (event_id TEXT NOT NULL UNIQUE, message_id TEXT)"
start = "beginning"
batch = {{ max_events = 100, linger = "50ms" }}
"#,
            target.address
        );
        let mut raw = vec!["file", "http"];
        let mut rows = vec!["sqlite"];
        if let Some(kafka) = &kafka {
            tables.push_str(&kafka.table());
            raw.push("kafka");
        }
        if let Some(postgres) = &postgres {
            tables.push_str(&postgres.table());
            rows.push("postgres");
        }
        tables.push_str(&format!("[[routes]]\nmatch = \"*\"\nto = {raw:?}\n"));
        tables.push_str(&format!(
            "[[routes]]\nname = \"rows\"\nmatch = \"message_api_*\"\ntransform = \"interakt.message_status\"\n\
             to = {rows:?}\n"
        ));
        let house = House::new(&tables);
        let text = std::fs::read_to_string(house.config()).unwrap();
        let text = text.replace("[server]\n", &format!("[server]\nmax_connections = {PLACES}\n"));
        std::fs::write(house.config(), text).unwrap();
        let shim = Shim::build("soak, failing disk and jumping clock", house.folder.path());
        Self { house, target, postgres, kafka, shim }
    }

    fn start(&self) -> Daemon {
        let mut command = self.house.command(&["run"]);
        if let Some(shim) = &self.shim {
            shim.preload(&mut command);
        }
        House::start_as(command)
    }

    /// Starts a daemon and kills it while it starts or recovers.
    fn start_and_kill(&self, after: Duration) {
        let mut command = self.house.command(&["run"]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn begin(&self, evil: Evil) {
        match (evil, &self.shim) {
            (Evil::Http(mood), _) => self.target.be(mood),
            (Evil::Postgres, _) => self.postgres.iter().for_each(|server| server.run("kill")),
            (Evil::Kafka, _) => self.kafka.iter().for_each(|server| server.run("kill")),
            (Evil::DiskFails, Some(shim)) => shim.disk(1),
            (Evil::DiskFull, Some(shim)) => shim.disk(2),
            (Evil::DiskHangs, Some(shim)) => shim.disk(3),
            (Evil::Clock(hours), Some(shim)) => shim.clock(hours),
            (Evil::DiskFails | Evil::DiskFull | Evil::DiskHangs | Evil::Clock(_), None) => {}
        }
    }

    fn end(&self, evil: Evil) {
        match evil {
            Evil::Http(_) => self.target.be(Mood::Good),
            Evil::Postgres => self.postgres.iter().for_each(|server| server.run("start")),
            Evil::Kafka => self.kafka.iter().for_each(|server| server.run("start")),
            Evil::DiskFails | Evil::DiskFull | Evil::DiskHangs => self.shim.iter().for_each(|shim| shim.disk(0)),
            // The clock jumps back.
            Evil::Clock(_) => self.shim.iter().for_each(|shim| shim.clock(0)),
        }
    }

    /// The daemon's status; `None` if it does not answer.
    pub fn status(&self) -> Option<serde_json::Value> {
        let out = self.house.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&out.stdout).ok()
    }
}

/// One life of the daemon: load, evils, at least so many answers, then the kill.
async fn live(world: &World, record: &Arc<Record>, evils: &[Evil], enough: u64, dice: &mut Dice) {
    let daemon = world.start();
    let _crowd = can_open(4 * STRANGERS as u64).then(|| Crowd::of(&SORTS, STRANGERS, daemon.address));
    let is_slow = |evil: &Evil| !matches!(evil, Evil::Http(_) | Evil::Postgres | Evil::Kafka);
    record.is_timed.store(!evils.iter().any(is_slow), SeqCst);
    let stop = Arc::new(AtomicBool::new(false));
    let before = record.count();
    let send = || tokio::spawn(Arc::clone(record).send(daemon.url(), Arc::clone(&stop)));
    let senders: Vec<_> = (0..SENDERS).map(|_| send()).collect();
    let some = before + enough / 4;
    wait_until("load", || (record.count() >= some).then_some(())).await;
    evils.iter().for_each(|evil| world.begin(*evil));
    let is_disk = |evil: &&Evil| matches!(evil, Evil::DiskFails | Evil::DiskFull | Evil::DiskHangs);
    if let Some(evil) = evils.iter().find(is_disk) {
        // While the disk is broken, 200 means "in memory" (`on_journal_failure`). So the disk is mended before the
        // kill.
        tokio::time::sleep(Duration::from_millis(100 + dice.roll(600))).await;
        world.end(*evil);
        wait_until("the journal works again", || {
            (world.status()?["journal"]["at_risk"].as_u64() == Some(0)).then_some(())
        })
        .await;
    }
    wait_until("enough answers in this life", || (record.count() >= before + enough).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(dice.roll(150))).await;
    tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
    stop.store(true, SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
}

async fn soak(plan: Plan) -> bool {
    let world = World::new().await;
    let record = Arc::new(Record::default());
    let mut dice = Dice::new(plan.seed);
    let servers = (world.postgres.is_some(), world.kafka.is_some());
    let per_life = (plan.events / plan.kills).max(PER_LIFE);
    let bar = ProgressBar::new(plan.kills);
    bar.set_style(
        ProgressStyle::with_template("soak {bar:40} {pos}/{len} kills, {msg} ({elapsed}, {eta} to go)").unwrap(),
    );
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    let mut early = 0;
    for life in 0..plan.kills {
        let mut evils = Evil::draw(&mut dice, life, plan.kills, servers);
        evils.sort();
        evils.dedup_by_key(|evil| std::mem::discriminant(evil));
        evils.iter().for_each(|evil| *done.entry(evil.name()).or_default() += 1);
        live(&world, &record, &evils, per_life, &mut dice).await;
        if dice.roll(4) == 0 {
            world.start_and_kill(Duration::from_millis(dice.roll(300)));
            early += 1;
        }
        evils.iter().for_each(|evil| world.end(*evil));
        bar.set_message(format!("{} answered", record.count()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let daemon = world.start();
    let report = verdict::judge(&world, &record, (plan, early, done), &daemon).await;
    println!("{report}");
    let ended = daemon.terminate() == 0;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join("soak.txt"), report.to_string()).unwrap();
    report.is_good() && ended
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` may ask for the list of tests, or name one of them.
    let names = arguments.iter().filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("soak: test\nresends: test\nseveral: test");
        return;
    }
    let is_wanted = |test: &str| names.is_empty() || names.iter().any(|name| test.contains(name.as_str()));
    let plan = Plan::from_env();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut is_good = true;
    if is_wanted("soak") {
        println!("soak: {} kills, {} events, seed {}", plan.kills, plan.events, plan.seed);
        is_good &= runtime.block_on(soak(plan));
    }
    match Resends::from_env(&plan).filter(|_| is_wanted("resends")) {
        Some(resends) => is_good &= runtime.block_on(resends::run(resends)),
        None if names.iter().any(|name| *name == "resends") => {
            println!("resends: nothing says how often to kill: set HOOKRELAY_SOAK_RESEND_KILLS");
            is_good = false;
        }
        None => {}
    }
    match plan::several(&plan).filter(|_| is_wanted("several")) {
        Some(plan) => is_good &= runtime.block_on(several::run(plan)),
        None if names.iter().any(|name| *name == "several") => {
            println!("several: nothing says how often to kill: set HOOKRELAY_SOAK_SEVERAL");
            is_good = false;
        }
        None => {}
    }
    if !is_good {
        println!("soak: FAILED");
        std::process::exit(1);
    }
    println!("soak: passed");
}
