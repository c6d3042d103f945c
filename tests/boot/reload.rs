//! Reloads under load: a good one is in force, a bad one fails aloud and changes nothing, and a restart with the
//! bad file starts from the last good one.

use crate::story::Story;

/// A rule that sends one type into a file of its own.
const MORE: &str = r#"
[sinks.sent]
kind = "file"
path = "/var/lib/hookrelay/out/sent.jsonl"
[[routes]]
match = "message_api_sent"
to = "sent"
"#;

pub fn a_good_reload_is_in_force_and_a_bad_one_fails_aloud_and_changes_nothing(story: &mut Story) {
    let load = story.load();
    story.configure(MORE);
    let machine = &story.machine;
    machine.must("systemctl reload hookrelay");
    load.goes_on_for(50);
    machine.until("the new rule is in force", "grep -q message_api_sent /var/lib/hookrelay/out/sent.jsonl");

    story.configure(&MORE.replace("\"file\"", "\"flie\""));
    let refused = machine.sh("systemctl reload hookrelay");
    assert_ne!(refused.code, 0, "{refused}");
    machine.until("the fault is in the journal", "journalctl -p err -u hookrelay | grep 'unknown kind `flie`'");
    assert!(machine.journal().contains("/etc/hookrelay/config.toml:"));
    let status = "systemctl show --property StatusText --value hookrelay.service | grep 'config on disk refused'";
    machine.until("the status says so", status);
    machine.must("systemctl is-active hookrelay");
    let lines = "wc -l </var/lib/hookrelay/out/sent.jsonl";
    let before = machine.must(lines);
    load.goes_on_for(50);
    machine.until("the rules go on", &format!("test $({lines}) -gt {}", before.trim()));

    machine.must("systemctl restart hookrelay");
    let said = "journalctl -p err -u hookrelay --since \"$(systemctl show --property ExecMainStartTimestamp --value \
                hookrelay.service | cut -d' ' -f2,3)\" | grep 'last good'";
    machine.until("it says that it started from the last good config", said);
    machine.until("the status says so again", status);
    assert!(machine.must("hookrelay status").contains("config_refused"));
    load.goes_on_for(50);

    story.configure(MORE);
    machine.must("systemctl reload hookrelay");
    machine.until("all is well", &status.replace("| grep", "| grep -v"));
    println!("boot: reloads: {} webhooks, none failed", load.stop_unharmed());
    story.record.arrives_in(&story.out("all.jsonl"));
}
