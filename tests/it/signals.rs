//! Signals and the limit of file sizes: only signals that are meant to end the daemon end it, and a limit that is
//! reached is logged.

use rustix::process::{Resource, Signal};

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, House, lines_under, post, post_all, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_mean_nothing_leave_it_running_and_sigquit_stops_it_as_sigterm_does() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    let named = [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO, Signal::XFSZ];
    for signal in named.into_iter().chain([Signal::POWER, Signal::STKFLT]) {
        daemon.signal(signal);
    }
    // Real-time signals have numbers, and no names.
    for number in 34..=64 {
        let sent = std::process::Command::new("kill").arg(format!("-{number}")).arg(daemon.pid().to_string()).status();
        assert!(sent.unwrap().success(), "signal {number}");
    }
    post_all(&daemon.url(), (0..3).map(numbered)).await;
    let log = daemon.log.clone();
    let code = tokio::task::spawn_blocking(move || daemon.stop_by(Signal::QUIT)).await.unwrap();
    assert_eq!(code, 0, "{}", log.text());
    assert!(log.text().contains("\"stopped\""), "{}", log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_file_sizes_is_a_journal_that_cannot_write_until_it_is_lifted() {
    let house = House::new(&format!("on_journal_failure = \"refuse\"\n{ARCHIVE}"));
    let daemon = house.start();
    let client = reqwest::Client::new();
    let url = daemon.url();
    post_all(&url, (0..3).map(numbered)).await;
    daemon.limit(Resource::Fsize, Some(64 << 10));
    // The events go beyond the limit, whichever file they are written to.
    let large = format!(r#"{{"type":"message_api_sent","data":{{"text":"{}"}}}}"#, "x".repeat(100 << 10));
    assert_eq!(post(&client, &url, large.clone().into_bytes()).await.unwrap().0, 503);
    let line = daemon.log.wait_for(|line| line.contains("the journal cannot write"));
    assert!(line.as_ref().is_some_and(|line| line.contains("File too large")), "{line:?}\n{}", daemon.log.text());
    daemon.limit(Resource::Fsize, None);
    assert!(daemon.log.wait_for(|line| line.contains("the journal can write again")).is_some());
    assert_eq!(post(&client, &url, large.into_bytes()).await.unwrap().0, 200);
    wait_until("all four in the archive", || (lines_under(&house.path("out"), ".jsonl").len() == 4).then_some(()))
        .await;
    assert_eq!(tokio::task::spawn_blocking(move || daemon.terminate()).await.unwrap(), 0);
}
