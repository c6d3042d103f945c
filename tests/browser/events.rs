//! Events: as they come, filtered, and one with all that is known of it.

use crate::bodies::numbered;
use crate::harness::{lines_under, wait_until};
use crate::watched::{TOKEN, watched};

const PHONE: &str = "919876543210";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_appears_as_it_comes_is_masked_until_asked_for_and_is_replayed() {
    let Some((watched, page)) = watched("events").await else { return };
    watched.send([numbered(0)]).await;
    page.sign_in(TOKEN).await;
    page.enter("events").await;
    page.sees("live").await;
    page.sees("Nothing has come yet").await;
    let ids = watched.send([numbered(2), numbered(3)]).await;
    page.sees("2 events").await;
    page.fill("type", "*_read").await;
    page.press("Filter").await;
    page.holds("location.hash.includes('type=')").await;
    page.press("History").await;
    page.sees("1 event").await;
    page.press("message_api_read").await;
    page.holds(&format!("location.hash.endsWith('{}')", ids[0])).await;
    // Its way: what the rules say, and what became of it at each sink.
    page.sees("What became of it").await;
    let fate = |sink: &str| {
        let rows = "[...document.querySelectorAll('tbody tr')].map((row) => row.textContent)";
        format!("{rows}.find((text) => text.startsWith('{sink}'))")
    };
    for (sink, word) in [("archive", "delivered"), ("crm", "dead"), ("reads", "delivered")] {
        page.holds(&format!("{}?.includes('{word}')", fate(sink))).await;
    }
    page.sees("to the crm").await;
    let masked = format!("document.querySelector('pre').innerText.includes('{PHONE}')");
    page.holds("document.querySelector('pre').innerText.includes('customer')").await;
    assert_eq!(page.ask(&format!("return {masked}")).await, false);
    page.press("Show").await;
    page.holds(&masked).await;
    page.press("Raw").await;
    // Not parsed on its way: a number that JavaScript cannot hold is as it was sent.
    page.holds("document.querySelector('pre').innerText.includes('12345678901234567890.10')").await;
    page.press("Hide").await;
    page.holds(&format!("!{masked}")).await;
    let copies =
        || lines_under(&watched.house.path("out"), "archive.jsonl").iter().filter(|line| line.contains("m-2")).count();
    assert_eq!(copies(), 1);
    page.press("Replay").await;
    page.fill("sink", "archive").await;
    page.press("Replay").await;
    wait_until("it is there twice", || (copies() == 2).then_some(())).await;
    page.sees("Replaying to archive.").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_wrong_is_told_in_words() {
    let Some((watched, page)) = watched("events_condition").await else { return };
    watched.send([numbered(0)]).await;
    page.sign_in(TOKEN).await;
    page.enter("events").await;
    page.fill("where", ".data | nothing(").await;
    page.press("Filter").await;
    page.holds("document.querySelector('.problem')?.innerText.length > 60").await;
    page.press("Clear").await;
    page.sees("live").await;
}
