//! Faults that no real broker shows on demand: librdkafka's mock cluster answers as it is told. (Everything else in
//! this folder runs against a real one.)

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};
use sink_testkit::wait::PATIENCE;

use crate::kit;

#[tokio::test]
async fn after_a_fatal_error_a_new_producer_goes_on_and_every_batch_is_handed_out_again() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", "").await;
    assert_eq!(open.verdicts(kit::events(2)).await, ["delivered"; 2]);
    // A broker that lost part of what it had acknowledged: no resend can mend that, and librdkafka says so.
    cluster.request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let (one, two) = (open.batch(PATIENCE, kit::events(5)), open.batch(PATIENCE, kit::events(5)));
    let (a, b) = tokio::join!(open.sent(&one), open.sent(&two));
    assert!(a.iter().chain(&b).any(|verdict| verdict == "retry fatal" || verdict == "retry kafka"), "{a:?} {b:?}");
    assert_eq!(open.verdicts(kit::events(2)).await, ["delivered"; 2]);
    assert_eq!(
        (open.sent(&one).await, open.sent(&two).await),
        (vec!["delivered".into(); 5], vec!["delivered".into(); 5])
    );
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for_inside_a_call() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", "").await;
    for error in [
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let got = open.verdicts(kit::events(3)).await;
        assert!(got.iter().all(|v| v == "delivered" || v == "retry kafka"), "{error:?}: {got:?}");
    }
    assert_eq!(open.verdicts(kit::events(3)).await, ["delivered"; 3]);
}

#[tokio::test]
async fn an_answer_that_speaks_of_rights_is_the_sink_s_fault_and_rights_given_later_are_seen() {
    let cluster = kit::mock();
    let more = "properties = { \"topic.metadata.refresh.interval.ms\" = 200 }";
    let open = kit::open(&cluster.bootstrap_servers(), "t", more).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    assert_eq!(open.verdicts(kit::events(2)).await, ["retry auth"; 2]);
    open.insist(open.batch(PATIENCE, kit::events(2)), PATIENCE).await;
}

#[tokio::test]
async fn of_a_set_that_was_refused_only_the_one_to_blame_is_rejected() {
    let cluster = kit::mock();
    let open = kit::open(&cluster.bootstrap_servers(), "t", "properties = { \"linger.ms\" = 50 }").await;
    // The set of all three is refused; alone, the first is refused again, and the others are taken.
    let refused = E::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused, refused]);
    assert_eq!(open.verdicts(kit::events(3)).await, ["reject refused", "delivered", "delivered"]);
}
