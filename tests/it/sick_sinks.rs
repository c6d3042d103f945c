//! A sink that hangs, refuses or is not there harms no other, and gets everything once it is well.

use std::time::Duration;

use crate::bodies::numbered;
use crate::harness::{Callback, House, PATIENCE, lines_under, post_all, wait_until};

fn tables(url: &str) -> String {
    format!(
        r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[sinks.sick]
kind = "http"
url = "{url}"
timeout = "300ms"
retry = {{ initial = "20ms", max = "100ms" }}
breaker = {{ probe = "20ms", probe_max = "100ms" }}
[[routes]]
match = "*"
to = ["archive", "sick"]
"#
    )
}

async fn the_other_gets_all_and_the_sick_one_catches_up(callback: &Callback, heal: impl FnOnce(&Callback)) {
    let house = House::new(&tables(&callback.url()));
    let daemon = house.start();
    let mut ids = post_all(&daemon.url(), (0..200).map(numbered)).await;
    wait_until("the file has all", || (lines_under(&house.path("out"), ".jsonl").len() == 200).then_some(())).await;
    assert!(callback.got().len() < 200, "the callback was not sick");
    heal(callback);
    wait_until("the sick one has all", || (callback.got().len() >= 200).then_some(())).await;
    let mut got: Vec<String> = callback.got().into_iter().map(|g| g.id).collect();
    got.sort();
    got.dedup();
    ids.sort();
    assert_eq!(got, ids);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_answers_500_holds_up_no_other() {
    let callback = Callback::start().await;
    callback.answer_with(500);
    the_other_gets_all_and_the_sick_one_catches_up(&callback, |c| c.answer_with(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_our_credentials_is_the_sinks_fault_and_waits() {
    let callback = Callback::start().await;
    callback.answer_with(401);
    the_other_gets_all_and_the_sick_one_catches_up(&callback, |c| c.answer_with(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_holds_up_no_other() {
    let callback = Callback::start().await;
    callback.take_time(PATIENCE * 10);
    the_other_gets_all_and_the_sick_one_catches_up(&callback, |c| c.take_time(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_not_there_holds_up_nothing_not_even_the_stop() {
    let house = House::new(&tables("http://127.0.0.1:1/"));
    let daemon = house.start();
    post_all(&daemon.url(), (0..50).map(numbered)).await;
    wait_until("the file has all", || (lines_under(&house.path("out"), ".jsonl").len() == 50).then_some(())).await;
    daemon.log.wait_for(|l| l.contains("does not take deliveries")).expect("the breaker has opened");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_be_opened_keeps_neither_ingress_nor_others_from_starting() {
    let house = House::new(
        r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[sinks.broken]
kind = "sqlite"
database = "broken.db"
table = "t"
setup = "CREATE TABLE IF NOT EXISTS t (event_id TEXT)"
[[routes]]
match = "*"
to = ["archive", "broken"]
"#,
    );
    let daemon = house.start();
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    wait_until("the file has all", || (lines_under(&house.path("out"), ".jsonl").len() == 3).then_some(())).await;
    let line = daemon.log.wait_for(|l| l.contains("cannot be opened")).expect("a line in the log");
    assert!(line.contains("CREATE UNIQUE INDEX"), "{line}");
}
