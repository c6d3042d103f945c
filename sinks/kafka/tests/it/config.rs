//! What is refused, with which words, and what is never shown.

use sink_api::{At, BuildError, Fault};
use sink_testkit::{context, event, read_table};

use crate::kit;

const GOOD: &str = "brokers = \"127.0.0.1:9092\"\ntopic = \"t\"\n";

fn faults(table: &str) -> Vec<Fault> {
    read_table(&sink_kafka::KIND, table).map(|_| ()).unwrap_err()
}

#[test]
fn every_fault_is_found_at_once_and_named_at_its_key() {
    let table = "brokers = [\"a b\", \"k:9092\"]\ntopic = \"x/{type}\"\n\
         headers = { ce_id = \"x\", Content-Type = \"y\" }\n\
                 properties = { acks = 1, \"linger.mss\" = 1, \"compression.type\" = \"best\" }";
    let faults = faults(table);
    let keys: Vec<&At> = faults.iter().map(|fault| &fault.at).collect();
    let expected = [
        "brokers",
        "topic",
        "headers.Content-Type",
        "headers.ce_id",
        "properties.acks",
        "properties.compression.type",
        "properties.linger.mss",
    ];
    assert_eq!(keys, expected.map(|key| At::Key(key.to_owned())).iter().collect::<Vec<_>>(), "{faults:#?}");
    assert!(faults[4].message.contains("all in-sync replicas"), "{faults:#?}");
    assert_eq!(faults[6].help.as_deref(), Some("did you mean `linger.ms`?"));
}

#[test]
fn unknown_keys_and_wrong_types_are_faults() {
    assert!(faults(&format!("{GOOD}brokrs = 1")).iter().any(|f| f.message.contains("brokrs")));
    assert!(faults("brokers = 3\ntopic = \"t\"").iter().any(|f| f.message.contains("a string or a list")));
    assert!(faults(&format!("{GOOD}properties = {{ a = [1] }}")).iter().any(|f| f.message.contains("a string")));
    let with_user = faults("brokers = \"me:hunt,er@k:9092\"\ntopic = \"t\"");
    assert!(with_user.iter().any(|f| f.message.contains("user or password")), "{with_user:?}");
    assert!(!format!("{with_user:?}").contains("hunt"), "{with_user:?}");
    assert!(faults("brokers = []\ntopic = \"t\"").iter().any(|f| f.message.contains("at least one broker")));
    assert!(faults("brokers = \"k\"").iter().any(|f| f.message == "missing key `topic`"));
}

#[test]
fn no_property_s_value_is_ever_shown() {
    let config =
        kit::config(&format!("{GOOD}properties = {{ \"sasl.password\" = \"s3cret\", \"client.id\" = \"s3cret\" }}"));
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("sasl.password") && !shown.contains("s3cret"), "{shown}");
    let shown = format!("{:?}", faults(&format!("{GOOD}properties = {{ \"linger.ms\" = \"s3cret\" }}")));
    assert!(shown.contains("linger.ms") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn properties_that_do_not_go_together_are_refused_when_the_sink_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    for (properties, named) in [
        ("\"security.protocol\" = \"SSL\", \"ssl.ca.location\" = \"no-such-file.pem\"", "ssl.ca.location"),
        ("\"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanism\" = \"PLAIN\"", "sasl.username"),
    ] {
        let config = kit::config(&format!("{GOOD}properties = {{ {properties} }}"));
        match config.build(&context("pipeline", dir.path())).await.map(|_| ()) {
            Err(BuildError::Refused(why)) => assert!(why.contains(named), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_target_shows_where_a_message_goes_and_its_headers() {
    let config =
        kit::config(&format!("{}headers = {{ team = \"{{source}}\" }}", GOOD.replace("\"t\"", "\"w.{type}\"")));
    let target = config.target(&event("a:b").build()).unwrap();
    assert_eq!(target.parts().collect::<Vec<_>>(), [("topic", "w.a_b"), ("header team", "interakt")]);
}
