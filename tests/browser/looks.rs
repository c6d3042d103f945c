//! Every room as people see it: by axe, in light and dark, at 360 px, with nothing but a keyboard, and what it loads.

use std::process::Command;

use serde_json::Value;
use sink_testkit::skip;
use thirtyfour::Key;

use crate::bodies::{fixtures, numbered};
use crate::browser::Browser;
use crate::watched::{TOKEN, Watched, watched};

/// Most bytes on the wire until the first room stands.
const MOST_BYTES: u64 = 300 * 1024;

/// A daemon with something in every room, and a browser that is signed in.
async fn furnished(test: &str) -> Option<(Watched, Browser, String)> {
    let (watched, page) = watched(test).await?;
    let ids = watched.send((0..5).map(numbered).chain(fixtures().into_iter().map(|(_, body)| body))).await;
    watched.figure("sick", "state", "down").await;
    page.sign_in(TOKEN).await;
    Some((watched, page, ids[0].clone()))
}

/// Every room, and what is looked at within.
fn places(id: &str) -> Vec<String> {
    let within =
        ["overview", "events", "events?view=history", "messages", "messages/m-1", "dead", "sinks", "sinks/sick"];
    let rest = ["rules", "rules/disk", "rules/bench"];
    let one = [format!("events/{id}"), format!("dead/{id}?sink=crm")];
    within.iter().chain(&rest).map(|place| (*place).to_owned()).chain(one).collect()
}

async fn visit(page: &Browser, place: &str) {
    page.open(&format!("/#/{place}")).await;
    page.holds("document.querySelector('main .panel') && !document.body.innerText.includes('Loading')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_room_is_usable_at_360_px_in_light_and_dark_and_nothing_is_forbidden() {
    let Some((_watched, page, id)) = furnished("looks").await else { return };
    let axe = axe();
    if let Err(why) = &axe {
        skip("browser::looks_by_axe", why);
    }
    for (width, is_dark) in [(1280, false), (360, true)] {
        page.look(width, 800, is_dark).await;
        for place in places(&id) {
            visit(&page, &place).await;
            let wider = page.ask("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(wider.as_i64().unwrap() <= 0, "{place} is wider than {width} px by {wider}");
            let back = page.ask("return getComputedStyle(document.body).backgroundColor").await;
            let is_bright = back.as_str().unwrap().contains("24");
            assert_eq!(is_bright, !is_dark, "{place}: {back}");
            if let Ok(axe) = &axe {
                let faults = faults(&page, axe).await;
                assert!(faults.is_empty(), "{place} at {width} px: {faults:#?}");
            }
        }
    }
    // A theme of one's own outlasts the page.
    page.go("select[title=Theme] option[value=light]").await;
    page.session.refresh().await.unwrap();
    page.holds("getComputedStyle(document.body).backgroundColor.includes('24')").await;
    assert_eq!(page.complaints().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_alone_reaches_every_room_and_answers_every_question() {
    let Some((watched, page, _)) = furnished("keyboard").await else { return };
    page.session.refresh().await.unwrap();
    page.sees("What flows").await;
    let press = async |keys: &str| page.session.action_chain().send_keys(keys).perform().await.unwrap();
    let tab = String::from(Key::Tab.value());
    let focused = async || {
        page.ask("const at = document.activeElement; return (at.innerText || at.name || at.title || '').trim()").await
    };
    press(&tab).await;
    assert_eq!(focused().await, "Skip to the room");
    // Every stop can be seen, and all rooms are among the first.
    let mut stops = Vec::new();
    for _ in 0..12 {
        press(&tab).await;
        let outline = page.ask("return getComputedStyle(document.activeElement).outlineStyle").await;
        stops.push(focused().await.as_str().unwrap().lines().next().unwrap_or_default().to_owned());
        assert_ne!(outline, "none", "{stops:?}");
    }
    for room in ["Overview", "Events", "Messages", "Dead letters", "Sinks", "Rules"] {
        assert!(stops.iter().any(|stop| stop.starts_with(room)), "{room}: {stops:?}");
    }
    // By Enter into Sinks; the room's name has the focus then, and what follows is the room.
    page.ask("document.querySelector(\"nav a[href='#/sinks']\").focus()").await;
    press(Key::Enter.value().to_string().as_str()).await;
    page.holds("document.activeElement.tagName === 'H1' && document.activeElement.innerText === 'Sinks'").await;
    page.holds("document.querySelector('#sink-archive')").await;
    page.ask("document.querySelector(\"[aria-label='Pause archive']\").focus()").await;
    press(Key::Enter.value().to_string().as_str()).await;
    page.holds("document.querySelector('dialog[open]')?.contains(document.activeElement)").await;
    press(Key::Escape.value().to_string().as_str()).await;
    page.holds("!document.querySelector('dialog')").await;
    watched.figure("archive", "state", "running").await;
    page.ask("document.querySelector(\"[aria-label='Pause archive']\").focus()").await;
    press(Key::Enter.value().to_string().as_str()).await;
    page.holds("document.querySelector('dialog[open]')").await;
    press(&format!("{tab}{}", Key::Enter.value())).await;
    watched.figure("archive", "state", "paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_room_stands_after_less_than_300_kb() {
    let Some((_watched, page, _)) = furnished("bytes").await else { return };
    page.session.cdp().send_raw("Network.clearBrowserCache", serde_json::json!({})).await.unwrap();
    page.session.refresh().await.unwrap();
    page.holds("document.querySelectorAll('.plot canvas').length === 4").await;
    let loaded = page
        .ask(
            "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];\
             return { bytes: all.reduce((sum, one) => sum + one.transferSize, 0), files: all.length,\
                      outside: all.map((one) => one.name).filter((name) => !name.startsWith(location.origin)),\
                      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime }",
        )
        .await;
    let bytes = loaded["bytes"].as_u64().unwrap();
    println!("page: {} files, {bytes} bytes, first paint after {} ms", loaded["files"], loaded["paint"]);
    assert!(bytes > 20_000 && bytes < MOST_BYTES, "{loaded}");
    assert_eq!(loaded["outside"], serde_json::json!([]));
}

/// The text of axe-core, which finds what keeps people out.
fn axe() -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/axe");
    let out = Command::new(script).output().map_err(|error| error.to_string())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !out.status.success() {
        return Err(said(&out.stderr));
    }
    std::fs::read_to_string(said(&out.stdout)).map_err(|error| error.to_string())
}

/// Fails where axe finds something serious on what is shown; passes where there is no axe.
pub async fn assert_no_faults(page: &Browser, place: &str) {
    if let Ok(axe) = axe() {
        let faults = faults(page, &axe).await;
        assert!(faults.is_empty(), "{place}: {faults:#?}");
    }
}

/// What axe finds that is serious.
async fn faults(page: &Browser, axe: &str) -> Vec<Value> {
    page.ask(axe).await;
    let serious = "axe.run().then(({ violations }) => violations\
                   .filter(({ impact }) => impact === 'serious' || impact === 'critical')\
                   .map(({ id, nodes }) => ({ id, where: nodes.slice(0, 5).map((node) => node.target.join(' ')) })))";
    page.await_of(serious).await.as_array().unwrap().clone()
}
