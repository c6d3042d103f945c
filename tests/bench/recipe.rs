//! Which server to start, and how: the servers of this bench, and the daemon with its config. It is the config that a
//! user would write: nothing is tuned.

use std::path::PathBuf;

use crate::client::{PATH, SECRET};

/// Names that no variant and no build may have.
const NAMES: [&str; 4] = ["bare", "durable", "relay", "watched"];

/// Which server to start, and how.
#[derive(Clone)]
pub struct Recipe {
    /// The server's name in the table.
    pub name: String,
    pub server: Server,
}

#[derive(Clone)]
pub enum Server {
    /// A server of our own, whose serving begins with this option.
    Own(&'static str),
    Daemon(Daemon),
}

#[derive(Clone)]
pub struct Daemon {
    pub program: PathBuf,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// File sinks, each of which takes all events.
    pub sinks: u16,
    /// Further tables of its config.
    pub tables: String,
    /// Whether it is watched: scraped every second, with a silence to look for and a route for its own events.
    pub is_watched: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_hookrelay").into(),
            env: vec![],
            sinks: 1,
            tables: String::new(),
            is_watched: false,
        }
    }
}

/// What a daemon's config has more where it is watched.
const WATCHED: &str = r#"
[sinks.alarms]
kind = "file"
path = "alarms.jsonl"
[[routes]]
source = "hookrelay"
match = "*"
to = ["alarms"]
"#;

impl Recipe {
    /// The bare hyper server.
    pub fn bare() -> Self {
        Self { name: "bare".to_owned(), server: Server::Own("--serve-bare") }
    }

    /// The bare durable server.
    pub fn durable() -> Self {
        Self { name: "durable".to_owned(), server: Server::Own("--serve-durable") }
    }

    /// The receiver that sinks of kind `http` deliver to.
    pub fn receiver() -> Self {
        Self { name: "receiver".to_owned(), server: Server::Own("--serve-receiver") }
    }

    /// The same, which takes its time for each answer.
    pub fn slow_receiver() -> Self {
        Self { name: "receiver".to_owned(), server: Server::Own("--serve-slow-receiver") }
    }

    /// The daemon of this build.
    pub fn relay() -> Self {
        Self::daemon("relay", Daemon::default())
    }

    /// The daemon of this build, with all that watches it at work.
    pub fn watched() -> Self {
        Self::daemon("watched", Daemon { is_watched: true, ..Daemon::default() })
    }

    /// The daemon of this build with so many file sinks.
    pub fn sinks(sinks: u16) -> Self {
        let name = if sinks == 1 { "1 sink".to_owned() } else { format!("{sinks} sinks") };
        Self::daemon(&name, Daemon { sinks, ..Daemon::default() })
    }

    /// The daemon of this build with so many file sinks, and further tables of its config.
    pub fn with(name: &str, sinks: u16, tables: String) -> Self {
        Self::daemon(name, Daemon { sinks, tables, ..Daemon::default() })
    }

    fn daemon(name: &str, daemon: Daemon) -> Self {
        Self { name: name.to_owned(), server: Server::Daemon(daemon) }
    }

    /// Reads a variant: `NAME:KEY=VALUE,KEY=VALUE`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("{text:?} is not NAME:KEY=VALUE,KEY=VALUE");
        let (name, pairs) = text.split_once(':').ok_or_else(usage)?;
        if name.is_empty() || name.contains('/') || NAMES.contains(&name) {
            return Err(format!("{name:?} cannot be the name of a variant"));
        }
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let env = pairs.split(',').map(pair).collect::<Option<_>>().ok_or_else(usage)?;
        Ok(Self::daemon(name, Daemon { env, ..Daemon::default() }))
    }

    /// Another build of the daemon, named after its file.
    pub fn other(program: &str) -> Result<Self, String> {
        let program = PathBuf::from(program);
        let name = program.file_name().and_then(|name| name.to_str()).filter(|name| !NAMES.contains(name));
        let name = name.ok_or_else(|| format!("{} has no name for a build", program.display()))?.to_owned();
        Ok(Self::daemon(&name, Daemon { program, ..Daemon::default() }))
    }

    /// The config that the daemon is started with; of a server of our own there is none.
    pub fn config(&self) -> String {
        match &self.server {
            Server::Own(_) => String::new(),
            Server::Daemon(daemon) => daemon.config(),
        }
    }
}

/// The file of the sink of that number.
pub fn file_of(sink: u16) -> String {
    format!("events-{sink}.jsonl")
}

/// A sink that takes everything: the keys of its table, and its route with further keys.
pub fn sink(name: &str, table: &str, route: &str) -> String {
    format!("[sinks.{name}]\n{table}[[routes]]\nmatch = \"*\"\n{route}to = [\"{name}\"]\n")
}

impl Daemon {
    /// The daemon's config: one source, and file sinks that all take everything.
    fn config(&self) -> String {
        let silence = if self.is_watched { "silence = \"30m\"" } else { "" };
        let mut config = format!(
            r#"data_dir = "data"
[server]
listen = "127.0.0.1:0"
[sources.interakt]
kind = "interakt"
path = "{PATH}"
secret = "{SECRET}"
dedupe = "off"
{silence}
"#
        );
        for n in 1..=self.sinks {
            config += &sink(&format!("archive{n}"), &format!("kind = \"file\"\npath = \"{}\"\n", file_of(n)), "");
        }
        config += &self.tables;
        config + if self.is_watched { WATCHED } else { "" }
    }
}
