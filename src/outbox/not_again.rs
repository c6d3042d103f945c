//! Messages that failed and are not sent again, as a rule has it: remembered, so that a repeat of the same status is no
//! news, and so that people can be told why nothing more is sent.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sink_api::Timestamp;

use super::facts::NotAgain;

const COLUMNS: &str = "SELECT failed, rule, verdict, code, why, at FROM not_again";

/// Notes it. False: the same was noted before.
pub fn note(connection: &Connection, what: &NotAgain, root: &str) -> Result<bool, rusqlite::Error> {
    let sql = format!("{COLUMNS} WHERE failed = ?1");
    let before = connection.prepare_cached(&sql)?.query_row([&what.failed], whole).optional()?;
    if before.is_some_and(|before| before.rule == what.rule && before.verdict == what.verdict) {
        return Ok(false);
    }
    let NotAgain { failed, rule, verdict, code, why, at } = what;
    let sql = "INSERT OR REPLACE INTO not_again (failed, root, rule, verdict, code, why, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![failed, root, rule, verdict, code, why, at.as_microsecond()];
    connection.prepare_cached(sql)?.execute(row).map(|_| true)
}

/// It is sent again after all: by another rule than before.
pub fn forget(connection: &Connection, failed: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM not_again WHERE failed = ?1")?.execute([failed]).map(drop)
}

/// What is not sent again of a chain, in the order in which that was decided.
pub fn of_root(connection: &Connection, root: &str, most: usize) -> Result<Vec<NotAgain>, rusqlite::Error> {
    let sql = format!("{COLUMNS} WHERE root = ?1 ORDER BY n LIMIT ?2");
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_map(params![root, most], whole)?.collect()
}

fn whole(row: &Row<'_>) -> Result<NotAgain, rusqlite::Error> {
    Ok(NotAgain {
        failed: row.get(0)?,
        rule: row.get(1)?,
        verdict: row.get(2)?,
        code: row.get(3)?,
        why: row.get(4)?,
        at: Timestamp::from_microsecond(row.get(5)?).unwrap_or_default(),
    })
}
