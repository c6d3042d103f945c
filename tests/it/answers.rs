//! What the real binary answers to a webhook. The unit tests of `src/ingress` test every answer; these need the whole
//! binary: Interakt's official vector, the previous secret, and a body of exactly `max_body`.

use hookrelay::verify::Hmac;

use crate::harness::{House, post, sign};

const KEEP: &str =
    "[sinks.out]\nkind = \"file\"\npath = \"out/{type}.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn interakts_official_vector_is_taken_and_its_spaced_twin_is_not() {
    let house = House::new(KEEP);
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("${INTERAKT_WEBHOOK_SECRET}", "examplekey")).unwrap();
    let daemon = house.start();
    let client = reqwest::Client::new();
    let send = async |body: &'static str, header: &str| {
        let request = client.post(daemon.url()).header("interakt-signature", header).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let signature = "sha256=b84783d10ede5bd6ed771e8b16fbe5a7093340159d6e49ec4248350b6ec2c7b4";
    assert_eq!(send(r#"{"foo":1,"bar":2}"#, signature).await, 200);
    assert_eq!(send(r#"{"foo": 1, "bar": 2}"#, signature).await, 401);
    assert_eq!(send(r#"{"foo":1,"bar":2}"#, "sha256=").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_secret_is_changed_both_are_believed_and_a_repeat_is_known() {
    let house = House::new(KEEP);
    let text = std::fs::read_to_string(house.config()).unwrap();
    let text = text.replace("[sinks.out]", "previous_secret = \"the-old-one\"\n[sinks.out]");
    std::fs::write(house.config(), text).unwrap();
    let daemon = house.start();
    let client = reqwest::Client::new();
    let body = br#"{"type":"t"}"#.to_vec();
    let old = Hmac::new(b"the-old-one", None).unwrap().sign(&body);
    let answer = client.post(daemon.url()).header("Interakt-Signature", old).body(body.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let first: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let (status, again) = post(&client, &daemon.url(), body).await.unwrap();
    assert_eq!((status, &again["id"], &again["duplicate"]), (200, &first["id"], &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_exactly_max_body_is_taken_and_one_byte_more_is_413() {
    let house = House::new(KEEP);
    let daemon = house.start();
    let client = reqwest::Client::new();
    for (size, expected) in [(1 << 20, 200), ((1 << 20) + 1, 413)] {
        let body = vec![b' '; size];
        let request = client.post(daemon.url()).header("Interakt-Signature", sign(&body)).body(body);
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected);
    }
}
