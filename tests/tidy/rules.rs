//! The rules of the house as pure functions: text in, faults out. They read no files, `tidy.rs` does that; the unit
//! tests in `rules_tests.rs` show that each rule can fail. Rules about guides are in `guides.rs`.

use std::cmp::Ordering;

use super::guides::{sections, table_of_sinks};

/// A file of the repository: its path from the root, with `/`, and what it says.
pub struct File {
    /// `src/journal/mod.rs`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// A file made up for a test.
    #[cfg(test)]
    pub fn of(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn in_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// The sink whose source this is: `file` for `sinks/file/src/lib.rs`; none for the contract and the test kit.
    fn sink(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("sinks/")?.split_once('/')?;
        (rest.starts_with("src/") && !NOT_SINKS.contains(&name)).then_some(name)
    }
}

/// Folders under `sinks/` that are no sinks.
pub const NOT_SINKS: &[&str] = &["api", "testkit"];

/// The rooms from top to bottom. A room imports from the tiers below its own; from above it imports nothing, and from
/// its own tier only what [`SIBLINGS`] allows.
pub const TIERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["exit"],
    &["commands"],
    &["daemon", "registry", "trial"],
    &["config"],
    &["admin", "deliver", "ingress"],
    &["event", "ledger", "outbox", "route", "verify"],
    &["database", "journal", "message"],
    &[
        "access",
        "ids",
        "mask",
        "metrics",
        "news",
        "page",
        "shutdown",
        "sockets",
        "systemd",
        "telemetry",
        "times",
        "traces",
        "version",
    ],
];
/// Rooms of one tier of which the first may import the second; `src/ARCHITECTURE.md` says why.
pub const SIBLINGS: &[(&str, &str)] =
    &[("daemon", "trial"), ("deliver", "ingress"), ("database", "journal"), ("outbox", "route")];

/// Most lines a shipped file may have, the two that read as a table of contents, and the map of the code.
const MOST_LINES: usize = 500;
const MOST_LINES_OF: &[(&str, usize)] = &[("src/main.rs", 60), ("src/daemon.rs", 200), ("src/ARCHITECTURE.md", 200)];

/// Most characters of a line.
const MOST_COLUMNS: usize = 120;

/// The sections of every sink's README, in order.
const README_SECTIONS: &[&str] = &["What", "Config", "Verdicts", "Ordering and duplicates", "Limits"];

/// Whether a file is part of the program: the daemon, the sinks, the contract and the test kit, unit tests included.
pub fn is_shipped(file: &File) -> bool {
    file.in_src() || (file.path.starts_with("sinks/") && file.path.contains("/src/"))
}

/// A file's text up to its unit tests; nothing of a file that is nothing else.
pub fn outside_tests(file: &File) -> &str {
    if file.path.ends_with("tests.rs") || file.path.contains("/tests/") {
        return "";
    }
    file.text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Every `.rs` file opens with `//!`: what the room is for.
pub fn opens_with_its_purpose(file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//! ");
    if opens { vec![] } else { vec![format!("{}:1: does not open with `//! ` and what it is for", file.path)] }
}

/// No shipped Rust file is too long to read at once, nor any other that has a bound of its own.
pub fn is_short_enough(file: &File) -> Vec<String> {
    let own = MOST_LINES_OF.iter().find(|(path, _)| *path == file.path).map(|(_, most)| *most);
    let general = (file.path.ends_with(".rs") && is_shipped(file)).then_some(MOST_LINES);
    let lines = file.text.lines().count();
    match own.or(general) {
        Some(most) if lines > most => {
            vec![format!("{}: {lines} lines, at most {most}: which room is missing?", file.path)]
        }
        _ => vec![],
    }
}

/// No line of a Rust file is longer than a screen is wide; comments and strings, which no formatter breaks, included.
pub fn lines_are_short(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate().map(|(n, line)| (n + 1, line.chars().count()));
    let long = lines.filter(|(_, length)| *length > MOST_COLUMNS);
    long.map(|(n, length)| format!("{}:{n}: {length} characters, at most {MOST_COLUMNS}", file.path)).collect()
}

/// Imports point one way (see [`TIERS`] and [`SIBLINGS`]). Unit tests may import from anywhere.
pub fn imports_point_one_way(file: &File) -> Vec<String> {
    let Some(room) = room_of(&file.path) else { return vec![] };
    let Some(from) = tier(room) else {
        return vec![format!("{}: the room `{room}` stands in no tier of tests/tidy/rules.rs", file.path)];
    };
    let wrong = imports(&code_of(outside_tests(file))).into_iter().filter_map(|(line, name)| {
        let to = tier(&name)?;
        let why = match to.cmp(&from) {
            Ordering::Less => "stands above it",
            Ordering::Equal if name != room && !SIBLINGS.contains(&(room, name.as_str())) => {
                "stands in the same tier, and SIBLINGS does not allow it"
            }
            _ => return None,
        };
        Some(format!("{}:{line}: `{room}` imports `{name}`, which {why}", file.path))
    });
    wrong.chain(find(file, &["super::super::"], "say `crate::…`, so that it can be checked")).collect()
}

/// Sinks are named in `registry.rs` alone; a sink knows the contract and no other crate of ours; the test kit is for
/// tests. `sinks` are all folders under `sinks/`.
pub fn sinks_are_named_once(file: &File, sinks: &[String]) -> Vec<String> {
    let own = match file.sink() {
        Some(name) => crate_of(name),
        None if file.in_src() && file.path != "src/registry.rs" => String::new(),
        None => return vec![],
    };
    let code = code_of(&file.text);
    let shipped = code_of(outside_tests(file));
    let mut faults = Vec::new();
    for name in sinks.iter().filter(|name| *name != "api") {
        let name = crate_of(name);
        let text = if name == "sink_testkit" { &shipped } else { &code };
        if name != own {
            faults.extend(uses_of(&name, text));
        }
    }
    if file.sink().is_some() {
        faults.extend(uses_of("hookrelay", &code));
    }
    faults.into_iter().map(|at| format!("{}:{at}; only src/registry.rs may", file.path)).collect()
}

/// Every queue has a bound.
pub fn queues_are_bounded(file: &File) -> Vec<String> {
    if !is_shipped(file) {
        return vec![];
    }
    find(file, &["unbounded_channel(", "unbounded("], "a queue without a bound")
}

/// The core owns time: no sink sleeps.
pub fn sinks_do_not_sleep(file: &File) -> Vec<String> {
    if file.sink().is_none() {
        return vec![];
    }
    find(file, &["sleep("], "a sink never sleeps: answer Retry and let the core wait")
}

/// Unfinished business belongs in an issue.
pub fn nothing_is_left_undone(file: &File) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
        .map(|(n, line)| format!("{}:{}: unfinished: {}", file.path, n + 1, line.trim()))
        .collect()
}

/// What the folder of a sink must bring, and where else its name must stand.
pub struct SinkFolder<'a> {
    /// Name of the folder.
    pub name: &'a str,
    /// Its README.md, if there is one.
    pub readme: Option<&'a str>,
    /// Its example.toml, if there is one.
    pub example: Option<&'a str>,
}

/// A sink is its folder, one line in `registry.rs`, two in `Cargo.toml`, and a row in the README's table.
pub fn sink_is_listed(sink: &SinkFolder<'_>, registry: &str, cargo: &str, readme: &str) -> Vec<String> {
    let name = sink.name;
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(format!("sinks/{name}: {what}"));
        }
    };
    let crate_name = crate_of(name);
    let in_registry = code_of(registry).matches(&format!("{crate_name}::KIND")).count();
    expect(in_registry == 1, format!("`{crate_name}::KIND` stands {in_registry} times in src/registry.rs, not once"));
    let key = format!("sink-{name}");
    let in_cargo = cargo.lines().filter(|line| key_of(line) == key).count();
    expect(in_cargo == 2, format!("`{key}` has {in_cargo} lines in Cargo.toml, not two"));
    expect(table_of_sinks(readme).iter().any(|row| row == name), "has no row in README.md's table of sinks".into());
    let sections = sink.readme.map(sections);
    expect(
        sections.as_ref().is_some_and(|s| s == README_SECTIONS),
        format!("README.md has the sections {:?}, expected {README_SECTIONS:?}", sections.unwrap_or_default()),
    );
    let kind = format!("kind = \"{name}\"");
    expect(sink.example.is_some_and(|text| text.contains(&kind)), format!("example.toml has no `{kind}`"));
    faults
}

/// The room a file of the daemon belongs to; none for `lib.rs`, which only lists them.
fn room_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/").filter(|below| below.ends_with(".rs") && *below != "lib.rs")?;
    Some(below.split('/').next().unwrap_or(below).trim_end_matches(".rs"))
}

fn tier(room: &str) -> Option<usize> {
    TIERS.iter().position(|rooms| rooms.contains(&room))
}

/// The crate in the folder `sinks/<name>`.
fn crate_of(name: &str) -> String {
    format!("sink_{}", name.replace('-', "_"))
}

/// What is imported from the root of our crate, with its line: behind `crate::` and `hookrelay::`, one name or a group
/// in braces.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "hookrelay::"] {
        for (at, _) in code.match_indices(root) {
            if ends_in_identifier(&code[..at]) {
                continue;
            }
            let rest = &code[at + root.len()..];
            let line = code[..at].matches('\n').count() + 1;
            found.extend(first_names(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// `a::b` → `a`; `{a::{b, c}, d}` → `a`, `d`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The text with its comments blanked, line by line; a `//` inside a string ends the line too, which hides little.
pub fn code_of(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Lines that name a crate: `name::…` or `use name…`.
fn uses_of(name: &str, code: &str) -> Vec<String> {
    let (path, import) = (format!("{name}::"), format!("use {name}"));
    let named = |line: &str| {
        let starts = |needle: &str| line.match_indices(needle).any(|(at, _)| !ends_in_identifier(&line[..at]));
        let imported = line.trim_start().strip_prefix(&import).is_some_and(|rest| identifier(rest).is_empty());
        starts(&path) || imported
    };
    code.lines()
        .enumerate()
        .filter(|(_, line)| named(line))
        .map(|(n, _)| format!("{}: names `{name}`", n + 1))
        .collect()
}

fn ends_in_identifier(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Lines outside unit tests that hold one of the needles.
fn find(file: &File, needles: &[&str], why: &str) -> Vec<String> {
    let code = code_of(outside_tests(file));
    let lines = code.lines().enumerate();
    lines
        .filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)))
        .map(|(n, line)| format!("{}:{}: {why}: {}", file.path, n + 1, line.trim()))
        .collect()
}

/// `sink-file.workspace = true` and `sink-file = { … }` → `sink-file`.
fn key_of(line: &str) -> &str {
    line.split(['.', '=', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
