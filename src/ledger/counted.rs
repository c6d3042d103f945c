//! What ingress has counted over all lives of the daemon: numbers by source, and by path where no source has it. The
//! ledger keeps them and knows nothing of what they mean.

use rusqlite::{Connection, params};

/// Came later than version 1; a build that does not know it leaves it alone. `changed` is when a number last changed,
/// in microseconds since 1970.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS counted (
  of      TEXT NOT NULL,
  name    TEXT NOT NULL,
  what    TEXT NOT NULL,
  count   INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  PRIMARY KEY (of, name, what)
) STRICT, WITHOUT ROWID;
";

/// Most sources whose numbers are kept; of those out of the config, the ones that counted longest ago go first.
const MOST_SOURCES: usize = 4096;
/// Most paths.
const MOST_PATHS: usize = 65;

/// What a number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CountOf {
    /// A source.
    Source,
    /// A path that no source has.
    Path,
}

impl CountOf {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Path => "path",
        }
    }

    fn most(self) -> usize {
        match self {
            Self::Source => MOST_SOURCES,
            Self::Path => MOST_PATHS,
        }
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What it belongs to.
    pub of: CountOf,
    /// Which.
    pub name: String,
    /// What was counted.
    pub what: String,
    /// How many; a time, where `what` is one.
    pub count: i64,
}

/// All numbers.
pub(super) fn all(connection: &Connection) -> Result<Vec<Counted>, rusqlite::Error> {
    let mut all = Vec::new();
    for of in [CountOf::Source, CountOf::Path] {
        let row =
            |row: &rusqlite::Row<'_>| Ok(Counted { of, name: row.get(0)?, what: row.get(1)?, count: row.get(2)? });
        let sql = "SELECT name, what, count FROM counted WHERE of = ?1 ORDER BY name, what";
        let rows = connection.prepare_cached(sql)?.query_map([of.word()], row)?.collect::<Result<Vec<_>, _>>()?;
        all.extend(rows);
    }
    Ok(all)
}

/// Keeps these numbers in the place of those of the same name.
pub(super) fn keep(connection: &mut Connection, counted: &[Counted], now: i64) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    let sql = "INSERT INTO counted (of, name, what, count, changed) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (of, name, what) DO UPDATE SET count = excluded.count, changed = excluded.changed";
    for Counted { of, name, what, count } in counted {
        transaction.prepare_cached(sql)?.execute(params![of.word(), name, what, count, now])?;
    }
    for of in [CountOf::Source, CountOf::Path] {
        let surplus = "DELETE FROM counted WHERE of = ?1 AND name IN (SELECT name FROM counted WHERE of = ?1
                       GROUP BY name ORDER BY max(changed) DESC, name LIMIT -1 OFFSET ?2)";
        let most = i64::try_from(of.most()).unwrap_or(i64::MAX);
        transaction.prepare_cached(surplus)?.execute(params![of.word(), most])?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(of: CountOf, name: &str, what: &str, count: i64) -> Counted {
        Counted { of, name: name.into(), what: what.into(), count }
    }

    fn open() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLE).unwrap();
        connection
    }

    #[test]
    fn a_number_takes_the_place_of_the_one_before_it_and_no_others() {
        let mut connection = open();
        let first = [
            counted(CountOf::Source, "a", "accepted", 3),
            counted(CountOf::Source, "a", "wrong", 1),
            counted(CountOf::Path, "a", "refused", 7),
        ];
        keep(&mut connection, &first, 1).unwrap();
        keep(&mut connection, &[counted(CountOf::Source, "a", "accepted", 5)], 2).unwrap();
        let [_, wrong, path] = first;
        assert_eq!(all(&connection).unwrap(), [counted(CountOf::Source, "a", "accepted", 5), wrong, path]);
    }

    #[test]
    fn names_that_come_and_go_do_not_pile_up() {
        let mut connection = open();
        for n in 0..3 * i64::try_from(MOST_PATHS).unwrap() {
            keep(&mut connection, &[counted(CountOf::Path, &n.to_string(), "refused", n)], n).unwrap();
        }
        let kept = all(&connection).unwrap();
        assert_eq!((kept.len(), kept.iter().map(|kept| kept.count).max()), (MOST_PATHS, Some(194)));
    }
}
