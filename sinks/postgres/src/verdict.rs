//! SQLSTATE → whose fault it was. A table, pure; see
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
//!
//! What a row's values brought about is that row's fault and rejects it; everything else, the unknown included, is the
//! sink's and may pass. The server quotes values in many of its messages; so what is said of a row's fault is put
//! together from the kind of error and the names of columns and constraints, and messages are repeated only where they
//! speak of the sink.

use std::error::Error as _;
use std::io;

use sink_api::bad_row::Failure;
use sink_api::{Reason, code};
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

/// No unique index fits `ON CONFLICT`.
pub const NO_UNIQUE_INDEX: &str = "42P10";

/// Why work on a connection was not done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server, or the connection to it, says so.
    #[error(transparent)]
    Sql(#[from] Error),
    /// The connection ended without a word.
    #[error("the server closed the connection")]
    Ended,
    /// The deadline has passed; the connection is in the middle of something.
    #[error("no answer within the batch's deadline")]
    Late,
}

/// Judges what went wrong with a connection in use.
pub fn of_trouble(trouble: &Trouble) -> Failure {
    match trouble {
        Trouble::Sql(error) => of(error),
        Trouble::Ended => Failure::Sink(Reason::new(code::CONNECT, trouble.to_string())),
        Trouble::Late => Failure::Sink(Reason::new(code::TIMEOUT, trouble.to_string())),
    }
}

/// Judges an error.
pub fn of(error: &Error) -> Failure {
    match error.as_db_error() {
        Some(db) => of_db(db),
        None => Failure::Sink(of_connection(error)),
    }
}

/// What is said of a row whose value a type could not read, where the server blames the statement instead: `jsonpath`
/// and `tsquery` answer such a value with a syntax error, `regclass` with a table that is not there. `None` where it
/// cannot be that: a function was at work, or the error names a position in the statement.
pub fn value_misread(trouble: &Trouble) -> Option<Reason> {
    let Trouble::Sql(error) = trouble else { return None };
    let db = error.as_db_error().filter(|db| db.where_().is_none() && db.position().is_none())?;
    Some(Reason::new(code::BAD_PAYLOAD, by_name(db, "not a value of the column's type")))
}

fn of_db(db: &DbError) -> Failure {
    let state = db.code().code();
    match blame(state, db.routine()) {
        Blame::Row(code, what) => Failure::Row(Reason::new(code, by_name(db, what))),
        // With a context the message comes from inside a function or trigger, and may quote a row.
        Blame::Sink(code) if db.where_().is_none() => {
            Failure::Sink(Reason::new(code, format!("{} (SQLSTATE {state})", db.message())))
        }
        Blame::Sink(code) => {
            Failure::Sink(Reason::new(code, format!("SQLSTATE {state} inside a function of the table")))
        }
    }
}

/// What happened to the row, by name only.
fn by_name(db: &DbError, what: &str) -> String {
    let mut text = what.to_owned();
    // A function can put anything into these fields; the server itself puts names.
    if db.where_().is_none() {
        // Its words hold the type and never the value.
        if db.message().starts_with("value too long for type ") {
            text = db.message().to_owned();
        }
        for (kind, name) in [("column", db.column()), ("constraint", db.constraint())] {
            text.extend(name.map(|name| format!(", {kind} {name}")));
        }
    }
    format!("{text} (SQLSTATE {})", db.code().code())
}

/// An error that the server did not send: the way to it is at fault.
fn of_connection(error: &Error) -> Reason {
    let said = error.to_string();
    let code = match error.source() {
        Some(cause) if is_tls(cause) => code::TLS,
        _ if said.contains("TLS") => code::TLS,
        _ if said.contains("authentication") || said.contains("password") => code::AUTH,
        Some(cause) if cause.to_string().contains("lookup address") => code::DNS,
        Some(cause) if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) => {
            code::TIMEOUT
        }
        _ => code::CONNECT,
    };
    Reason::new(code, error.source().map_or_else(|| said.clone(), |cause| format!("{said}: {cause}")))
}

fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The row's: code, and what is said of it.
    Row(&'static str, &'static str),
    /// The sink's.
    Sink(&'static str),
}

fn blame(state: &str, routine: Option<&str>) -> Blame {
    match state {
        "22001" => Blame::Row(code::BAD_PAYLOAD, "value too long"),
        "22003" => Blame::Row(code::BAD_PAYLOAD, "number out of the column's range"),
        "22007" | "22008" | "22009" => Blame::Row(code::BAD_PAYLOAD, "not a date or time the column takes"),
        "22021" | "22P05" => Blame::Row(code::BAD_PAYLOAD, "a character the database cannot hold"),
        "22P02" | "22P03" => Blame::Row(code::BAD_PAYLOAD, "not a value of the column's type"),
        "23502" => Blame::Row(code::CONSTRAINT, "no value where the column wants one"),
        "23503" => Blame::Row(code::CONSTRAINT, "there is no row that a foreign key refers to"),
        "23505" => Blame::Row(code::CONSTRAINT, "a unique value is there already"),
        "23514" => Blame::Row(code::CONSTRAINT, "a check fails"),
        "25006" => Blame::Sink(code::CONNECT),
        // Row-level security speaks of one row, a missing right of all.
        "42501" if routine == Some("ExecWithCheckOptions") => {
            Blame::Row(code::CONSTRAINT, "row-level security refuses the row")
        }
        "42501" | "0LP01" | "0P000" => Blame::Sink(code::AUTH),
        "53100" => Blame::Sink(code::DISK_FULL),
        "53300" | "3D000" => Blame::Sink(code::CONNECT),
        "54000" | "54001" => Blame::Row(code::BAD_PAYLOAD, "a value too large or too deep for the database"),
        "55P03" | "55006" => Blame::Sink(code::BUSY),
        "57014" => Blame::Sink(code::TIMEOUT),
        "57P04" => Blame::Sink(code::SCHEMA),
        "XX001" | "XX002" => Blame::Sink(code::CORRUPT),
        _ => by_class(state.get(..2).unwrap_or_default()),
    }
}

fn by_class(class: &str) -> Blame {
    match class {
        "08" | "57" => Blame::Sink(code::CONNECT),
        // Two ids that are one to the column's type: halving the batch parts them.
        "21" => Blame::Row(code::CONSTRAINT, "two rows that are one to the unique column"),
        "22" => Blame::Row(code::BAD_PAYLOAD, "a value the table cannot take"),
        "23" | "44" => Blame::Row(code::CONSTRAINT, "a rule of the table refuses the row"),
        "38" | "39" | "P0" => Blame::Row(code::CONSTRAINT, "a trigger of the table refuses the row"),
        "28" => Blame::Sink(code::AUTH),
        "40" | "53" => Blame::Sink(code::BUSY),
        "0A" | "2B" | "2F" | "3F" | "42" | "54" | "55" => Blame::Sink(code::SCHEMA),
        "58" => Blame::Sink(code::IO),
        _ => Blame::Sink(code::INTERNAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_has_its_verdict() {
        let rows: &[(&str, &str)] = &[
            ("08006", "sink connect"),
            ("0A000", "sink schema"),
            ("21000", "row constraint"),
            ("22001", "row bad_payload"),
            ("22003", "row bad_payload"),
            ("22007", "row bad_payload"),
            ("22012", "row bad_payload"),
            ("22021", "row bad_payload"),
            ("22P02", "row bad_payload"),
            ("22P05", "row bad_payload"),
            ("23502", "row constraint"),
            ("23503", "row constraint"),
            ("23505", "row constraint"),
            ("23514", "row constraint"),
            ("23P01", "row constraint"),
            ("25006", "sink connect"),
            ("25P02", "sink internal"),
            ("26000", "sink internal"),
            ("28000", "sink auth"),
            ("28P01", "sink auth"),
            ("38000", "row constraint"),
            ("3D000", "sink connect"),
            ("3F000", "sink schema"),
            ("40001", "sink busy"),
            ("40P01", "sink busy"),
            ("42501", "sink auth"),
            ("42703", "sink schema"),
            ("42P01", "sink schema"),
            ("42P10", "sink schema"),
            ("44000", "row constraint"),
            ("53100", "sink disk_full"),
            ("53200", "sink busy"),
            ("53300", "sink connect"),
            ("54000", "row bad_payload"),
            ("54001", "row bad_payload"),
            ("54011", "sink schema"),
            ("55000", "sink schema"),
            ("55P03", "sink busy"),
            ("57014", "sink timeout"),
            ("57P01", "sink connect"),
            ("57P02", "sink connect"),
            ("57P03", "sink connect"),
            ("57P04", "sink schema"),
            ("57P05", "sink connect"),
            ("58030", "sink io"),
            ("P0001", "row constraint"),
            ("XX000", "sink internal"),
            ("XX001", "sink corrupt"),
            ("", "sink internal"),
        ];
        for (state, want) in rows {
            let got = match blame(state, None) {
                Blame::Row(code, _) => format!("row {code}"),
                Blame::Sink(code) => format!("sink {code}"),
            };
            assert_eq!(&got, want, "{state}");
        }
    }

    #[test]
    fn row_level_security_blames_the_row_and_a_missing_right_the_sink() {
        assert!(matches!(blame("42501", Some("ExecWithCheckOptions")), Blame::Row(code::CONSTRAINT, _)));
        assert_eq!(blame("42501", Some("aclcheck_error")), Blame::Sink(code::AUTH));
    }
}
