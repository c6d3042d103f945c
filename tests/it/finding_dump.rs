//! `hookrelay journal dump` finds, chooses and counts; and times are read and shown by the clock of the user's zone.

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{House, post_all, wait_until};
use crate::verbs::{verb, verb_without_secret};

const TABLES: &str =
    "[sinks.out]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n";

fn dump(house: &House, args: &[&str]) -> String {
    verb_without_secret(house, 0, &[&["journal", "dump"], args].concat())
}

/// The ids on the lines of a dump.
fn ids(dumped: &str) -> Vec<&str> {
    dumped.lines().map(|line| line.split(' ').nth(2).unwrap()).collect()
}

/// Puts keys above the first table.
fn add_keys(house: &House, keys: &str) {
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), format!("{keys}{text}")).unwrap();
}

fn indexes(house: &House) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(house.path("data/journal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "index")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_message_and_by_id_with_an_index_without_one_and_with_a_damaged_one() {
    let house = House::new(TABLES);
    let daemon = house.start();
    let mut sent = post_all(&daemon.url(), (0..12).map(numbered)).await;
    sent.extend(post_all(&daemon.url(), [numbered(5)].map(|body| [body, vec![b' ']].concat())).await);
    let found = |house: &House| {
        assert_eq!(ids(&dump(house, &["--subject", "m-5"])), [sent[5].as_str(), &sent[12]]);
        assert_eq!(ids(&dump(house, &["--id", &format!("{}-route-2", sent[7])])), [sent[7].as_str()]);
        assert_eq!(dump(house, &["--subject", "m-5", "--type", "*_sent"]), "");
        assert_eq!(dump(house, &["--id", &sent[7], "--subject", "m-5"]), "");
        assert_eq!(dump(house, &["--subject", "m"]), "");
        assert!(verb(house, 0, &["explain", "--id", &sent[7]]).contains(&sent[7]));
    };
    found(&house);
    // The segment is sealed by the stop, and indexed by then or by the next start.
    assert_eq!(daemon.terminate(), 0);
    indexes(&house).iter().for_each(|index| std::fs::remove_file(index).unwrap());
    found(&house);
    assert!(verb_without_secret(&house, 0, &["journal", "stat"]).contains(", no index"));
    let daemon = house.start();
    wait_until("an index", || (!indexes(&house).is_empty()).then_some(())).await;
    found(&house);
    assert!(!verb_without_secret(&house, 0, &["journal", "stat"]).contains(", no index"));
    daemon.kill();
    let index = indexes(&house).remove(0);
    let mut bytes = std::fs::read(&index).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&index, &bytes).unwrap();
    found(&house);
    let verified = verb_without_secret(&house, 0, &["journal", "verify"]);
    assert!(verified.contains("an index that is not whole: the daemon makes it anew"), "{verified}");
    let mended = verb_without_secret(&house, 0, &["journal", "repair"]);
    assert!(mended.contains("a damaged index, removed") && indexes(&house).is_empty(), "{mended}");
    let daemon = house.start();
    wait_until("an index again", || (!indexes(&house).is_empty()).then_some(())).await;
    found(&house);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jq_chooses_and_counts_events_and_a_fault_in_it_is_pointed_at() {
    let house = House::new(TABLES);
    let daemon = house.start();
    let sent = post_all(&daemon.url(), (0..12).map(numbered)).await;
    post_all(&daemon.url(), [b"no json".to_vec()]).await;
    let of_three = r#"$event.type == "message_api_read" and (.data.message.id | ltrimstr("m-") | tonumber) > 4"#;
    assert_eq!(ids(&dump(&house, &["--where", of_three])), [sent[5].as_str(), &sent[8], &sent[11]]);
    let counted = dump(&house, &["--count-by", "$event.type, .data.message.message_status"]);
    let rows: Vec<&str> = counted.lines().collect();
    assert_eq!(rows[0], "12 Sent", "{counted}");
    assert!(rows.contains(&" 4 message_api_read") && rows.contains(&" 1 null") && rows.len() == 6, "{counted}");
    let args = ["--since", "1h", "--where", ".data != null", "--count-by", "$event.type", "--json"];
    let rows: Value = serde_json::from_str(&dump(&house, &args)).unwrap();
    assert_eq!(rows[0], serde_json::json!({"key": "message_api_delivered", "count": 4}), "{rows}");
    assert_eq!(rows.as_array().unwrap().len(), 3);
    let none = dump(&house, &["--where", "false", "--count-by", ".", "--json"]);
    assert!(none.starts_with("[]") && none.contains("is a constant"), "{none}");
    assert!(dump(&house, &["--where", ".a = 1", "--count-by", "1"]).contains("did you mean `==`"));
    let gone = "01937e0c-5a1b-7c3d-8e4f-0123456789ab";
    let gone = verb_without_secret(&house, 1, &["journal", "dump", "--id", gone]);
    assert!(gone.contains("there is no event"), "{gone}");
    let swapped = ["journal", "dump", "--since", "2026-01-02", "--until", "2026-01-01"];
    assert!(verb_without_secret(&house, 2, &swapped).contains("swapped"));
    // What a program fails on is left out, and said.
    let failed = dump(&house, &["--subject", "m-3", "--where", ".data.message.id | tonumber"]);
    assert!(failed.contains("1 event left out") && failed.contains("--where: "), "{failed}");
    let fault = verb_without_secret(&house, 2, &["journal", "dump", "--where", ".data | lenght"]);
    let expected = ["--where: there is no", "\n  .data | lenght\n          ^\n", "did you mean `length`?"];
    assert!(expected.iter().all(|part| fault.contains(part)), "{fault}");
    let fault = verb_without_secret(&house, 2, &["journal", "dump", "--count-by", "["]);
    assert!(fault.contains("--count-by: not a jq program"), "{fault}");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_users_clock() {
    let house = House::new(TABLES);
    add_keys(&house, "timezone = \"Asia/Kolkata\"\n");
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    let dumped = dump(&house, &[]);
    let first = dumped.lines().next().unwrap();
    let (time, _) = first.split_at(first.find("+05:30 ").expect("by India's clock") + 6);
    let utc = dump(&house, &["--utc"]);
    assert!(utc.lines().all(|line| line.split(' ').nth(1).unwrap().ends_with('Z')), "{utc}");
    // The bodies hold what not every parser takes.
    let whole = dump(&house, &["--json"]);
    let of_first = whole.split("\"time\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(of_first.ends_with('Z') && of_first.contains('T'), "{whole}");
    assert!(verb_without_secret(&house, 0, &["journal", "stat"]).contains("+05:30 to "));
    // What is shown is taken back, to the microsecond.
    let lines = |args: &[&str]| dump(&house, args).lines().count();
    let until_here = lines(&["--until", time]);
    assert_eq!((until_here, until_here + lines(&["--since", time])), (0, 3));
    let by_clock = time.strip_suffix("+05:30").unwrap();
    assert_eq!((lines(&["--until", by_clock]), lines(&["--since", by_clock])), (0, 3));
    assert_eq!((lines(&["--since", by_clock, "--utc"]), lines(&["--until", by_clock, "--utc"])), (0, 3));
    assert_eq!((lines(&["--since", "2020-01-31"]), lines(&["--until", "2020-01-31 09:00"])), (3, 0));
    for verb in [&["journal", "dump", "--since"][..], &["dead", "list", "--until"], &["replay", "--since"]] {
        let fault = verb_without_secret(&house, 2, &[verb, &["tomorow"]].concat());
        assert!(
            fault.contains(&format!("{}: `tomorow` is not a time, expected `1h`", verb.last().unwrap())),
            "{fault}"
        );
    }
    assert_eq!(daemon.terminate(), 0);
    let text = std::fs::read_to_string(house.config()).unwrap();
    for (name, help) in [("Etc/Unknown", ""), ("Asia/Kolkatta", "did you mean \"Asia/Kolkata\"?")] {
        std::fs::write(house.config(), text.replace("Asia/Kolkata", name)).unwrap();
        for verb in [&["check"][..], &["journal", "dump"]] {
            let fault = verb_without_secret(&house, 78, verb);
            let expected = format!("config.toml:1:12: error: timezone `{name}` is not known");
            assert!(fault.contains(&expected) && fault.contains(help), "{fault}");
        }
        assert_eq!(dump(&house, &["--utc"]).lines().count(), 3, "it is not asked for");
    }
}
