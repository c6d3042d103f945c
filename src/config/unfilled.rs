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
        between("${", "}").filter(|name| is_name(name)),
        between("#{", "}").or_else(|| between("#{", "}#")).filter(|name| is_name(name)),
        between("%", "%").filter(|name| is_name(name)),
        between("__", "__").filter(|name| is_constant(name)),
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
    let is_template = between("{{", "}}").is_some() || between("<", ">").is_some_and(|inside| !inside.is_empty());
    if is_template || text.starts_with("op://") {
        return Some((text.to_owned(), ELSEWHERE.into()));
    }
    between("$(", ")").map(|_| (text.to_owned(), "no command is run here: write `${file:PATH}` or `${NAME}`".into()))
}

/// Whether a text is one that examples have in a secret's place: `changeme`, `your-secret-here`, `xxxx`, `…`.
fn is_stopgap(text: &str) -> bool {
    /// What such a phrase begins with, and what it ends with. In between stand words of these three lists alone: a
    /// passphrase may begin with "your" and end in "key", too.
    const FIRST: [&str; 8] = ["change", "replace", "your", "put", "insert", "enter", "fill", "add"];
    const LAST: [&str; 11] =
        ["me", "this", "it", "in", "here", "secret", "key", "token", "password", "value", "changeme"];
    const BETWEEN: [&str; 30] = [
        "a", "access", "an", "api", "app", "auth", "by", "client", "own", "real", "shared", "signing", "the", "to",
        "verify", "webhook", "with", "interakt", "meta", "whatsapp", "github", "stripe", "slack", "shopify", "hook",
        "random", "long", "strong", "string", "before",
    ];
    let is_dots = text.len() > 2 && text.chars().all(|c| matches!(c, '.' | '…'));
    let words: String = text.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.')).collect();
    let lower = words.to_ascii_lowercase();
    let all = || FIRST.iter().chain(&LAST).chain(&BETWEEN).copied();
    let is_phrase = FIRST.iter().any(|first| {
        let rest = lower.strip_prefix(first).unwrap_or_default();
        LAST.iter().any(|last| rest.strip_suffix(last).is_some_and(|between| is_made_of(between, all())))
    });
    let is_one_letter = lower.len() > 2 && lower.bytes().all(|byte| byte == b'x' || byte == b'*');
    let is_nothing = ["todo", "tbd", "placeholder", "undefined", "null"].contains(&lower.as_str());
    is_dots || is_phrase || is_one_letter || is_nothing
}

/// Whether a text is nothing but these words, one behind the other.
fn is_made_of(text: &str, words: impl Iterator<Item = &'static str> + Clone) -> bool {
    /// No phrase is longer.
    const MOST: usize = 64;
    if text.len() > MOST {
        return false;
    }
    // Which lengths of the text's beginning are made of the words.
    let mut is_reached = [false; MOST + 1];
    is_reached[0] = true;
    for end in 1..=text.len() {
        let head = text.get(..end).unwrap_or_default();
        let ends_in = |word: &str| head.ends_with(word) && is_reached.get(end - word.len()) == Some(&true);
        let is_end = words.clone().any(ends_in);
        if let Some(slot) = is_reached.get_mut(end) {
            *slot = is_end;
        }
    }
    is_reached.get(text.len()) == Some(&true)
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
            ("…", "write `${NAME}`"),
            ("...", "write `${NAME}`"),
            ("your_interakt_webhook_secret_here", "write `${NAME}`"),
            ("replace-with-a-long-random-string-value", "write `${NAME}`"),
            ("undefined", "write `${NAME}`"),
            ("op://vault/interakt/secret", "write `${NAME}`"),
            ("#{SECRET}#", "write `${SECRET}`"),
            ("__SECRET__", "write `${SECRET}`"),
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
        for (open, close) in [("$", ""), ("${", "}"), ("{{", "}}"), ("env:", ""), ("%", "%"), ("<", ">")] {
            let text = &format!("{open}OTHER_NAME{close}");
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
            "yourgrandmotherlikesmonkey",
            "your-blue-house-has-only-one-key",
            "add-salt-and-stir-it",
            ".",
            "..",
            "null-and-void",
            "additional",
            "xx",
            "$5",
        ] {
            assert_eq!(looks(text), None, "{text:?}");
        }
    }
}
