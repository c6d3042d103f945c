//! Faults of a config as they are printed: `FILE:LINE:COL: error: [sinks.crm] …`, the line with a caret, and the mend.
//!
//! Everything that is printed of a config's faults goes through [`Report`], which knows the secrets and masks them.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sink_api::{At, Fault};
use toml::de::DeTable;

use super::env::Problem;
use super::location::{Lines, inside, key_at, line_around, resolve};
use super::mask::{Masker, Masks};
use super::slips;

/// Most faults listed of one file, and most warnings. The rest is counted.
const MAX_LISTED: usize = 200;

/// Most characters of a line that are shown before the caret, and as many behind it.
const EXCERPT: usize = 90;
/// A line that the parser gave up on may hold a secret. It is shown only if none of these words stands in it.
const SENSITIVE: &[&str] = &["secret", "token", "password", "bearer", "basic", "sign", "headers", "key", "url", "auth"];

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config is taken, but something in it does not do what it says.
    Warning,
}

/// A fault or warning with its location. It holds no secret: its texts have been masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The file: the config, or the `.env` beside it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// The table that the fault is in (`sinks.crm`), if it is in one.
    pub table: Option<String>,
    /// What is wrong: the key, the value, what was expected.
    pub message: String,
    /// The mend, if there is one to name.
    pub help: Option<String>,
    /// The line, how many characters of it stand before the mark, and how many are marked.
    #[serde(skip)]
    excerpt: Option<(String, usize, usize)>,
}

impl Located {
    /// A warning about any file, at a line and column.
    pub(super) fn warning(file: &Path, (line, column): (usize, usize), message: String, help: String) -> Self {
        let (severity, help) = (Severity::Warning, Some(help));
        Self { file: file.to_owned(), line, column, severity, table: None, message, help, excerpt: None }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{}:{}:{}: {severity}: ", self.file.display(), self.line, self.column)?;
        if let Some(table) = &self.table {
            write!(f, "[{table}] ")?;
        }
        f.write_str(&self.message)?;
        if let Some((line, before, length)) = &self.excerpt {
            let gutter = self.line.to_string().len();
            write!(f, "\n{:gutter$} | {line}\n{:gutter$} | {:before$}{:^<length$}", self.line, "", "", "")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// All faults of a config, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Located>);

impl Faults {
    /// A fault of the file as a whole, such as one that cannot be read.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![Located {
            file: file.to_owned(),
            line: 1,
            column: 1,
            severity: Severity::Error,
            table: None,
            message: message.into(),
            help: None,
            excerpt: None,
        }])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Gathers the faults of one file.
pub(super) struct Report<'t> {
    text: &'t str,
    file: &'t Path,
    /// What must not be printed.
    pub masks: Masks,
    /// Strings that could not be filled in; faults that follow from that are left out.
    unfilled: Vec<Range<usize>>,
    /// Faults of this file, at most [`MAX_LISTED`] of either severity.
    raw: Vec<Raw>,
    /// Faults of other files, at most [`MAX_LISTED`].
    elsewhere: Vec<Located>,
    errors: usize,
    warnings: usize,
}

/// A fault whose texts are not masked yet, because what to mask is known only when all strings have been filled in.
struct Raw {
    severity: Severity,
    table: Option<String>,
    span: Range<usize>,
    message: String,
    help: Option<String>,
    shows_line: bool,
    /// Whether its texts hold none of the file's words, so that nothing in them needs masking.
    is_plain: bool,
}

impl<'t> Report<'t> {
    pub fn new(text: &'t str, file: &'t Path) -> Self {
        Self {
            text,
            file,
            masks: Masks::default(),
            unfilled: vec![],
            raw: vec![],
            elsewhere: vec![],
            errors: 0,
            warnings: 0,
        }
    }

    /// Whether further faults would only be counted, so that a caller with many of them need not write their messages.
    pub fn is_full(&self) -> bool {
        self.errors >= MAX_LISTED
    }

    /// Counts so many more faults without listing them.
    pub fn count(&mut self, more: usize) {
        self.errors += more;
    }

    /// Adds a fault at these bytes of the file.
    pub fn error(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.is_full() {
            self.count(1);
        } else if !self.unfilled.iter().any(|u| u.start <= span.start && span.start < u.end) {
            self.push(Severity::Error, table, span, message.into(), help);
        }
    }

    /// Adds a warning whose texts hold nothing of the value that it is about; they are printed as they are.
    pub fn plain_warning(&mut self, table: &str, span: Range<usize>, message: String, help: &str) {
        if let Some(raw) = self.push(Severity::Warning, table, span, message, Some(help.to_owned())) {
            raw.is_plain = true;
        }
    }

    /// Adds a warning about something that does not do what it says.
    pub fn warning(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, table, span, message.into(), help);
    }

    /// Adds a string that could not be filled in.
    pub fn unfilled(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Error, table, span.clone(), message.into(), help);
        self.unfilled.push(span);
    }

    /// Adds a fault of syntax. Its line is shown only if it cannot hold a secret: what the parser gave up on was never
    /// looked at by the masks.
    pub fn syntax(&mut self, span: Range<usize>, message: &str, help: Option<String>) {
        let line = self.text.get(line_around(self.text, span.start)).unwrap_or_default().to_lowercase();
        if let Some(raw) = self.push(Severity::Error, "", span, message.to_owned(), help) {
            raw.shows_line = !SENSITIVE.iter().any(|word| line.contains(word));
        }
    }

    /// Adds what is wrong with another file: a fault, or a warning.
    pub fn elsewhere(&mut self, problem: Problem, is_fault: bool) {
        let Problem { file, line, message, help } = problem;
        let severity = if is_fault { Severity::Error } else { Severity::Warning };
        let count = if is_fault { &mut self.errors } else { &mut self.warnings };
        *count += 1;
        if *count <= MAX_LISTED {
            let (column, table, excerpt) = (1, None, None);
            self.elsewhere.push(Located { file, line, column, severity, table, message, help, excerpt });
        }
    }

    /// Adds the faults of a table that was read, whose header is at these bytes. A key that is there and misspelt is
    /// not also reported as missing.
    pub fn faults(&mut self, name: &str, faults: Vec<Fault>, table: &DeTable<'_>, header: &Range<usize>) {
        let worded = faults.into_iter().map(|fault| {
            let (span, message) = self.in_file(&fault, table, header);
            let (message, help) = slips::below_a_table(name, &message).unwrap_or((message, fault.help));
            let help = help.or_else(|| slips::example(name, &message));
            (span, message, help)
        });
        let worded: Vec<_> = worded.collect();
        let misspelt = |key: (&str, &str), of: (&str, Option<&str>)| slips::misspelt(of.0, of.1) == Some(key);
        for (span, message, help) in &worded {
            let is_misspelt = slips::missing(message).is_some_and(|key| {
                let mut earlier = self.raw.iter().filter(|raw| raw.table.as_deref() == Some(name));
                worded.iter().any(|(_, message, help)| misspelt(key, (message, help.as_deref())))
                    || earlier.any(|raw| misspelt(key, (&raw.message, raw.help.as_deref())))
            });
            if !is_misspelt {
                self.error(name, span.clone(), message.clone(), help.clone());
            }
        }
    }

    /// Adds a warning about something in a table that was read.
    pub fn doubt(&mut self, name: &str, doubt: Fault, table: &DeTable<'_>, header: &Range<usize>) {
        let (span, message) = self.in_file(&doubt, table, header);
        self.warning(name, span, message, doubt.help);
    }

    /// The bytes of the file that a table's fault is about, and its message, which names the key.
    fn in_file(&self, fault: &Fault, table: &DeTable<'_>, header: &Range<usize>) -> (Range<usize>, String) {
        let value = resolve(&fault.at, table, header);
        let span = match fault.at {
            At::Inside(_, offset) if value != *header => inside(self.text, &value, offset),
            _ => value,
        };
        // serde does not name the key, and the parser words a wrong type of an enum in its own way.
        let message = fault.message.replace("wanted string or table", "invalid type, expected a string");
        // "expected a size" does not name a key `size`.
        let names = |key: &str| !message.starts_with("invalid ") && message.contains(key);
        let message = match key_at(table, &span) {
            Some(key) if !names(key.rsplit('.').next().unwrap_or(&key)) => format!("`{key}`: {message}"),
            _ => message,
        };
        (span, message)
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Keeps a fault if fewer than [`MAX_LISTED`] are kept, and counts it in any case.
    fn push(
        &mut self,
        severity: Severity,
        table: &str,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> Option<&mut Raw> {
        let count = if severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        *count += 1;
        if *count > MAX_LISTED {
            return None;
        }
        let table = (!table.is_empty()).then(|| table.to_owned());
        // 0..0 stands for the file as a whole, in which something is missing.
        let shows_line = span != (0..0);
        self.raw.push(Raw { severity, table, span, message, help, shows_line, is_plain: false });
        self.raw.last_mut()
    }

    /// The faults, without the warnings; where there are no faults, the warnings and what must be masked from now on.
    pub fn finish(mut self) -> Result<(Vec<Located>, Masks), Faults> {
        let lines = Lines::of(self.text);
        let masker = self.masks.fault_masker();
        let mut all: Vec<Located> = self.raw.iter().map(|raw| self.locate(raw, &lines, &masker)).collect();
        all.append(&mut self.elsewhere);
        all.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        all.dedup_by(|a, b| (&a.file, a.line, a.column, &a.message) == (&b.file, b.line, b.column, &b.message));
        if self.errors == 0 {
            all.extend(self.rest(self.warnings, Severity::Warning));
            return Ok((all, self.masks));
        }
        all.retain(|f| f.severity == Severity::Error);
        all.extend(self.rest(self.errors, Severity::Error));
        Err(Faults(all))
    }

    /// The line that stands for what is not listed, where there are `all` in total.
    fn rest(&self, all: usize, severity: Severity) -> Option<Located> {
        let more = all.checked_sub(MAX_LISTED).filter(|more| *more > 0)?;
        let what = if severity == Severity::Error { "faults" } else { "warnings" };
        let line = Faults::of_file(self.file, format!("and at least {more} more {what}: mend these first")).0.pop();
        line.map(|line| Located { severity, ..line })
    }

    fn locate(&self, raw: &Raw, lines: &Lines<'_>, masker: &Masker<'_>) -> Located {
        let at = lines.location(raw.span.start);
        let masked = |text: &str| {
            if raw.is_plain { Some(text.to_owned()) } else { self.masks.mask_fault(masker, &raw.span, text) }
        };
        let message = masked(&raw.message).unwrap_or_else(|| self.without_value(raw, masker));
        Located {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            severity: raw.severity,
            table: raw.table.clone(),
            message,
            help: raw.help.as_deref().and_then(masked),
            excerpt: raw.shows_line.then(|| self.excerpt(&raw.span)).flatten(),
        }
    }

    /// Stands in for a message that would give away a piece of the value; keeps only what it says was expected.
    fn without_value(&self, raw: &Raw, masker: &Masker<'_>) -> String {
        let shown = self.masks.shown_at(&raw.span).unwrap_or("***");
        let expected = raw.message.rsplit_once(", expected ").map(|(_, tail)| tail.to_owned());
        match expected.and_then(|tail| self.masks.mask_fault(masker, &raw.span, &tail)) {
            Some(tail) => format!("the value of `{shown}` does not fit here, expected {tail}"),
            None => format!("the value of `{shown}` does not fit here"),
        }
    }

    fn excerpt(&self, span: &Range<usize>) -> Option<(String, usize, usize)> {
        let line = line_around(self.text, span.start);
        let start = span.start.clamp(line.start, line.end);
        let end = span.end.clamp(start, line.end);
        let mut before = self.masks.excerpt(self.text, line.start..start).replace('\t', " ").replace('\u{feff}', "");
        let marked = self.masks.excerpt(self.text, start..end);
        let mut after = self.masks.excerpt(self.text, end..line.end);
        if let Some((cut, _)) = before.char_indices().rev().nth(EXCERPT) {
            before = format!("…{}", before.get(cut..).unwrap_or_default());
        }
        let room = EXCERPT.saturating_sub(marked.chars().count());
        if let Some((cut, _)) = after.char_indices().nth(room) {
            after = format!("{}…", after.get(..cut).unwrap_or_default());
        }
        let text: String = format!("{before}{}{after}", cut_to(&marked, EXCERPT)).replace(['\t', '\r'], " ");
        let length = marked.chars().count().clamp(1, EXCERPT);
        (!text.trim().is_empty()).then(|| (text, before.chars().count(), length))
    }
}

fn cut_to(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
