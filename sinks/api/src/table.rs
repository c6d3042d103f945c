//! What sinks that fill a table of a database ask of it alike: its keys in the config, the column that keeps a delivery
//! that comes again from being a second row, what is done with a row that is there already, and the words for a table
//! that will not do. Runs no SQL.

use std::collections::HashMap;

use serde::Deserialize;

use crate::fault::Fault;
pub use crate::filled::Filled;
use crate::ladder::MESSAGE_ID;
use crate::ladder_sql;
use crate::rows::EVENT_ID;

/// The value of `setup` that stands for SQL of our own.
pub const BUILTIN: &str = "builtin";

/// What happens to a row whose key ([`OnConflict::key`]) is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The row stays as it is.
    #[default]
    Nothing,
    /// The columns the payload holds are set anew.
    Update,
    /// Both become one, the same in whatever order they come: [`crate::ladder`]. There is one row a message.
    Ladder,
}

impl OnConflict {
    /// The column that is unique, and filled by every row.
    pub fn key(self) -> &'static str {
        match self {
            Self::Nothing | Self::Update => EVENT_ID,
            Self::Ladder => MESSAGE_ID,
        }
    }

    /// What stands behind the table's name in an INSERT with [`Self::clause`].
    pub fn alias(self) -> String {
        if self == Self::Ladder { format!(" AS {}", ladder_sql::KEPT) } else { String::new() }
    }

    /// The clause behind an INSERT that fills the key and these columns. `as_text` makes of an expression in SQL the
    /// same as a text that is compared byte by byte.
    pub fn clause(self, columns: &[Filled<'_>], as_text: fn(&str) -> String) -> String {
        let set = columns.iter().map(|column| format!("{0} = excluded.{0}", column.quoted));
        let set = set.collect::<Vec<_>>().join(", ");
        match self {
            Self::Update if !set.is_empty() => format!("ON CONFLICT ({EVENT_ID}) DO UPDATE SET {set}"),
            Self::Update | Self::Nothing => format!("ON CONFLICT ({EVENT_ID}) DO NOTHING"),
            Self::Ladder => ladder_sql::clause(columns, as_text),
        }
    }

    /// What a second row of one key would be.
    fn why_unique(self) -> &'static str {
        match self {
            Self::Nothing | Self::Update => "a delivery that comes again",
            Self::Ladder => "with on_conflict = \"ladder\" every event of a message",
        }
    }
}

/// Why a table cannot be filled. The text ends in the SQL that helps, on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// There is no such table.
    #[error("{0}")]
    Missing(String),
    /// The table is not what the sink needs.
    #[error("{0}")]
    Unfit(String),
}

impl TableFault {
    /// The table, its name quoted, has no column for the key.
    pub fn without_key(on_conflict: OnConflict, table: &str, mend: &str) -> Self {
        let (key, what) = (on_conflict.key(), on_conflict.why_unique());
        Self::Unfit(format!(
            "the table {table} has no column {key}, without which {what} would be a second row; add it:\n{mend}"
        ))
    }

    /// In the table, its name quoted, `ON CONFLICT` has nothing to rest on.
    pub fn not_unique(on_conflict: OnConflict, table: &str, mend: &str) -> Self {
        let (key, what) = (on_conflict.key(), on_conflict.why_unique());
        Self::Unfit(format!(
            "{key} is not unique by itself in the table {table}, so {what} would be a second row; make it so:\n{mend}"
        ))
    }
}

/// Where the key stands among a table's columns, and where each of the others does, by name; `None` where there is no
/// key. The database's own rule says which names are the same.
pub fn positions<'n>(
    names: impl IntoIterator<Item = &'n str>,
    is_key: impl Fn(&str) -> bool,
) -> Option<(usize, HashMap<String, usize>)> {
    let (mut key, mut others) = (None, HashMap::new());
    for (at, name) in names.into_iter().enumerate() {
        if is_key(name) {
            key = Some(at);
        } else {
            others.insert(name.to_owned(), at);
        }
    }
    Some((key?, others))
}

/// What is wrong with the value of `table`.
pub fn name_fault(table: &str) -> Option<Fault> {
    let is_name = !table.trim().is_empty() && !table.contains('\0');
    (!is_name).then(|| Fault::at_key("table", "expected the name of a table"))
}

/// What is wrong with the value of `setup`.
pub fn setup_fault(setup: Option<&str>, on_conflict: OnConflict) -> Option<Fault> {
    let setup = setup?;
    if setup == BUILTIN && on_conflict != OnConflict::Ladder {
        let fault =
            Fault::at_key("setup", "\"builtin\" makes a table of one row a message, which is kept by `on_conflict`");
        return Some(fault.help("on_conflict = \"ladder\", or SQL of your own in `setup`"));
    }
    let is_unfit = setup.trim().is_empty() || setup.contains('\0');
    is_unfit.then(|| Fault::at_key("setup", "expected SQL statements").help("leave the key out where none are needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_there_is_set_anew_only_in_the_columns_that_are_filled() {
        let clause = |on_conflict: OnConflict, names: &[&str]| {
            let filled = |name: &&str| Filled { name: "x", quoted: (*name).to_owned(), is_text: true };
            on_conflict.clause(&names.iter().map(filled).collect::<Vec<_>>(), str::to_owned)
        };
        assert_eq!(clause(OnConflict::Nothing, &["a"]), "ON CONFLICT (event_id) DO NOTHING");
        assert_eq!(clause(OnConflict::Update, &[]), "ON CONFLICT (event_id) DO NOTHING");
        assert_eq!(
            clause(OnConflict::Update, &["a", "\"B\""]),
            "ON CONFLICT (event_id) DO UPDATE SET a = excluded.a, \"B\" = excluded.\"B\""
        );
        assert!(clause(OnConflict::Ladder, &["a"]).starts_with("ON CONFLICT (message_id) DO UPDATE SET a = CASE"));
    }

    #[test]
    fn the_built_in_table_is_for_one_row_a_message_alone() {
        assert!(setup_fault(Some(BUILTIN), OnConflict::Ladder).is_none());
        assert!(setup_fault(Some(BUILTIN), OnConflict::Update).unwrap().help.unwrap().contains("ladder"));
        assert!(setup_fault(Some(" "), OnConflict::Ladder).is_some());
        assert!(setup_fault(None, OnConflict::Update).is_none());
    }

    #[test]
    fn event_id_is_told_from_the_columns_that_payloads_fill() {
        let exactly = |name: &str| name == EVENT_ID;
        let (event_id, others) = positions(["a", "event_id", "b"], exactly).unwrap();
        assert_eq!((event_id, others), (1, HashMap::from([("a".to_owned(), 0), ("b".to_owned(), 2)])));
        assert_eq!(positions(["a", "Event_ID"], exactly), None);
    }
}
