//! A secret is rotated by an edit and a reload, and no webhook is refused meanwhile.

use crate::story::Story;

/// Still accepts the secret before.
const OVERLAP: &str = "previous_secret = \"${OLD_SECRET}\"\n";

pub fn a_secret_is_rotated_by_reloads(story: &mut Story) {
    let (old, new) = (story.secret.clone(), "a-new-secret-of-the-dashboard".to_owned());
    let load = story.load();
    assert_eq!(story.answered(&new), 401);
    story.edit("/etc/hookrelay/.env", |_| format!("INTERAKT_WEBHOOK_SECRET={new}\nOLD_SECRET={old}\n"));
    story.edit("/etc/hookrelay/config.toml", |text| {
        text.replace("[sinks.archive]", &format!("{OVERLAP}[sinks.archive]"))
    });
    story.machine.must("systemctl reload hookrelay");
    assert_eq!(story.answered(&new), 200);
    // The sender still has the old one.
    load.goes_on_for(50);
    let first = load.stop_unharmed();
    let status = story.machine.must("hookrelay status");
    assert!(status.contains("still signed with previous_secret"), "{status}");

    story.secret = new;
    let load = story.load();
    story.edit("/etc/hookrelay/.env", |text| text.replace(&format!("OLD_SECRET={old}\n"), ""));
    story.edit("/etc/hookrelay/config.toml", |text| text.replace(OVERLAP, ""));
    story.machine.must("systemctl reload hookrelay");
    assert_eq!(story.answered(&old), 401);
    load.goes_on_for(50);
    println!("boot: rotation: {} webhooks, none failed", first + load.stop_unharmed());
}
