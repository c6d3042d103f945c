//! Faults of a config as they are printed: `FILE:LINE:COL: error: [sinks.crm] …`, the line with a caret, the way out.
//!
//! Everything that becomes visible goes through [`Report`], which knows what must not be printed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sink_api::{At, Fault};
use toml::de::DeTable;

use super::mask::{Masker, Masks};
use super::place::{Lines, inside, key_at, line_around, resolve};
use super::slips;

/// Most faults told of one file, and most warnings. The rest is counted.
const MAX_TOLD: usize = 200;

/// Longest excerpt of a line, in characters before and behind the caret each.
const EXCERPT: usize = 90;
/// A line that the parser gave up on is shown only where none of these words stands in it: it may hold a secret.
const SENSITIVE: &[&str] = &["secret", "token", "password", "bearer", "basic", "sign", "headers", "key", "url", "auth"];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// It is taken, but does not do what it says.
    Warning,
}

/// A fault or warning at its place. Holds no secret: what it says has been masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Which file: the config, or the `.env` beside it.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// The table it is in (`sinks.crm`), where it is in one.
    pub table: Option<String>,
    /// What is wrong: the key, the value, what was expected.
    pub message: String,
    /// The way out, where there is one to name.
    pub help: Option<String>,
    /// The line and what is marked of it: characters before the mark, and its length.
    #[serde(skip)]
    excerpt: Option<(String, usize, usize)>,
}

impl Located {
    /// A warning at a line and column of any file.
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
    /// A fault with the file as a whole: it cannot be read.
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
    /// Strings that could not be filled in; faults that follow from that are not told.
    unfilled: Vec<Range<usize>>,
    /// At most [`MAX_TOLD`] of either severity.
    raw: Vec<Raw>,
    /// Of other files; at most [`MAX_TOLD`].
    placed: Vec<Located>,
    errors: usize,
    warnings: usize,
}

/// A fault before its text is masked: only when all strings have been filled in is it known what to mask.
struct Raw {
    severity: Severity,
    table: Option<String>,
    span: Range<usize>,
    message: String,
    help: Option<String>,
    shows_line: bool,
    /// Its words are ours alone, none of the file's.
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
            placed: vec![],
            errors: 0,
            warnings: 0,
        }
    }

    /// Whether further faults would only be counted: whoever knows that there are many need not word them.
    pub fn is_full(&self) -> bool {
        self.errors >= MAX_TOLD
    }

    /// So many faults more than are told.
    pub fn count(&mut self, more: usize) {
        self.errors += more;
    }

    /// A fault at bytes of the file.
    pub fn error(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.is_full() {
            self.count(1);
        } else if !self.unfilled.iter().any(|u| u.start <= span.start && span.start < u.end) {
            self.push(Severity::Error, table, span, message.into(), help);
        }
    }

    /// A warning in words that hold nothing of the value it is about: they are printed as they are.
    pub fn plain_warning(&mut self, table: &str, span: Range<usize>, message: String, help: &str) {
        if let Some(raw) = self.push(Severity::Warning, table, span, message, Some(help.to_owned())) {
            raw.is_plain = true;
        }
    }

    /// Something that does not do what it says.
    pub fn warning(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, table, span, message.into(), help);
    }

    /// A string that could not be filled in.
    pub fn unfilled(&mut self, table: &str, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Error, table, span.clone(), message.into(), help);
        self.unfilled.push(span);
    }

    /// What the parser says. Its line is shown only where it cannot hold a secret: the parser may not know its strings.
    pub fn syntax(&mut self, span: Range<usize>, message: &str, help: Option<String>) {
        let line = self.text.get(line_around(self.text, span.start)).unwrap_or_default().to_lowercase();
        if let Some(raw) = self.push(Severity::Error, "", span, message.to_owned(), help) {
            raw.shows_line = !SENSITIVE.iter().any(|word| line.contains(word));
        }
    }

    /// A fault of another file.
    pub fn elsewhere(&mut self, file: &Path, line: usize, message: impl Into<String>, help: Option<String>) {
        self.errors += 1;
        if self.errors <= MAX_TOLD {
            let faults = Faults::of_file(file, message).0.into_iter();
            self.placed.extend(faults.map(|fault| Located { line, help: help.clone(), ..fault }));
        }
    }

    /// Faults of a table that was read, and where its header is.
    pub fn faults(&mut self, name: &str, faults: Vec<Fault>, table: &DeTable<'_>, header: &Range<usize>) {
        for fault in faults {
            let (span, message) = self.told(&fault, table, header);
            let (message, help) = slips::below_a_table(name, &message).unwrap_or((message, fault.help));
            self.error(name, span, message, help);
        }
    }

    /// Something of a table that was read and does not do what it says.
    pub fn doubt(&mut self, name: &str, doubt: Fault, table: &DeTable<'_>, header: &Range<usize>) {
        let (span, message) = self.told(&doubt, table, header);
        self.warning(name, span, message, doubt.help);
    }

    /// Where it is, and what is said of it there.
    fn told(&self, fault: &Fault, table: &DeTable<'_>, header: &Range<usize>) -> (Range<usize>, String) {
        let value = resolve(&fault.at, table, header);
        let span = match fault.at {
            At::Inside(_, offset) if value != *header => inside(self.text, &value, offset),
            _ => value,
        };
        // serde says what it wanted and not for which key; the parser's words for an enum are its own.
        let message = fault.message.replace("wanted string or table", "invalid type, expected a string");
        // `expected a size` speaks of no key of that name.
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

    /// Keeps it where there is room, and counts it in any case.
    fn push(
        &mut self,
        severity: Severity,
        table: &str,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> Option<&mut Raw> {
        let told = if severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        *told += 1;
        if *told > MAX_TOLD {
            return None;
        }
        let table = (!table.is_empty()).then(|| table.to_owned());
        // 0..0 is no place: something is missing from the file as a whole.
        let shows_line = span != (0..0);
        self.raw.push(Raw { severity, table, span, message, help, shows_line, is_plain: false });
        self.raw.last_mut()
    }

    /// The faults (warnings would only stand in their way), or else the warnings and what must be masked from now on.
    pub fn finish(mut self) -> Result<(Vec<Located>, Masks), Faults> {
        let lines = Lines::of(self.text);
        let masker = self.masks.fault_masker();
        let mut all: Vec<Located> = self.raw.iter().map(|raw| self.locate(raw, &lines, &masker)).collect();
        all.append(&mut self.placed);
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

    /// What is said of those that are not told, of so many.
    fn rest(&self, all: usize, severity: Severity) -> Option<Located> {
        let more = all.checked_sub(MAX_TOLD).filter(|more| *more > 0)?;
        let what = if severity == Severity::Error { "faults" } else { "warnings" };
        let said = Faults::of_file(self.file, format!("and at least {more} more {what}: mend these first")).0.pop();
        said.map(|said| Located { severity, ..said })
    }

    fn locate(&self, raw: &Raw, lines: &Lines<'_>, masker: &Masker<'_>) -> Located {
        let place = lines.place(raw.span.start);
        let masked = |text: &str| {
            if raw.is_plain { Some(text.to_owned()) } else { self.masks.mask_fault(masker, &raw.span, text) }
        };
        let message = masked(&raw.message).unwrap_or_else(|| self.without_value(raw, masker));
        Located {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            severity: raw.severity,
            table: raw.table.clone(),
            message,
            help: raw.help.as_deref().and_then(masked),
            excerpt: raw.shows_line.then(|| self.excerpt(&raw.span)).flatten(),
        }
    }

    /// A message that would give away a piece of the value: only what was expected is kept of it.
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
