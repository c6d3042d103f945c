//! A daemon that is cut off from Kafka, or frozen, while another is not: it stops before the other goes on with its
//! shards, and nothing is lost. Times are of one clock: the target's, by which calls came, and the log's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use sink_api::Timestamp;
use sink_testkit::http::{HttpServer, Reply, Seen};

use crate::bodies;
use crate::harness::{Daemon, House, Log, post_all, wait_until};
use crate::kafka_ways::{Flow, Ways};
use crate::several::{AWAITED, Shared};
use crate::verbs;

/// Of a daemon that is given shards.
const GIVEN: &str = "these shards are this daemon's";
/// Of a daemon that knows that it has lost them.
const LOST: &str = "these shards are lost";
/// A call takes so long, or twice, three or four times as long, where the target is slow. No call is given up by then.
const SLOW: Duration = Duration::from_secs(1);
/// Of a sink of slow calls: there is always one under way.
const BUSY: &str = "timeout = \"5s\"\nconcurrency = 8\n";
/// Of a sink with the shortest session, which makes a call every so often.
const STEADY: &str = "timeout = \"1s\"\nconcurrency = 1\nrate = \"5/s\"\n";
/// Messages that the events are about.
const KEYS: u64 = 50;

/// A call as the target has seen it begin.
#[derive(Clone, Debug)]
struct Call {
    at: Timestamp,
    /// When the target is done with it, whether or not anybody waits for that.
    over: Timestamp,
    node: String,
    id: String,
    key: String,
    position: [u64; 2],
}

/// One of several events of its key.
fn numbered(n: u64) -> Vec<u8> {
    let text = String::from_utf8(bodies::numbered(n)).unwrap();
    text.replace(&format!("m-{n}\""), &format!("m-{}\",\"n\":\"{n}\"", n % KEYS)).into_bytes()
}

/// The target of both daemons.
struct Target {
    server: HttpServer,
    calls: Arc<Mutex<Vec<Call>>>,
    takes: Arc<Mutex<Duration>>,
}

impl Target {
    async fn start() -> Self {
        let (calls, takes) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::new(Mutex::new(Duration::ZERO)));
        let (noted, time) = (Arc::clone(&calls), Arc::clone(&takes));
        let server = HttpServer::start(move |seen: &Seen| {
            let of = |name: &str| seen.header(name).unwrap_or_default().to_owned();
            let position = of("hookrelay-position");
            let position = position.split_once(':').map(|(shard, offset)| [shard, offset].map(|n| n.parse().unwrap()));
            let (node, id, key) = (of("x-node"), of("ce-id"), of("ce-subject"));
            let at = Timestamp::now();
            let position = position.expect("where it stands");
            let mut noted = noted.lock().unwrap();
            let takes = *time.lock().unwrap() * (noted.len() % 4 + 1) as u32;
            noted.push(Call { at, over: at + takes, node, id, key, position });
            Reply::After(takes, 200)
        })
        .await;
        Self { server, calls, takes }
    }

    fn take(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    /// One sink of these keys, which says who it is.
    fn tables(&self, node: &str, keys: &str) -> String {
        format!(
            "[sinks.crm]\nkind = \"http\"\nurl = \"{}\"\n{keys}headers = {{ x-node = \"{node}\" }}\n\
             retry = {{ initial = \"10ms\", max = \"100ms\" }}\n\
             breaker = {{ probe = \"10ms\", probe_max = \"100ms\" }}\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n",
            self.server.url("/hook")
        )
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn of(&self, node: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.node == node).collect()
    }

    /// Waits until a daemon makes another call than it has made.
    async fn goes_on(&self, node: &str) -> Call {
        let before = self.of(node).len();
        wait_until("it goes on", || self.of(node).get(before).cloned()).await
    }

    async fn has(&self, ids: &BTreeSet<String>) {
        let has_all = || {
            let calls = self.calls.lock().unwrap();
            let came: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
            ids.iter().all(|id| came.contains(id.as_str())).then_some(())
        };
        wait_until("all arrived", has_all).await;
    }

    /// Nothing came more often than its shard was given to a daemon; and of each key what came for the first time came
    /// in order, so that a receiver that drops what is older than what it has of the key drops nothing that it has not
    /// had.
    fn is_in_order(&self, logs: [&Log; 2]) {
        let given: usize = logs.into_iter().map(|log| count(log, GIVEN)).sum();
        let (mut times, mut newest) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, [u64; 2]>::new());
        for call in self.calls() {
            let times = times.entry(call.id.clone()).or_default();
            *times += 1;
            let newest = newest.entry(call.key.clone()).or_insert(call.position);
            assert_eq!(newest[0], call.position[0], "a key stays in its shard: {call:?}");
            assert!(*times > 1 || newest[1] <= call.position[1], "what is older than {newest:?} came before: {call:?}");
            assert!(*times <= given, "{call:?} came {times} times");
            *newest = (*newest).max(call.position);
        }
    }
}

/// When a log said that so often; none where it has not.
fn said(log: &Log, what: &str, nth: usize) -> Option<Timestamp> {
    let text = log.text();
    let line = text.lines().filter(|line| line.contains(what)).nth(nth)?;
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["timestamp"].as_str().unwrap().parse().ok()
}

fn count(log: &Log, what: &str) -> usize {
    log.text().lines().filter(|line| line.contains(what)).count()
}

async fn says_again(log: &Log, what: &str, before: usize) -> Timestamp {
    wait_until(what, || said(log, what, before)).await
}

async fn settles(houses: [&House; 2], events: usize) {
    let (names, events) = (["accepted", "delivered", "dead", "pending"], events as u64);
    for house in houses {
        let is_so = || (verbs::figures(house, "crm", names) == [events, events, 0, 0]).then_some(());
        wait_until("all is settled", is_so).await;
    }
}

async fn post_both(daemons: [&Daemon; 2], numbers: std::ops::Range<u64>, ids: &mut BTreeSet<String>) {
    let half = (numbers.start + numbers.end) / 2;
    let [(a, first), (b, second)] = [(daemons[0], numbers.start..half), (daemons[1], half..numbers.end)];
    let [first, second] = [(a.url(), first), (b.url(), second)]
        .map(|(url, numbers)| tokio::spawn(async move { post_all(&url, numbers.map(numbered)).await }));
    ids.extend(first.await.unwrap());
    ids.extend(second.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_cut_off_stops_before_another_takes_over_and_nothing_is_lost() {
    let test = "a_daemon_that_is_cut_off_stops_before_another_takes_over_and_nothing_is_lost";
    let Some(shared) = Shared::new(test).await else { return };
    let (ways, target) = (Ways::open().await, Target::start().await);
    let through = shared.reached_by(ways.brokers());
    let [a, b] = [(&through, "a"), (&shared, "b")].map(|(way, node)| way.house(node, &target.tables(node, BUSY)));
    let (cut, whole) = (a.start(), b.start());
    let mut ids = BTreeSet::new();
    for (round, flow) in [(0, Flow::Stalls), (1000, Flow::Resets)] {
        target.take(SLOW);
        post_both([&cut, &whole], round..round + 800, &mut ids).await;
        let at = target.goes_on("a").await.at;
        target.goes_on("b").await;
        let (owned, lost) = (count(&whole.log, GIVEN), count(&cut.log, LOST));
        ways.set(flow);
        // Its ingress goes on, without Kafka.
        ids.extend(post_all(&cut.url(), (round + 800..round + 805).map(numbered)).await);
        let taken_over = says_again(&whole.log, GIVEN, owned).await;
        target.goes_on("b").await;
        says_again(&cut.log, LOST, lost).await;
        let (calls, all) = (target.of("a"), target.of("a").len());
        let last = calls.into_iter().max_by_key(|call| call.over).unwrap();
        assert!(last.over < taken_over, "{flow:?}: {last:?} is not over at {taken_over}");
        assert!(last.at > at, "it was at work when it was cut off");
        target.take(Duration::ZERO);
        wait_until("the other has done what it can", || (target.calls().len() >= ids.len() - 5).then_some(())).await;
        assert_eq!(target.of("a").len(), all, "{flow:?}: the one that is cut off does nothing");
        ways.set(Flow::Passes);
        target.has(&ids).await;
        settles([&a, &b], ids.len()).await;
        target.is_in_order([&cut.log, &whole.log]);
    }
    assert_eq!((cut.terminate(), whole.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_frozen_begins_no_call_when_it_wakes_before_it_has_shards_again() {
    let test = "a_daemon_that_was_frozen_begins_no_call_when_it_wakes_before_it_has_shards_again";
    let Some(shared) = Shared::new(test).await else { return };
    let target = Target::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &target.tables(node, STEADY)));
    let (frozen, other) = (a.start(), b.start());
    let mut ids = BTreeSet::new();
    post_both([&frozen, &other], 0..240, &mut ids).await;
    target.goes_on("b").await;
    let (owned, own) = (count(&other.log, GIVEN), count(&frozen.log, GIVEN));
    // Between two calls: what was begun would arrive.
    target.goes_on("a").await;
    frozen.signal(Signal::STOP);
    let begun = target.of("a").len();
    says_again(&other.log, GIVEN, owned).await;
    target.goes_on("b").await;
    frozen.signal(Signal::CONT);
    let again = says_again(&frozen.log, GIVEN, own).await;
    let late: Vec<Call> = target.of("a").into_iter().skip(begun).filter(|call| call.at < again).collect();
    assert!(late.is_empty(), "before {again}: {late:?}");
    target.has(&ids).await;
    settles([&a, &b], ids.len()).await;
    target.is_in_order([&frozen.log, &other.log]);
    assert_eq!((frozen.terminate(), other.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_younger_of_two_daemons_with_one_name_waits_for_the_calls_of_the_elder() {
    let test = "the_younger_of_two_daemons_with_one_name_waits_for_the_calls_of_the_elder";
    let Some(shared) = Shared::new(test).await else { return };
    let target = Target::start().await;
    let [a, b] = ["elder", "younger"].map(|node| shared.house("same", &target.tables(node, STEADY)));
    let elder = a.start();
    let mut ids: BTreeSet<String> = post_all(&elder.url(), (0..80).map(numbered)).await.into_iter().collect();
    target.goes_on("elder").await;
    // It hears of nothing, and would go on when it wakes.
    elder.signal(Signal::STOP);
    let begun = target.of("elder").len();
    let younger = b.start();
    let awaited = says_again(&younger.log, AWAITED, 0).await;
    ids.extend(post_all(&younger.url(), (400..410).map(numbered)).await);
    let first = target.goes_on("younger").await;
    assert!(first.at.duration_since(awaited).as_secs() >= 10, "a session behind {awaited}: {first:?}");
    elder.signal(Signal::CONT);
    assert_ne!(elder.ends(), 0);
    assert_eq!(target.of("elder").len(), begun, "it begins nothing");
    target.has(&ids).await;
    assert_eq!(younger.terminate(), 0);
}
