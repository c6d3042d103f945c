//! The watchdog: a daemon one of whose threads stands still is killed by systemd and started again, and nothing
//! that was answered is lost.

use crate::load::send_one;
use crate::shim::Shim;
use crate::story::Story;

/// Where the library that stops the thread lies, and the file that controls it.
const FOLDER: &str = "/usr/local/lib";

pub fn a_wedged_daemon_is_killed_by_its_watchdog_and_started_again(story: &mut Story) {
    let Some(shim) = Shim::build("boot::watchdog", &story.machine.path(FOLDER)) else { return };
    story.drop_in(&format!(
        "[Service]\nWatchdogSec=2s\nEnvironment=LD_PRELOAD={FOLDER}/shim.so HOOKRELAY_SHIM={FOLDER}/shim.control \
         HOOKRELAY_SHIM_THREAD=journal-commit\n"
    ));
    assert_eq!(story.answered(&story.secret), 200);
    let (process, restarts) = (story.property("MainPID"), story.property("NRestarts"));
    assert_eq!(restarts, "0");

    // The thread looks at the clock when there is something to write, and stands still from then on.
    shim.disk(4);
    let wedged = send_one(&story.machine, &story.record, &story.secret);
    let killed = "journalctl -u hookrelay | grep \"Failed with result 'watchdog'\"";
    story.machine.until("the watchdog kills it", killed);
    shim.disk(0);
    story.machine.until("it is started again", "test $(systemctl show -p NRestarts --value hookrelay.service) = 1");
    story.machine.until("it is up", "systemctl is-active hookrelay.service");
    assert_ne!(story.property("MainPID"), process);
    assert!(story.machine.journal().contains("gives no sign of life"), "the log does not name the part");
    // Whether that one was answered is left open: but where it was, it is there.
    let _ = wedged.join().unwrap();
    assert_eq!(story.answered(&story.secret), 200);
    story.record.arrives_in(&story.out("all.jsonl"));
    story.drop_in("");
}
