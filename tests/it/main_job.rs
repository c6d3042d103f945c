//! A signed webhook reaches every sink its rules name: files, a callback, SQLite, the terminal.

use std::collections::BTreeMap;

use crate::bodies::fixtures;
use crate::harness::{Callback, House, column, lines_under, post, post_all, wait_until};

fn tables(callback: &Callback) -> String {
    format!(
        r#"
[sinks.archive]
kind = "file"
path = "out/{{type}}/{{date}}.jsonl"
[sinks.crm]
kind = "http"
url = "{}"
[sinks.statuses]
kind = "sqlite"
database = "relay.db"
table = "statuses"
setup = """CREATE TABLE IF NOT EXISTS statuses (\
  event_id TEXT NOT NULL UNIQUE, message_id TEXT, event_type TEXT, \
  customer_phone TEXT, customer_id TEXT, click_type TEXT, button_text TEXT)"""
[sinks.api_logs]
kind = "sqlite"
database = "relay.db"
table = "api_logs"
setup = "CREATE TABLE IF NOT EXISTS api_logs (event_id TEXT NOT NULL UNIQUE, type TEXT, body_size INTEGER)"
[[routes]]
name = "failures are for the crm alone"
match = "message_api_failed"
to = "crm"
final = true
[[routes]]
match = ["message_api_*", "message_campaign_*"]
transform = "interakt.message_status"
to = "statuses"
[[routes]]
match = "*"
transform = "api_log"
to = "api_logs"
[[routes]]
match = "*"
to = ["archive", "crm"]
"#,
        callback.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_reaches_exactly_the_sinks_its_routes_name() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback));
    let daemon = house.start();
    let all = fixtures();
    let ids = post_all(&daemon.url(), all.iter().map(|(_, body)| body.clone())).await;
    let of: BTreeMap<&String, &(String, Vec<u8>)> = ids.iter().zip(&all).collect();

    let got = wait_until("the callback got all", || Some(callback.got()).filter(|g| g.len() >= all.len())).await;
    assert_eq!(got.len(), all.len());
    for call in &got {
        // The first route that names the crm is the failures': what comes by another carries that route's name.
        let event = call.id[..36].to_owned();
        assert_eq!(call.body, of[&event].1, "{} is not what was signed", of[&event].0);
        assert_eq!(call.id == event, call.kind == "message_api_failed", "{}", call.id);
    }
    let failed = all.iter().filter(|(name, _)| name == "message_api_failed.json").count();
    assert_eq!(failed, 1);
    let lines = wait_until("the files hold all but the failure", || {
        Some(lines_under(&house.path("out"), ".jsonl")).filter(|l| l.len() >= all.len() - failed)
    })
    .await;
    assert_eq!(lines.len(), all.len() - failed);
    assert!(!house.path("out/message_api_failed").exists(), "a final route let its event go on");
    assert!(house.path("out/message_received").is_dir());

    let logged = wait_until("api_logs", || {
        Some(column(&house.path("relay.db"), "SELECT event_id FROM api_logs")).filter(|r| r.len() == lines.len())
    })
    .await;
    assert!(logged.iter().all(|row| ids.iter().any(|id| row.starts_with(id))));
    let phones = wait_until("statuses", || {
        let rows = column(
            &house.path("relay.db"),
            "SELECT customer_phone FROM statuses WHERE event_type = 'message_api_clicked'",
        );
        Some(rows).filter(|r| r.len() == 3)
    })
    .await;
    assert!(phones.iter().all(|p| p == "+919876543210"), "{phones:?}");
    let clicks = column(
        &house.path("relay.db"),
        "SELECT click_type || ':' || button_text FROM statuses WHERE click_type IS NOT NULL ORDER BY 1",
    );
    assert_eq!(clicks, ["CTA:Track Order", "QR:Confirm Order", "QR:Confirm Order"]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_is_still_kept_and_routed() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback));
    let daemon = house.start();
    let huge = format!(
        r#"{{"type":"message_received","data":{{"customer":{{"traits":{{"x":"{}"}}}}}}}}"#,
        "y".repeat(137_000)
    );
    let odd: Vec<(&str, Vec<u8>)> = vec![
        ("unparsable", b"".to_vec()),
        ("unparsable", b"not json".to_vec()),
        ("unparsable", b"\xff\xfe\x00".to_vec()),
        ("unknown", b"[1,2]".to_vec()),
        ("unknown", b"{}".to_vec()),
        ("unknown", br#"{"type":7}"#.to_vec()),
        ("account_update", br#"{"field":"account_update"}"#.to_vec()),
        ("message_api_clicked", br#"{"customer":{},"message":{"id":"m"},"event":{"click_type":"CTA"}}"#.to_vec()),
        (
            "message_received",
            br#"{"type":"message_received","data":{"message":{"id":"x","message":"\ud83d \u0000"}}}"#.to_vec(),
        ),
        ("message_received", huge.into_bytes()),
    ];
    let ids = post_all(&daemon.url(), odd.iter().map(|(_, body)| body.clone())).await;
    let got = wait_until("the callback got all", || Some(callback.got()).filter(|g| g.len() >= odd.len())).await;
    for (id, (kind, body)) in ids.iter().zip(&odd) {
        let call = got.iter().find(|g| g.id.starts_with(id)).unwrap();
        assert_eq!((call.kind.as_str(), &call.body[..]), (*kind, &body[..]));
    }
    let lines =
        wait_until("the files", || Some(lines_under(&house.path("out"), ".jsonl")).filter(|l| l.len() >= odd.len()))
            .await;
    assert!(lines.iter().all(|l| serde_json::from_str::<&serde_json::value::RawValue>(l).is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_with_the_first_id_and_delivered_once_across_a_restart() {
    let callback = Callback::start().await;
    let house = House::new(&tables(&callback));
    let body = fixtures().remove(0).1;
    let daemon = house.start();
    let client = reqwest::Client::new();
    let (_, first) = post(&client, &daemon.url(), body.clone()).await.unwrap();
    let (status, second) = post(&client, &daemon.url(), body.clone()).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &true.into()));
    daemon.kill();
    let daemon = house.start();
    let (_, third) = post(&client, &daemon.url(), body).await.unwrap();
    assert_eq!((&third["id"], &third["duplicate"]), (&first["id"], &true.into()));
    let other = post_all(&daemon.url(), [b"{\"type\":\"other\"}".to_vec()]).await;
    wait_until("the later one", || callback.got().iter().any(|g| g.id.starts_with(&other[0])).then_some(())).await;
    let copies = callback.got().iter().filter(|g| g.id.starts_with(first["id"].as_str().unwrap())).count();
    assert!((1..=2).contains(&copies), "a repeat became an event of its own");
}
