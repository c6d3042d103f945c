//! The daemons of a cluster as they say of themselves: the rows `node/NAME` of what all daemons see, JSON objects.
//!
//! A daemon takes its row away at an orderly stop. One that was killed leaves it behind, so that the others can name it
//! as one that does not answer; a row that was not renewed for a day is taken away by whoever notices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sink_api::{Timestamp, Uuid};
use tokio::time::{Instant, timeout};

use crate::journal::kafka::seam::{Hears, Row};
use crate::ledger::SettleError;
use crate::ledger::nodes::{Node, Nodes};

/// What the keys of these rows begin with.
const PREFIX: &str = "node/";
/// Longest that whoever asks waits for the rows, where they were never read.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often rows are taken away that were not renewed.
const TIDY: Duration = Duration::from_secs(60);
/// A row that was not renewed for so many seconds is of a daemon that is gone.
const FORGOTTEN: i64 = 24 * 3600;

/// The daemons of a cluster.
pub struct KafkaNodes {
    name: String,
    life: String,
    committer: Arc<dyn Hears>,
    /// When rows were taken away last.
    tidied: Mutex<Option<Instant>>,
}

impl KafkaNodes {
    /// The daemon of that name, and those that tell what they are by the same committer.
    pub fn new(name: String, committer: Arc<dyn Hears>) -> Self {
        Self { name, life: Uuid::now_v7().simple().to_string(), committer, tidied: Mutex::default() }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Takes away what was not renewed. Nobody waits for it: where it fails, the next one who notices tries again.
    fn forget(&self, old: Vec<String>) {
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        if old.is_empty() || tidied.is_some_and(|at| at.elapsed() < TIDY) {
            return;
        }
        *tidied = Some(Instant::now());
        for key in old {
            let committer = Arc::clone(&self.committer);
            tokio::spawn(async move { committer.set_control(Row { key, value: None }).await });
        }
    }
}

#[async_trait]
impl Nodes for KafkaNodes {
    fn own(&self) -> Option<&str> {
        Some(&self.name)
    }

    async fn announce(&self, said: Node) -> Result<(), SettleError> {
        let node = Node { seen: Timestamp::now().as_second(), life: self.life.clone(), ..said };
        let value = serde_json::to_vec(&node).unwrap_or_default().into();
        self.committer.set_control(Row { key: self.key(), value: Some(value) }).await?;
        Ok(())
    }

    async fn withdraw(&self) -> Result<(), SettleError> {
        // Another daemon of that name, which ended this one, may have said so of itself.
        let rows = self.committer.control().await?;
        let rows = rows.into_iter().filter_map(|row| Some((row.key, row.value?))).collect();
        let (nodes, _) = read(&rows, Timestamp::now().as_second());
        if nodes.iter().any(|node| node.name == self.name && node.life == self.life) {
            self.committer.set_control(Row { key: self.key(), value: None }).await?;
        }
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Node>, SettleError> {
        let mut told = self.committer.told();
        // Asked at each question, and also while brokers are away: then it is known who was there before.
        let told = timeout(PATIENCE, told.wait_for(|told| told.is_whole)).await;
        let Ok(Ok(rows)) = told.map(|told| told.map(|told| Arc::clone(&told.rows))) else {
            return Err(SettleError::Unavailable("the brokers have not answered since the start".into()));
        };
        let (nodes, old) = read(&rows, Timestamp::now().as_second());
        self.forget(old);
        Ok(nodes)
    }
}

/// The daemons by name, and the keys of rows that are to be forgotten. A row that cannot be read is of a later build:
/// of that daemon the name is known.
fn read(rows: &BTreeMap<String, Bytes>, now: i64) -> (Vec<Node>, Vec<String>) {
    let (mut nodes, mut old) = (Vec::new(), Vec::new());
    for (key, value) in rows {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        match serde_json::from_slice::<Node>(value) {
            Ok(node) if node.seen < now - FORGOTTEN => old.push(key.clone()),
            Ok(node) => nodes.push(Node { name: name.to_owned(), ..node }),
            Err(_) => nodes.push(Node { name: name.to_owned(), ..Node::default() }),
        }
    }
    (nodes, old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::shared::memory::Brokers;

    fn names(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_is_named_until_it_says_that_it_ends_and_takes_no_row_of_another_life_with_it() {
        let brokers = Arc::new(Brokers::default());
        let [a, b, again] =
            [("a", 1), ("b", 2), ("a", 3)].map(|(name, n)| KafkaNodes::new(name.to_owned(), brokers.member(n)));
        let said = |admin: &str| Node { admin: admin.to_owned(), ..Node::default() };
        a.announce(said("unix:/a.sock")).await.unwrap();
        b.announce(said("b:4001")).await.unwrap();
        let all = a.all().await.unwrap();
        assert_eq!((names(&all), all[1].admin.as_str(), a.own()), (vec!["a", "b"], "b:4001", Some("a")));
        b.withdraw().await.unwrap();
        assert_eq!(names(&a.all().await.unwrap()), ["a"]);
        again.announce(said("elsewhere:1")).await.unwrap();
        a.withdraw().await.unwrap();
        assert_eq!(b.all().await.unwrap()[0].admin, "elsewhere:1", "the row is the other life's");
    }

    #[test]
    fn a_row_that_was_not_renewed_for_a_day_is_forgotten_and_one_that_cannot_be_read_has_a_name() {
        let row = |key: &str, value: &str| (key.to_owned(), Bytes::from(value.to_owned()));
        let rows: BTreeMap<_, _> = [
            row("sink/crm", "{}"),
            row("node/c", "not JSON"),
            row("node/b", r#"{"seen":1000,"admin":"b:1","later":[]}"#),
            row("node/a", r#"{"seen":2000,"admin":"a:1"}"#),
        ]
        .into();
        let (nodes, old) = read(&rows, 1000 + FORGOTTEN);
        assert_eq!((names(&nodes), old), (vec!["a", "b", "c"], vec![]));
        let (nodes, old) = read(&rows, 1001 + FORGOTTEN);
        assert_eq!((names(&nodes), old), (vec!["a", "c"], vec!["node/b".to_owned()]));
    }
}
