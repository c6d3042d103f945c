//! Restarts and an upgrade under load: with the socket unit no webhook fails. HOOKRELAY_TEST_BOOT_REQUESTS says for how
//! many the restarts go on.

use crate::story::Story;

/// For how many webhooks the restarts go on.
const REQUESTS: &str = "HOOKRELAY_TEST_BOOT_REQUESTS";
const DEFAULT_REQUESTS: usize = 1000;
/// How many more are answered between two restarts.
const BETWEEN: usize = 100;

pub fn restarts_and_an_upgrade_under_load_fail_no_request(story: &mut Story) {
    let wanted = std::env::var(REQUESTS).ok().and_then(|n| n.parse().ok()).unwrap_or(DEFAULT_REQUESTS);
    let machine = &story.machine;
    let (load, before) = (story.load(), story.record.answered());
    let mut restarts = 0;
    while story.record.answered() < before + wanted || restarts < 3 {
        machine.must("systemctl restart hookrelay");
        load.goes_on_for(BETWEEN);
        restarts += 1;
    }

    let process = story.property("MainPID");
    machine.must(&format!("apt install -y ./{}", story.packages[1]));
    load.goes_on_for(BETWEEN);
    let answered = load.stop_unharmed();
    println!("boot: {restarts} restarts and an upgrade: {answered} webhooks, none failed");

    let version = machine.must("dpkg-query --show --showformat '${Version}' hookrelay");
    assert!(story.packages[1].contains(&format!("_{version}_")), "{version}");
    assert_ne!(story.property("MainPID"), process, "the old one runs still");
    let program = machine.must("readlink /proc/$(systemctl show --property MainPID --value hookrelay.service)/exe");
    assert_eq!(program, "/usr/bin/hookrelay\n");
    assert_eq!(story.property("NRestarts"), "0", "it was systemd that started it anew");
    assert!(
        std::fs::read_to_string(machine.path("/etc/hookrelay/config.toml")).unwrap().starts_with("# The operator's")
    );
    story.record.arrives_in(&story.out("all.jsonl"));
}
