//! What is sent again: the chain of a message, what waits and when, and Cancel. The daemon's answers are recorded ones
//! where a chain is needed that takes days to come about; questions and buttons are the page's own.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::watched::{TOKEN, Watched, in_browser, watched};

const FIRST: &str = "7f00602d-4c9c-4346-9d4d-a24d478c9926";
const SECOND: &str = "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf";

fn resend(attempt: u32, state: &str, message: Option<&str>) -> Value {
    let id = format!("0190b3c4-5f6e-7a8b-9c0d-1e2f3a4b5c0{attempt}");
    json!({
        "id": id, "rule": "marketing", "to": "whatsapp", "attempt": attempt, "code": "131049",
        "due": "2099-01-13T10:30:00Z", "planned": "2026-01-13T10:30:00Z", "failed": SECOND, "of": FIRST, "state": state,
        "message": message, "phone": "+********4321", "template": "pongal_offer_26",
    })
}

/// One that its sink has given up.
fn dead() -> Value {
    let mut dead = resend(3, "handed", None);
    (dead["fate"], dead["why"]) = (json!("dead"), json!("bad_payload: 400"));
    dead
}

/// One whose rule is not in the config any more.
fn gone() -> Value {
    let mut gone = resend(4, "waiting", None);
    gone["rule_gone"] = json!(true);
    gone
}

fn message(id: &str) -> Value {
    let step =
        json!({"status": "failed", "time": "2026-01-13T10:30:00Z", "accepted": "2026-01-13T10:30:01Z", "event": "e"});
    json!({
        "message": {
            "id": id, "status": "failed", "ladder": [step], "clicks": [], "replies": [],
            "error": {"code": "131049", "text": "Meta chose not to deliver it"},
            "sent": {"sink": "whatsapp", "sender": null, "event": null, "time": "2026-01-13T10:29:00Z", "attempt": 1,
                     "rule": "marketing", "of": FIRST},
            "resends": [resend(2, "waiting", None), resend(1, "sent", Some(SECOND)), dead(), gone()],
            "not_again": [{"failed": SECOND, "rule": "marketing", "outcome": "never", "code": "131026",
                           "in_words": "undeliverable", "why": "never tried again", "time": "2026-01-13T10:30:00Z"}],
        },
        "messages": [], "events": [], "notes": [], "next": null,
    })
}

/// Answers these paths from what is recorded here, and keeps what is posted to them in `window.posted`.
async fn record(page: &Browser) {
    let list = json!({"items": [resend(2, "waiting", None)], "next": null});
    let (shown, done) = (message(SECOND), json!({"cancelled": 1, "resends": []}));
    page.ask(&format!(
        "const real = window.fetch; window.posted = []; window.waiting = 1;
         const say = (data) => Promise.resolve(new Response(JSON.stringify(data), {{ status: 200 }}));
         window.fetch = async (path, init) => {{
           if (String(path).startsWith('/api/resends/cancel')) {{
             window.posted.push(JSON.parse(init.body)); window.waiting = 0; return say({done});
           }}
           if (String(path).startsWith('/api/resends')) return say({list});
           if (String(path).startsWith('/api/messages/')) return say({shown});
           const answer = await real(path, init);
           if (String(path) !== '/api/status') return answer;
           const status = await answer.json();
           return say({{ ...status, resends: {{ waiting: window.waiting, next: '2099-01-13T10:30:00Z' }} }});
         }}"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_shown_before_and_after_its_message_and_what_waits_can_be_cancelled() {
    let Some((_watched, page)) = watched("resends").await else { return };
    page.sign_in(TOKEN).await;
    record(&page).await;
    page.sees("to be sent again").await;
    page.sees("next in").await;
    page.go(".figure a[href='#/messages']").await;
    // All that wait, with what they wait for.
    page.sees("Waiting to be sent again").await;
    page.sees("pongal_offer_26").await;
    page.press(SECOND).await;
    page.holds("document.querySelectorAll('.chain li').length === 6").await;
    let chain = page.ask("return [...document.querySelectorAll('.chain li')].map((li) => li.innerText)").await;
    let lines: Vec<&str> = chain.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines[0].contains("first") && lines[0].contains(FIRST), "{lines:?}");
    assert!(lines[1].contains("sent") && lines[1].contains("this message"), "{lines:?}");
    let waits = ["waiting", "try 2 by rule marketing, after 131049", "due", "in ", "Cancel"];
    assert!(waits.iter().all(|part| lines[2].contains(part)), "{lines:?}");
    assert!(lines[3].contains("a dead letter of whatsapp: bad_payload: 400"), "{lines:?}");
    assert!(lines[4].contains("its rule is gone"), "{lines:?}");
    assert!(lines[5].contains("rule marketing, after 131026 (undeliverable): never tried again"), "{lines:?}");
    page.sees("whatsapp, try 1 by rule marketing").await;
    // A no is a no.
    let cancel = format!("Cancel try 2 of {}", &FIRST[FIRST.len() - 8..]);
    page.press_and_confirm(&cancel, "Cancel").await;
    assert_eq!(page.ask("return window.posted").await, json!([]));
    page.press_and_confirm(&cancel, "Give it up").await;
    page.sees("1 resend cancelled.").await;
    assert_eq!(page.ask("return window.posted").await, json!([{"id": resend(2, "waiting", None)["id"]}]));
    page.enter("overview").await;
    page.sees_no("to be sent again").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_usable_at_360_px_and_its_button_is_off_where_nothing_may_be_changed() {
    let watched = Watched::start_with("read_only = true\n").await;
    let Some((_watched, page)) = in_browser("resends_read_only", watched).await else { return };
    page.sign_in(TOKEN).await;
    record(&page).await;
    for (width, is_dark) in [(1280, false), (360, true)] {
        page.look(width, 800, is_dark).await;
        for (place, there) in [("messages", ".scroll table"), ("messages/x", ".chain")] {
            // A link, not an address: what is recorded is forgotten with the document.
            page.ask(&format!("location.hash = '#/{place}'")).await;
            page.holds(&format!("document.querySelector('{there}')")).await;
            page.holds("[...document.querySelectorAll('[aria-label^=\"Cancel try\"]')].every((it) => it.disabled)")
                .await;
            let wider = page.ask("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(wider.as_i64().unwrap() <= 0, "{place} is wider than {width} px by {wider}");
            crate::looks::assert_no_faults(&page, place).await;
        }
    }
}
