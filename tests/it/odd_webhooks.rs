//! Webhooks that are odd and taken all the same: what is hidden, or without a number.

use crate::harness::{House, column, lines_under, post_all, until};

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_hides_the_folder_or_the_file_it_is_kept_in() {
    let house = House::new(
        "[sinks.out]\nkind = \"file\"\npath = \"out/{type}/{subject}.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n",
    );
    let daemon = house.start();
    let body = br#"{"type":"../x","data":{"message":{"id":".s"}}}"#.to_vec();
    post_all(&daemon.url(), [body]).await;
    let line = until("its line", || lines_under(&house.path("out/%2E.%2Fx"), "%2Es.jsonl").pop()).await;
    assert!(line.contains("\"type\":\"../x\""), "{line}");
    let names: Vec<_> = std::fs::read_dir(house.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["%2E.%2Fx"]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_with_a_username_has_an_id_in_the_table_and_no_false_number() {
    let setup = "CREATE TABLE IF NOT EXISTS t (event_id TEXT NOT NULL UNIQUE, customer_phone TEXT, customer_id TEXT)";
    let house = House::new(&format!(
        "[sinks.t]\nkind = \"sqlite\"\ndatabase = \"t.db\"\ntable = \"t\"\nsetup = \"{setup}\"\n\
         [[routes]]\nmatch = \"*\"\ntransform = \"interakt.message_status\"\nto = \"t\"\n"
    ));
    let daemon = house.start();
    let numbers = [r#""US.13491208655302741918""#, r#""IN.1A2bC3""#, "null", r#""+91 98765-43210""#];
    let bodies = numbers.map(|number| {
        let customer = format!(r#"{{"channel_phone_number":{number}}}"#);
        format!(r#"{{"type":"message_api_read","data":{{"customer":{customer},"message":{{"id":"m"}}}}}}"#).into_bytes()
    });
    post_all(&daemon.url(), bodies).await;
    let rows = until("all rows", || {
        let sql = "SELECT ifnull(customer_phone, '-') || ' ' || ifnull(customer_id, '-') FROM t ORDER BY rowid";
        Some(column(&house.path("t.db"), sql)).filter(|rows| rows.len() == numbers.len())
    })
    .await;
    assert_eq!(rows, ["- US.13491208655302741918", "- IN.1A2bC3", "- -", "+919876543210 -"]);
    assert_eq!(daemon.terminate(), 0);
}
