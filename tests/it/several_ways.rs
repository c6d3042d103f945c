//! What a daemon asks of its brokers, and over which ways: TLS with a password, too.

use std::collections::BTreeSet;
use std::time::Duration;

use sink_testkit::kafka::Cluster;

use crate::bodies::numbered;
use crate::harness::{Callback, House, PATIENCE, post_all, wait_until};
use crate::kafka_ways::Ways;
use crate::several::Shared;
use crate::verbs;

/// The requests that a journal on Kafka may make, by their numbers in Kafka's protocol: those that any broker has, then
/// those of classic groups, of transactions, and to delete records.
const REQUESTS: &[(i16, &str)] = &[
    (0, "Produce"),
    (1, "Fetch"),
    (2, "ListOffsets"),
    (3, "Metadata"),
    (18, "ApiVersions"),
    (19, "CreateTopics"),
    (32, "DescribeConfigs"),
    (10, "FindCoordinator"),
    (17, "SaslHandshake"),
    (36, "SaslAuthenticate"),
    (23, "OffsetForLeaderEpoch"),
    (8, "OffsetCommit"),
    (9, "OffsetFetch"),
    (11, "JoinGroup"),
    (12, "Heartbeat"),
    (13, "LeaveGroup"),
    (14, "SyncGroup"),
    (15, "DescribeGroups"),
    (16, "ListGroups"),
    (22, "InitProducerId"),
    (24, "AddPartitionsToTxn"),
    (25, "AddOffsetsToTxn"),
    (26, "EndTxn"),
    (28, "TxnOffsetCommit"),
    (DELETE_RECORDS, "DeleteRecords"),
];
const DELETE_RECORDS: i16 = 21;

fn tables(url: &str) -> String {
    format!(
        "[sinks.crm]\nkind = \"http\"\nurl = \"{url}\"\ntimeout = \"1s\"\n\
         retry = {{ initial = \"10ms\", max = \"100ms\" }}\n\
         breaker = {{ probe = \"10ms\", probe_max = \"100ms\" }}\n[[routes]]\nmatch = \"*\"\nto = \"crm\"\n"
    )
}

fn figures(house: &House) -> [u64; 4] {
    verbs::figures(house, "crm", ["accepted", "delivered", "dead", "pending"])
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_broker_it_asks_for_transactions_delete_records_and_classic_groups_and_what_any_broker_has() {
    let test = "of_a_broker_it_asks_for_transactions_delete_records_and_classic_groups_and_what_any_broker_has";
    let Some(shared) = Shared::new(test).await else { return };
    let (ways, callback) = (Ways::open().await, Callback::start().await);
    let through = shared.reached_by(ways.brokers());
    let house = through.house("a", &tables(&callback.url()));
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("[journal]\n", "[journal]\nretention = \"1s\"\n")).unwrap();
    let daemon = house.start();
    post_all(&daemon.url(), (0..20).map(numbered)).await;
    wait_until("delivered", || (figures(&house) == [20, 20, 0, 0]).then_some(())).await;
    callback.answer_with(400);
    post_all(&daemon.url(), (20..25).map(numbered)).await;
    wait_until("given up", || (figures(&house) == [25, 20, 5, 0]).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
    callback.answer_with(200);
    let daemon = house.start();
    let letters = || (verbs::json(&house, &["dead", "list"]).as_array().map(Vec::len) == Some(5)).then_some(());
    wait_until("its shards are back", letters).await;
    verbs::verb(&house, 0, &["dead", "retry", "--all"]);
    wait_until("all delivered", || (figures(&house) == [25, 25, 0, 0]).then_some(())).await;
    // What may go is looked for each minute.
    let is_deleting = async {
        while !ways.asked().contains(&DELETE_RECORDS) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE * 3, is_deleting).await.expect("it has records deleted");
    assert_eq!(daemon.terminate(), 0);
    let (asked, known) = (ways.asked(), REQUESTS.iter().map(|(number, _)| *number).collect::<BTreeSet<i16>>());
    let unknown: Vec<&i16> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "requests {unknown:?}, which a compatible broker may not have");
    assert!([0, 1, 11, 22, 28].iter().all(|number| asked.contains(number)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_kept_over_tls_with_a_password() {
    let Some(shared) = Shared::new("a_journal_is_kept_over_tls_with_a_password").await else { return };
    let (cluster, callback) = (Cluster::of_three(), Callback::start().await);
    let over_tls = shared.reached_by(cluster.tls().to_owned());
    let [a, b] = ["a", "b"].map(|node| over_tls.house(node, &tables(&callback.url())));
    for (house, user) in [(&a, cluster.user()), (&b, cluster.user())] {
        let text = std::fs::read_to_string(house.config()).unwrap();
        let properties = format!(
            "properties = {{ \"security.protocol\" = \"SASL_SSL\", \"ssl.ca.location\" = \"{}\", \
             \"sasl.mechanism\" = \"SCRAM-SHA-512\", \"sasl.username\" = \"{user}\", \"sasl.password\" = \"{}\" }}\n",
            cluster.ca(),
            cluster.password()
        );
        std::fs::write(house.config(), text.replace("partitions = 4\n", &format!("partitions = 4\n{properties}")))
            .unwrap();
    }
    let (first, second) = (a.start(), b.start());
    post_all(&first.url(), (0..20).map(numbered)).await;
    post_all(&second.url(), (20..40).map(numbered)).await;
    for house in [&a, &b] {
        wait_until("all is settled", || (figures(house) == [40, 40, 0, 0]).then_some(())).await;
    }
    assert_eq!(callback.got().len(), 40);
    for log in [&first.log, &second.log] {
        assert!(!log.text().contains(cluster.password()));
    }
    assert_eq!((first.terminate(), second.terminate()), (0, 0));
}
