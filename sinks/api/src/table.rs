//! What sinks that fill a table of a database ask of it alike: its keys in the config, the column `event_id`, what is
//! done with a row that is there already, and the words for a table that will not do. Runs no SQL.

use std::collections::HashMap;

use serde::Deserialize;

use crate::fault::Fault;
use crate::rows::EVENT_ID;

/// What happens to a row whose `event_id` is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The row stays as it is.
    #[default]
    Nothing,
    /// The columns the payload holds are set anew.
    Update,
}

impl OnConflict {
    /// The clause behind an INSERT that fills `event_id` and these columns, whose names are quoted already.
    pub fn clause(self, columns: &[impl AsRef<str>]) -> String {
        let set = columns.iter().map(|name| format!("{0} = excluded.{0}", name.as_ref()));
        let set = set.collect::<Vec<_>>().join(", ");
        match self {
            Self::Update if !set.is_empty() => format!("ON CONFLICT ({EVENT_ID}) DO UPDATE SET {set}"),
            Self::Update | Self::Nothing => format!("ON CONFLICT ({EVENT_ID}) DO NOTHING"),
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
    /// The table, its name quoted, has no `event_id`.
    pub fn without_event_id(table: &str, mend: &str) -> Self {
        Self::Unfit(format!(
            "the table {table} has no column {EVENT_ID}, which keeps a delivery that comes again from being a second \
             row; add it:\n{mend}"
        ))
    }

    /// In the table, its name quoted, `ON CONFLICT (event_id)` has nothing to rest on.
    pub fn not_unique(table: &str, mend: &str) -> Self {
        Self::Unfit(format!(
            "{EVENT_ID} is not unique by itself in the table {table}, so a delivery that comes again would be a second \
             row; make it so:\n{mend}"
        ))
    }
}

/// Where `event_id` stands among a table's columns, and where each of the others does, by name; `None` where there is
/// no `event_id`. The database's own rule says which names are the same.
pub fn positions<'n>(
    names: impl IntoIterator<Item = &'n str>,
    is_event_id: impl Fn(&str) -> bool,
) -> Option<(usize, HashMap<String, usize>)> {
    let (mut event_id, mut others) = (None, HashMap::new());
    for (at, name) in names.into_iter().enumerate() {
        if is_event_id(name) {
            event_id = Some(at);
        } else {
            others.insert(name.to_owned(), at);
        }
    }
    Some((event_id?, others))
}

/// What is wrong with the value of `table`.
pub fn name_fault(table: &str) -> Option<Fault> {
    let is_name = !table.trim().is_empty() && !table.contains('\0');
    (!is_name).then(|| Fault::at_key("table", "expected the name of a table"))
}

/// What is wrong with the value of `setup`.
pub fn setup_fault(setup: Option<&str>) -> Option<Fault> {
    let is_unfit = setup.is_some_and(|sql| sql.trim().is_empty() || sql.contains('\0'));
    is_unfit.then(|| Fault::at_key("setup", "expected SQL statements").help("leave the key out where none are needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_there_is_set_anew_only_in_the_columns_that_are_filled() {
        assert_eq!(OnConflict::Nothing.clause(&["a"]), "ON CONFLICT (event_id) DO NOTHING");
        assert_eq!(OnConflict::Update.clause(&[""; 0]), "ON CONFLICT (event_id) DO NOTHING");
        assert_eq!(
            OnConflict::Update.clause(&["a", "\"B\""]),
            "ON CONFLICT (event_id) DO UPDATE SET a = excluded.a, \"B\" = excluded.\"B\""
        );
    }

    #[test]
    fn event_id_is_told_from_the_columns_that_payloads_fill() {
        let exactly = |name: &str| name == EVENT_ID;
        let (event_id, others) = positions(["a", "event_id", "b"], exactly).unwrap();
        assert_eq!((event_id, others), (1, HashMap::from([("a".to_owned(), 0), ("b".to_owned(), 2)])));
        assert_eq!(positions(["a", "Event_ID"], exactly), None);
    }
}
