//! Messages: found by the first text field, with status ladder and clicks.

use crate::bodies::fixtures;
use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_its_id_and_its_ladder_is_shown() {
    let Some((watched, page)) = watched("messages").await else { return };
    let of = ["message_api_sent.json", "message_api_delivered.json", "message_api_read.json"];
    let bodies: Vec<_> = fixtures().into_iter().filter(|(name, _)| of.contains(&name.as_str())).collect();
    let read: serde_json::Value = serde_json::from_slice(&bodies.iter().find(|(n, _)| n == of[2]).unwrap().1).unwrap();
    let id = read["data"]["message"]["id"].as_str().unwrap().to_owned();
    watched.send(bodies.into_iter().map(|(_, body)| body)).await;
    page.sign_in(TOKEN).await;
    let first = "document.querySelector('input:not([type=checkbox])')";
    assert_eq!(page.ask(&format!("return {first}.name")).await, "q", "search is the first text field");
    page.fill("q", &format!("{id}\u{e007}")).await;
    page.holds(&format!("location.hash === '#/messages/{id}'")).await;
    page.holds("[...document.querySelectorAll('.ladder li')].length === 3").await;
    let ladder =
        page.ask("return [...document.querySelectorAll('.ladder a')].map((a) => a.innerText.slice(1).trim())").await;
    assert_eq!(ladder, serde_json::json!(["Sent", "Delivered", "Read"]));
    page.holds("document.querySelectorAll('article.traced').length === 3").await;
    page.fill("id", "m-of-nobody").await;
    page.press("Find").await;
    page.sees("Nothing was found").await;
}
