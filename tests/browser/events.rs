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
    // It begins with what came before.
    page.sees("1 event").await;
    let ids = watched.send([numbered(2), numbered(3)]).await;
    page.sees("3 events").await;
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
    // What is shown of one event says nothing of the next one.
    page.ask(&format!("location.hash = '#/events/{}'", ids[1])).await;
    page.sees(&ids[1]).await;
    page.sees("Personal data is masked.").await;
    page.session.back().await.unwrap();
    page.sees(&ids[0]).await;
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
async fn a_long_body_is_shown_in_parts() {
    let Some((watched, page)) = watched("events_long").await else { return };
    let long = String::from_utf8(numbered(2)).unwrap().replace("Asha", &"a".repeat(340_000));
    let ids = watched.send([long.into_bytes()]).await;
    page.sign_in(TOKEN).await;
    page.open(&format!("/#/events/{}", ids[0])).await;
    page.sees("What became of it").await;
    page.press("Show").await;
    page.sees("personal data is shown").await;
    page.press("Raw").await;
    page.press("Show all").await;
    page.holds("document.querySelector('pre').textContent.length > 340000").await;
    // No block is longer than a browser lays out at once.
    page.holds("[...document.querySelectorAll('pre .block')].every((it) => it.textContent.length <= 10000)").await;
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
