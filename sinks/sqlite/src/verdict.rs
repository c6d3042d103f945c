//! SQLite's result codes → whose fault it was. A table, pure; see <https://sqlite.org/rescode.html>.
//!
//! What one row brought about is that row's fault and rejects it; everything else, the unknown included, is the sink's
//! and may pass. Texts that could hold a value of the row (what a trigger says, what an expression choked on) are
//! replaced by fixed ones.

use rusqlite::{Error, ffi};
use sink_api::bad_row::Failure;
use sink_api::{Reason, code};

/// What a statement was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Anything that does not depend on a row's values: opening, compiling, beginning, committing.
    Statement,
    /// Putting rows in.
    Row,
}

/// Judges an error.
pub fn of(error: &Error, stage: Stage) -> Failure {
    let (Error::SqliteFailure(failed, _) | Error::SqlInputError { error: failed, .. }) = error else {
        // rusqlite's own: this sink used it wrongly, or SQLite answered a question about the schema oddly.
        return Failure::Sink(Reason::new(code::INTERNAL, error.to_string()));
    };
    match blame(failed.extended_code, stage) {
        Blame::Row(code, Some(text)) => Failure::Row(Reason::new(code, text)),
        Blame::Row(code, None) => Failure::Row(Reason::new(code, message(error))),
        Blame::Sink(code) => Failure::Sink(Reason::new(code, message(error))),
    }
}

/// SQLite's own words, without the SQL they are about.
pub fn message(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The row's: code, and a fixed text where SQLite's could hold a value.
    Row(&'static str, Option<&'static str>),
    /// The sink's.
    Sink(&'static str),
}

fn blame(extended: i32, stage: Stage) -> Blame {
    match extended {
        ffi::SQLITE_CONSTRAINT_DATATYPE => return Blame::Row(code::BAD_PAYLOAD, None),
        ffi::SQLITE_CONSTRAINT_TRIGGER => {
            return Blame::Row(code::CONSTRAINT, Some("a trigger of the table refused the row"));
        }
        ffi::SQLITE_CONSTRAINT_FUNCTION | ffi::SQLITE_CONSTRAINT_VTAB => {
            return Blame::Row(code::CONSTRAINT, Some("a function or virtual table refused the row"));
        }
        ffi::SQLITE_IOERR_NOMEM => return Blame::Sink(code::INTERNAL),
        _ => {}
    }
    match extended & 0xff {
        ffi::SQLITE_CONSTRAINT => Blame::Row(code::CONSTRAINT, None),
        ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG | ffi::SQLITE_RANGE => Blame::Row(code::BAD_PAYLOAD, None),
        ffi::SQLITE_ERROR if stage == Stage::Row => Blame::Row(
            code::BAD_PAYLOAD,
            Some("an expression of the table (default, check, index, trigger) failed for the row"),
        ),
        ffi::SQLITE_ERROR | ffi::SQLITE_SCHEMA => Blame::Sink(code::SCHEMA),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => Blame::Sink(code::BUSY),
        ffi::SQLITE_INTERRUPT => Blame::Sink(code::TIMEOUT),
        ffi::SQLITE_FULL => Blame::Sink(code::DISK_FULL),
        ffi::SQLITE_IOERR | ffi::SQLITE_NOLFS => Blame::Sink(code::IO),
        ffi::SQLITE_PERM | ffi::SQLITE_READONLY | ffi::SQLITE_AUTH => Blame::Sink(code::AUTH),
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_NOTADB => Blame::Sink(code::CONNECT),
        ffi::SQLITE_CORRUPT => Blame::Sink(code::CORRUPT),
        _ => Blame::Sink(code::INTERNAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_code_has_its_verdict() {
        let rows: &[(i32, &str)] = &[
            (ffi::SQLITE_CONSTRAINT, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_ROWID, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_CHECK, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_TRIGGER, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_FUNCTION, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_VTAB, "row constraint"),
            (ffi::SQLITE_CONSTRAINT_DATATYPE, "row bad_payload"),
            (ffi::SQLITE_MISMATCH, "row bad_payload"),
            (ffi::SQLITE_TOOBIG, "row bad_payload"),
            (ffi::SQLITE_RANGE, "row bad_payload"),
            (ffi::SQLITE_SCHEMA, "sink schema"),
            (ffi::SQLITE_BUSY, "sink busy"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "sink busy"),
            (ffi::SQLITE_BUSY_RECOVERY, "sink busy"),
            (ffi::SQLITE_LOCKED, "sink busy"),
            (ffi::SQLITE_LOCKED_SHAREDCACHE, "sink busy"),
            (ffi::SQLITE_PROTOCOL, "sink busy"),
            (ffi::SQLITE_INTERRUPT, "sink timeout"),
            (ffi::SQLITE_FULL, "sink disk_full"),
            (ffi::SQLITE_IOERR, "sink io"),
            (ffi::SQLITE_IOERR_FSYNC, "sink io"),
            (ffi::SQLITE_IOERR_WRITE, "sink io"),
            (ffi::SQLITE_IOERR_NOMEM, "sink internal"),
            (ffi::SQLITE_NOLFS, "sink io"),
            (ffi::SQLITE_PERM, "sink auth"),
            (ffi::SQLITE_AUTH, "sink auth"),
            (ffi::SQLITE_READONLY, "sink auth"),
            (ffi::SQLITE_READONLY_DBMOVED, "sink auth"),
            (ffi::SQLITE_CANTOPEN, "sink connect"),
            (ffi::SQLITE_CANTOPEN_ISDIR, "sink connect"),
            (ffi::SQLITE_NOTADB, "sink connect"),
            (ffi::SQLITE_CORRUPT, "sink corrupt"),
            (ffi::SQLITE_CORRUPT_INDEX, "sink corrupt"),
            (ffi::SQLITE_NOMEM, "sink internal"),
            (ffi::SQLITE_MISUSE, "sink internal"),
            (ffi::SQLITE_INTERNAL, "sink internal"),
            (ffi::SQLITE_ABORT, "sink internal"),
            (ffi::SQLITE_ABORT_ROLLBACK, "sink internal"),
            (ffi::SQLITE_EMPTY, "sink internal"),
            (ffi::SQLITE_FORMAT, "sink internal"),
            (250, "sink internal"),
        ];
        for (extended, want) in rows {
            for stage in [Stage::Statement, Stage::Row] {
                let got = match blame(*extended, stage) {
                    Blame::Row(code, _) => format!("row {code}"),
                    Blame::Sink(code) => format!("sink {code}"),
                };
                assert_eq!(&got, want, "{extended} {stage:?}");
            }
        }
    }

    #[test]
    fn a_plain_error_is_the_schema_s_unless_a_row_was_being_put_in() {
        assert_eq!(blame(ffi::SQLITE_ERROR, Stage::Statement), Blame::Sink(code::SCHEMA));
        assert!(matches!(blame(ffi::SQLITE_ERROR, Stage::Row), Blame::Row(code::BAD_PAYLOAD, Some(_))));
    }

    #[test]
    fn a_statement_that_does_not_compile_is_the_sink_s_and_its_sql_is_not_shown() {
        let error = rusqlite::Connection::open_in_memory().unwrap().prepare("SELECT x FROM t").unwrap_err();
        assert_eq!(of(&error, Stage::Statement), Failure::Sink(Reason::new(code::SCHEMA, "no such table: t")));
        let error = rusqlite::Connection::open_in_memory().unwrap().prepare("SELECT x").unwrap_err();
        assert!(matches!(error, Error::SqlInputError { .. }));
        assert_eq!(of(&error, Stage::Statement), Failure::Sink(Reason::new(code::SCHEMA, "no such column: x")));
    }

    #[test]
    fn what_a_trigger_says_is_not_repeated() {
        let error = Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CONSTRAINT_TRIGGER), Some("no +919999".into()));
        let Failure::Row(why) = of(&error, Stage::Row) else { panic!() };
        assert_eq!(why, Reason::new(code::CONSTRAINT, "a trigger of the table refused the row"));
    }
}
