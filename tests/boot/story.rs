//! What the scenarios share: one machine, on which they happen one after the other as to an operator, and the record of
//! all that was answered 200 since the first of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::load::{Load, Record, send_one};
use crate::machine::Machine;

/// The operator's config: everything goes into one file.
const CONFIG: &str = r#"# The operator's own.
data_dir = "/var/lib/hookrelay"
[server]
listen = "127.0.0.1:4000"
[sources.interakt]
kind = "interakt"
path = "/webhooks/interakt"
secret = "${INTERAKT_WEBHOOK_SECRET}"
[sinks.archive]
kind = "file"
path = "/var/lib/hookrelay/out/all.jsonl"
[[routes]]
match = "*"
to = "archive"
"#;

/// One machine, and what has happened on it.
pub struct Story {
    pub machine: Machine,
    pub record: Arc<Record>,
    /// The secret that senders sign with.
    pub secret: String,
    /// In `/root`, the package that is installed first, and the one that follows it.
    pub packages: [String; 2],
}

impl Story {
    /// Writes the config: the operator's, and more tables.
    pub fn configure(&self, more: &str) {
        self.edit("/etc/hookrelay/config.toml", |_| format!("{CONFIG}{more}"));
    }

    /// Changes a file as an editor does that keeps owner and mode.
    pub fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.machine.path(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        fs::write(path, change(text)).unwrap();
    }

    /// A file of one of the file sinks, seen from here.
    pub fn out(&self, name: &str) -> PathBuf {
        self.machine.path("/var/lib/hookrelay/out").join(name)
    }

    /// Lets senders begin, and waits until they are at work.
    pub fn load(&self) -> Load {
        let load = Load::start(&self.machine, &self.record, &self.secret);
        load.goes_on_for(50);
        load
    }

    /// Sends one webhook, signed with this secret; gives the answer's status.
    pub fn answered(&self, secret: &str) -> u16 {
        send_one(&self.machine, &self.record, secret).join().unwrap().unwrap()
    }

    /// A property of the service, as systemd has it.
    pub fn property(&self, name: &str) -> String {
        self.machine.must(&format!("systemctl show --property {name} --value hookrelay.service")).trim().to_owned()
    }

    /// Puts a drop-in beside the service's unit, or takes it away where it is empty.
    pub fn drop_in(&self, text: &str) {
        let folder = self.machine.path("/etc/systemd/system/hookrelay.service.d");
        if text.is_empty() {
            fs::remove_dir_all(folder).unwrap();
        } else {
            fs::create_dir_all(&folder).unwrap();
            fs::write(Path::new(&folder).join("test.conf"), text).unwrap();
        }
        self.machine.must("systemctl daemon-reload && systemctl restart hookrelay");
    }
}
