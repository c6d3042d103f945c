//! Dead letters: grouped, looked at, retried and dropped.

use crate::bodies::numbered;
use crate::harness::wait_until;
use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_looked_at_retried_and_dropped() {
    let Some((watched, page)) = watched("dead_letters").await else { return };
    let ids = watched.send((0..4).map(numbered)).await;
    watched.figure("crm", "dead", 4).await;
    page.sign_in(TOKEN).await;
    page.enter("dead").await;
    page.holds("document.querySelectorAll('.group').length === 1").await;
    page.sees("4 letters").await;
    // One of them: why it died, and what would be sent today.
    page.press(&ids[1][ids[1].len() - 8..]).await;
    page.sees("What was to be sent").await;
    page.sees("422").await;
    // What the target said may be anything.
    page.sees_no("Asha of Pune").await;
    page.press("Preview").await;
    page.sees("1 delivery to crm.").await;
    page.press("Show").await;
    page.holds("document.querySelectorAll('pre').length >= 2").await;
    page.sees("Asha of Pune").await;
    page.press_and_confirm("Retry", "Retry").await;
    page.sees("It died again (http_4xx)").await;
    page.press_and_confirm("Drop", "Drop").await;
    page.sees("No such dead letter").await;
    assert_eq!(watched.dead().len(), 3);
    page.press("Dead letters").await;
    // A no is a no.
    page.go("input[aria-label^='All of crm']").await;
    page.sees("3 letters selected").await;
    page.press_and_confirm("Retry", "Retry").await;
    page.sees("3 died again (http_4xx)").await;
    page.sees_no("selected").await;
    page.go("input[aria-label^='All of crm']").await;
    page.sees("3 letters selected").await;
    watched.callback.answer_with(200);
    page.press_and_confirm("Retry", "Cancel").await;
    assert_eq!(watched.dead().len(), 3);
    page.press_and_confirm("Retry", "Retry").await;
    page.sees("Retried: 3 delivered").await;
    page.sees("No dead letters").await;
    wait_until("the target has them", || (watched.callback.got().len() == 3).then_some(())).await;
    watched.figure("crm", "delivered", 3).await;
    assert_eq!(page.complaints().await, [""; 0]);
}
