//! Recognises secrets that were never filled in: another tool's placeholder, or a value with quotes around it. With
//! such a secret every webhook would be refused. Pure; shows nothing of a value that came from outside.

/// What a value that is not the secret itself looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looks {
    /// A placeholder of another tool: its text, and what to write instead of it in the config.
    Placeholder(String, String),
    /// A value with quotes around it.
    Quoted,
    /// A value with blanks before or behind it.
    Padded,
}

/// The mend for a placeholder without a name of its own.
const ELSEWHERE: &str = "write `${NAME}`, and set NAME to the secret in the environment or in .env";

/// A warning's message and its mend.
pub(super) type Warning = (String, String);

/// Whether a string written out in the config is a placeholder, and so no secret.
pub(super) fn is_placeholder(text: &str) -> bool {
    matches!(looks(text), Some(Looks::Placeholder(..)))
}

/// The warning about a secret written out in the config.
pub(super) fn written(text: &str) -> Option<Warning> {
    Some(match looks(text)? {
        Looks::Placeholder(form, mend) => {
            (format!("`{form}` is not filled in here: it is taken for the secret itself"), mend)
        }
        Looks::Quoted => {
            ("its value still carries quotes, which are taken as part of it".into(), "write one pair of quotes".into())
        }
        Looks::Padded => {
            ("its value begins or ends with a blank, which is taken as part of it".into(), "take the blank off".into())
        }
    })
}

/// The warning about a secret that was filled in for `placeholder` (`${NAME}`, or a text with several). It shows
/// nothing of the value.
pub(super) fn brought(placeholder: &str, text: &str) -> Option<Warning> {
    Some(match looks(text)? {
        Looks::Placeholder(..) => (
            format!("what {placeholder} stands for is a placeholder itself, which nobody filled in"),
            "put the secret itself there: nothing is expanded in it".into(),
        ),
        Looks::Quoted => (
            format!("what {placeholder} stands for still carries quotes, which are taken as part of it"),
            "take them off where it is set: files for `docker --env-file` have no quotes".into(),
        ),
        Looks::Padded => (
            format!("what {placeholder} stands for begins or ends with a blank, which is taken as part of it"),
            "take the blank off where it is set".into(),
        ),
    })
}

fn looks(text: &str) -> Option<Looks> {
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    let bare = text.trim();
    if let Some((form, mend)) = placeholder(bare) {
        return Some(Looks::Placeholder(form, mend));
    }
    let pairs = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let is_quoted =
        |(open, close): &(char, char)| bare.chars().count() > 1 && bare.starts_with(*open) && bare.ends_with(*close);
    match () {
        () if pairs.iter().any(is_quoted) => Some(Looks::Quoted),
        () if bare.len() < text.len() && !bare.is_empty() => Some(Looks::Padded),
        () => None,
    }
}

/// The placeholder of a shell, a template or another program, and how to write it here.
fn placeholder(text: &str) -> Option<(String, String)> {
    let between = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close);
    let variable = |name: &str| format!("write `${{{name}}}`, and set {name} in the environment or in the file .env");
    let named = [
        text.strip_prefix('$').filter(|name| is_constant(name)),
        between("%", "%").filter(|name| is_name(name)),
        between("{{", "}}").map(last_word).filter(|name| is_name(name)),
        text.strip_prefix("env:").or_else(|| text.strip_prefix("env.")).filter(|name| is_name(name)),
        text.strip_prefix("process.env.").filter(|name| is_name(name)),
    ];
    if let Some(name) = named.into_iter().flatten().next() {
        return Some((text.to_owned(), variable(name)));
    }
    if is_stopgap(text) {
        return Some((text.to_owned(), ELSEWHERE.into()));
    }
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Some((text.to_owned(), format!("write `${{file:{path}}}`")));
    }
    if between("{{", "}}").is_some() || between("<", ">").is_some_and(|inside| !inside.is_empty()) {
        return Some((text.to_owned(), ELSEWHERE.into()));
    }
    between("$(", ")").map(|_| (text.to_owned(), "no command is run here: write `${file:PATH}` or `${NAME}`".into()))
}

/// Whether a text is one that examples have in a secret's place: `changeme`, `your-secret-here`, `xxxx`.
fn is_stopgap(text: &str) -> bool {
    const FIRST: [&str; 8] = ["change", "replace", "your", "put", "insert", "enter", "fill", "add"];
    const LAST: [&str; 11] =
        ["me", "this", "it", "in", "here", "secret", "key", "token", "password", "value", "changeme"];
    let words: String = text.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.')).collect();
    let lower = words.to_ascii_lowercase();
    let is_phrase = FIRST.iter().any(|first| lower.starts_with(first)) && LAST.iter().any(|last| lower.ends_with(last));
    // A secret that was made by chance has digits, or is longer than such a phrase.
    let is_words = lower.len() <= 30 && lower.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_one_letter = lower.len() > 2 && lower.bytes().all(|byte| byte == b'x' || byte == b'*');
    (is_phrase && is_words) || is_one_letter || matches!(lower.as_str(), "todo" | "tbd" | "placeholder")
}

/// The name in `{{ secrets.NAME }}` and `{{ .NAME }}`.
fn last_word(inside: &str) -> &str {
    let inside = inside.trim();
    inside.rsplit('.').next().unwrap_or(inside)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text is a name in capitals. Many a password begins with `$` and small letters.
fn is_constant(text: &str) -> bool {
    is_name(text) && !text.contains(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_of_another_tool_is_known_and_so_is_what_to_write() {
        for (text, mend) in [
            ("$INTERAKT_WEBHOOK_SECRET", "write `${INTERAKT_WEBHOOK_SECRET}`"),
            ("%SECRET%", "write `${SECRET}`"),
            ("{{SECRET}}", "write `${SECRET}`"),
            ("{{ secrets.TOKEN }}", "write `${TOKEN}`"),
            ("{{ .Values.token }}", "write `${token}`"),
            ("env:SECRET", "write `${SECRET}`"),
            ("file:/run/secrets/key", "write `${file:/run/secrets/key}`"),
            ("<your secret>", "write `${NAME}`"),
            ("$(cat key)", "no command is run here"),
            ("changeme", "write `${NAME}`, and set NAME"),
            ("CHANGE_ME", "write `${NAME}`"),
            ("your-secret-here", "write `${NAME}`"),
            ("YOUR_WEBHOOK_SECRET", "write `${NAME}`"),
            ("replace-this", "write `${NAME}`"),
            ("xxxxxxxx", "write `${NAME}`"),
        ] {
            let (message, help) = written(text).unwrap();
            assert!(message.contains(text) && help.starts_with(mend), "{text}: {message}; {help}");
            assert!(is_placeholder(text));
        }
    }

    #[test]
    fn quotes_and_blanks_that_came_along_are_known() {
        for (text, what) in
            [("\"s3cr3t\"", "quotes"), ("'s3cr3t'", "quotes"), (" s3cr3t", "blank"), ("s3cr3t ", "blank")]
        {
            for (message, help) in [written(text).unwrap(), brought("`${X}`", text).unwrap()] {
                assert!(message.contains(what) && !format!("{message}{help}").contains("s3cr3t"), "{message}");
            }
        }
    }

    #[test]
    fn nothing_of_a_value_from_outside_is_shown() {
        for text in ["$OTHER_NAME", "{{OTHER_NAME}}", "env:OTHER_NAME", "%OTHER_NAME%", "<OTHER_NAME>"] {
            let (message, help) = brought("`${X}`", text).unwrap();
            assert!(message.contains("`${X}`") && !format!("{message}{help}").contains("OTHER_NAME"), "{message}");
        }
    }

    #[test]
    fn secrets_as_they_are_made_are_let_be() {
        for text in [
            "hunter2",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$ecret",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "a b",
            "100%",
            "%",
            "\"",
            "",
            "\n",
            "{x}",
            "s3cr3t\n",
            "<",
            "<>",
            "v1,whsec_AAAA",
            "environment",
            "change4me",
            "your",
            "a-long-secret",
            "yourself7secret",
            "additional",
            "xx",
            "$5",
        ] {
            assert_eq!(looks(text), None, "{text:?}");
        }
    }
}
