//! `hookrelay journal`: verify, dump, stat and repair, beside a running daemon and without one.

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{House, lines_under, post_all, wait_until};
use crate::verbs::verb_without_secret;

const TABLES: &str = "[sinks.out]\nkind = \"file\"\npath = \"out/all.jsonl\"\nstart = \"beginning\"\n\
    [[routes]]\nmatch = \"*\"\nto = \"out\"\n";

fn json(house: &House, exit: i32, verb: &str) -> Value {
    let printed = verb_without_secret(house, exit, &["journal", verb, "--json"]);
    serde_json::from_str(printed.lines().next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_counted_in_the_singular() {
    let house = House::new(TABLES);
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(1)]).await;
    daemon.kill();
    let stat = verb_without_secret(&house, 0, &["journal", "stat"]);
    let lines: Vec<&str> = stat.lines().collect();
    assert!(lines[0].contains(".segment: 1 event, "), "{stat}");
    assert_eq!(lines[1], "interakt message_api_delivered: 1 event");
    assert!(lines[2].starts_with("1 segment, 1 event, "), "{stat}");
    let verified = verb_without_secret(&house, 0, &["journal", "verify"]);
    assert!(verified.contains("1 segment, 1 good record, "), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_looked_at_beside_a_daemon_and_mended_without_one() {
    let house = House::new(TABLES);
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..12).map(numbered)).await;
    let sound = json(&house, 0, "verify");
    assert_eq!(
        (&sound["sound"], &sound["records"], &sound["findings"]),
        (&true.into(), &12.into(), &Value::Array(vec![]))
    );
    let dumped = verb_without_secret(&house, 0, &["journal", "dump", "--since", "1h", "--type", "*_sent"]);
    let seen: Vec<&str> = dumped.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    let sent: Vec<&str> = ids.iter().step_by(3).map(String::as_str).collect();
    assert_eq!(seen, sent, "{dumped}");
    let one = verb_without_secret(&house, 0, &["journal", "dump", "--json", "--id", &ids[4]]);
    let body = String::from_utf8(sink_api::json::compact(&numbered(4)).unwrap()).unwrap();
    assert!(one.lines().count() == 1 && one.contains(&format!("\"body\":{body}}}")), "{one}");
    let stat = json(&house, 0, "stat");
    assert_eq!((&stat["events"], stat["counts"].as_array().unwrap().len()), (&12.into(), 3), "{stat}");
    assert!(verb_without_secret(&house, 75, &["journal", "repair"]).contains(&daemon.pid().to_string()));
    wait_until("settled", || (lines_under(&house.path("out"), "jsonl").len() == 12).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);

    // The sixth record of the sealed segment rots.
    let segment = std::fs::read_dir(house.path("data/journal")).unwrap().map(|e| e.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|e| e == "segment")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(36).position(|part| part == b"\"message\":{\"id\":\"m-5\",\"message_status".split_at(36).0);
    bytes[at.expect("it is there")] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let printed = verb_without_secret(&house, 1, &["journal", "verify"]);
    assert!(printed.contains("ROT: 1 records") && printed.contains("journal repair"), "{printed}");
    let found = json(&house, 1, "verify");
    assert_eq!((&found["sound"], &found["findings"][0]["what"]), (&false.into(), &"rot".into()));
    let mended = verb_without_secret(&house, 0, &["journal", "repair"]);
    assert!(mended.contains("kept aside"), "{mended}");
    assert_eq!(std::fs::read_dir(house.path("data/journal/quarantine")).unwrap().count(), 1);
    let known = json(&house, 0, "verify");
    assert_eq!((&known["sound"], &known["findings"][0]["what"]), (&true.into(), &"known".into()));

    // All others are there for a sink that begins anew.
    std::fs::remove_dir_all(house.path("out")).unwrap();
    std::fs::remove_dir_all(house.path("data/sinks")).unwrap();
    house.configure(&TABLES.replace("sinks.out", "sinks.anew").replace("\"out\"", "\"anew\""));
    let daemon = house.start();
    wait_until("all but one", || (lines_under(&house.path("out"), "jsonl").len() == 11).then_some(())).await;
    assert!(daemon.log.wait_for(|line| line.contains("damaged records of the journal")).is_some());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn without_a_journal_the_verbs_say_where_they_looked() {
    let house = House::new(TABLES);
    for verb in ["verify", "dump", "stat", "repair"] {
        assert!(verb_without_secret(&house, 1, &["journal", verb]).contains("data/journal"), "{verb}");
    }
}
