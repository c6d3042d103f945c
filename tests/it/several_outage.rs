//! All brokers are away under load for longer than the sinks' sessions, and come back: nobody has to start anything.

use std::collections::BTreeSet;
use std::time::Duration;

use sink_testkit::kafka::{self, Cluster};
use tokio::sync::{MutexGuard, watch};

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::several::{Shared, all_came, figures, tables};
use crate::verbs;

/// Brokers of the cluster whose brokers all go away: no test is on it but those that let them, one at a time.
const BROKERS: usize = 2;
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A cluster whose brokers all go away.
pub struct Fleeting {
    brokers: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl Fleeting {
    /// All of them are up. `None` where there is no real Kafka: then the test is left out, by name.
    pub async fn new(test: &str) -> Option<Self> {
        drop(kafka::shared(test).await?);
        let turn = TURN.lock().await;
        let brokers = tokio::task::spawn_blocking(|| Cluster::of(BROKERS)).await.unwrap();
        let all = Self { brokers, _turn: turn };
        all.start().await;
        Some(all)
    }

    pub fn brokers(&self) -> &Cluster {
        &self.brokers
    }

    pub async fn kill(&self) {
        self.brokers.kill_all(BROKERS).await;
    }

    /// At the same time: each waits for the other.
    pub async fn start(&self) {
        tokio::join!(self.brokers.broker(1, "start"), self.brokers.broker(2, "start"));
    }
}

/// Posts events until it is told to stop, and gives their ids.
async fn load(url: String, first: u64, mut is_over: watch::Receiver<bool>) -> BTreeSet<String> {
    let (mut ids, mut next) = (BTreeSet::new(), first);
    while !*is_over.borrow() {
        ids.extend(post_all(&url, (next..next + 10).map(numbered)).await);
        next += 10;
        let _ = tokio::time::timeout(Duration::from_millis(200), is_over.changed()).await;
    }
    ids
}

/// Both daemons are named as well, with the figures that were heard last; of letters it is said that some may be
/// missing, and what changes something is refused.
fn answers_for_all_without_brokers(house: &House) {
    let status = verbs::status(house);
    let nodes = status["nodes"].as_array().unwrap();
    assert!(nodes.len() == 2 && nodes.iter().all(|node| node["answered"] == true), "{status}");
    let crm = &status["sinks"]["crm"];
    assert!(crm["accepted"].as_u64() > Some(0) && crm["unknown"].is_null() && crm["stale"] == true, "{crm}");
    let reasons = status["reasons"].as_array().unwrap();
    let text = |code: &str| reasons.iter().find(|reason| reason["code"] == code).unwrap()["text"].as_str().unwrap();
    assert!(text("journal_failing").contains("heard last") && text("at_risk").contains("2 machines"), "{reasons:?}");
    let letters = verbs::verb(house, 0, &["dead", "list"]);
    assert!(letters.contains("known of now") && letters.contains("the journal cannot be asked"), "{letters}");
    let refused = verbs::verb(house, 1, &["dead", "retry", "--all"]);
    assert!(refused.contains("the journal cannot be asked"), "{refused}");
    let refused = verbs::verb(house, 1, &["sink", "pause", "crm"]);
    assert!(refused.contains("its brokers have not answered"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_go_on_by_themselves_after_all_brokers_were_away_for_longer_than_their_sessions() {
    let test = "sinks_go_on_by_themselves_after_all_brokers_were_away_for_longer_than_their_sessions";
    let Some(fleeting) = Fleeting::new(test).await else { return };
    let (shared, callback) = (Shared::on(fleeting.brokers()), Callback::start().await);
    let houses = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let daemons = houses.each_ref().map(|house| house.start());
    let (stop, is_over) = watch::channel(false);
    let loads = [0, 1].map(|n: u64| tokio::spawn(load(daemons[n as usize].url(), n * 100_000, is_over.clone())));
    let say = |what: &str| daemons.iter().all(|daemon| daemon.log.text().contains(what)).then_some(());
    wait_until("both have shards", || say("these shards are this daemon's")).await;
    for house in &houses {
        wait_until("figures are heard", || (figures(house)[0] > 0).then_some(())).await;
    }
    fleeting.kill().await;
    wait_until("they have lost them", || say("these shards are lost")).await;
    houses.iter().for_each(answers_for_all_without_brokers);
    fleeting.start().await;
    let before = callback.got().len();
    wait_until("they go on", || (callback.got().len() > before + 100).then_some(())).await;
    stop.send_replace(true);
    let mut ids = BTreeSet::new();
    for load in loads {
        ids.extend(load.await.unwrap());
    }
    all_came(&callback, &ids).await;
    let all = ids.len() as u64;
    for house in &houses {
        wait_until("all is settled", || (figures(house) == [all, all, 0, 0]).then_some(())).await;
    }
    fleeting.kill().await;
    for daemon in daemons {
        assert_eq!(daemon.terminate(), 0, "it ran all the time");
    }
}

/// How long the service manager waits for a stop before it kills.
fn stop_time() -> Duration {
    let unit = include_str!("../../systemd/hookrelay.service");
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'));
    Duration::from_secs(seconds.unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_all_brokers_are_away_takes_no_longer_than_the_unit_gives_it_and_loses_nothing() {
    let test = "a_stop_while_all_brokers_are_away_takes_no_longer_than_the_unit_gives_it";
    let Some(fleeting) = Fleeting::new(test).await else { return };
    let (shared, callback) = (Shared::on(fleeting.brokers()), Callback::start().await);
    // There is always something under way.
    callback.take_time(Duration::from_millis(200));
    let house = shared.house("a", &tables(&callback.url()));
    let daemon = house.start();
    let (stop, is_over) = watch::channel(false);
    let loading = tokio::spawn(load(daemon.url(), 0, is_over));
    wait_until("it delivers", || (callback.got().len() > 50).then_some(())).await;
    fleeting.kill().await;
    let failed = daemon.log.wait_for(|line| line.contains("the ledger cannot be written"));
    assert!(failed.is_some(), "nothing was to be settled:\n{}", daemon.log.text());
    // Webhooks are taken until the sinks have stopped.
    daemon.signal(rustix::process::Signal::TERM);
    stop.send_replace(true);
    let ids = loading.await.unwrap();
    assert_eq!(daemon.ends_within(stop_time()), 0);
    fleeting.start().await;
    let daemon = house.start();
    all_came(&callback, &ids).await;
    let all = ids.len() as u64;
    // What brokers had taken and not acknowledged is in Kafka twice: the new process cannot know that.
    let is_settled = |[accepted, delivered, dead, pending]: [u64; 4]| {
        accepted >= all && accepted == delivered && [dead, pending] == [0, 0]
    };
    wait_until("all is settled", || is_settled(figures(&house)).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    fleeting.kill().await;
}
