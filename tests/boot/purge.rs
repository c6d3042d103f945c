//! Removing and purging: a removal leaves config and data, with which another installation goes on; a purge leaves the
//! data alone, and nothing else.

use crate::story::Story;

pub fn a_removal_leaves_config_and_data_and_a_purge_the_data(story: &mut Story) {
    let machine = &story.machine;
    machine.must("apt remove -y hookrelay");
    machine.must("test ! -e /usr/bin/hookrelay && test -e /etc/hookrelay/config.toml && test -e /etc/hookrelay/.env");
    assert_eq!(machine.sh("systemctl is-active hookrelay.service hookrelay.socket").stdout, "inactive\ninactive\n");
    machine.must(&format!("apt install -y ./{}", story.packages[1]));
    machine.must("systemctl enable --now hookrelay.socket hookrelay.service");
    assert_eq!(story.answered(&story.secret), 200);
    story.record.arrives_in(&story.out("all.jsonl"));

    machine.must("apt purge -y hookrelay");
    story.record.arrives_in(&story.out("all.jsonl"));
    machine.must("test -d /var/lib/hookrelay/journal");
    assert_eq!(machine.must("systemctl --failed --no-legend"), "");
    assert!(machine.must("systemctl list-unit-files --no-legend --no-pager").lines().all(|l| !l.contains("hookrelay")));
    let left =
        "find / -xdev -name '*hookrelay*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/lib/hookrelay*'";
    assert_eq!(machine.must(left), "", "is left");
}
