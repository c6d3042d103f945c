//! Rules about the Markdown guides, as pure functions: what they name is there, and what they say of the code is what
//! the rules enforce. The unit tests in `guides_tests.rs` show that each rule can fail.

use super::rules::{SIBLINGS, TIERS};

/// Rows of the README's table of sinks: the names that link to a sink's folder.
pub fn table_of_sinks(readme: &str) -> Vec<String> {
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    rows.filter_map(|row| Some(row.split_once("](sinks/")?.1.split_once(')')?.0.split('/').next()?.to_owned()))
        .collect()
}

/// Paths of this repository that a Markdown text names: targets of relative links, and quoted paths that begin with one
/// of its folders.
pub fn paths_named(markdown: &str, folders: &[String]) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (n, line) in markdown.lines().enumerate() {
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let relative = links.filter(|to| !to.contains("://") && !to.starts_with('#'));
        let quoted = line.split('`').skip(1).step_by(2).filter(|text| {
            let folder = text.split('/').next().unwrap_or_default();
            text.contains('/') && folders.iter().any(|f| f == folder) && !text.contains([' ', '<', '{', '*', '…'])
        });
        named.extend(relative.chain(quoted).map(|to| (n + 1, to.split('#').next().unwrap_or(to).to_owned())));
    }
    named
}

/// Second-level headings outside code blocks.
pub fn sections(markdown: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in markdown.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if let (false, Some(heading)) = (in_code, line.strip_prefix("## ")) {
            found.push(heading.trim().to_owned());
        }
    }
    found
}

/// The code map of `src/ARCHITECTURE.md` lists the rooms of [`TIERS`], tier by tier, and the imports of [`SIBLINGS`].
pub fn map_is_true(architecture: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |what: &str, stated: Vec<String>, enforced: Vec<String>| {
        let lacking = enforced.iter().filter(|one| !stated.contains(one)).map(|one| format!("lacks {what} {one}"));
        let wrong =
            stated.iter().filter(|one| !enforced.contains(one)).map(|one| format!("has {what} {one}, not enforced"));
        faults.extend(lacking.chain(wrong));
        if faults.is_empty() && stated != enforced {
            faults.push(format!("has each {what} once and in order: {enforced:?}"));
        }
    };
    let tiers = (1..).zip(TIERS).flat_map(|(n, rooms)| rooms.iter().map(move |room| format!("{n} `{room}`")));
    expect("the room", rooms_of(architecture), tiers.collect());
    let siblings = SIBLINGS.iter().map(|(from, to)| format!("`{from}` → `{to}`"));
    expect("the import", siblings_of(architecture), siblings.collect());
    faults.into_iter().map(|fault| format!("src/ARCHITECTURE.md: the code map {fault}")).collect()
}

/// Rows `| TIER | `ROOM` | … |` of the code map, as ``TIER `ROOM` ``.
fn rooms_of(architecture: &str) -> Vec<String> {
    let cells = architecture.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let row = |cells: Vec<&str>| match cells.as_slice() {
        ["", tier, room, ..] if tier.parse::<usize>().is_ok() => Some(format!("{tier} {room}")),
        _ => None,
    };
    cells.filter_map(row).collect()
}

/// Items ``- `ROOM` → `ROOM`: why``.
fn siblings_of(architecture: &str) -> Vec<String> {
    let items = architecture.lines().filter_map(|line| line.strip_prefix("- `")?.split_once(": "));
    items.filter(|(pair, _)| pair.contains("` → `")).map(|(pair, _)| format!("`{pair}")).collect()
}

/// Each row of a table of steps, `| step | carried by | in | … |`, names types that stand in the file it names. `read`
/// gives a file's text.
pub fn walk_is_true(walk: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (n, line) in walk.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", _, types, path, ..] = cells.as_slice() else { continue };
        let Some(path) = quoted(path).next() else { continue };
        let Some(text) = read(path) else {
            faults.push(format!("src/WALK.md:{}: names `{path}`, which does not exist", n + 1));
            continue;
        };
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let lacking = quoted(types).filter(|name| !words.contains(name));
        faults.extend(lacking.map(|name| format!("src/WALK.md:{}: `{path}` does not name `{name}`", n + 1)));
    }
    faults
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The steps of a walk, so that a table whose form has changed is not taken for one that is true.
pub fn steps(walk: &str) -> usize {
    walk.lines().filter(|line| line.starts_with('|') && line.contains(".rs`")).count()
}

#[cfg(test)]
#[path = "guides_tests.rs"]
mod tests;
