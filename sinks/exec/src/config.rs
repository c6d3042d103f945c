//! The sink's table in `config.toml`: its keys, and what is wrong with their values. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sink_api::fault::with_help;
use sink_api::settings::table;
use sink_api::{Fault, Secret, Settings, SinkConfig, Size};

/// Environment variables with this prefix are set by the sink.
pub const OWN_PREFIX: &str = "HOOKRELAY_";
/// Least and most `max_line`, in bytes.
const LINE_BOUNDS: (u64, u64) = (4 << 10, 1 << 30);

/// `[sinks.NAME]` with `kind = "exec"`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// The program and its arguments; no shell in between.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// The program's working directory, relative to the config file; by default the config file's own folder.
    #[serde(default)]
    pub dir: PathBuf,
    /// Environment variables beyond those every program gets.
    #[serde(default, deserialize_with = "table")]
    pub env: BTreeMap<String, Secret>,
    /// Longest line the program is handed, in bytes; a delivery that would need a longer one is rejected.
    #[serde(default = "default_max_line")]
    pub max_line: Size,
}

/// A list. Whoever writes a string is shown the list it would be, as no shell takes it apart here.
fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Command;
    impl<'de> Visitor<'de> for Command {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of the program and its arguments")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            let parts: Vec<String> = text.split_whitespace().map(|part| format!("{part:?}")).collect();
            let what = "invalid type: string, expected a list of the program and its arguments";
            Err(E::custom(with_help(what, &format!("no shell takes it apart: write command = [{}]", parts.join(", ")))))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = seq.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_any(Command)
}

fn default_max_line() -> Size {
    Size::mib(16)
}

/// Reads the table.
///
/// # Errors
/// Every fault of shape: unknown and missing keys, wrong types.
pub fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(settings.read::<ExecConfig>()?))
}

impl ExecConfig {
    /// What is wrong with the values.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.command.first().is_none_or(|program| program.trim().is_empty()) {
            let fault = Fault::at_key("command", "expected the program and its arguments");
            faults.push(fault.help("command = [\"python3\", \"sink.py\"]"));
        } else if self.command.iter().any(|part| part.contains('\0')) {
            faults.push(Fault::at_key("command", "holds a NUL character, which no argument can"));
        }
        if self.dir.as_os_str().as_encoded_bytes().contains(&0) {
            faults.push(Fault::at_key("dir", "holds a NUL character, which no path can"));
        }
        for (name, value) in &self.env {
            let at = format!("env.{name}");
            if name.is_empty() || name.contains(['=', '\0']) {
                faults.push(Fault::at_key("env", format!("`{name}` is not the name of an environment variable")));
            } else if name.starts_with(OWN_PREFIX) {
                faults.push(Fault::at_key(at, format!("names in {OWN_PREFIX} are the sink's own")));
            } else if value.expose().contains('\0') {
                faults.push(Fault::at_key(at, "its value holds a NUL character, which no variable can"));
            }
        }
        let (least, most) = LINE_BOUNDS;
        if !(least..=most).contains(&self.max_line.0) {
            let text = format!("is {} bytes, expected {least} to {most}", self.max_line.0);
            faults.push(Fault::at_key("max_line", text).help("max_line = \"16MiB\""));
        }
        faults
    }
}

/// Shows neither arguments nor values of variables: either may hold a secret.
impl fmt::Debug for ExecConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecConfig")
            .field("program", &self.command.first())
            .field("arguments", &self.command.len().saturating_sub(1))
            .field("dir", &self.dir)
            .field("env", &self.env.keys())
            .field("max_line", &self.max_line)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(command: &[&str], env: &[(&str, &str)], max_line: u64) -> ExecConfig {
        ExecConfig {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            dir: PathBuf::new(),
            env: env.iter().map(|&(name, value)| (name.to_owned(), Secret::new(value))).collect(),
            max_line: Size(max_line),
        }
    }

    fn keys(config: &ExecConfig) -> Vec<String> {
        config.faults().iter().map(|f| format!("{:?}", f.at)).collect()
    }

    #[test]
    fn every_fault_is_named_at_its_key() {
        assert_eq!(
            keys(&config(&[], &[("", "x"), ("A=B", "x")], 1)),
            [r#"Key("command")"#, r#"Key("env")"#, r#"Key("env")"#, r#"Key("max_line")"#]
        );
        let own = config(&["a\0"], &[("HOOKRELAY_SINK", "x"), ("TOKEN", "a\0")], 1 << 20);
        assert_eq!(keys(&own), [r#"Key("command")"#, r#"Key("env.HOOKRELAY_SINK")"#, r#"Key("env.TOKEN")"#]);
        assert_eq!(config(&["sh", ""], &[("TOKEN", "")], 1 << 20).faults(), []);
    }

    #[test]
    fn debug_shows_neither_arguments_nor_values() {
        let shown = format!("{0:?} {0:#?}", config(&["sh", "--token=hush-argument"], &[("TOKEN", "hush-value")], 4096));
        assert!(shown.contains("TOKEN") && !shown.contains("hush"), "{shown}");
    }
}
