//! TLS, passwords, rights: over the SASL_SSL listener of the real broker.

use sink_testkit::kafka::{self, Cluster};
use sink_testkit::wait::PATIENCE;

use crate::kit;

fn table(cluster: &Cluster, topic: &str, user: &str, password: &str, ca: &str) -> String {
    format!(
        "brokers = \"{}\"\ntopic = \"{topic}\"\n[properties]\n\"security.protocol\" = \"SASL_SSL\"\n\
         \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"sasl.username\" = \"{user}\"\n\"sasl.password\" = \"{password}\"\n{ca}",
        cluster.tls(),
    )
}

fn trusted(cluster: &Cluster) -> String {
    format!("\"ssl.ca.location\" = \"{}\"", cluster.ca())
}

#[tokio::test]
async fn messages_arrive_over_tls_with_a_password() {
    let Some((cluster, _lock)) = kafka::shared("kafka: messages_arrive_over_tls_with_a_password").await else {
        return;
    };
    let topic = cluster.topic(1, &[]).await;
    let table = table(&cluster, &topic, cluster.user(), cluster.password(), &trusted(&cluster));
    let open = kit::open_table(&table).await;
    assert_eq!(open.verdicts(kit::events(10)).await, ["delivered"; 10]);
    assert_eq!(cluster.stored(&topic).await.len(), 10);
    open.sink.probe().await.unwrap();
    assert!(!format!("{:?}", open.config).contains(cluster.password()));
}

#[tokio::test]
async fn a_wrong_password_is_the_sink_s_fault_and_is_not_shown() {
    let test = "kafka: a_wrong_password_is_the_sink_s_fault_and_is_not_shown";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[]).await;
    let table = table(&cluster, &topic, cluster.user(), "wrong-pass-2718", &trusted(&cluster));
    let open = kit::open_table(&table).await;
    // The call does not wait for its deadline: the breaker should hear of it before.
    let batch = open.batch(10 * PATIENCE, kit::events(2));
    let report = tokio::time::timeout(PATIENCE, open.sink.deliver(&batch)).await.expect("waits on");
    let slots = report.into_slots();
    assert_eq!(slots.iter().map(sink_testkit::verdict).collect::<Vec<_>>(), ["retry auth"; 2], "{slots:?}");
    let why = open.sink.probe().await.unwrap_err();
    assert_eq!(why.code, "auth", "{why}");
    assert!(!format!("{slots:?}{why:?}").contains("wrong-pass-2718"));
}

#[tokio::test]
async fn a_user_without_rights_is_the_sink_s_fault_and_never_a_dead_letter() {
    let test = "kafka: a_user_without_rights_is_the_sink_s_fault_and_never_a_dead_letter";
    let Some((cluster, _lock)) = kafka::shared(test).await else { return };
    let topic = cluster.topic(1, &[]).await;
    // `auth` speaks of the sink as a whole; where topics differ, it may be this one alone.
    for (written, code) in [(topic.clone(), "auth"), (format!("{topic}{{hour}}"), "topic_auth")] {
        let table = table(&cluster, &written, cluster.stranger(), cluster.password(), &trusted(&cluster));
        let open = kit::open_table(&table).await;
        assert_eq!(open.verdicts(kit::events(2)).await, [format!("retry {code}"), format!("retry {code}")]);
    }
    assert_eq!(cluster.stored(&topic).await, []);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused() {
    let Some((cluster, _lock)) = kafka::shared("kafka: a_certificate_nobody_vouches_for_is_refused").await else {
        return;
    };
    let topic = cluster.topic(1, &[]).await;
    let open = kit::open_table(&table(&cluster, &topic, cluster.user(), cluster.password(), "")).await;
    assert_eq!(open.within(PATIENCE, kit::events(1)).await, ["retry tls"]);
    assert_eq!(open.sink.probe().await.unwrap_err().code, "tls");
    assert_eq!(cluster.stored(&topic).await, []);
}
