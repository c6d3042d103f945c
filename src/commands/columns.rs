//! What verbs show people in columns: cells, each column as wide as its widest cell, and the colours that all verbs
//! use. Pure but for [`print`].

use std::fmt::Write as _;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What may not be.
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// What is not.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What is of little interest.
pub const QUIET: Style = Style::new().dimmed();

/// Space between two columns.
const GAP: &str = "  ";

/// A cell: its text, and what it looks like.
pub struct Cell {
    text: String,
    style: Style,
    is_right: bool,
}

impl Cell {
    /// Text, on the left.
    pub fn plain(text: String) -> Self {
        Self::styled(text, Style::new())
    }

    /// Text with a style.
    pub fn styled(text: String, style: Style) -> Self {
        Self { text, style, is_right: false }
    }

    /// A number, on the right.
    pub fn right(text: String) -> Self {
        Self { is_right: true, ..Self::plain(text) }
    }

    /// The same with a style.
    pub fn with(self, style: Style) -> Self {
        Self { style, ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The rows below their heads, a line each. A head stands on the side on which its column's first cell does.
pub fn columns(heads: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let first = rows.first();
    let is_right = |at: usize| first.and_then(|row| row.get(at)).is_some_and(|cell| cell.is_right);
    let head = |(at, text): (usize, &&str)| Cell {
        text: (*text).to_owned(),
        style: Style::new().bold(),
        is_right: is_right(at),
    };
    let all: Vec<Vec<Cell>> = std::iter::once(heads.iter().enumerate().map(head).collect()).chain(rows).collect();
    let width = |at: usize| all.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    all.iter().map(|row| line(row, &widths)).collect()
}

/// Counts by key, a `COUNT KEY` line each. A key that is empty shows as `-`.
pub fn counts<'k>(rows: impl IntoIterator<Item = (&'k str, u64)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().map(|(key, count)| (key, count.to_string())).collect();
    let width = rows.iter().map(|(_, count)| count.len()).max().unwrap_or_default();
    let shown = |key: &str| if key.is_empty() { "-".to_owned() } else { crate::route::printable(key) };
    rows.iter().map(|(key, count)| format!("{count:>width$} {}\n", shown(key))).collect()
}

/// Whether standard output is to have colours.
pub fn colours() -> ColorChoice {
    AutoStream::choice(&io::stdout())
}

/// Prints the text, without its colours where they are not wanted.
///
/// # Errors
/// The output's.
pub fn print(text: &str, colours: ColorChoice, out: &mut impl Write) -> io::Result<()> {
    match colours {
        ColorChoice::Never => write!(out, "{}", anstream::adapter::strip_str(text))?,
        _ => write!(out, "{text}")?,
    }
    out.flush()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut out = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let (space, Cell { text, style, .. }) = (" ".repeat(width.saturating_sub(cell.width())), cell);
        // Nothing stands behind the last column.
        let after = if at + 1 == row.len() { "" } else { GAP };
        // Writing to a string does not fail.
        let _ = match (cell.is_right, after) {
            (true, _) => write!(out, "{space}{style}{text}{style:#}{after}"),
            (false, "") => write!(out, "{style}{text}{style:#}"),
            (false, _) => write!(out, "{style}{text}{style:#}{space}{after}"),
        };
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_together_and_an_empty_key_can_be_seen() {
        assert_eq!(counts([("http_4xx", 12), ("", 3)]), "12 http_4xx\n 3 -\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_end_together() {
        let row = |name: &str, n: &str, last: &str| {
            vec![Cell::plain(name.into()), Cell::right(n.into()), Cell::plain(last.into())]
        };
        let text = columns(&["SINK", "DEAD", "LAST"], vec![row("a", "12,345", "x"), row("archive", "1", "never")]);
        let bare = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(bare, "SINK       DEAD  LAST\na        12,345  x\narchive       1  never\n");
        assert!(text.contains("\u{1b}[1mSINK\u{1b}[0m"), "{text:?}");
    }
}
