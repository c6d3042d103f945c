//! Installing, and the first webhook: as the package itself says, with its own config and secret.

use crate::story::Story;

pub fn the_package_installs_and_takes_a_first_webhook(story: &mut Story) {
    let machine = &story.machine;
    machine.must(&format!("apt install -y ./{}", story.packages[0]));
    assert_eq!(machine.sh("systemctl is-active hookrelay.service hookrelay.socket").stdout, "inactive\ninactive\n");
    machine.must("hookrelay check");
    machine.must("systemctl enable --now hookrelay.socket hookrelay.service");
    let enabled = machine.must("systemctl is-enabled hookrelay.service hookrelay.socket");
    assert_eq!(enabled, "enabled\nenabled\n");
    machine.must("systemctl is-active hookrelay.service hookrelay.socket");
    machine.must("hookrelay send --type message_api_sent");
    machine.until("it is delivered", "hookrelay status --json | grep -E '\"archive\":.*\"delivered\":1,'");
    assert_eq!(story.property("NRestarts"), "0");
    // The daemon is not root's.
    let owner = format!("stat --format %U /proc/{}", story.property("MainPID"));
    assert_eq!(machine.must(&owner).trim(), "hookrelay");

    // From here on the operator's own config, and a secret that the senders know.
    let env = std::fs::read_to_string(machine.path("/etc/hookrelay/.env")).unwrap();
    let (_, secret) = env.trim().split_once("INTERAKT_WEBHOOK_SECRET=").expect("a secret made for this machine");
    story.secret = secret.to_owned();
    story.configure("");
    story.machine.must("systemctl reload hookrelay");
    assert_eq!(story.answered(&story.secret), 200);
    story.record.arrives_in(&story.out("all.jsonl"));
}
