//! Finds locations in the config file: the line and column of a byte, and the bytes that a fault's `At` means. Pure.

use std::ops::Range;

use sink_api::At;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A location as people count: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub line: usize,
    pub column: usize,
}

/// Where the lines of a text begin. They are looked for once, however many locations are asked for.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The line of a byte, from 1. An offset behind the end is on the last line.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// The location of a byte. An offset behind the end means the end.
    pub fn location(&self, offset: usize) -> Location {
        let end = self.text.floor_char_boundary(offset);
        let line = self.line(end);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..end).unwrap_or_default();
        Location { line, column: before.trim_start_matches('\u{feff}').chars().count() + 1 }
    }
}

/// The bytes of the line that a byte is on, without the line's end.
pub(super) fn line_around(text: &str, offset: usize) -> Range<usize> {
    let offset = text.floor_char_boundary(offset);
    let (before, after) = (text.get(..offset).unwrap_or(text), text.get(offset..).unwrap_or_default());
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = offset + after.find('\n').unwrap_or(after.len());
    let line = text.get(start..end).unwrap_or_default();
    start..start + line.trim_end_matches('\r').len()
}

/// The bytes that a fault is about. `table` is the table that was read, `header` the location of its header.
pub(super) fn resolve(at: &At, table: &DeTable<'_>, header: &Range<usize>) -> Range<usize> {
    match at {
        At::Span(span) if span.is_empty() && span.start == 0 => header.clone(),
        At::Span(span) => span.clone(),
        At::Table => header.clone(),
        At::Key(path) | At::Inside(path, _) => key_span(path, table).unwrap_or_else(|| header.clone()),
    }
}

/// Where in the file byte `offset` of a string's value stands; `span` is the string with its quotes. The whole string
/// is given where a `${…}` before that byte was filled in, as offsets in value and file then differ.
pub(super) fn inside(text: &str, span: &Range<usize>, offset: usize) -> Range<usize> {
    let written = text.get(span.clone()).unwrap_or_default();
    let quotes =
        ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| written.starts_with(quotes)).unwrap_or_default();
    let body = written.get(quotes.len()..written.len().saturating_sub(quotes.len())).unwrap_or_default();
    let skipped = if quotes.len() == 3 { body.len() - body.trim_start_matches('\r').len() } else { 0 };
    let skipped = match body.get(skipped..) {
        Some(rest) if quotes.len() == 3 && rest.starts_with('\n') => skipped + 1,
        _ => 0,
    };
    let content = body.get(skipped..).unwrap_or_default();
    let at = if quotes.starts_with('"') { escaped(content, offset) } else { Some(offset) };
    match at.filter(|at| content.is_char_boundary(*at) && !content.get(..*at).is_some_and(|b| b.contains("${"))) {
        Some(at) => {
            let start = span.start + quotes.len() + skipped + at;
            start..start + content.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
        }
        None => span.clone(),
    }
}

/// The byte in the text of a basic string, which has escapes, at which byte `offset` of its value stands.
fn escaped(content: &str, offset: usize) -> Option<usize> {
    let (mut at, mut value) = (0, 0);
    while value < offset {
        let rest = content.get(at..)?;
        let first = rest.chars().next()?;
        if first != '\\' {
            at += first.len_utf8();
            value += first.len_utf8();
            continue;
        }
        let kind = rest.chars().nth(1)?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ if kind.is_whitespace() => {
                // A backslash at a line's end takes the line's end and all white space behind it out of the value.
                let tail = rest.get(1..)?;
                at += 1 + tail.len() - tail.trim_start().len();
                continue;
            }
            _ => 0,
        };
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok().and_then(char::from_u32);
        value += code.map_or(1, char::len_utf8);
        at += 2 + digits;
    }
    Some(at)
}

/// The value of a dotted key; where the key's last parts are missing, the deepest value on its way. A name may hold
/// dots itself (`properties."linger.ms"`): the longest name that the table has is meant.
fn key_span(path: &str, table: &DeTable<'_>) -> Option<Range<usize>> {
    let ends = std::iter::once(path.len()).chain(path.rmatch_indices('.').map(|(at, _)| at));
    let (found, rest) = ends.filter_map(|end| Some((table.get(path.get(..end)?)?, path.get(end + 1..)))).next()?;
    Some(rest.and_then(|rest| value_span(rest, found)).unwrap_or_else(|| found.span()))
}

fn value_span(path: &str, value: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    match value.get_ref() {
        DeValue::Table(table) => key_span(path, table),
        DeValue::Array(all) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            let found = index.parse::<usize>().ok().and_then(|n| all.get(n))?;
            Some(rest.and_then(|rest| value_span(rest, found)).unwrap_or_else(|| found.span()))
        }
        _ => None,
    }
}

/// The deepest dotted key whose value covers these bytes; `None` where the bytes are a key or the table itself.
pub(super) fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let (key, value) = table.iter().find(|(_, value)| {
        let own = value.span();
        own.start <= span.start && span.end <= own.end
    })?;
    let inner = match value.get_ref() {
        DeValue::Table(table) if value.span().start != span.start => key_at(table, span),
        _ => None,
    };
    let key = key.get_ref();
    Some(inner.map_or_else(|| key.to_string(), |inner| format!("{key}.{inner}")))
}

/// Makes the span of each `[a.b]` below a table reach to the end of its last value. The parser gives the span of the
/// header alone, but `Settings::read` finds the key that a fault lies under by its span.
pub(super) fn widen(table: &mut DeTable<'_>) -> usize {
    let mut end = 0;
    for (key, value) in table.iter_mut() {
        end = end.max(key.span().end).max(widen_value(value));
    }
    end
}

fn widen_value(value: &mut Spanned<DeValue<'_>>) -> usize {
    let span = value.span();
    let inner = match value.get_mut() {
        DeValue::Table(table) => widen(table),
        DeValue::Array(all) => all.iter_mut().map(widen_value).max().unwrap_or_default(),
        _ => 0,
    };
    if inner > span.end {
        let owned = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
        *value = Spanned::new(span.start..inner, owned);
    }
    value.span().end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let text = "\u{feff}a = 1\nné = \"☕\" # x\r\n";
        let lines = Lines::of(text);
        let at = |needle: &str| lines.location(text.find(needle).unwrap());
        assert_eq!(at("a ="), Location { line: 1, column: 1 });
        assert_eq!(at("# x"), Location { line: 2, column: 10 });
        assert_eq!(lines.location(999), Location { line: 3, column: 1 });
        assert_eq!(Lines::of("").location(7), Location { line: 1, column: 1 });
        assert_eq!(&text[line_around(text, text.find('☕').unwrap() + 1)], "né = \"☕\" # x");
    }

    #[test]
    fn a_key_is_found_by_its_path_and_a_missing_one_by_its_parent() {
        let text = "[s]\na = { b = [1, 2], x.y = 3, \"x.y\" = 4 }\n[s.t]\nc = 1\n";
        let table = DeTable::parse(text).unwrap();
        let inner = table.get_ref().get("s").unwrap();
        let Some(table) = inner.get_ref().as_table() else { panic!() };
        let at = |key: &str| &text[resolve(&At::Key(key.into()), table, &inner.span())];
        assert_eq!([at("a.b.1"), at("a.x.y"), at("a.x.z"), at("t.c"), at("zz")], ["2", "4", "x", "1", "[s]"]);
        assert_eq!(at("a.z"), r#"{ b = [1, 2], x.y = 3, "x.y" = 4 }"#);
    }

    #[test]
    fn bytes_are_told_apart_by_the_key_they_are_the_value_of() {
        let text = "a = { b = [1, 2] }\nc = 3\n";
        let table = DeTable::parse(text).unwrap();
        let at = |needle: &str| {
            let start = text.find(needle).unwrap();
            key_at(table.get_ref(), &(start..start + needle.len()))
        };
        assert_eq!(
            [at("2"), at("{ b = [1, 2] }"), at("3"), at("c")],
            [Some("a.b".into()), Some("a".into()), Some("c".into()), None]
        );
    }

    #[test]
    fn a_headed_table_reaches_to_the_end_of_what_it_holds() {
        let text = "[s]\nx = 1\n[s.t]\nc = 1\n";
        let mut table = DeTable::parse(text).unwrap();
        widen(table.get_mut());
        let s = table.get_ref().get("s").unwrap();
        assert_eq!(&text[s.span()], "[s]\nx = 1\n[s.t]\nc = 1");
    }
}
