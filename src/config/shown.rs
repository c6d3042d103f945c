//! A config's text for people: as it was written, with `${…}` as it stands there, and without the secrets that are
//! written out in it. Comments count, too: a secret that was in force once stands in many of them. Pure.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::credentials::{has_secret_key, is_credential, may_be_secret, url_parts};
use super::mask::Masks;

/// What stands in the place of a secret.
const HIDDEN: &str = "\"***\"";

/// Where and why a text is no TOML: `line 3: invalid key`. Nothing of the text stands in it.
pub fn syntax_fault(text: &str) -> Option<String> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let error = errors.first()?;
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    Some(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
}

/// The text without secrets; `masks` are those of the config in force, whose values are hidden in comments wherever
/// they come from. `None` where the text is no TOML: then it is not known what is a secret in it.
pub fn shown(text: &str, masks: &Masks) -> Option<String> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return None;
    }
    let mut found = Found { text, strings: vec![], hidden: vec![] };
    found.table(root.get_ref(), &mut Vec::new());
    let comments = comments(text, &mut found.strings);
    let masker = masks.masker();
    for range in comments {
        let comment = text.get(range.clone()).unwrap_or_default();
        let shown = masker.mask(&without_assigned(comment));
        if shown != comment {
            found.hidden.push((range, shown));
        }
    }
    found.hidden.sort_by_key(|(range, _)| range.start);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (range, shown) in found.hidden {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&shown);
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Some(out)
}

struct Found<'t> {
    text: &'t str,
    /// Where strings stand: a `#` in one begins no comment.
    strings: Vec<Range<usize>>,
    /// What is not shown, and what is shown in its place.
    hidden: Vec<(Range<usize>, String)>,
}

impl Found<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) {
        for (key, value) in table {
            self.strings.push(key.span());
            path.push(key.get_ref().to_string());
            self.value(value, path);
            path.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(all) => all.iter().for_each(|one| self.value(one, path)),
            DeValue::String(read) => {
                self.strings.push(value.span());
                let written = self.text.get(value.span()).unwrap_or_default();
                let shown = string(path, read, written);
                if shown != written {
                    self.hidden.push((value.span(), shown));
                }
            }
            // What is no string is no secret but by mistake: `token = 12345`.
            _ if has_secret_key(path) && !matches!(value.get_ref(), DeValue::Boolean(_)) => {
                self.hidden.push((value.span(), HIDDEN.to_owned()));
            }
            _ => {}
        }
    }
}

/// A string as it is shown; `written` is how it stands in the file, with its quotes.
fn string(path: &[String], read: &str, written: &str) -> String {
    if read.is_empty() {
        return written.to_owned();
    }
    let parts = url_parts(read);
    let shown = parts.iter().fold(written.to_owned(), |text, part| text.replace(&part.value, &part.shown));
    if read.contains("${") {
        return if may_be_secret(path, read) { without_defaults(&shown) } else { shown };
    }
    if !may_be_secret(path, read) {
        return written.to_owned();
    }
    // Of an address, what is left without user and query may be shown, unless that is odd itself.
    let bare = shown.split('?').next().unwrap_or_default().replace("://***@", "://");
    if parts.is_empty() || shown == written || may_be_secret(path, &bare) { HIDDEN.to_owned() } else { shown }
}

/// `${NAME:-default}` without what may be a secret.
fn without_defaults(text: &str) -> String {
    let mut pieces = text.split("${");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |mut out, piece| {
        out.push_str("${");
        match piece.split_once('}') {
            Some((inside, after)) if inside.contains(":-") => {
                let name = inside.split(":-").next().unwrap_or_default();
                out.push_str(&format!("{name}:-***}}{after}"));
            }
            _ => out.push_str(piece),
        }
        out
    })
}

/// Where comments stand, each without its line's end.
fn comments(text: &str, strings: &mut [Range<usize>]) -> Vec<Range<usize>> {
    strings.sort_by_key(|range| range.start);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(hash) = text.get(at..).and_then(|rest| rest.find('#')).map(|found| at + found) {
        let before = strings.partition_point(|range| range.start <= hash);
        match before.checked_sub(1).and_then(|index| strings.get(index)).filter(|range| range.contains(&hash)) {
            Some(string) => at = string.end,
            None => {
                let end = text.get(hash..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| hash + length);
                found.push(hash..end);
                at = end;
            }
        }
    }
    found
}

/// A comment without the value of a key that holds secrets, as in `# token = "x"`.
fn without_assigned(comment: &str) -> String {
    let Some((before, value)) = comment.split_once('=') else { return without_url(comment) };
    let key = before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).next().unwrap_or_default();
    let is_secret = has_secret_key(&[String::new(), key.to_owned()]) || is_credential(&key.to_lowercase());
    let is_written_out = !value.trim().trim_start_matches(['"', '\'']).starts_with("${");
    if is_secret && is_written_out { format!("{before}= {HIDDEN}") } else { without_url(comment) }
}

fn without_url(comment: &str) -> String {
    url_parts(comment).iter().fold(comment.to_owned(), |text, part| text.replace(&part.value, &part.shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        shown(text, &Masks::default()).unwrap()
    }

    #[test]
    fn a_text_is_shown_as_it_was_written_but_for_secrets() {
        let text = "# about\n[sources.a]\nsecret = \"${S}\" # as it was\nkeep = ['#', \"a\"]\n\
                    [sinks.b]\npath = \"x # y\"\nurl = \"https://h/p\"\n[[routes]]\nwhere = '''\n.a # jq\n'''\n";
        assert_eq!(of(text), text);
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_line_without_its_text() {
        assert_eq!(syntax_fault("[admin]\ntoken = \"hunter2\"\n"), None);
        let fault = syntax_fault("[admin]\ntoken = hunter2\n").unwrap();
        assert!(fault.starts_with("line 2: ") && !fault.contains("hunter2"), "{fault}");
    }

    #[test]
    fn secrets_are_hidden_wherever_they_are_written_out() {
        for line in [
            "[sources.a]\nsecret = \"hunter2\"",
            "[sources.a]\nsecret = '''\nhunter2'''",
            "[admin]\ntoken = \"hunter2\"",
            "[admin]\ntoken = 7777",
            "[admin]\ntoken = \"${T:-hunter2}\"",
            "[sinks.a]\nurl = \"https://u:hunter2@h/p\"",
            "[sinks.a]\nurl = \"https://u:hunter2@h/${P}\"",
            "[sinks.a]\nurl = \"https://h/p?token=hunter2&v=1\"",
            "[sinks.a]\nurl = \"host=h password=hunter2\"",
            "[sinks.a]\nheaders = { Authorization = \"Bearer hunter2\" }",
            "[sinks.a]\nsign = { standard_webhooks = \"hunter2\" }",
            "[sinks.a]\nproperties = { \"sasl.password\" = \"hunter2\" }",
            "# token = \"hunter2\"",
            "a = 1 # secret='hunter2'",
            "# url = \"https://u:hunter2@h/p\"",
        ] {
            let shown = of(line);
            assert!(!shown.contains("hunter2") && !shown.contains("7777") && shown.contains("***"), "{line}: {shown}");
        }
        assert_eq!(of("[sinks.a]\nurl = \"https://u:p@h/p?a=b\"\n"), "[sinks.a]\nurl = \"https://***@h/p?a=***\"\n");
        assert_eq!(of("# token = \"${T}\"\n"), "# token = \"${T}\"\n");
        assert_eq!(shown("[sources.a\nsecret = \"hunter2\"", &Masks::default()), None);
    }
}
