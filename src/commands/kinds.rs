//! `hookrelay kinds`: what this binary knows. Reads no config.

use clap::Args;
use std::io::Write;

use serde::Serialize;
use sink_api::SinkKind;

use super::Failure;
use crate::ingress::source::kinds::SOURCE_KINDS;
use crate::news;
use crate::registry::KINDS;
use crate::route::builtin::BUILTINS;

/// `kinds`.
#[derive(Debug, Args)]
pub struct KindsArgs {
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// A name and one line about it.
#[derive(Serialize)]
struct Kind {
    name: &'static str,
    about: &'static str,
    /// The kind's default of `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<&'static str>,
}

impl Kind {
    fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, rate: None }
    }

    fn of_sink(kind: &SinkKind) -> Self {
        Self { rate: kind.defaults.rate, ..Self::new(kind.name, kind.about) }
    }
}

#[derive(Serialize)]
struct Kinds {
    sinks: Vec<Kind>,
    sources: Vec<Kind>,
    transforms: Vec<Kind>,
    events: Vec<Kind>,
}

/// Prints them.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(args: &KindsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let commands = news::COMMANDS.iter().map(|(name, about)| Kind::new(name, about));
    let kinds = Kinds {
        sinks: KINDS.iter().map(Kind::of_sink).collect(),
        sources: SOURCE_KINDS.iter().map(|k| Kind::new(k.name, k.about)).collect(),
        transforms: BUILTINS.iter().map(|b| Kind::new(b.name, b.about)).collect(),
        events: news::Kind::ALL.iter().map(|kind| Kind::new(kind.name(), kind.about())).chain(commands).collect(),
    };
    if args.json {
        let json = serde_json::to_string(&kinds).map_err(std::io::Error::from)?;
        return Ok(writeln!(out, "{json}")?);
    }
    let lists = [
        ("sinks, kind = in [sinks.NAME]", kinds.sinks.as_slice()),
        ("sources, kind = in [sources.NAME]", kinds.sources.as_slice()),
        ("transforms, transform = in [[routes]]", kinds.transforms.as_slice()),
        ("the daemon's own events, match = in [[routes]] with source = \"hookrelay\"", kinds.events.as_slice()),
    ];
    let width = lists.iter().flat_map(|(_, list)| list.iter()).map(|k| k.name.len()).max().unwrap_or_default();
    for (n, (title, list)) in lists.into_iter().enumerate() {
        writeln!(out, "{}{title}", if n == 0 { "" } else { "\n" })?;
        for kind in list {
            let rate = kind.rate.map(|rate| format!(" (rate = \"{rate}\" unless its table has another)"));
            writeln!(out, "  {:width$}  {}{}", kind.name, kind.about, rate.unwrap_or_default())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_binary_knows_is_listed() {
        for json in [false, true] {
            let mut out = Vec::new();
            run(&KindsArgs { json }, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let names = KINDS
                .iter()
                .map(|k| k.name)
                .chain(news::TYPES.iter().copied())
                .chain(BUILTINS.iter().map(|b| b.name))
                .chain(SOURCE_KINDS.iter().map(|k| k.name));
            for name in names {
                assert!(text.contains(name), "{name} is not in {text}");
            }
        }
    }
}
