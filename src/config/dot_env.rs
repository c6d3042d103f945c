//! The text of `.env` and of `env_file`: text → variables. Pure.
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

/// The variables (of several lines for one name the last counts), and the numbers, from 1, of the lines that are none.
/// However hostile the text, each line is looked at [`MAX_VALUE_LINES`] times at most.
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
    let (first, further) = lines.split_first()?;
    let line = first.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Some((1, None));
    }
    let (name, text) = assignment(line)?;
    let mut value = Value::default();
    if text.starts_with('#') || value.read_line(text)? {
        return Some((1, Some((name.to_owned(), value.text))));
    }
    for (line, taken) in further.iter().zip(2..=MAX_VALUE_LINES) {
        value.read("\n")?;
        if value.read_line(line)? {
            return Some((taken, Some((name.to_owned(), value.text))));
        }
    }
    None
}

/// `NAME=value`, taken apart; nothing is left of the blanks before the value.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (mut name, mut rest) = name(line)?;
    // `export` is a name, too.
    if name == "export" && !rest.starts_with('=') {
        (name, rest) = self::name(rest)?;
    }
    Some((name, rest.strip_prefix('=')?.trim_start()))
}

/// The name a text begins with, and what stands behind it and the blanks after it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| (name, rest.trim_start()))
}

/// A value as far as it was read: quoted or not, or partly so; a comment may follow it.
#[derive(Default)]
struct Value {
    text: String,
    /// The quote that is open.
    quote: Option<char>,
    /// The last character was a backslash that is not one itself.
    is_escape: bool,
}

impl Value {
    /// Reads a line, and says whether the value ends with it. Blanks at the line's end count only where it does not.
    fn read_line(&mut self, line: &str) -> Option<bool> {
        let (said, blanks) = line.split_at(line.trim_end().len());
        self.read(said)?;
        if self.quote.is_none() {
            return Some(true);
        }
        self.read(blanks)?;
        Some(false)
    }

    /// Reads on; `None` where this cannot be in a value.
    fn read(&mut self, text: &str) -> Option<()> {
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match (c, self.quote) {
                // At the end of a value a backslash says nothing, so it is not looked at before the next character.
                _ if std::mem::take(&mut self.is_escape) => self.text.push(escaped(c)?),
                ('\'' | '"', Some(open)) if c == open => self.quote = None,
                (_, Some('\'')) => self.text.push(c),
                ('\\', _) => self.is_escape = true,
                ('\'' | '"', None) => self.quote = Some(c),
                (blank, None) if blank.is_whitespace() => {
                    let behind = rest.as_str().trim_start();
                    if behind.is_empty() || behind.starts_with('#') {
                        return Some(());
                    }
                    // Only blanks of other sorts, which nobody types between words, may stand in a value.
                    let (more, _) = rest.as_str().split_at(rest.as_str().len() - behind.len());
                    if blank == ' ' || blank == '\t' || more.contains([' ', '\t']) {
                        return None;
                    }
                    self.text.push(blank);
                    self.text.push_str(more);
                    rest = behind.chars();
                }
                _ => self.text.push(c),
            }
        }
        Some(())
    }
}

/// What a backslash and this character stand for.
fn escaped(c: char) -> Option<char> {
    match c {
        'n' => Some('\n'),
        '\\' | '\'' | '"' | '$' | ' ' => Some(c),
        _ => None,
    }
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
            ("A=x\\ ", "x"),
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
    fn a_file_from_another_system_reads_the_same() {
        let text = "\u{feff}A='x y'\r\nB=\"one\r\ntwo \r\n\" # c\r\n\r\nC=x\\\r\nD=\u{a0}x\u{a0}\u{b}y\r\n";
        let (variables, bad) = parse(text);
        assert!(bad.is_empty(), "{bad:?}");
        for (name, value) in [("A", "x y"), ("B", "one\ntwo \n"), ("C", "x"), ("D", "x\u{a0}\u{b}y")] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    /// If the work grew with the square of the length, this would not come to its end while anybody waits.
    #[test]
    fn no_text_takes_longer_than_its_length_explains() {
        for piece in ["A=\\''\n", "A='\n", "A=\"\n", "A=\"\\", "\u{b}", "A=\u{b}", "A=' \n"] {
            let text = format!("A={}", piece.repeat((256 << 10) / piece.len()));
            parse(&text);
            parse(&format!("{text}x"));
        }
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
