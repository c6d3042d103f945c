//! Fills in `${VAR}`, `${VAR:-default}` and `${file:PATH}`: in string values only, and only after parsing, so that a
//! value cannot become a key, a number or a second line. `$${` stands for a plain `${`.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::credentials::{has_secret_key, is_secret, may_be_secret};
use super::env::Env;
use super::faults::Report;
use super::mask::{Leaf, Part};
use super::unfilled;

/// Most keys that [`Filler::fixed`] lists.
const MAX_FIXED: usize = 100;

/// A key whose value comes from the process's own environment: it stays until the process is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKey {
    /// The key with its tables: `sources.interakt.secret`.
    pub key: String,
    /// The variable.
    pub variable: String,
}

/// Fills in all strings below a table.
pub(super) struct Filler<'a, 't> {
    pub env: &'a dyn Env,
    /// The folder in which relative paths of secret files start.
    pub dir: &'a Path,
    pub report: &'a mut Report<'t>,
    /// Keys that a reload cannot change, at most [`MAX_FIXED`].
    pub fixed: Vec<FixedKey>,
}

impl Filler<'_, '_> {
    /// Takes `env_file` out of the root; from now on the variables in that file count, too. Where it cannot be read,
    /// that is a fault or a warning.
    pub fn env_file(&mut self, root: &mut DeTable<'_>, is_fault: bool) {
        let Some(mut value) = root.remove("env_file") else { return };
        let (span, is_given) = (value.span(), value.get_ref().as_str().is_some_and(|path| !path.is_empty()));
        self.value(&mut value, &mut vec!["env_file".to_owned()]);
        // What could not be filled in was reported.
        let path = value.get_ref().as_str().filter(|path| !path.contains("${"));
        if !is_given {
            let message = "`env_file` is not a path, expected the path of a file with lines NAME=value";
            self.report.error("", span, message, None);
        } else if let Some(path) = path.map(|path| self.dir.join(path))
            && let Err(error) = self.env.include(&path)
        {
            let message = format!("`env_file`: {} cannot be read: {error}", path.display());
            let help = "it holds lines NAME=value, and a relative path starts beside this file; leave the key out \
                        where there is no such file"
                .to_owned();
            if is_fault {
                self.report.error("", span, message, Some(help));
            } else {
                self.report.warning("", span, message, Some(help));
            }
        }
    }

    /// Fills in every string of the file.
    pub fn fill(&mut self, root: &mut DeTable<'_>) {
        self.table(root, &mut Vec::new());
    }

    fn table(&mut self, table: &mut DeTable<'_>, path: &mut Vec<String>) {
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            self.value(value, path);
            path.pop();
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, path: &mut Vec<String>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(all) => all.iter_mut().for_each(|one| self.value(one, path)),
            DeValue::String(text) => {
                let raw = text.to_string();
                let (secret, sure) = (may_be_secret(path, &raw), is_secret(path, &raw));
                if !raw.contains("${") {
                    let by_key = is_filled_in(path);
                    if let Some((message, help)) = unfilled::written(&raw).filter(|_| by_key) {
                        self.report.plain_warning(&above(path), span.clone(), named(path, &message), &help);
                    }
                    if secret && !raw.is_empty() && !(by_key && unfilled::is_placeholder(&raw)) {
                        let leaf = Leaf::written(span, &raw, raw.clone(), sure);
                        self.report.masks.add(leaf);
                    }
                    return;
                }
                match self.string(&raw) {
                    Ok(Filled { text: filled, parts, variables }) => {
                        variables.iter().for_each(|name| self.note(name, &span, path));
                        let placeholder = match parts.as_slice() {
                            [one] if one.shown == raw => format!("`{raw}`"),
                            _ => "the value".to_owned(),
                        };
                        let warning = unfilled::brought(&placeholder, &filled).filter(|_| is_filled_in(path));
                        if let Some((message, help)) = warning {
                            self.report.plain_warning(&above(path), span.clone(), named(path, &message), &help);
                        }
                        if !parts.is_empty() {
                            self.report.masks.add(Leaf::filled(span, raw, filled.clone(), parts));
                        } else if secret {
                            self.report.masks.add(Leaf::written(span, &raw, filled.clone(), sure));
                        }
                        *text = filled.into();
                    }
                    Err((message, help)) => self.report.unfilled(&above(path), span, message, help),
                }
            }
            DeValue::Datetime(date) => {
                // No key takes a date, but serde would take it for a table with one key.
                let text = date.to_string();
                let help = Some(format!("put it in quotes: \"{text}\""));
                let message = named(path, "invalid type: a date, which no key takes");
                self.report.unfilled(&above(path), span, message, help);
                *value.get_mut() = DeValue::String(text.into());
            }
            _ => {}
        }
    }

    /// Notes that a key's value is a variable's: whether it is fixed, and whether a file has another value of it.
    fn note(&mut self, name: &str, span: &Range<usize>, path: &[String]) {
        if self.env.is_fixed(name) && self.fixed.len() < MAX_FIXED {
            let fixed = FixedKey { key: path.join("."), variable: name.to_owned() };
            if self.fixed.last() != Some(&fixed) {
                self.fixed.push(fixed);
            }
        }
        if let Some(file) = self.env.passed_over(name) {
            let file = file.display();
            let message = format!("{name} has another value in {file}, which does not count: the process's own does");
            let help = format!("take {name} out of the environment that the process is started with, or of that file");
            self.report.plain_warning(&above(path), span.clone(), named(path, &message), &help);
        }
    }

    /// The string with its values filled in.
    fn string(&self, raw: &str) -> Result<Filled, (String, Option<String>)> {
        let (mut out, mut parts, mut variables) = (String::new(), Vec::new(), Vec::new());
        let mut rest = raw;
        while let Some(at) = rest.find("${") {
            let (before, tail) = rest.split_at(at);
            let inside = tail.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = inside;
                continue;
            }
            out.push_str(before);
            let help = Some("write `$${` for a plain `${`".to_owned());
            let (inside, after) = inside.split_once('}').ok_or_else(|| ("`${` has no `}`".to_owned(), help))?;
            let value = self.look_up(inside)?;
            let (Value::Given(text) | Value::Default(text)) = &value;
            out.push_str(text);
            if let Value::Given(value) = value {
                parts.push(Part { shown: format!("${{{inside}}}"), value });
                if !inside.starts_with("file:") {
                    variables.push(inside.split(":-").next().unwrap_or(inside).to_owned());
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(Filled { text: out, parts, variables })
    }

    fn look_up(&self, inside: &str) -> Result<Value, (String, Option<String>)> {
        if let Some(path) = inside.strip_prefix("file:") {
            return self.file(path);
        }
        if inside.contains("${") {
            let help = "write the default out, or set the variable".to_owned();
            return Err((format!("`${{{inside}}}`: a default cannot hold another `${{…}}`"), Some(help)));
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
            let help = "expected ${NAME}, ${NAME:-default} or ${file:PATH}; write `$${` for a plain `${`";
            // What follows the name may be a secret, meant as its default.
            let shown = inside.split(|c| !plain(c)).next().unwrap_or_default();
            return Err((format!("`${{{shown}…}}` does not name a variable"), Some(help.to_owned())));
        }
        match (self.env.get(name), default) {
            (Some(value), None) => Ok(Value::Given(value)),
            (Some(value), Some(_)) if !value.is_empty() => Ok(Value::Given(value)),
            (_, Some(default)) => Ok(Value::Default(default.to_owned())),
            (None, None) => Err((
                format!("the variable `{name}` is not set"),
                Some(format!("set {name} in the environment, or write {name}=… into the file .env beside this one")),
            )),
        }
    }

    fn file(&self, path: &str) -> Result<Value, (String, Option<String>)> {
        if path.is_empty() {
            return Err(("`${file:}` names no file".into(), None));
        }
        let credentials = self.env.get("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty());
        let path = credentials.map_or_else(|| self.dir.join(path), |dir| Path::new(&dir).join(path));
        match self.env.read_file(&path) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
                Ok(Value::Given(text.to_owned()))
            }
            Err(error) => Err((
                format!("the secret file {} cannot be read: {error}", path.display()),
                Some(
                    "a relative path starts at $CREDENTIALS_DIRECTORY where that is set, else beside this file".into(),
                ),
            )),
        }
    }
}

/// A string that was filled in.
struct Filled {
    text: String,
    /// Which parts of it came from outside.
    parts: Vec<Part>,
    /// The variables among these.
    variables: Vec<String>,
}

enum Value {
    /// A value from outside, which is not to be printed.
    Given(String),
    /// A default, written in the file.
    Default(String),
}

/// The dotted name of the table that a key stands in.
fn above(path: &[String]) -> String {
    path.split_last().map(|(_, table)| table.join(".")).unwrap_or_default()
}

/// A message that names the key whose value it is about.
fn named(path: &[String], message: &str) -> String {
    path.last().map_or_else(|| message.to_owned(), |key| format!("`{key}`: {message}"))
}

/// Whether the value under a key is a secret as a whole. Headers are not, they may hold braces and quotes of their own.
fn is_filled_in(path: &[String]) -> bool {
    has_secret_key(path) && !path.iter().any(|key| key == "headers")
}
