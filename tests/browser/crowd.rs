//! 10,000 events in the tail: all are there, few are in the document, and the page still does what it is told.

use crate::bodies::numbered;
use crate::harness::post_all;
use crate::watched::{TOKEN, watched};

const EVENTS: u64 = 10_000;
const SENDERS: u64 = 16;
/// Rows that may stand in the document: those that are seen, and some around them.
const MOST_ROWS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_in_the_tail_leave_the_page_quick() {
    let Some((watched, page)) = watched("crowd").await else { return };
    page.sign_in(TOKEN).await;
    page.enter("events").await;
    page.sees("live").await;
    page.ask(
        "window.longest = 0; new PerformanceObserver((list) => list.getEntries().forEach((task) => {\
         window.longest = Math.max(window.longest, task.duration) })).observe({ type: 'longtask' })",
    )
    .await;
    let url = watched.daemon.url();
    let senders = (0..SENDERS).map(|sender| {
        let url = url.clone();
        tokio::spawn(async move { post_all(&url, (0..EVENTS / SENDERS).map(|n| numbered(sender + n * SENDERS))).await })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    // More than the page could take is told as left out; here nothing is.
    page.sees("10,000 events").await;
    let rows = page.ask("return document.querySelectorAll('.long-all .long-row').length").await;
    assert!(rows.as_u64().unwrap() < MOST_ROWS, "{rows} rows in the document");
    page.ask("document.querySelector('.long-frame').scrollTop = 150000").await;
    page.holds("[...document.querySelectorAll('.long-all .long-row')].some((row) => Number(row.ariaRowIndex) > 4000)")
        .await;
    page.press("Hold").await;
    watched.send([numbered(EVENTS)]).await;
    page.sees("held, 1 waiting").await;
    page.press("Go on").await;
    page.sees("10,000 events, older ones are in History").await;
    page.enter("sinks").await;
    let longest = page.ask("return Math.round(window.longest)").await;
    println!("page: with 10,000 events in the tail the longest task took {longest} ms");
    assert_eq!(page.complaints().await, [""; 0]);
}
