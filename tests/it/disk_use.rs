//! The journal stays within `max_size`: it deletes events that every sink has had before those that a sink is still
//! owed, and books the latter.

use std::collections::HashSet;
use std::path::Path;

use crate::harness::{House, lines_under, post_all, wait_until};

fn bytes_under(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|f| f.metadata().ok()).filter(std::fs::Metadata::is_file).map(|m| m.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_sink_has_is_deleted_when_max_size_is_reached() {
    let house = House::new(
        r#"
[sinks.archive]
kind = "file"
path = "out/{type}.jsonl"
[[routes]]
match = "*"
to = "archive"
"#,
    );
    let text = std::fs::read_to_string(house.config()).unwrap();
    let bounds = "min_free = 0\nsegment_size = \"1MiB\"\nmax_size = \"6MiB\"";
    std::fs::write(house.config(), text.replace("min_free = 0", bounds)).unwrap();
    let daemon = house.start();
    let body = |n: u32| format!(r#"{{"type":"t","n":{n},"x":"{}"}}"#, "y".repeat(100_000)).into_bytes();
    post_all(&daemon.url(), (0..150).map(body)).await;
    let lines = wait_until("all delivered", || {
        Some(lines_under(&house.path("out"), ".jsonl")).filter(|lines| lines.len() == 150)
    })
    .await;
    assert!(lines.iter().map(String::len).sum::<usize>() > 15_000_000);
    let journal = house.path("data/journal");
    wait_until("the journal is small again", || (bytes_under(&journal) <= 6 << 20).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_max_size_took_from_a_sink_is_counted_as_dropped_by_its_routes_even_after_a_kill() {
    let tables = |enabled: bool| {
        format!(
            r#"
[sinks.archive]
kind = "file"
path = "out/{{type}}.jsonl"
[sinks.late]
kind = "file"
path = "late/{{type}}.jsonl"
enabled = {enabled}
[[routes]]
match = "*"
to = "archive"
[[routes]]
match = "owed"
to = "late"
"#
        )
    };
    let house = House::new("");
    let configure = |enabled| {
        house.configure(&tables(enabled));
        let text = std::fs::read_to_string(house.config()).unwrap();
        let bounds = "min_free = 0\nsegment_size = \"1MiB\"\nmax_size = \"6MiB\"";
        std::fs::write(house.config(), text.replace("min_free = 0", bounds)).unwrap();
    };
    configure(false);
    let daemon = house.start();
    let kind = |n: u32| if n.is_multiple_of(3) { "other" } else { "owed" };
    let body = |n: u32| format!(r#"{{"type":"{}","n":{n},"x":"{}"}}"#, kind(n), "y".repeat(100_000)).into_bytes();
    let ids = post_all(&daemon.url(), (0..150).map(body)).await;
    let journal = house.path("data/journal");
    wait_until("what the late sink is owed was deleted", || (bytes_under(&journal) <= 6 << 20).then_some(())).await;
    daemon.kill();

    configure(true);
    let daemon = house.start();
    let counts = || {
        let ledger = rusqlite::Connection::open(house.path("data/ledger.db")).ok()?;
        let sql = "SELECT accepted, delivered, dropped FROM sinks WHERE name = 'late'";
        ledger.query_row(sql, [], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))).ok()
    };
    let (_, delivered, dropped) = wait_until("all accounted for", || counts().filter(|(all, ..)| *all == 100)).await;
    assert!(daemon.log.text().contains("deliveries this sink was owed are dropped"));
    assert_eq!(daemon.terminate(), 0);
    let late = lines_under(&house.path("late"), ".jsonl");
    assert_eq!((late.len() as i64, late.len() as i64 + dropped), (delivered, 100));
    assert!(dropped > 0 && delivered > 0, "{dropped} dropped, {delivered} delivered");
    let owed: HashSet<&String> = (0..).zip(&ids).filter(|(n, _)| kind(*n) == "owed").map(|(_, id)| id).collect();
    let last: Vec<_> = ids.iter().filter(|id| owed.contains(id)).skip(dropped as usize).collect();
    assert!(last.iter().zip(&late).all(|(id, line)| line.contains(id.as_str())), "the oldest are those that went");
}
