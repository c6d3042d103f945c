//! The table as it stands in the database: its columns, its unique key, and the SQL that fits them.
//! Reads the schema; writes nothing.

use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sink_api::rows::{self, Value};
use sink_api::table::{self, Filled, OnConflict, TableFault};

use crate::verdict;

/// The table could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is not what the sink needs.
    #[error(transparent)]
    Unfit(#[from] TableFault),
    /// It could not be read.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Whether SQLite turns numbers into text here (TEXT affinity).
    text: bool,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    quoted: String,
    version: i64,
    on_conflict: OnConflict,
    columns: Vec<Column>,
    /// Where each column that can be written is in `columns`, without the key.
    pub positions: HashMap<String, usize>,
}

/// A number that changes whenever the schema does, by whichever connection.
pub fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA main.schema_version")?.query_row([], |row| row.get(0))
}

/// `name` as an identifier in SQL.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An expression as a text that is compared byte by byte.
fn as_text(sql: &str) -> String {
    format!("CAST({sql} AS TEXT) COLLATE BINARY")
}

impl Table {
    /// Reads the table and checks that its key is unique in it.
    ///
    /// # Errors
    /// [`SchemaError::Unfit`] where it is missing, has no such column, or none that is unique.
    pub fn read(conn: &Connection, name: &str, on_conflict: OnConflict) -> Result<Self, SchemaError> {
        let version = version(conn)?;
        let quoted = quote(name);
        // hidden: 0 an ordinary column; others are generated or belong to virtual tables and cannot be written.
        let mut query =
            conn.prepare("SELECT name, type FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0 ORDER BY cid")?;
        let columns: Vec<Column> = query
            .query_map([name], |row| {
                let declared: String = row.get(1)?;
                Ok(Column { name: row.get(0)?, text: has_text_affinity(&declared) })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let positions = check(conn, name, &quoted, &columns, on_conflict)?;
        Ok(Self { quoted, version, on_conflict, columns, positions })
    }

    /// Whether the schema is still the one that was read.
    ///
    /// # Errors
    /// SQLite's.
    pub fn is_current(&self, conn: &Connection) -> rusqlite::Result<bool> {
        Ok(version(conn)? == self.version)
    }

    /// An INSERT of so many rows into the key and these columns.
    pub fn insert(&self, columns: &[usize], rows: usize) -> String {
        let columns = columns.iter().filter_map(|at| self.columns.get(*at));
        let filled = |column| Filled { name: column, quoted: quote(column), is_text: true };
        let filled: Vec<Filled<'_>> = columns.map(|column| filled(column.name.as_str())).collect();
        let names = filled.iter().map(|column| column.quoted.as_str());
        let list = std::iter::once(self.on_conflict.key()).chain(names).collect::<Vec<_>>().join(", ");
        let row = format!("({})", vec!["?"; filled.len() + 1].join(","));
        let values = vec![row.as_str(); rows].join(",");
        let (alias, clause) = (self.on_conflict.alias(), self.on_conflict.clause(&filled, as_text));
        format!("INSERT INTO main.{}{alias} ({list}) VALUES {values} {clause}", self.quoted)
    }

    /// The value as SQLite should get it in that column: digits are kept where a float would lose them, and where the
    /// column holds text.
    pub fn bind<'v>(&self, column: usize, value: &'v Value) -> ToSqlOutput<'v> {
        let text = |text: &'v str| ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()));
        match value {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(is) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*is))),
            Value::Integer(n) => ToSqlOutput::Borrowed(ValueRef::Integer(*n)),
            Value::Text(s) | Value::Json(s) => text(s),
            Value::Number(digits) if self.columns.get(column).is_some_and(|c| c.text) => text(digits),
            Value::Number(digits) => {
                rows::exact_f64(digits).map_or_else(|| text(digits), |f| ToSqlOutput::Borrowed(ValueRef::Real(f)))
            }
        }
    }
}

/// SQLite's rule for TEXT affinity, <https://sqlite.org/datatype3.html#determination_of_column_affinity>.
fn has_text_affinity(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    !declared.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}

/// Whether the table can be filled; then, where its columns stand, by name.
fn check(
    conn: &Connection,
    name: &str,
    quoted: &str,
    columns: &[Column],
    on_conflict: OnConflict,
) -> Result<HashMap<String, usize>, SchemaError> {
    let key = on_conflict.key();
    let index = format!("CREATE UNIQUE INDEX {} ON {quoted} ({key});", quote(&format!("{name}_{key}")));
    if columns.is_empty() {
        return Err(SchemaError::Unfit(TableFault::Missing(format!(
            "the database has no table {quoted}; create it, for example under `setup`{}, with a column for each key of \
             the payload that is to be kept:\n\
             CREATE TABLE {quoted} (id INTEGER PRIMARY KEY, {key} TEXT NOT NULL UNIQUE);",
            if on_conflict == OnConflict::Ladder { " (setup = \"builtin\" does it)" } else { "" }
        ))));
    }
    let names = columns.iter().map(|column| column.name.as_str());
    let Some((_, positions)) = table::positions(names, |name| name.eq_ignore_ascii_case(key)) else {
        let mend = format!("ALTER TABLE {quoted} ADD COLUMN {key} TEXT;\n{index}");
        return Err(SchemaError::Unfit(TableFault::without_key(on_conflict, quoted, &mend)));
    };
    // SQLite itself says whether this is a table, and has an index an upsert can rest on: unique, not partial, on this
    // column alone.
    let probe = format!("INSERT INTO main.{quoted} ({key}) VALUES (?) ON CONFLICT ({key}) DO NOTHING");
    match conn.prepare(&probe) {
        Ok(_) => Ok(positions),
        Err(error) if verdict::message(&error).contains("ON CONFLICT clause does not match") => {
            Err(SchemaError::Unfit(TableFault::not_unique(on_conflict, quoted, &index)))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ddl: &str) -> Result<Table, SchemaError> {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(ddl).unwrap();
        Table::read(&conn, "a \"t\"", OnConflict::Update)
    }

    #[test]
    fn names_are_quoted_and_generated_columns_are_not_written() {
        let table = table(r#"CREATE TABLE "a ""t""" (Event_Id TEXT UNIQUE, "x""y" TEXT, g AS (1), n INT)"#).unwrap();
        let mut names: Vec<&str> = table.positions.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["n", "x\"y"]);
        let columns = [table.positions["x\"y"], table.positions["n"]];
        assert_eq!(
            table.insert(&columns, 2),
            concat!(
                r#"INSERT INTO main."a ""t""" (event_id, "x""y", "n") VALUES (?,?,?),(?,?,?) "#,
                r#"ON CONFLICT (event_id) DO UPDATE SET "x""y" = excluded."x""y", "n" = excluded."n""#
            )
        );
        assert!(table.insert(&[], 1).ends_with("(event_id) VALUES (?) ON CONFLICT (event_id) DO NOTHING"));
    }

    #[test]
    fn only_a_whole_unique_index_on_event_id_alone_will_do() {
        for (columns, index, fits) in [
            ("event_id TEXT PRIMARY KEY", "", true),
            ("event_id TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE other (x", "", true),
            ("event_id TEXT", r#"CREATE UNIQUE INDEX i ON "a ""t""" (event_id)"#, true),
            ("event_id TEXT", r#"CREATE INDEX i ON "a ""t""" (event_id)"#, false),
            ("event_id TEXT", r#"CREATE UNIQUE INDEX i ON "a ""t""" (event_id) WHERE event_id > ''"#, false),
            ("event_id TEXT, b", r#"CREATE UNIQUE INDEX i ON "a ""t""" (event_id, b)"#, false),
            ("event_id TEXT", r#"CREATE UNIQUE INDEX i ON "a ""t""" (lower(event_id))"#, false),
        ] {
            let got = table(&format!("CREATE TABLE \"a \"\"t\"\"\" ({columns});{index}"));
            assert_eq!(got.is_ok(), fits, "{columns} {index}: {got:?}");
        }
    }

    #[test]
    fn a_view_is_refused() {
        let error = table(r#"CREATE VIEW "a ""t""" AS SELECT 1 AS event_id"#).unwrap_err();
        assert!(error.to_string().contains("is a view"), "{error}");
    }

    #[test]
    fn text_affinity_follows_sqlite_s_rule() {
        for (declared, text) in
            [("TEXT", true), ("varchar(20)", true), ("CLOB", true), ("CHARINT", false), ("NUMERIC", false), ("", false)]
        {
            assert_eq!(has_text_affinity(declared), text, "{declared}");
        }
    }
}
