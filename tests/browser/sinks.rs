//! Sinks: held, let go, tried, moved on.

use crate::bodies::numbered;
use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn sinks_are_paused_resumed_probed_and_moved_on() {
    let Some((watched, page)) = watched("sinks").await else { return };
    watched.send([numbered(2)]).await;
    watched.figure("sick", "state", "down").await;
    page.sign_in(TOKEN).await;
    page.enter("sinks").await;
    page.holds("document.querySelector('.card.down h2').innerText === 'sick'").await;
    page.holds("document.querySelector('.card.down .error-line code').innerText.length > 0").await;
    page.press("Probe sick").await;
    page.sees("sick does not answer").await;
    page.press("Close this message").await;
    page.press_and_confirm("Pause archive", "Pause").await;
    page.sees("archive is paused.").await;
    watched.figure("archive", "state", "paused").await;
    page.press("Resume archive").await;
    watched.figure("archive", "state", "running").await;
    page.press_and_confirm("Pause sick", "Pause").await;
    page.press("Skip at sick").await;
    page.holds("document.activeElement.innerText === 'Cancel'").await;
    // Neither Enter in the field nor a wrong time drops anything.
    page.fill("to", "noon\u{e007}").await;
    page.press("Skip").await;
    page.sees("“noon” is no time").await;
    page.holds("document.querySelector('dialog [name=to]').value === 'noon'").await;
    watched.figure("sick", "dropped", 0).await;
    page.go("dialog [value=end]").await;
    page.press("Skip").await;
    page.sees("1 delivery dropped.").await;
    watched.figure("sick", "dropped", 1).await;
    // One of them alone, by a link that can be shared.
    page.press("archive").await;
    page.holds("location.hash === '#/sinks/archive' && document.querySelectorAll('.card').length === 1").await;
    page.sees("Nothing waits to be tried again.").await;
}
