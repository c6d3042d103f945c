//! The rule that docs/operating.md says of every ERROR that the daemon can log what it means, and of no other; as pure
//! functions.

use std::collections::BTreeSet;

use super::rules::{self, File};

/// The section of the guide that has them.
const SECTION: &str = "\n## What each ERROR means\n";

/// What stands above unit tests.
const MARK: &str = "\n#[cfg(test)]";

/// A file's text up to its unit tests, methods made for them included; nothing of a file that is nothing else.
pub fn outside_tests(file: &File) -> &str {
    // Where there is nothing before the first mark, there is nothing behind it either.
    if rules::outside_tests(file).is_empty() {
        return "";
    }
    // A mark above `mod tests;` says that they are in a file of their own, and code goes on below.
    let begins = |at: &usize| file.text[at + MARK.len()..].lines().nth(1).is_some_and(|next| next.ends_with('{'));
    let end = file.text.match_indices(MARK).map(|(at, _)| at).find(begins);
    &file.text[..end.unwrap_or(file.text.len())]
}

/// What the `error!`s of a file's code say; `…` stands for what is filled in.
pub fn logged(code: &str) -> BTreeSet<String> {
    let calls = code
        .match_indices("error!(")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    calls.filter_map(|(at, name)| message(&code[at + name.len()..])).collect()
}

/// The last text among the arguments, up to the parenthesis that ends them.
fn message(arguments: &str) -> Option<String> {
    let (mut depth, mut found, mut chars) = (1, None, arguments.chars());
    while depth > 0 {
        match chars.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => found = Some(text(&mut chars)),
            _ => {}
        }
    }
    found
}

/// A text behind its opening quote, with `\` at the ends of lines and `{…}` taken out.
fn text(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next().filter(|c| *c != '"') {
        match c {
            '\\' => match chars.next() {
                Some('\n') => *chars = chars.as_str().trim_start().chars(),
                escaped => text.extend(escaped),
            },
            '{' => {
                chars.by_ref().find(|c| *c == '}');
                text.push('…');
            }
            other => text.push(other),
        }
    }
    text
}

/// The first cells of the rows of the guide's tables of errors.
pub fn explained(guide: &str) -> Vec<String> {
    let section = guide.split_once(SECTION).map_or("", |(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let cells = rows.map(|(first, _)| first.replace("\\`", "`"));
    cells.filter(|cell| cell != "ERROR" && cell != "---").collect()
}

/// What the guide lacks, has for nothing, or has twice.
pub fn faults(logged: &BTreeSet<String>, explained: &[String]) -> Vec<String> {
    let told: BTreeSet<String> = explained.iter().cloned().collect();
    let lacking = logged.difference(&told).map(|one| format!("does not explain the ERROR \"{one}\""));
    let idle = told.difference(logged).map(|one| format!("explains an ERROR that nothing logs: \"{one}\""));
    let twice = told.iter().filter(|one| explained.iter().filter(|other| other == one).count() > 1);
    let twice = twice.map(|one| format!("explains the ERROR \"{one}\" twice"));
    lacking.chain(idle).chain(twice).map(|fault| format!("docs/operating.md: {fault}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "error!(\"plain\");\n\
                        tracing::error!(%why, most = room(\"a\").max(),\n    \"over two \\\n     lines: {text}\");\n\
                        compile_error!(\"not logged\"); warn!(\"nor this\"); error!(\"a \\\"quoted\\\" (word\");\n";

    #[test]
    fn messages_are_found_in_code() {
        let expected = ["plain", "over two lines: …", "a \"quoted\" (word"].map(str::to_owned);
        assert_eq!(logged(CODE), BTreeSet::from(expected));
    }

    #[test]
    fn a_message_that_the_guide_lacks_has_for_nothing_or_has_twice_is_a_fault() {
        let guide = "# G\n\n| ERROR | x |\n\n## What each ERROR means\n\n| ERROR | means |\n| --- | --- |\n\
                     | see \\`help\\` | x |\n| gone | x |\n| gone | y |\n\n## Else\n\n| not this | x |\n";
        let explained = explained(guide);
        assert_eq!(explained, ["see `help`", "gone", "gone"]);
        let logged = BTreeSet::from(["see `help`", "new"].map(str::to_owned));
        let expected = [
            "docs/operating.md: does not explain the ERROR \"new\"",
            "docs/operating.md: explains an ERROR that nothing logs: \"gone\"",
            "docs/operating.md: explains the ERROR \"gone\" twice",
        ];
        assert_eq!(faults(&logged, &explained), expected);
    }
}
