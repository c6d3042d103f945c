//! Daemons on one Kafka are restarted and reloaded, one after the other: no request fails that a client may take to the
//! next one, and no shard moves that its daemon comes back for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sink_testkit::kafka::{self, Cluster};

use crate::bodies::numbered;
use crate::harness::{Callback, Daemon, House, wait_until};
use crate::restarts::terminate;
use crate::several_chaos::balancer::{Balancer, Failed};
use crate::several_chaos::house;
use crate::verbs;

const SENDERS: u64 = 6;
/// Requests before and behind each restart and reload.
const SOME: u64 = 120;
/// A call's longest time: a session is 10 s longer, and no restart takes that long.
const TIMEOUT: &str = "60s";

fn tables(url: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\nstart = \"beginning\"\ntimeout = \"{TIMEOUT}\"\n[[routes]]\n\
         match = \"*\"\nto = \"crm\"\n"
    )
}

/// Two daemons' houses, and a client that goes on from one to the other.
fn houses(brokers: &str, url: &str) -> ([House; 2], Balancer) {
    let name = format!("it-{}", uuid::Uuid::now_v7().simple());
    let [(a, at), (b, bt)] = [0, 1].map(|node| house(brokers, &name, node, &tables(url)));
    ([a, b], Balancer::new(&[at, bt]))
}

/// Senders that send one webhook after another until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    senders: Vec<tokio::task::JoinHandle<Sent>>,
}

/// What became of that.
#[derive(Default)]
struct Sent {
    ids: BTreeSet<String>,
    /// Daemons that did not take a request which the next one took.
    passed_on: Vec<Failed>,
    /// Requests that none took.
    failed: Vec<Vec<Failed>>,
}

impl Load {
    fn start(balancer: &Balancer) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let sender = |first: u64| {
            let (stop, answered, balancer) = (Arc::clone(&stop), Arc::clone(&answered), balancer.clone());
            tokio::spawn(async move {
                let mut sent = Sent::default();
                for n in (first..).step_by(usize::try_from(SENDERS).unwrap()).take_while(|_| !stop.load(SeqCst)) {
                    match balancer.post(usize::try_from(n / SENDERS % 2).unwrap(), &numbered(n)).await {
                        Ok(taken) => {
                            sent.ids.insert(taken.id);
                            sent.passed_on.extend(taken.failed);
                        }
                        Err(failed) => sent.failed.push(failed),
                    }
                    answered.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                sent
            })
        };
        Self { senders: (0..SENDERS).map(sender).collect(), stop, answered }
    }

    async fn some_more(&self) {
        let enough = self.answered.load(SeqCst) + SOME;
        wait_until("more answers", || (self.answered.load(SeqCst) >= enough).then_some(())).await;
    }

    async fn end(self) -> Sent {
        self.stop.store(true, SeqCst);
        let mut all = Sent::default();
        for sender in self.senders {
            let Sent { ids, passed_on, failed } = sender.await.unwrap();
            all.ids.extend(ids);
            all.passed_on.extend(passed_on);
            all.failed.extend(failed);
        }
        all
    }
}

/// A daemon that is started on a thread that may block.
async fn start(house: &Arc<House>) -> Daemon {
    let house = Arc::clone(house);
    tokio::task::spawn_blocking(move || house.start()).await.unwrap()
}

/// How often a daemon has said that shards are its own, and how many they were.
fn given(daemon: &Daemon) -> Vec<u64> {
    let lines = daemon.log.text();
    let own = lines.lines().filter(|line| line.contains("these shards are this daemon's"));
    own.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["shards"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_each_of_two_daemons_is_restarted_and_reloaded_every_request_is_answered_200() {
    let test = "while_each_of_two_daemons_is_restarted_and_reloaded_every_request_is_answered_200";
    let Some((_, _guard)) = kafka::shared(test).await else { return };
    let callback = Callback::start().await;
    let (houses, balancer) = houses(Cluster::of_three().brokers(), &callback.url());
    let houses = houses.map(Arc::new);
    let mut daemons = vec![start(&houses[0]).await, start(&houses[1]).await];
    let load = Load::start(&balancer);
    for (node, house) in houses.iter().enumerate() {
        load.some_more().await;
        let text = std::fs::read_to_string(house.config()).unwrap();
        std::fs::write(house.config(), text.replace(TIMEOUT, "59s")).unwrap();
        daemons[node].hang_up();
        let log = daemons[node].log.clone();
        wait_until("reloaded", || log.text().contains("is in force").then_some(())).await;
        load.some_more().await;
        let daemon = daemons.remove(node);
        terminate(daemon).await;
        load.some_more().await;
        daemons.insert(node, start(house).await);
        load.some_more().await;
    }
    let sent = load.end().await;
    println!("{} requests; {} were passed on to the other daemon", sent.ids.len(), sent.passed_on.len());
    assert_eq!(sent.failed, Vec::<Vec<Failed>>::new(), "of {}", sent.ids.len());
    assert!(!sent.passed_on.is_empty(), "a daemon was away");
    assert!(sent.passed_on.iter().all(|failed| *failed == Failed::Refused), "{:?}", sent.passed_on);
    let all = sent.ids.len() as u64;
    for house in &houses {
        let figures = || verbs::figures(house, "crm", ["accepted", "delivered", "pending"]);
        wait_until("all is delivered", || (figures() == [all, all, 0]).then_some(())).await;
    }
    let came = callback.got();
    assert_eq!(came.iter().map(|got| got.id.clone()).collect::<BTreeSet<_>>(), sent.ids);
    assert_eq!(came.len(), sent.ids.len(), "nothing twice: each daemon settles before it ends");
    for daemon in daemons {
        terminate(daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_kill_within_the_session_move_no_shard() {
    let test = "a_restart_and_a_kill_within_the_session_move_no_shard";
    let Some((_, _guard)) = kafka::shared(test).await else { return };
    let callback = Callback::start().await;
    let (houses, balancer) = houses(Cluster::of_three().brokers(), &callback.url());
    let houses = houses.map(Arc::new);
    // The first has all six, whoever is slow to start; then each has its half.
    let mut first = start(&houses[0]).await;
    wait_until("the first has all", || (given(&first).iter().sum::<u64>() == 6).then_some(())).await;
    let second = start(&houses[1]).await;
    wait_until("the second has its shards", || (given(&second).iter().sum::<u64>() == 3).then_some(())).await;
    let had = given(&second);
    for is_killed in [false, true] {
        if is_killed {
            tokio::task::spawn_blocking(move || first.kill()).await.unwrap();
        } else {
            terminate(first).await;
        }
        first = start(&houses[0]).await;
        let again = wait_until("the first has its shards again", || {
            Some(given(&first)).filter(|given| given.iter().sum::<u64>() == 3)
        })
        .await;
        // Of each shard something is delivered, by whoever has it.
        let before = callback.got().len();
        for n in 0..60 {
            balancer.post(0, &numbered(before as u64 + n)).await.unwrap();
        }
        wait_until("all arrived", || (callback.got().len() >= before + 60).then_some(())).await;
        assert_eq!((given(&first), given(&second)), (again, had.clone()), "no other daemon was given one");
        assert!(!second.log.text().contains("these shards are lost"), "{}", second.log.text());
    }
    terminate(first).await;
    terminate(second).await;
}
