//! Daemons that are started while the brokers that keep their journal are away, or keep it too weakly.

use std::collections::BTreeSet;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::Value;
use sink_testkit::kafka::Cluster;

use crate::bodies::numbered;
use crate::harness::{Callback, House, post_all, wait_until};
use crate::several::{Shared, all_came, came, tables};
use crate::several_outage::Fleeting;
use crate::verbs;

/// The text of the reason that the journal cannot be written, where `status` has it.
fn trouble(house: &House) -> Option<String> {
    let status = verbs::status(house);
    let reasons = status["reasons"].as_array().unwrap();
    let failing = reasons.iter().find(|reason| reason["code"] == "journal_failing")?;
    Some(failing["text"].as_str().unwrap().to_owned())
}

fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "delivered", "dead", "pending"])
}

/// Sets the topic's properties as they must be.
async fn mend(brokers: &Cluster, topic: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", brokers.brokers()).create().unwrap();
    let all = [
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
        ("max.message.bytes", "17825792"),
        ("cleanup.policy", "delete"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "-1"),
    ];
    let altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let altered = all.into_iter().fold(altered, |altered, (name, value)| altered.set(name, value));
    let done = admin.alter_configs([&altered], &AdminOptions::new()).await.unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_brokers_away_a_daemon_starts_and_what_it_takes_is_delivered_once_when_they_are_back() {
    let test = "with_all_brokers_away_a_daemon_starts_and_what_it_takes_is_delivered_once";
    let Some(fleeting) = Fleeting::new(test).await else { return };
    let (shared, callback) = (Shared::on(fleeting.brokers()), Callback::start().await);
    let house = shared.house("a", &tables(&callback.url()));
    // The very first start, then one that has events and sinks.
    let mut ids = BTreeSet::new();
    for life in 0..2 {
        fleeting.kill().await;
        let daemon = house.start();
        let own = post_all(&daemon.url(), (life * 20..life * 20 + 20).map(numbered)).await;
        ids.extend(own.iter().cloned());
        assert!(daemon.log.text().contains("no sink can start"), "{}", daemon.log.text());
        let text = wait_until("status says so", || trouble(&house).filter(|text| text.contains("brokers"))).await;
        assert!(text.contains("heard last"), "{text}");
        let status = verbs::status(&house);
        assert_eq!((&status["journal"]["events"], &status["journal"]["bytes"]), (&Value::Null, &Value::Null));
        assert_eq!(status["sinks"]["crm"]["state"], "starting", "{status}");
        let words = verbs::verb(&house, 0, &["status"]);
        assert!(words.contains("what it holds is not known") && !words.contains("0 B free"), "{words}");
        let row = words.lines().find(|line| line.starts_with("crm")).unwrap();
        assert!(status["sinks"]["crm"]["unknown"] == true && row.contains('?'), "{words}");
        fleeting.start().await;
        all_came(&callback, &ids).await;
        let all = ids.len() as u64;
        wait_until("all is settled", || (figures(&house) == [all, all, 0, 0]).then_some(())).await;
        wait_until("all is well", || trouble(&house).is_none().then_some(())).await;
        // Events of earlier lives, and of this one while brokers were away, are repeated.
        let known = daemon.log.wait_for(|line| line.contains("repeats of earlier events are recognised"));
        assert!(known.is_some(), "{}", daemon.log.text());
        let again = post_all(&daemon.url(), [0, life * 20].map(numbered)).await;
        assert!(again.iter().all(|id| ids.contains(id)), "they were taken for new ones");
        assert!(!daemon.log.text().contains("will not be recognised"), "{}", daemon.log.text());
        assert_eq!(daemon.terminate(), 0);
    }
    assert!(came(&callback).values().all(|times| *times == 1), "nothing twice");
    fleeting.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_too_weak_are_refused_at_a_start_and_waited_for_where_brokers_say_so_later() {
    let test = "topics_that_are_too_weak_are_refused_at_a_start";
    let Some(shared) = Shared::new(test).await else { return };
    let (brokers, callback) = (Cluster::of_three(), Callback::start().await);
    let topic = format!("{}.events", shared.cluster);
    let weak = [("retention.ms", "1000"), ("min.insync.replicas", "2")];
    brokers.create(&topic, 4, &weak).await;
    let house = shared.house("a", &tables(&callback.url()));
    let looked = verbs::verb(&house, 78, &["check", "--connect"]);
    assert!(looked.contains("retention.ms") && looked.contains("kafka-configs.sh"), "{looked}");
    let Err((code, log)) = House::try_start(house.command(&["run"])) else { panic!("it started") };
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("retention.ms") && log.contains("kafka-configs.sh"), "{log}");
    // Brokers that are behind a port which nobody listens on for now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace(&shared.brokers, &port)).unwrap();
    let daemon = house.start();
    let ids: BTreeSet<String> = post_all(&daemon.url(), (0..5).map(numbered)).await.into_iter().collect();
    let listener = tokio::net::TcpListener::bind(&port).await.unwrap();
    let first = shared.brokers.split(',').next().unwrap().to_owned();
    // The first connection leads to the others, which are where they say they are.
    let leading = tokio::spawn(async move {
        loop {
            let (mut here, _) = listener.accept().await.unwrap();
            let to = first.clone();
            tokio::spawn(async move {
                let mut there = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    let text = wait_until("status says so", || trouble(&house).filter(|text| text.contains("retention.ms"))).await;
    assert!(text.contains("refused"), "{text}");
    let log = daemon.log.wait_for(|line| line.contains("the journal is refused"));
    assert!(log.is_some_and(|line| line.contains("retention.ms")), "{}", daemon.log.text());
    let later: BTreeSet<String> = post_all(&daemon.url(), (5..10).map(numbered)).await.into_iter().collect();
    // `check` has asked whether somebody is there.
    assert!(ids.is_disjoint(&came(&callback).into_keys().collect()));
    // Mended as the log says, and nobody has to start anything.
    mend(&brokers, &topic).await;
    let ids = &ids | &later;
    all_came(&callback, &ids).await;
    assert!(came(&callback).iter().all(|(id, times)| *times == 1 || !ids.contains(id)), "nothing twice");
    assert_eq!(daemon.terminate(), 0);
    let looked = verbs::verb(&house, 0, &["check", "--connect"]);
    assert!(looked.contains("[journal]  kafka   ok\n"), "{looked}");
    // Of a relay that has never run the topics are named, and not made.
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace(&format!("\"{}\"", shared.cluster), "\"new\"")).unwrap();
    for _ in 0..2 {
        let looked = verbs::verb(&house, 0, &["check", "--connect"]);
        assert!(looked.contains("kafka   ok: `run` makes new.events, new.control, new.held.crm"), "{looked}");
    }
    leading.abort();
}
