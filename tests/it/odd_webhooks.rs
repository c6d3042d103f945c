//! Webhooks that are odd and taken all the same: what is hidden.

use crate::harness::{House, lines_under, post_all, until};

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
