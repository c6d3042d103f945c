//! A column that an INSERT of a sink fills. Plain data.

/// A column that an INSERT fills.
#[derive(Clone, Debug)]
pub struct Filled<'c> {
    /// Its name.
    pub name: &'c str,
    /// The same as in SQL.
    pub quoted: String,
    /// Whether the database keeps texts in it.
    pub is_text: bool,
}
