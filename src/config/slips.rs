//! Slips of the pen that people often make, and how to mend them: a table for a list, a list for a table, a name in the
//! singular, a key of the whole file below a table, `${…}` outside quotes. Each is reported once, and the faults that
//! only follow from it are left out. Pure.

use std::ops::Range;

use sink_api::{At, Fault};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::faults::Report;
use super::location::{Lines, line_around};
use super::sinks::with_article;

/// The keys that may stand at the top of the file.
pub(super) const TOP: &[&str] = &[
    "data_dir",
    "env_file",
    "timezone",
    "server",
    "log",
    "tracing",
    "journal",
    "admin",
    "sources",
    "sinks",
    "resend",
    "delivery",
    "dead_letters",
    "routes",
    "tests",
];
/// Those of [`TOP`] that are tables.
const TABLES: &[&str] =
    &["server", "log", "tracing", "journal", "admin", "sources", "sinks", "resend", "delivery", "dead_letters"];
/// Those of [`TOP`] that are lists of tables.
const LISTS: &[&str] = &["routes", "tests"];
/// Names in the wrong number, each with the key that is meant.
const SINGULARS: &[(&str, &str)] = &[
    ("source", "sources"),
    ("sink", "sinks"),
    ("route", "routes"),
    ("test", "tests"),
    ("dead_letter", "dead_letters"),
    ("resends", "resend"),
];
/// Faults of syntax after which the parser still reads the rest of the file as it was meant.
const HARMLESS: &[&str] = &["duplicate key", "string values must be quoted"];

/// A fault's message and its mend.
type Message = (String, Option<String>);

/// What to say instead of `message`, which calls a key unknown, if that key belongs to the top of the file.
pub(super) fn below_a_table(table: &str, message: &str) -> Option<Message> {
    let key = message.split_once("unknown key `")?.1.split('`').next()?;
    if table.is_empty() || !TOP.contains(&key) {
        return None;
    }
    let help = match key {
        list if LISTS.contains(&list) => format!("write [[{list}]], which begins a table of its own"),
        table if TABLES.contains(&table) => format!("write [{table}], which begins a table of its own"),
        _ => "move it above the first [table] of the file: what stands below one belongs to it".to_owned(),
    };
    Some((format!("`{key}` is a key of the whole file and stands below [{table}]"), Some(help)))
}

/// Reports tables that are called in the singular, and puts them where they belong, so that their content is read.
pub(super) fn singulars(root: &mut DeTable<'_>, report: &mut Report<'_>) {
    for (wrong, right) in SINGULARS {
        let Some((key, value)) = root.remove_entry(*wrong) else { continue };
        let (open, close) = if LISTS.contains(right) { ("[[", "]]") } else { ("[", "]") };
        let name = match value.get_ref() {
            DeValue::Table(table) if matches!(*right, "sources" | "sinks" | "resend") => {
                table.keys().next().map(|name| name.get_ref().to_string())
            }
            DeValue::Array(_) if matches!(*right, "sources" | "sinks" | "resend") => Some("NAME".to_owned()),
            _ => None,
        };
        let name = name.map(|name| format!(".{name}")).unwrap_or_default();
        let help = format!("write {open}{right}{name}{close}");
        report.error("", key.span(), format!("unknown key `{wrong}`, expected `{right}`"), Some(help));
        let value = if LISTS.contains(right) { as_list(value) } else { value };
        match root.entry(Spanned::new(key.span(), (*right).into())) {
            toml::map::Entry::Vacant(entry) => _ = entry.insert(value),
            toml::map::Entry::Occupied(mut entry) => merge(entry.get_mut().get_mut(), value.into_inner()),
        }
    }
}

/// A single table as a list of one, as which it was meant.
fn as_list<'t>(value: Spanned<DeValue<'t>>) -> Spanned<DeValue<'t>> {
    if value.get_ref().as_table().is_none() {
        return value;
    }
    let (span, mut list) = (value.span(), DeArray::new());
    list.push(value);
    Spanned::new(span, DeValue::Array(list))
}

/// A table that has these faults, without the keys that are at fault, and those keys. A key that is misspelt is not
/// left out: it gets the name that is meant.
pub(super) fn mended<'t>(table: &DeTable<'t>, faults: &[Fault]) -> (DeTable<'t>, Vec<String>) {
    let (mut out, mut left_out) = (table.clone(), Vec::new());
    for fault in faults {
        let At::Span(span) = &fault.at else { continue };
        let covers = |own: Range<usize>| own.start <= span.start && span.end <= own.end;
        let found = table.iter().find(|(key, value)| covers(key.span()) || covers(value.span()));
        let Some((key, value)) = found.and_then(|(key, _)| out.remove_entry(key.get_ref().as_ref())) else { continue };
        let meant = misspelt(&fault.message, fault.help.as_deref()).filter(|_| covers(key.span()));
        match meant.map(|(_, name)| name).filter(|name| !table.contains_key(*name)) {
            Some(name) => _ = out.insert(Spanned::new(key.span(), name.to_owned().into()), value),
            None => left_out.push(key.get_ref().to_string()),
        }
    }
    (out, left_out)
}

/// The words before `unknown key`, which name the table, and the key that the help says is meant.
pub(super) fn misspelt<'m>(message: &'m str, help: Option<&'m str>) -> Option<(&'m str, &'m str)> {
    let (before, _) = message.split_once("unknown key `")?;
    Some((before, help?.strip_prefix("did you mean `")?.strip_suffix("`?")?))
}

/// The words before `missing key`, which name the table, and that key.
pub(super) fn missing(message: &str) -> Option<(&str, &str)> {
    let (before, rest) = message.split_once("missing key `")?;
    Some((before, rest.split('`').next()?))
}

/// How a table inside another is written, by the beginning of the other's name and a key that it needs.
const INNER: &[(&str, &str, &str)] = &[
    ("resend.", "after", "{ after = \"24h\", times = 2 }"),
    ("resend.", "times", "{ after = \"24h\", times = 2 }"),
    ("resend.", "hours", "{ hours = \"21:00-09:00\" }"),
];

/// The way out where an inner table lacks a key, as `message` says.
pub(super) fn example(table: &str, message: &str) -> Option<String> {
    let (before, key) = missing(message)?;
    let name = before.strip_prefix('`')?.split('`').next()?.rsplit('.').next()?;
    let (.., value) = INNER.iter().find(|(of, needed, _)| table.starts_with(of) && *needed == key)?;
    Some(format!("such as {name} = {value}"))
}

/// Adds to the first value what only the second has.
fn merge<'t>(first: &mut DeValue<'t>, second: DeValue<'t>) {
    match (first, second) {
        (DeValue::Table(first), DeValue::Table(second)) => {
            for (key, value) in second {
                first.entry(key).or_insert(value);
            }
        }
        (DeValue::Array(first), DeValue::Array(second)) => second.into_iter().for_each(|one| first.push(one)),
        _ => {}
    }
}

/// The fault of a value that should be tables with names, `[sinks.NAME]`, and is something else, so that nothing in it
/// can be read.
pub(super) fn unnamed(name: &str, value: &Spanned<DeValue<'_>>) -> Option<Message> {
    let text = |table: &DeTable<'_>, key: &str| Some(table.get(key)?.get_ref().as_str()?.to_owned());
    let (what, own) = match value.get_ref() {
        DeValue::Array(all) => {
            let first = all.iter().next().and_then(|first| first.get_ref().as_table());
            let own = first.and_then(|table| text(table, "name").or_else(|| text(table, "kind")));
            (format!("`{name}` is {}, expected tables with a name, [{name}.NAME]", with_article(value.get_ref())), own)
        }
        DeValue::Table(table) if name == "resend" && table.contains_key("match") => {
            ("[resend] is the table of all rules, and the keys of one stand in it".to_owned(), None)
        }
        DeValue::Table(table) => {
            let own = text(table, "kind")?;
            (format!("[{name}] is the table of all {name}, and the keys of one stand in it"), Some(own))
        }
        _ => return None,
    };
    let own = own.filter(|own| own.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
    let own = own.filter(|own| !own.is_empty()).unwrap_or_else(|| "NAME".to_owned());
    Some((what, Some(format!("give it a name: write [{name}.{own}]"))))
}

/// Reports the parser's faults. False where the parser may have taken whole tables for something else, so that faults
/// of what it read would mislead.
pub(super) fn syntax(
    text: &str,
    lines: &Lines<'_>,
    root: &DeTable<'_>,
    errors: &[toml::de::Error],
    report: &mut Report<'_>,
) -> bool {
    let headers = headers(text);
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let line = lines.line(span.start);
        // Further faults of a line follow from its first one.
        if line == std::mem::replace(&mut last_line, line) {
            continue;
        }
        // Several `[routes]` are one table to the parser, which then finds every key several times.
        let section = headers.partition_point(|(at, _)| *at <= span.start).checked_sub(1).and_then(|n| headers.get(n));
        let is_list = |name: &str| {
            LISTS.contains(&name) || SINGULARS.iter().any(|(one, all)| *one == name && LISTS.contains(all))
        };
        let follows = section.is_some_and(|(_, name)| is_list(name) && is_table(root, name));
        if follows && error.message().starts_with("duplicate key") {
            continue;
        }
        match unquoted(text, span.start) {
            Some((at, placeholder)) => {
                let message = format!("`{placeholder}` stands outside quotes, expected a string");
                report.syntax(at, &message, Some(format!("put the whole value in quotes, such as \"{placeholder}\"")));
            }
            None => report.syntax(span, error.message(), None),
        }
    }
    errors.iter().all(|error| HARMLESS.iter().any(|message| error.message().starts_with(message)))
}

fn is_table(root: &DeTable<'_>, name: &str) -> bool {
    root.get(name).is_some_and(|value| value.get_ref().as_table().is_some())
}

/// The byte at which each line with a `[name]` or `[[name]]` begins, and the first word of the name.
fn headers(text: &str) -> Vec<(usize, &str)> {
    let (mut headers, mut at) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if let Some(inside) = line.trim_start().strip_prefix('[') {
            let inside = inside.trim_start_matches('[').trim_start();
            headers.push((at, inside.split([']', '.', ' ', '\n']).next().unwrap_or_default()));
        }
        at += line.len();
    }
    headers
}

/// The line of the first `[name]` in the text.
pub(super) fn header_of(text: &str, name: &str) -> Option<Range<usize>> {
    let (at, _) = headers(text).into_iter().find(|(_, own)| *own == name)?;
    Some(line_around(text, at))
}

/// The bytes of a `${…}` outside quotes on the line of this byte, and its text.
fn unquoted(text: &str, offset: usize) -> Option<(Range<usize>, &str)> {
    let line = line_around(text, offset);
    let mut quote = None;
    let written = text.get(line.clone())?;
    for (at, c) in written.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '#' => return None,
            None if written.get(at..).is_some_and(|rest| rest.starts_with("${")) => {
                let end = at + written.get(at..)?.find('}')? + 1;
                return Some((line.start + at..line.start + end, written.get(at..end)?));
            }
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_outside_quotes_is_found_and_one_inside_is_not() {
        let found = |text: &'static str| unquoted(text, 0).map(|(_, placeholder)| placeholder);
        assert_eq!(found("secret = ${A}\n"), Some("${A}"));
        assert_eq!(found("url = https://${HOST}/x"), Some("${HOST}"));
        assert_eq!(found("all = [\"${A}\", ${B}]"), Some("${B}"));
        for text in ["secret = \"${A}\"", "secret = '${A}'", "secret = x # ${A}", "secret = $A", "secret = ${A"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn headers_are_known_by_their_first_word() {
        let text = "a = 1\n[server]\n [ routes ]\n[[routes]]\n[sinks.a] # x\n";
        let words: Vec<&str> = headers(text).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, ["server", "routes", "routes", "sinks"]);
        assert_eq!(&text[header_of(text, "routes").unwrap()], " [ routes ]");
    }
}
