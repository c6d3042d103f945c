//! [`crate::ladder`] in SQL that SQLite and PostgreSQL read alike: the clause that makes one row of the one that is
//! there and the one that comes, and the table to do so in. Runs no SQL.

use crate::filled::Filled;
use crate::ladder::{COLUMNS, Holds, MESSAGE_ID, STATUSES, holds, together};

/// What the row that is there is called in an INSERT with [`clause`]: `INSERT INTO t AS kept …`.
pub const KEPT: &str = "kept";
/// The columns that the built-in table has an index on.
const INDEXED: [&str; 2] = ["customer_phone", "updated_at"];

/// The clause behind an INSERT that fills `message_id` and these columns. `as_text` makes of an expression the same as
/// a text that is compared byte by byte.
pub fn clause(columns: &[Filled<'_>], as_text: fn(&str) -> String) -> String {
    let set = columns.iter().map(|column| {
        let all: Vec<&Filled<'_>> =
            together(&column.name).iter().filter_map(|name| columns.iter().find(|other| other.name == *name)).collect();
        let q = &column.quoted;
        format!("{q} = CASE WHEN {} THEN excluded.{q} ELSE {KEPT}.{q} END", wins(&all, as_text))
    });
    let set = set.collect::<Vec<_>>().join(", ");
    if set.is_empty() {
        return format!("ON CONFLICT ({MESSAGE_ID}) DO NOTHING");
    }
    format!("ON CONFLICT ({MESSAGE_ID}) DO UPDATE SET {set}")
}

/// Whether the values that come stand, by the first of these columns in which they are not the same.
fn wins(columns: &[&Filled<'_>], as_text: fn(&str) -> String) -> String {
    let Some((column, rest)) = columns.split_first() else { return "FALSE".to_owned() };
    let (new, old) = (ordered(column, "excluded", as_text), ordered(column, KEPT, as_text));
    let beats = if holds(column.name) == Holds::Earliest { '<' } else { '>' };
    let now = format!("({new} {beats} {old} OR ({old} IS NULL AND {new} IS NOT NULL))");
    if rest.is_empty() {
        return now;
    }
    let same = format!("({new} = {old} OR ({new} IS NULL AND {old} IS NULL))");
    format!("({now} OR ({same} AND {}))", wins(rest, as_text))
}

/// A value of the column as it can be compared.
fn ordered(column: &Filled<'_>, row: &str, as_text: fn(&str) -> String) -> String {
    let value = format!("{row}.{}", column.quoted);
    match holds(column.name) {
        Holds::Status => {
            let ranks = STATUSES.iter().zip(1..).map(|(word, rank)| {
                let word = word.to_ascii_lowercase();
                format!(" WHEN '{word}' THEN {rank}")
            });
            format!("CASE lower({}){} END", as_text(&value), ranks.collect::<String>())
        }
        Holds::Count => value,
        Holds::Earliest | Holds::Latest if !column.is_text => value,
        Holds::Earliest | Holds::Latest | Holds::Text => as_text(&value),
    }
}

/// The SQL of `setup = "builtin"`: the table, its name as in SQL, and indexes on the customer and the time of change.
/// `time` is the type of its times, `index` names the index on a column.
pub fn create(table: &str, time: &str, index: impl Fn(&str) -> String) -> String {
    let columns = COLUMNS.iter().map(|(name, holds)| match holds {
        Holds::Status | Holds::Text => format!("  {name} TEXT"),
        Holds::Earliest | Holds::Latest => format!("  {name} {time}"),
        Holds::Count => format!("  {name} INTEGER NOT NULL DEFAULT 0"),
    });
    let columns = std::iter::once(format!("  {MESSAGE_ID} TEXT NOT NULL PRIMARY KEY")).chain(columns);
    let columns = columns.collect::<Vec<_>>().join(",\n");
    let indexes = INDEXED.map(|name| format!("CREATE INDEX IF NOT EXISTS {} ON {table} ({name});\n", index(name)));
    format!("CREATE TABLE IF NOT EXISTS {table} (\n{columns}\n);\n{}", indexes.concat())
}
