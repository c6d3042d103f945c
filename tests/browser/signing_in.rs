//! Who may look, and what other origins can do with the session of somebody who does.

use crate::watched::{TOKEN, Watched, in_browser, watched};

#[tokio::test(flavor = "multi_thread")]
async fn the_token_opens_the_page_a_wrong_one_does_not_and_logging_out_closes_it() {
    let Some((_watched, page)) = watched("signing_in").await else { return };
    page.open("/#/sinks").await;
    page.sees("It is the token of [admin] in config.toml").await;
    page.fill("token", "wrong").await;
    page.press("Log in").await;
    page.sees("This is not the token.").await;
    let status = "fetch('/api/status').then((answer) => answer.status)";
    assert_eq!(page.await_of(status).await, 401);
    page.fill("token", TOKEN).await;
    page.press("Log in").await;
    page.holds("document.querySelector('#sink-archive')").await;
    assert_eq!(page.await_of(status).await, 200);
    assert_eq!(page.ask("return document.cookie").await, "", "no script reads the session's cookie");
    assert_eq!(page.ask("return JSON.stringify(localStorage)").await, "{}", "nor is the token kept elsewhere");
    page.session.refresh().await.unwrap();
    page.holds("document.querySelector('#sink-archive')").await;
    page.press("Log out").await;
    page.sees("It is the token of [admin] in config.toml").await;
    assert_eq!(page.await_of(status).await, 401);
    page.session.refresh().await.unwrap();
    page.sees("It is the token of [admin] in config.toml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_with_the_daemon_is_told_and_the_room_comes_back() {
    let Some((mut watched, page)) = watched("signing_in_again").await else { return };
    page.sign_in(TOKEN).await;
    watched.daemon.kill();
    page.sees("Offline. What you see is as of").await;
    // A room that was never loaded, and cannot be now.
    page.go("nav a[href='#/dead']").await;
    page.sees("This room could not be loaded").await;
    watched.daemon = watched.house.start();
    page.sees("The session has ended").await;
    page.fill("token", TOKEN).await;
    page.press("Log in").await;
    page.sees("By sink and reason").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_changes_nothing_though_the_browser_sends_the_cookie_along() {
    let Some((watched, page)) = watched("signing_in_elsewhere").await else { return };
    page.sign_in(TOKEN).await;
    let cookie = page.session.get_named_cookie("hookrelay_session").await.unwrap();
    // Another port is another origin of the same site: even a cookie that is SameSite=Strict goes along.
    page.session.goto(format!("http://{}/", watched.daemon.address)).await.unwrap();
    let pause = format!("{}/api/sinks/archive/pause", watched.admin);
    let post = format!("fetch('{pause}', {{method: 'POST', mode: 'no-cors', credentials: 'include', body: '{{}}'}})");
    page.await_of(&format!("{post}.then(() => 'sent', () => 'sent, and its answer kept from the page')")).await;
    // What the browser was answered it does not tell; the same request by hand.
    let client = reqwest::Client::new();
    let ask = |origin: String| {
        let cookie = format!("hookrelay_session={}", cookie.value);
        client.post(&pause).header("cookie", cookie).header("origin", origin).body("{}").send()
    };
    let foreign = ask(format!("http://{}", watched.daemon.address)).await.unwrap();
    assert_eq!(foreign.status(), 403);
    watched.figure("archive", "state", "running").await;
    assert_eq!(ask(watched.admin.clone()).await.unwrap().status(), 200);
    watched.figure("archive", "state", "paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_config_says_read_only_everything_is_shown_and_buttons_are_off() {
    let watched = Watched::start_with("read_only = true\n").await;
    let Some((watched, page)) = in_browser("signing_in_read_only", watched).await else { return };
    page.sign_in(TOKEN).await;
    page.sees("Read-only: [admin] read_only is set").await;
    page.enter("sinks").await;
    page.holds("document.querySelector('#sink-archive')").await;
    page.holds("[...document.querySelectorAll('.card button')].every((button) => button.disabled)").await;
    // A script in the page gets no further.
    let pause = "fetch('/api/sinks/archive/pause', { method: 'POST', body: '{}' }).then((answer) => answer.status)";
    assert_eq!(page.await_of(pause).await, 403);
    watched.figure("archive", "state", "running").await;
}
