//! Rules: the config in force, what differs on disk, and the bench.

use crate::bodies::numbered;
use crate::harness::wait_until;
use crate::verbs::status;
use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_tried_before_they_are_put_in_force() {
    let Some((watched, page)) = watched("rules").await else { return };
    let ids = watched.send([numbered(1)]).await;
    page.sign_in(TOKEN).await;
    page.enter("rules").await;
    page.holds("document.querySelector('pre').innerText.includes('secret = \"${INTERAKT_WEBHOOK_SECRET}\"')").await;
    page.sees_no(TOKEN).await;
    // The bench: `numbered(1)` is no read. With another route it goes to `reads`.
    page.press("Bench").await;
    // A body goes into the question as it was pasted, and what was pasted stays.
    page.fill("event", &String::from_utf8(numbered(1)).unwrap()).await;
    page.press("Explain").await;
    page.sees("By the rules in force").await;
    page.press("Show").await;
    page.sees("12345678901234567890.10").await;
    page.enter("sinks").await;
    page.session.back().await.unwrap();
    page.holds("document.querySelector('[name=event]').value.includes('m-1')").await;
    page.fill("event", &ids[0]).await;
    page.press("Explain").await;
    page.sees("By the rules in force").await;
    page.sees_no("→ reads").await;
    let more = "\n[[routes]]\nname = \"new\"\nmatch = \"message_api_delivered\"\nto = \"reads\"\n";
    page.holds("document.querySelector('[name=rules]').value.includes('[[routes]]')").await;
    let field = page.session.find(thirtyfour::By::Css("[name=rules]")).await.unwrap();
    field.send_keys(more).await.unwrap();
    page.press("Explain").await;
    page.sees("By these rules").await;
    page.sees("→ reads").await;
    page.fill("since", "1h").await;
    page.press("Compare").await;
    page.holds("[...document.querySelectorAll('td.gained')].some((cell) => cell.innerText === '1')").await;
    // The same on disk: shown as a difference, and put in force by a reload.
    let config = watched.house.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}{more}")).unwrap();
    page.press("On disk").await;
    page.holds("document.querySelectorAll('.diff .added').length >= 4").await;
    page.press_and_confirm("Reload", "Reload").await;
    page.sees("The config is in force: 4 routes").await;
    wait_until("it is the same", || (status(&watched.house)["config"]["state"] == "same").then_some(())).await;
    // A config that is refused is told in words.
    std::fs::write(&config, text.replace("match = \"*\"", "mach = \"*\"")).unwrap();
    page.press_and_confirm("Reload", "Reload").await;
    page.holds("document.querySelector('.news').innerText.includes('mach')").await;
    // One that is no TOML is not compared with what stands in its place.
    std::fs::write(&config, format!("{text}\n[sinks\n")).unwrap();
    page.sees("The file is not TOML").await;
    page.holds("/line \\d+: /.test(document.body.innerText) && !document.querySelector('.diff')").await;
}
