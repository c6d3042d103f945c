//! Three daemons on one Kafka of three real brokers, of each of which one is killed (kill -9) and started again, time
//! after time, under load from a client that goes on to the next daemon. At the end, with all back and at rest, every
//! sink must have what stands in the journal, and the daemons' figures must say so. `several_kills` runs a short form,
//! `make soak ONLY=several` the long one.
//!
//! - `plan`: who is killed when, and which events are sent
//! - `balancer`: the client; `target`: the HTTP sink's server, with its scripted failures
//! - `verdict`: what arrived and is counted against what stands in Kafka; pure

pub mod balancer;
pub mod plan;
pub mod target;
pub mod verdict;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sink_testkit::kafka::Cluster;

use self::balancer::Balancer;
use self::plan::{Blow, KEYS, NODES, Plan, SENDERS, body};
use self::target::Target;
use self::verdict::{Answered, Arrival, Evidence, Figures, Sink, Verdict, judge};
use crate::bodies::number_in;
use crate::harness::{Daemon, House, lines_under, wait_until};

/// Pause of a sender between two events.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before an event is sent again that no daemon took.
const AGAIN: Duration = Duration::from_millis(200);
/// How long to wait at the end while nothing moves.
const PATIENCE: Duration = Duration::from_secs(120);
/// `concurrency` of the HTTP sink, and `max_events` of the file sink.
const CALLS: u64 = 8;
const LINES: u64 = 200;

/// One of the daemons, running or not.
struct Node {
    house: House,
    daemon: Mutex<Option<Daemon>>,
    /// Where its log goes when a life ends.
    log: PathBuf,
}

/// All of it.
struct World {
    cluster: Cluster,
    /// The name of this run's journal.
    name: String,
    nodes: Vec<Arc<Node>>,
    target: Target,
    balancer: Balancer,
}

/// Where something failed, the last life's log is wanted most.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.lock().ok().and_then(|mut daemon| daemon.take()) {
            self.keep(&daemon.log.text());
        }
    }
}

/// What the senders keep.
#[derive(Default)]
struct Record {
    sent: Vec<AtomicU64>,
    answered: Mutex<Vec<Answered>>,
    /// Rounds in which no daemon took an event.
    failed: AtomicU64,
    /// Longest that an event took from its first try on.
    longest: AtomicU64,
}

impl Node {
    fn start(&self) {
        *self.daemon.lock().unwrap() = Some(self.house.start());
    }

    fn kill(&self) {
        if let Some(daemon) = self.daemon.lock().unwrap().take() {
            let log = daemon.log.clone();
            daemon.kill();
            self.keep(&log.text());
        }
    }

    /// Stops it in good order; gives its exit code.
    fn terminate(&self) -> i32 {
        let daemon = self.daemon.lock().unwrap().take().unwrap();
        let log = daemon.log.clone();
        let code = daemon.terminate();
        self.keep(&log.text());
        code
    }

    /// Adds what a daemon has logged to what those before it have.
    fn keep(&self, text: &str) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        writeln!(file, "{text}\n──").unwrap();
    }

    fn status(&self) -> Option<serde_json::Value> {
        let out = self.house.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&out.stdout).ok()
    }
}

/// An address that no connection is given by itself, and no other test's daemon.
pub fn own_address(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 23, last], 0))).unwrap().local_addr().unwrap()
}

/// A daemon's house, with an address of its own that stays.
pub fn house(brokers: &str, cluster: &str, node: usize, tables: &str) -> (House, SocketAddr) {
    let at = own_address(u8::try_from(node + 1).unwrap());
    let house = House::new("");
    house.serve(&format!("listen = \"{at}\"\n"), tables);
    let text = std::fs::read_to_string(house.config()).unwrap();
    let journal = format!(
        "[journal]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ncluster = \"{cluster}\"\nnode = \"node-{node}\"\n\
         partitions = 6\n"
    );
    std::fs::write(house.config(), text.replace("[journal]\n", &journal)).unwrap();
    (house, at)
}

impl World {
    async fn new(cluster: Cluster, logs: &str) -> Self {
        let target = Target::start().await;
        let tables = format!(
            r#"
[sinks.crm]
kind = "http"
url = "{}"
start = "beginning"
ordering = "key"
concurrency = {CALLS}
timeout = "2s"
retry = {{ initial = "50ms", max = "500ms" }}
breaker = {{ probe = "50ms", probe_max = "500ms" }}
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
start = "beginning"
timeout = "2s"
batch = {{ max_events = {LINES}, linger = "50ms" }}
[[routes]]
match = "*"
to = ["crm", "archive"]
"#,
            target.url()
        );
        let name = format!("chaos-{}", uuid::Uuid::now_v7().simple());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(logs);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (mut nodes, mut addresses) = (vec![], vec![]);
        for node in 0..NODES {
            let (house, at) = house(cluster.brokers(), &name, node, &tables);
            let log = folder.join(format!("node-{node}.log"));
            nodes.push(Arc::new(Node { house, daemon: Mutex::default(), log }));
            addresses.push(at);
        }
        let balancer = Balancer::new(&addresses);
        Self { cluster, name, nodes, target, balancer }
    }

    /// Does something with a daemon that blocks.
    async fn on<T: Send + 'static>(&self, node: usize, work: impl FnOnce(&Node) -> T + Send + 'static) -> T {
        let node = Arc::clone(&self.nodes[node]);
        tokio::task::spawn_blocking(move || work(&node)).await.unwrap()
    }

    /// Kills a daemon, and starts it again.
    async fn strike_daemon(&self, Blow { node, after, away }: Blow) {
        tokio::time::sleep(after).await;
        self.on(node, Node::kill).await;
        tokio::time::sleep(away).await;
        self.on(node, Node::start).await;
    }

    /// Kills a broker, and starts it again.
    async fn strike_broker(&self, Blow { node, after, away }: Blow) {
        tokio::time::sleep(after).await;
        self.cluster.broker(node + 1, "kill").await;
        tokio::time::sleep(away).await;
        self.cluster.broker(node + 1, "start").await;
    }

    /// Waits until nothing is pending anywhere, for as long as something moves; gives what each daemon says.
    async fn rest(&self) -> Vec<serde_json::Value> {
        let (mut moved, mut last) = (Instant::now(), vec![]);
        loop {
            let mut all = vec![];
            for node in 0..NODES {
                all.push(self.on(node, Node::status).await.unwrap_or_default());
            }
            let number = |value: &serde_json::Value| value.as_u64().unwrap_or(u64::MAX);
            let sinks = |status: &serde_json::Value| ["crm", "archive"].map(|sink| figures(&status["sinks"][sink]));
            let is_at_rest = |status: &serde_json::Value| {
                number(&status["journal"]["at_risk"]) == 0 && sinks(status).iter().all(|sink| sink.pending == 0)
            };
            let now: Vec<_> = all.iter().map(sinks).collect();
            if all.iter().all(is_at_rest) && now.windows(2).all(|two| two[0] == two[1]) {
                return all;
            }
            if now != last {
                (moved, last) = (Instant::now(), now);
            }
            if moved.elapsed() > PATIENCE {
                eprintln!("several: nothing moves any more: {last:?}");
                return all;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is known when all is at rest.
    async fn evidence(&self, record: &Record, kills: u64) -> Evidence {
        let statuses = self.rest().await;
        let figures = |sink: &str| statuses.iter().map(|status| figures(&status["sinks"][sink])).collect();
        let (mut files, mut changed) = (vec![], self.target.changed());
        for node in &self.nodes {
            files.push(file(&node.house, &mut changed));
        }
        let mut journal = vec![];
        let stored = self.cluster.stored(&format!("{}.events", self.name)).await;
        // The daemons' own news are nobody's here.
        for stored in stored.into_iter().filter(|stored| stored.header("source") == Some("interakt")) {
            let value = stored.value.clone().unwrap_or_default();
            let text = String::from_utf8_lossy(&value);
            // The request's head stands before the body.
            let n = text.find(r#"{"version""#).map(|at| number_in(&text[at..])).unwrap_or(u64::MAX);
            if !value.ends_with(&body(n)) {
                changed.push(text.into_owned());
            }
            journal.push(Arrival { n, id: stored.header("id").unwrap().to_owned() });
        }
        let crm =
            Sink { arrivals: vec![self.target.arrivals()], figures: figures("crm"), under_way: CALLS, refuses: true };
        let archive = Sink { arrivals: files, figures: figures("archive"), under_way: LINES, refuses: false };
        Evidence {
            sent: record.sent.iter().map(|sent| sent.load(SeqCst)).collect(),
            answered: record.answered.lock().unwrap().clone(),
            journal,
            sinks: BTreeMap::from([("crm", crm), ("archive", archive)]),
            changed,
            kills,
        }
    }
}

fn figures(sink: &serde_json::Value) -> Figures {
    let n = |key: &str| sink[key].as_u64().unwrap_or(u64::MAX);
    Figures {
        accepted: n("accepted"),
        delivered: n("delivered"),
        dead: n("dead"),
        pending: n("pending"),
        filtered: n("filtered"),
        dropped: n("dropped"),
    }
}

/// What a daemon's file sink has written. Each line is a CloudEvent whose data is the body without whitespace.
fn file(house: &House, changed: &mut Vec<String>) -> Vec<Arrival> {
    let mut arrivals = vec![];
    for line in lines_under(&house.path("out"), ".jsonl") {
        let n = number_in(&line);
        let data = String::from_utf8(sink_api::json::compact(&body(n)).unwrap()).unwrap();
        let id = line.split_once(r#""id":""#).and_then(|(_, rest)| rest.split_once('"')).map(|(id, _)| id.to_owned());
        match id.filter(|_| line.contains(&format!("\"data\":{data}"))) {
            Some(id) => arrivals.push(Arrival { n, id }),
            None => changed.push(line),
        }
    }
    arrivals
}

impl Record {
    /// Sends one event after the other until it is stopped.
    async fn send(self: Arc<Self>, sender: u64, balancer: Balancer, stop: Arc<AtomicBool>) {
        let mut turn = usize::try_from(sender).unwrap();
        for n in (sender..).step_by(usize::try_from(SENDERS).unwrap()) {
            let began = Instant::now();
            self.sent[usize::try_from(sender).unwrap()].fetch_add(1, SeqCst);
            loop {
                if stop.load(SeqCst) {
                    return;
                }
                turn = (turn + 1) % NODES;
                match balancer.post(turn, &body(n)).await {
                    Ok(taken) => {
                        let answered = Answered { n, id: taken.id, node: taken.node };
                        self.answered.lock().unwrap().push(answered);
                        break;
                    }
                    Err(_) => self.failed.fetch_add(1, SeqCst),
                };
                tokio::time::sleep(AGAIN).await;
            }
            self.longest.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap(), SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Runs a plan on a cluster whose brokers it may kill, and judges. Says after each round how many were done.
pub async fn run(plan: Plan, cluster: Cluster, logs: &str, done: impl Fn(u64)) -> Verdict {
    assert_eq!(KEYS % SENDERS, 0, "each key is one sender's");
    let world = World::new(cluster, logs).await;
    for node in 0..NODES {
        world.on(node, Node::start).await;
    }
    let record = Arc::new(Record { sent: (0..SENDERS).map(|_| AtomicU64::new(0)).collect(), ..Record::default() });
    let stop = Arc::<AtomicBool>::default();
    let send = |sender| tokio::spawn(Arc::clone(&record).send(sender, world.balancer.clone(), Arc::clone(&stop)));
    let senders: Vec<_> = (0..SENDERS).map(send).collect();
    wait_until("load", || (record.answered.lock().unwrap().len() > 100).then_some(())).await;
    for (round, blows) in (1..).zip(plan.rounds()) {
        let next = tokio::time::Instant::now() + plan.period;
        tokio::join!(world.strike_daemon(blows.daemon), world.strike_broker(blows.broker));
        tokio::time::sleep_until(next).await;
        done(round);
    }
    stop.store(true, SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let evidence = world.evidence(&record, 2 * plan.kills).await;
    let verdict = judge(&evidence);
    for node in 0..NODES {
        let code = world.on(node, Node::terminate).await;
        assert_eq!(code, 0, "daemon {node}, at the end\n{verdict}");
    }
    let [failed, longest] = [&record.failed, &record.longest].map(|figure| figure.load(SeqCst));
    println!("several: {failed} times no daemon took an event; the longest took {longest} ms to be taken");
    verdict
}
