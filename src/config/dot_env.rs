//! The `.env` beside a config: text → variables. Pure.
//!
//! ```text
//! # a comment
//! NAME=value              `export` before the name is passed over; a name is letters, digits, `_` and `.`
//! NAME=                   nothing
//! NAME='a "value" \ $X'   taken as it stands, over several lines where the quote closes later
//! NAME="a value"          the same, but for `\n` and a backslash before `\`, `'`, `"`, `$` and a blank
//! NAME=value # a comment  so is an unquoted value, which ends at its first blank
//! ```
//! A `$` is a `$`: nothing is expanded, as with the Node servers these files come from, because an expansion would
//! silently damage a secret.

use std::collections::HashMap;

/// Most lines one quoted value may take: a private key has fewer.
const MAX_VALUE_LINES: usize = 200;

/// Why lines are no assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// A quote is open: more lines may close it.
    Open,
    /// More lines would not help.
    Bad,
}

/// The variables (of several lines for one name the last counts), and the numbers, from 1, of the lines that are none.
pub(super) fn parse(text: &str) -> (HashMap<String, String>, Vec<usize>) {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    let (mut variables, mut bad) = (HashMap::new(), Vec::new());
    let mut at = 0;
    while at < lines.len() {
        match entry(lines.get(at..).unwrap_or_default()) {
            Some((taken, variable)) => {
                variables.extend(variable);
                at += taken;
            }
            None => {
                at += 1;
                bad.push(at);
            }
        }
    }
    (variables, bad)
}

/// What the first of these lines assigns, if anything, and how many of them it takes; `None` where it cannot be read.
fn entry(lines: &[&str]) -> Option<(usize, Option<(String, String)>)> {
    for taken in 1..=MAX_VALUE_LINES.min(lines.len()) {
        match assignment(&lines.get(..taken)?.join("\n")) {
            Ok(variable) => return Some((taken, variable)),
            Err(Unread::Open) => {}
            Err(Unread::Bad) => return None,
        }
    }
    None
}

/// `NAME=value`; nothing where the line is blank or a comment.
fn assignment(line: &str) -> Result<Option<(String, String)>, Unread> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (mut name, mut rest) = name(line)?;
    // `export` is a name, too.
    if name == "export" && !rest.starts_with('=') {
        (name, rest) = self::name(rest)?;
    }
    let text = rest.strip_prefix('=').ok_or(Unread::Bad)?.trim_start();
    let value = if text.starts_with('#') { String::new() } else { value(text)? };
    Ok(Some((name.to_owned(), value)))
}

/// The name a text begins with, and what stands behind it and the blanks after it.
fn name(text: &str) -> Result<(&str, &str), Unread> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if is_name { Ok((name, rest.trim_start())) } else { Err(Unread::Bad) }
}

/// A value, quoted or not, or partly so; a comment may follow it.
fn value(text: &str) -> Result<String, Unread> {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            (_, Some('\'')) => out.push(c),
            ('\\', _) => match rest.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('\\' | '\'' | '"' | '$' | ' ')) => out.push(escaped),
                // At the end of a value it says nothing.
                None => {}
                Some(_) => return Err(Unread::Bad),
            },
            ('\'' | '"', None) => quote = Some(c),
            (blank, None) if blank.is_whitespace() => {
                let behind = rest.as_str().trim_start();
                match blank {
                    _ if behind.is_empty() || behind.starts_with('#') => return Ok(out),
                    ' ' | '\t' => return Err(Unread::Bad),
                    // One that does not break a line, and the like.
                    _ => out.push(blank),
                }
            }
            _ => out.push(c),
        }
    }
    if quote.is_none() { Ok(out) } else { Err(Unread::Open) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_writing_a_value_is_read() {
        for (line, value) in [
            ("A=1", "1"),
            ("  A  =  1  ", "1"),
            ("export A=1", "1"),
            ("A=", ""),
            ("A=x \t", "x"),
            ("A= # nothing", ""),
            ("A=p@$$w0rd#x", "p@$$w0rd#x"),
            ("A=x # it's a comment", "x"),
            ("A=x\\ y\\\\z\\$", "x y\\z$"),
            ("A=a'b c'\"d e\"f", "ab cd ef"),
            ("A='x # \"y\" \\n $Z'", "x # \"y\" \\n $Z"),
            ("A='C:\\folder\\'", "C:\\folder\\"),
            ("A=\"x # 'y' \\n \\$Z \\\"\"", "x # 'y' \n $Z \""),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=\"one\ntwo\"  # three", "one\ntwo"),
        ] {
            let (variables, bad) = parse(line);
            assert_eq!((variables.get("A").map(String::as_str), bad), (Some(value), vec![]), "{line}");
        }
        assert_eq!(parse("export=1\nexport.B_2=3").0.len(), 2);
    }

    #[test]
    fn what_is_no_assignment_is_named_by_its_line_and_the_others_are_read() {
        let bad = ["A", "1A=x", "=x", "A x", "A=x y", "A='open", "A=\"open", "export", "export A", "A-B=1"];
        for bad in bad.into_iter().chain(["A=\\q", "A=\"a\\tb\""]) {
            let (variables, lines) = parse(&format!("X=1\n{bad}\n\nY=2"));
            assert_eq!((variables.len(), lines), (2, vec![2]), "{bad}");
        }
        let open = format!("A='{}\nB=1", "x\n".repeat(MAX_VALUE_LINES));
        assert_eq!(parse(&open).1.first(), Some(&1));
    }
}
