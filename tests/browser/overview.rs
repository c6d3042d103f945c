//! Overview: what flows, what is wrong in words, and the button that mends it.

use crate::bodies::numbered;
use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn troubles_are_told_in_words_with_the_button_that_mends_them() {
    let Some((watched, page)) = watched("overview").await else { return };
    // The first and the last are no read.
    watched.send((0..7).map(numbered)).await;
    watched.figure("crm", "dead", 7).await;
    watched.figure("sick", "state", "down").await;
    page.sign_in(TOKEN).await;
    let box_of =
        |name: &str| format!("[...document.querySelectorAll('.flow a')].find((a) => a.textContent.includes('{name}'))");
    for (name, health) in [("interakt", "ok"), ("journal", "ok"), ("archive", "ok"), ("crm", "warn"), ("sick", "bad")] {
        page.holds(&format!("{}?.classList.contains('{health}')", box_of(name))).await;
    }
    page.sees("7 deliveries to crm were given up.").await;
    page.sees("Nothing answers at its address").await;
    page.press("Probe sick").await;
    page.holds("document.querySelector('.news').innerText.includes('sick')").await;
    page.press_and_confirm("Pause sick", "Pause").await;
    page.sees("sick is paused; 2 deliveries wait.").await;
    watched.figure("sick", "state", "paused").await;
    page.press("Resume sick").await;
    page.sees_no("sick is paused; 2 deliveries wait.").await;
    // The history is drawn, and told in words.
    page.holds("document.querySelectorAll('.plot canvas').length === 4").await;
    page.holds("document.querySelector('.plot').getAttribute('aria-label').includes('accepted: now')").await;
    page.press("Look and retry").await;
    page.holds("location.hash === '#/dead?sink=crm' && document.title.startsWith('Dead letters')").await;
    page.session.back().await.unwrap();
    page.sees("What flows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_has_gone_is_told_and_what_was_known_stays() {
    let Some((watched, page)) = watched("overview_offline").await else { return };
    watched.send([numbered(0)]).await;
    page.sign_in(TOKEN).await;
    watched.daemon.kill();
    page.sees("Offline. What you see is as of").await;
    page.holds("document.querySelector('.flow svg') && document.querySelector('header .badge.bad')").await;
    page.holds("!document.querySelector('.pipe.flows')").await;
}
