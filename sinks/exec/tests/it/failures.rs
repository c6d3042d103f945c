//! Programs that hang, die, flood, or answer what is no answer: what was answered stands, the rest is for another time,
//! and the next batch meets a fresh program.

use std::time::Duration;

use sink_api::{Outcome, code};
use sink_testkit::{batch, event, wait_until};

use crate::{Fixture, deliver, details, keyed, one, ones, verdicts, within};

/// Enough for what is answered at once, on a busy machine too.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_program_that_dies_in_a_batch_has_delivered_what_it_answered() {
    let fixture = Fixture::sh("while next; do say delivered; [ $id = two ] && kill -9 $$; done");
    let sink = fixture.open().await;
    let slots = deliver(&*sink, &ones(&["one", "two", "three", "four"])).await;
    let words: Vec<String> = slots.iter().map(crate::verdict).collect();
    assert_eq!(words, ["delivered", "delivered", "retry exec_died", "retry exec_died"]);
    assert_eq!(verdicts(&*sink, &ones(&["three", "four"])).await, ["delivered"; 2]);
    assert_eq!(fixture.starts(), 2);
}

#[tokio::test]
async fn a_program_that_dies_between_batches_costs_nothing() {
    let fixture = Fixture::sh("while next; do note $$; say delivered; exit 0; done");
    let sink = fixture.open().await;
    for id in ["one", "two", "three"] {
        assert_eq!(verdicts(&*sink, &ones(&[id])).await, ["delivered"]);
        let pid = fixture.notes().pop().unwrap();
        wait_until("it has ended", || !crate::runs(&pid)).await;
    }
    assert_eq!(fixture.starts(), 3);
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_started_once_a_call_and_says_why_it_ended() {
    let fixture = Fixture::sh("exit 3");
    let sink = fixture.open().await;
    for calls in 1..=4 {
        let slots = deliver(&*sink, &ones(&["one", "two"])).await;
        assert!(slots.iter().all(|slot| matches!(slot, Some(Outcome::Retry { .. }))), "{slots:?}");
        assert!(fixture.starts() <= calls + 1, "{} starts in {calls} calls", fixture.starts());
    }
    let slots = deliver(&*sink, &ones(&["one"])).await;
    assert!(details(&slots)[0].contains("exit status: 3"), "{slots:?}");
    assert_eq!(sink.probe().await.unwrap_err().code, code::CONNECT);
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_at_the_deadline_with_all_its_children() {
    let fixture = Fixture::sh(
        "while next; do
            if [ $id = slow ] && [ $(runs) = 1 ]; then sleep 1000 & note $!; wait; fi
            say delivered
        done",
    );
    let sink = fixture.open().await;
    let owed = within(ones(&["one", "slow", "three"]), SHORT);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered", "retry timeout", "retry timeout"]);
    let child = fixture.notes().pop().unwrap();
    wait_until("the child is gone", || !crate::runs(&child)).await;
    assert_eq!(verdicts(&*sink, &ones(&["slow", "three"])).await, ["delivered"; 2]);
    assert_eq!(fixture.starts(), 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_verdict_for_the_next() {
    // The first run answers late, and wrongly; the same delivery comes again.
    let fixture = Fixture::sh(
        "while next; do
            if [ $(runs) = 1 ]; then note asked; read -r go <gate; say reject; note told; else say delivered; fi
        done",
    );
    rustix::fs::mknodat(rustix::fs::CWD, fixture.path("gate"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let sink = fixture.open().await;
    let owed = ones(&["one"]);
    {
        let mut call = std::pin::pin!(sink.deliver(&owed));
        tokio::select! {
            _ = &mut call => panic!("it was not to answer"),
            () = wait_until("it was asked", || fixture.notes() == ["asked"]) => {}
        }
    }
    // Nobody is left behind the gate: the first run died with its call.
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"]);
    assert_eq!((fixture.starts(), fixture.notes()), (2, vec!["asked".to_owned()]));
}

#[tokio::test]
async fn what_is_no_verdict_breaks_the_protocol_and_ends_the_program() {
    for (nonsense, says) in [
        ("echo processing $id", "not JSON"),
        ("echo", "not a whole JSON object"),
        ("say perhaps", "a member is not"),
        ("say delivered unheard", "an id it does not have"),
        ("say delivered one", "an id it does not have"),
        ("say delivered behind", "an id it does not have"),
        ("head -c 100000 /dev/zero | tr '\\\\0' x; say delivered", "longer than a verdict"),
        ("yes", "not JSON"),
        ("yes | tr -d '\\\\n'", "longer than a verdict"),
        ("exec <&- >&-; sleep 1000", "closed its standard output"),
    ] {
        let fixture = Fixture::sh(&format!(
            "while next; do
                if [ $id = two ] && [ $(runs) = 1 ]; then {nonsense}; else say delivered; fi
            done",
            nonsense = nonsense.replace("\\\\", "\\"),
        ));
        let sink = fixture.open().await;
        let owed = batch([one("one"), keyed("two", "k"), keyed("behind", "k")]);
        let slots = deliver(&*sink, &owed).await;
        let words: Vec<String> = slots.iter().map(crate::verdict).collect();
        assert!(words[0] == "delivered" && words[1].starts_with("retry exec_") && words[2] == "unset", "{words:?}");
        assert!(details(&slots)[0].contains(says), "{nonsense}: {slots:?}");
        assert_eq!(verdicts(&*sink, &batch([keyed("two", "k"), keyed("behind", "k")])).await, ["delivered"; 2]);
        assert_eq!(fixture.starts(), 2, "{nonsense}");
    }
}

#[tokio::test]
async fn a_second_verdict_after_the_batch_is_not_taken_for_one_of_the_next() {
    let fixture = Fixture::sh(
        "while next; do
            if [ $(runs) = 1 ]; then say retry; say reject; note $id; else say delivered; fi
        done",
    );
    let sink = fixture.open().await;
    let owed = ones(&["one"]);
    assert_eq!(verdicts(&*sink, &owed).await, ["retry exec_retry"]);
    wait_until("it has said it twice", || fixture.notes() == ["one"]).await;
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"]);
    assert_eq!(fixture.starts(), 2);
}

#[tokio::test]
async fn a_program_that_closes_its_input_early_is_asked_no_more() {
    let fixture = Fixture::sh(
        "if [ $(runs) = 1 ]; then next; say delivered; exec <&-; note closed; exec sleep 1000; fi
        while next; do say delivered; done",
    );
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &ones(&["one"])).await, ["delivered"]);
    wait_until("it is closed", || fixture.notes() == ["closed"]).await;
    assert_eq!(verdicts(&*sink, &ones(&["two"])).await, ["retry exec_protocol"]);
    assert_eq!(verdicts(&*sink, &ones(&["two"])).await, ["delivered"]);
}

#[tokio::test]
async fn answers_given_before_the_end_count_even_where_the_input_was_not_read() {
    // More than a pipe holds is still unwritten when the program answers the first and ends.
    let fixture = Fixture::sh("next; say delivered; exit 0");
    let sink = fixture.open().await;
    let large = event("t").body(format!("\"{}\"", "x".repeat(300_000))).delivery();
    let slots = verdicts(&*sink, &batch([one("one"), large])).await;
    assert_eq!(slots[0], "delivered");
    assert!(slots[1].starts_with("retry exec_"), "{slots:?}");
}

#[tokio::test]
async fn large_lines_go_both_ways_at_once() {
    // Reads a line, answers with a long one, and never the other way round: either pipe alone would fill.
    let fixture = Fixture::with("command = [\"python3\", \"echo.py\"]", "");
    let program = r#"
import json, sys
for line in sys.stdin:
    event = json.loads(line)
    detail = event["data"][:60000]
    print(json.dumps({"id": event["id"], "outcome": "retry", "detail": detail}), flush=True)
"#;
    std::fs::write(fixture.path("echo.py"), program).unwrap();
    let sink = fixture.open().await;
    let body = |size: usize| format!("\"{}\"", "x".repeat(size));
    let mut all = vec![event("t").body(body(1 << 20)).delivery()];
    all.extend((0..40).map(|_| event("t").body(body(60_000)).delivery()));
    let slots = verdicts(&*sink, &batch(all)).await;
    assert_eq!(slots, vec!["retry exec_retry"; 41]);
}

#[tokio::test]
async fn a_flood_on_standard_error_holds_nothing_up() {
    let fixture =
        Fixture::sh("while next; do head -c 3000000 /dev/zero | tr '\\0' 'e' >&2; seq 100000 >&2; say delivered; done");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &ones(&["one", "two"])).await, ["delivered"; 2]);
    assert_eq!(fixture.starts(), 1);
}

#[tokio::test]
async fn calls_at_once_have_a_program_each_and_it_is_kept() {
    let fixture = Fixture::sh("while next; do until [ $(runs) = 2 ]; do :; done; say delivered; done");
    let sink = fixture.open().await;
    let (a, b) = (ones(&["a"]), ones(&["b"]));
    let (a, b) = tokio::join!(verdicts(&*sink, &a), verdicts(&*sink, &b));
    assert_eq!([a, b], [["delivered"], ["delivered"]]);
    let (a, b) = (ones(&["c"]), ones(&["d"]));
    let (a, b) = tokio::join!(verdicts(&*sink, &a), verdicts(&*sink, &b));
    assert_eq!(([a, b], fixture.starts()), ([vec!["delivered".to_owned()], vec!["delivered".to_owned()]], 2));
}

#[tokio::test]
async fn a_program_that_fails_only_after_a_while_is_seen_by_a_probe() {
    // As on a busy machine: the interpreter finds late that there is no script.
    let fixture = Fixture::sh("sleep 2; exec sh gone.sh");
    let sink = fixture.open().await;
    let why = sink.probe().await.unwrap_err();
    assert_eq!(why.code, code::CONNECT);
    assert!(why.detail.contains("failed on an empty input (exit status: "), "{why}");
    let patient = Fixture::sh("sleep 2; while next; do say delivered; done");
    let sink = patient.open().await;
    sink.probe().await.unwrap();
    assert_eq!(verdicts(&*sink, &ones(&["one"])).await, ["delivered"]);
}

#[tokio::test]
async fn a_python_program_that_does_not_flush_is_heard_unless_it_asks_for_a_buffer() {
    let program = concat!(
        "import json, sys\nfor line in sys.stdin:\n",
        "    print(json.dumps({'id': json.loads(line)['id'], 'outcome': 'delivered'}))\n"
    );
    let table = |more: &str| {
        let fixture = Fixture::with(&format!("command = [\"python3\", \"sink.py\"]\n{more}"), "");
        std::fs::write(fixture.path("sink.py"), program).unwrap();
        fixture
    };
    let fixture = table("");
    let sink = fixture.open().await;
    assert_eq!(verdicts(&*sink, &ones(&["one"])).await, ["delivered"]);
    let fixture = table("env = { PYTHONUNBUFFERED = \"\" }");
    let sink = fixture.open().await;
    let slots = deliver(&*sink, &within(ones(&["one"]), Duration::from_millis(500))).await;
    assert_eq!(crate::verdict(&slots[0]), "retry timeout");
    assert!(details(&slots)[0].contains("is its output flushed?"), "{slots:?}");
}
