//! Several daemons on one journal in a real Kafka of three brokers: they are one relay, and lose nothing with a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sink_testkit::kafka::{self, Cluster};
use tokio::sync::RwLockReadGuard;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::verbs::{self, json, verb};

/// A cluster's name that no other test has, and the table that names it.
pub struct Shared {
    pub brokers: String,
    pub cluster: String,
    /// While it is held nobody stops these brokers.
    _guard: Option<RwLockReadGuard<'static, ()>>,
}

impl Shared {
    /// `None` where there is no real Kafka: then the test is left out, by name.
    pub async fn new(test: &str) -> Option<Self> {
        // That one only says whether there is one at all; a journal needs three brokers.
        let (_, guard) = kafka::shared(test).await?;
        Some(Self { _guard: Some(guard), ..Self::on(&Cluster::of_three()) })
    }

    /// The same on these brokers, which are the caller's own.
    pub fn on(brokers: &Cluster) -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        Self { brokers: brokers.brokers().to_owned(), cluster: format!("it-{nanos}"), _guard: None }
    }

    /// The same relay, its brokers reached by other addresses.
    pub fn reached_by(&self, brokers: String) -> Self {
        Self { brokers, cluster: self.cluster.clone(), _guard: None }
    }

    /// A daemon of that name, with a folder of its own.
    pub fn house(&self, node: &str, tables: &str) -> House {
        let house = House::new(tables);
        let text = std::fs::read_to_string(house.config()).unwrap();
        let journal = format!(
            "[journal]\nkind = \"kafka\"\nbrokers = \"{}\"\ncluster = \"{}\"\nnode = \"{node}\"\npartitions = 4\n",
            self.brokers, self.cluster
        );
        std::fs::write(house.config(), text.replace("[journal]\n", &journal)).unwrap();
        house
    }
}

pub fn tables(url: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\ntimeout = \"1s\"\n\
         retry = {{ initial = \"10ms\", max = \"100ms\" }}\n\
         breaker = {{ probe = \"10ms\", probe_max = \"100ms\" }}\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n"
    )
}

/// Of a daemon whose name another may have had: it delivers later.
pub const AWAITED: &str = "another daemon may have had this one's name";

/// Accepted, delivered, dead, pending: over all daemons, whichever is asked.
pub fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "delivered", "dead", "pending"])
}

/// How often each id arrived.
pub fn came(callback: &Callback) -> BTreeMap<String, usize> {
    let mut came = BTreeMap::new();
    callback.got().into_iter().for_each(|got| *came.entry(got.id).or_default() += 1);
    came
}

pub async fn all_came(callback: &Callback, ids: &BTreeSet<String>) {
    wait_until("all arrived", || ids.iter().all(|id| came(callback).contains_key(id)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_deliver_once_what_either_takes_and_say_the_same_of_it() {
    let Some(shared) = Shared::new("two_daemons_deliver_once_what_either_takes_and_say_the_same_of_it").await else {
        return;
    };
    let callback = Callback::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let (first, second) = (a.start(), b.start());
    let mut ids: BTreeSet<String> = post_all(&first.url(), (0..60).map(numbered)).await.into_iter().collect();
    ids.extend(post_all(&second.url(), (60..120).map(numbered)).await);
    all_came(&callback, &ids).await;
    for house in [&a, &b] {
        wait_until("all is settled", || (figures(house) == [120, 120, 0, 0]).then_some(())).await;
    }
    assert!(came(&callback).values().all(|times| *times == 1), "nothing twice");
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_daemon_had_taken_and_parked_is_delivered_by_the_others_when_it_dies() {
    let test = "what_a_daemon_had_taken_and_parked_is_delivered_by_the_others_when_it_dies";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let [a, b] = ["a", "b"].map(|node| shared.house(node, &tables(&callback.url())));
    let first = a.start();
    let mut ids: BTreeSet<String> = post_all(&first.url(), (0..40).map(numbered)).await.into_iter().collect();
    all_came(&callback, &ids).await;
    callback.answer_with(503);
    ids.extend(post_all(&first.url(), (40..80).map(numbered)).await);
    wait_until("some failed", || json(&a, &["status"])["sinks"]["crm"]["last_error"].is_object().then_some(())).await;
    let second = b.start();
    first.kill();
    callback.answer_with(200);
    all_came(&callback, &ids).await;
    wait_until("all is settled", || (figures(&b) == [80, 80, 0, 0]).then_some(())).await;
    // It is back, and all say the same.
    let again = a.start();
    assert!(!again.log.text().contains(AWAITED), "it was of this folder");
    ids.extend(post_all(&again.url(), (80..100).map(numbered)).await);
    all_came(&callback, &ids).await;
    for house in [&a, &b] {
        wait_until("all is settled", || (figures(house) == [100, 100, 0, 0]).then_some(())).await;
    }
    assert_eq!((again.terminate(), second.terminate()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stood_and_dead_letters_are_still_there() {
    let test = "a_restart_goes_on_where_it_stood_and_dead_letters_are_still_there";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let house = shared.house("a", &tables(&callback.url()));
    let daemon = house.start();
    post_all(&daemon.url(), (0..20).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [20, 20, 0, 0]).then_some(())).await;
    callback.answer_with(400);
    post_all(&daemon.url(), (20..25).map(numbered)).await;
    wait_until("given up", || (figures(&house) == [25, 20, 5, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    callback.answer_with(200);
    let daemon = house.start();
    let letters = wait_until("its shards are back", || {
        let letters = json(&house, &["dead", "list"]);
        (letters.as_array().map(Vec::len) == Some(5)).then_some(letters)
    })
    .await;
    assert!(letters.as_array().unwrap().iter().all(|letter: &Value| letter["sink"] == "crm"));
    verb(&house, 0, &["dead", "retry", "--all"]);
    wait_until("all delivered", || (figures(&house) == [25, 25, 0, 0]).then_some(())).await;
    assert!(came(&callback).len() == 25);
    assert!(!daemon.log.text().contains(AWAITED), "nobody else had its name");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_of_one_name_the_elder_ends_and_says_why() {
    let test = "of_two_daemons_of_one_name_the_elder_ends_and_says_why";
    let Some(shared) = Shared::new(test).await else { return };
    let callback = Callback::start().await;
    let [a, b] = [(); 2].map(|()| shared.house("same", &tables(&callback.url())));
    let elder = a.start();
    post_all(&elder.url(), (0..5).map(numbered)).await;
    wait_until("delivered", || (figures(&a) == [5, 5, 0, 0]).then_some(())).await;
    let younger = b.start();
    let log = elder.log.clone();
    assert_ne!(elder.ends(), 0);
    assert!(log.text().contains("`node`"), "{}", log.text());
    let ids: BTreeSet<String> = post_all(&younger.url(), (5..10).map(numbered)).await.into_iter().collect();
    all_came(&callback, &ids).await;
    assert_eq!(younger.terminate(), 0);
}
