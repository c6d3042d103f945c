//! A fault in a config: where, what, and the way out. The core turns `at` into FILE:LINE:COL.

use std::ops::Range;

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// At these bytes of the config file.
    Span(Range<usize>),
    /// At this key of the table that was read, dotted where nested (`rotate.size`).
    Key(String),
    /// Inside the text that is the value of this key, at this byte of it.
    Inside(String, usize),
    /// At the table itself.
    Table,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub at: At,
    /// The key, the value (never a secret) and what was expected.
    pub message: String,
    /// The way out, where there is one to name: `did you mean …`.
    pub help: Option<String>,
}

impl Fault {
    /// A fault at a key of the table.
    pub fn at_key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: At::Key(key.into()), message: message.into(), help: None }
    }

    /// A fault at bytes of the file.
    pub fn at_span(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { at: At::Span(span), message: message.into(), help: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A message for serde with the way out on a line of its own, which [`crate::Settings::read`] takes off again.
pub fn with_help(message: &str, help: &str) -> String {
    format!("{message}\n{help}")
}

/// Whether two names are the same but for one letter: wrong, missing, too many, or swapped with its neighbour.
pub fn is_one_slip_apart(a: &str, b: &str) -> bool {
    strsim::damerau_levenshtein(a, b) <= 1
}

/// The name most like `typo`, if one is like it at all.
pub fn nearest<'n>(typo: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typo, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(typo.len()) / 4)
        .min()
        .map(|(_, name)| name)
}
