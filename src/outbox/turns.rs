//! What waits, when its turn comes or the rules change: many rows in one step, so that the disk is waited for once.

use rusqlite::params;
use sink_api::{Timestamp, Uuid};

use super::resends;
use super::store::Key;
use super::{Outbox, OutboxError};

/// Most rows of one step that are sought and changed.
const MOST: i64 = 1000;

impl Outbox {
    /// Messages that wait are not due before then, each at a time of its own. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then nothing has changed.
    pub async fn put_off(&self, all: Vec<(Uuid, Timestamp)>) -> Result<(), OutboxError> {
        self.look(move |step| all.into_iter().try_for_each(|(id, until)| resends::put_off(step.connection, id, until)))
            .await
    }

    /// The events of messages that wait are in the journal. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then they are due again, under the same ids.
    pub async fn handed(&self, all: Vec<Uuid>) -> Result<(), OutboxError> {
        self.look(move |step| all.into_iter().try_for_each(|id| resends::handed(step, id))).await
    }

    /// What waits by a rule goes to the sink that the rule names now: a part of what does not yet. Says how much that
    /// was. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then nothing has changed.
    pub async fn follow(&self, rule: &str, to: &str) -> Result<usize, OutboxError> {
        let (rule, to) = (rule.to_owned(), to.to_owned());
        self.look(move |step| {
            let sql = "SELECT id FROM resends WHERE state = 0 AND rule = ?1 AND sink <> ?2 LIMIT ?3";
            let ids: Vec<Key> = {
                let mut statement = step.connection.prepare_cached(sql)?;
                let rows = statement.query_map(params![rule, to, MOST], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            for id in &ids {
                resends::hand_to(step.connection, (*id).into(), &to)?;
            }
            Ok(ids.len())
        })
        .await
    }
}
