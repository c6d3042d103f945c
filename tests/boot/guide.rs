//! docs/operating.md on a machine of its own: its commands are run and its files written, in the order in which they
//! stand there. A test that fails names the block.

use std::sync::Arc;

use crate::load::{Load, Record};
use crate::machine::Machine;
use crate::package;

/// What is done around a block of commands that the guide says nothing of, and what must be true after it.
struct Around {
    /// A text of the block.
    block: &'static str,
    /// Commands before it.
    before: &'static str,
    /// Variables that its reader sets.
    given: &'static str,
    /// Whether webhooks come meanwhile, none of which may be refused.
    under_load: bool,
    /// Commands after it, tried again until they succeed.
    after: &'static str,
}

const NOTHING: Around = Around { block: "", before: "", given: "", under_load: false, after: "" };

/// An authority that the machine trusts, a certificate of it for the guide's name, and the name's address.
const CERTIFICATE: &str = "apt-get install -y ca-certificates
cd /tmp && at=/etc/letsencrypt/live/hooks.example.com && mkdir -p $at
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=A test' 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout $at/privkey.pem -out csr.pem -subj /CN=hooks.example.com 2>/dev/null
echo subjectAltName=DNS:hooks.example.com > names
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out $at/fullchain.pem 2>&1
cp ca.pem /usr/local/share/ca-certificates/test.crt && update-ca-certificates >/dev/null
echo 127.0.0.1 localhost hooks.example.com >> /etc/hosts";

/// Every block of commands in the guide, in order.
const AROUND: &[Around] = &[
    Around {
        block: "systemctl enable --now",
        before: "cp packages/*-1_*.deb .",
        after: "systemctl is-active hookrelay.service hookrelay.socket && hookrelay check",
        ..NOTHING
    },
    Around { block: "tail -n 1", ..NOTHING },
    Around { block: "hookrelay check\nsystemctl reload hookrelay\n", ..NOTHING },
    Around {
        block: "trusted_proxies",
        after: "hookrelay status --json | grep '\"state\":\"same\"'",
        under_load: true,
        ..NOTHING
    },
    Around { block: "apt-get install -y nginx", ..NOTHING },
    Around {
        block: "nginx -t",
        before: CERTIFICATE,
        after: "grep -c 'POST /webhooks/interakt HTTP/1.1\" 200' /var/log/nginx/access.log",
        ..NOTHING
    },
    Around { block: "apt-get install -y caddy", before: "systemctl disable --now nginx", ..NOTHING },
    Around { block: "caddy validate", after: "systemctl is-active caddy", ..NOTHING },
    Around {
        block: "OLD_SECRET=/' .env",
        before: "systemctl disable --now caddy",
        after: "hookrelay send --type message_api_read && test $(stat -c %U:%a /etc/hookrelay/.env) = hookrelay:600",
        ..NOTHING
    },
    Around { block: "/^OLD_SECRET=/d", after: "hookrelay send --type message_api_read", ..NOTHING },
    Around { block: "not_a_key = 1", after: "hookrelay status | grep refused", ..NOTHING },
    Around { block: "/^not_a_key/d", after: "hookrelay status --json | grep '\"state\":\"same\"'", ..NOTHING },
    Around { block: "hookrelay check\nsystemctl restart hookrelay\n", under_load: true, ..NOTHING },
    Around {
        block: "hookrelay --version",
        before: "rm *.deb && cp packages/*-2_*.deb .",
        after: "dpkg-query --show hookrelay | grep -e '-2$'",
        under_load: true,
        ..NOTHING
    },
    Around {
        block: "--allow-downgrades",
        before: "rm *.deb && cp packages/*-1_*.deb .",
        after: "dpkg-query --show hookrelay | grep -e '-1$'",
        under_load: true,
        ..NOTHING
    },
    Around { block: "VACUUM INTO", under_load: true, ..NOTHING },
    Around { block: "journal verify\nsqlite3", ..NOTHING },
    Around { block: "/var/lib/hookrelay/restored", ..NOTHING },
    Around {
        block: "hookrelay-restore",
        // As after a disaster: what the sinks wrote is gone.
        before: "rm -rf /var/lib/hookrelay/events /var/lib/hookrelay/hookrelay.db*",
        after: "cd /var/lib/hookrelay && test -d before/journal && test ! -e restored && ls events/*/*.jsonl
                test $(sqlite3 hookrelay.db 'SELECT count(*) FROM api_logs') -gt 0 && hookrelay send",
        under_load: true,
        ..NOTHING
    },
    Around {
        block: "cp -a $copy/etc/.",
        after: "test $(stat -c %U:%a /etc/hookrelay/.env) = hookrelay:600",
        under_load: true,
        ..NOTHING
    },
    Around { block: "before.toml", ..NOTHING },
    Around { block: "hookrelay journal stat", ..NOTHING },
    Around {
        block: "rsync",
        before: "mkdir -p /srv/new/etc",
        given: "NEW=/srv/new",
        after: "cmp /etc/hookrelay/.env /srv/new/etc/hookrelay/.env",
        ..NOTHING
    },
    Around { block: "nothing is pending", ..NOTHING },
    Around { block: "systemctl status hookrelay --no-pager", ..NOTHING },
    Around { block: "hookrelay sink pause", under_load: true, ..NOTHING },
    Around { block: "hookrelay dead retry", ..NOTHING },
    Around { block: "hookrelay replay --since 1h", ..NOTHING },
    Around { block: "df -h", ..NOTHING },
    Around { block: "hookrelay journal verify\n", ..NOTHING },
    Around {
        block: "apt-get purge -y hookrelay",
        after: "test -d /var/lib/hookrelay/journal && test ! -e /etc/hookrelay && test ! -e /usr/bin/hookrelay",
        ..NOTHING
    },
    Around { block: "userdel hookrelay", after: "test ! -e /var/lib/hookrelay", ..NOTHING },
];

/// A fenced block: what stands behind its fence, and its text.
struct Block<'g> {
    kind: &'g str,
    text: &'g str,
}

fn blocks(guide: &str) -> impl Iterator<Item = Block<'_>> {
    let fenced = guide.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).map(|(kind, text)| Block { kind, text })
}

pub fn the_commands_of_the_guide_do_what_it_says(machine: Machine) {
    let packages = machine.path("/root/packages");
    std::fs::create_dir(&packages).unwrap();
    for revision in ["1", "2"] {
        let package = package::make(&format!("{}-{revision}", env!("CARGO_PKG_VERSION")));
        machine.put(&package, "/root/packages");
    }
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let mut expected = AROUND.iter();
    for block in blocks(&guide) {
        if let Some(file) = block.text.lines().next().and_then(|first| first.strip_prefix("# /")) {
            write(&machine, file, block.text);
        } else if block.kind.starts_with("sh") {
            let around = expected.next().filter(|around| format!("{}\n", block.text).contains(around.block));
            let around = around.unwrap_or_else(|| panic!("the test expects another block here than:\n{}", block.text));
            run(&machine, &block, around);
        }
    }
    assert!(expected.next().is_none(), "the guide has fewer blocks");
}

/// Writes a file that a block shows.
fn write(machine: &Machine, file: &str, text: &str) {
    let path = machine.path(file);
    // Where the package that brings the folder is installed by the next block.
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{text}\n")).unwrap();
}

fn run(machine: &Machine, block: &Block<'_>, around: &Around) {
    let began = std::time::Instant::now();
    machine.must(around.before);
    let load = around.under_load.then(|| {
        let env = std::fs::read_to_string(machine.path("/etc/hookrelay/.env")).unwrap();
        let secret = env.lines().find_map(|line| line.strip_prefix("INTERAKT_WEBHOOK_SECRET=")).unwrap();
        let load = Load::start(machine, &Arc::<Record>::default(), secret);
        load.goes_on_for(50);
        load
    });
    let said = machine.sh(&format!("{}\n{}", around.given, block.text));
    let must_fail = block.kind == "sh fails";
    assert!((said.code != 0) == must_fail, "\n{}\n{said}\n{}", block.text, machine.journal());
    if let Some(load) = load {
        load.goes_on_for(50);
        load.stop_unharmed();
    }
    machine.until("what the guide says is so", around.after);
    println!("boot: guide: \"{}\": {:.1} s", around.block.trim(), began.elapsed().as_secs_f64());
}
