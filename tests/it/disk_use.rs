//! The journal stays within `max_size`, and gives up what every sink has before what one still wants.

use std::path::Path;

use crate::harness::{House, lines_under, post_all, until};

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
    let lines =
        until("all delivered", || Some(lines_under(&house.path("out"), ".jsonl")).filter(|lines| lines.len() == 150))
            .await;
    assert!(lines.iter().map(String::len).sum::<usize>() > 15_000_000);
    let journal = house.path("data/journal");
    until("the journal is small again", || (bytes_under(&journal) <= 6 << 20).then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}
