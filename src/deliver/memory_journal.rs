//! For tests of the worker: a journal in memory with a real ledger, and a look at what was settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sink_api::Event;
use tokio::sync::watch;

use super::PATIENCE;
use crate::event::encode;
use crate::journal::{
    Append, Chunk, Counters, Cursors, Entry, Fate, Gap, Journal, JournalError, Position, Settlement, SinkState,
    TypeCount,
};
use crate::ledger::Ledger;

/// A journal in memory: what was settled can be looked at, and settling can be made to fail.
pub struct Memory {
    pub entries: Mutex<Vec<Entry>>,
    pub end: watch::Sender<u64>,
    pub settled: watch::Sender<Vec<Settlement>>,
    pub failing: watch::Sender<bool>,
    pub refused: watch::Sender<u64>,
    pub furthest: watch::Sender<u64>,
    pub hole: Mutex<Option<Gap>>,
    /// A real one, told of every step.
    pub ledger: Arc<Ledger>,
    _folder: tempfile::TempDir,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&folder.path().join("ledger.db")).unwrap();
        Arc::new(Self {
            entries: Mutex::default(),
            end: watch::Sender::new(0),
            settled: watch::Sender::new(vec![]),
            failing: watch::Sender::new(false),
            refused: watch::Sender::new(0),
            furthest: watch::Sender::new(0),
            hole: Mutex::default(),
            ledger: Arc::new(ledger),
            _folder: folder,
        })
    }

    pub fn put(&self, event: &Event) {
        let mut entries = self.entries.lock().unwrap();
        let position = at(entries.len() as u64);
        entries.push(Entry { position, record: Arc::new(encode(event, None, false)) });
        self.end.send_replace(entries.len() as u64);
    }

    pub fn settlements(&self) -> Vec<Settlement> {
        self.settled.borrow().clone()
    }

    pub fn totals(&self) -> Counters {
        let mut sum = Counters::default();
        self.settlements().iter().for_each(|s| sum.add(&s.delta));
        sum
    }

    pub fn cursor(&self) -> u64 {
        self.settlements().iter().filter_map(|s| s.cursor).next_back().map_or(0, |c| c.offset)
    }

    pub fn dead(&self) -> HashMap<String, String> {
        let mut dead = HashMap::new();
        for step in self.settlements() {
            dead.extend(step.held.into_iter().filter(|held| held.due.is_none()).map(|held| (held.id, held.code)));
            for turn in step.turns {
                if let Fate::Dead(tried) = turn.fate {
                    dead.insert(turn.id, tried.code);
                }
            }
        }
        dead
    }

    pub async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut settled = self.settled.subscribe();
        let wait = async {
            while !holds(self) {
                settled.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}; {:?}", self.settlements());
    }
}

pub fn at(offset: u64) -> Position {
    Position { shard: 0, offset }
}

#[sink_api::async_trait]
impl Journal for Memory {
    fn append_all(&self, _: Vec<Append>) {
        unreachable!("a worker appends nothing")
    }
    async fn read(&self, from: Position, max_bytes: u64) -> Result<Chunk, JournalError> {
        let gap = self.hole.lock().unwrap().clone().filter(|gap| from < gap.to);
        let from = gap.as_ref().map_or(from, |gap| gap.to);
        let start = usize::try_from(from.offset).unwrap();
        let mut bytes = 0;
        let entries = self.entries.lock().unwrap();
        let took: Vec<Entry> = entries[start..]
            .iter()
            .take_while(|e| {
                bytes += e.record.payload.len() as u64;
                bytes <= max_bytes
            })
            .cloned()
            .collect();
        let next = at(from.offset + took.len() as u64);
        self.furthest.send_modify(|f| *f = (*f).max(next.offset));
        Ok(Chunk { entries: took, next, gap })
    }
    async fn wait(&self, from: Position) {
        let mut end = self.end.subscribe();
        end.wait_for(|end| *end > from.offset).await.unwrap();
    }
    fn end(&self) -> Position {
        at(*self.end.borrow())
    }
    fn oldest(&self) -> Position {
        at(0)
    }
    async fn seek(&self, _: i64) -> Result<Position, JournalError> {
        Ok(at(0))
    }
    async fn counts(&self, _: Position) -> Result<Vec<TypeCount>, JournalError> {
        Ok(vec![])
    }
    async fn owed(&self, _: Position, _: Position) -> Result<Vec<TypeCount>, JournalError> {
        Ok(vec![])
    }
    async fn load(&self, _: &str) -> Result<Option<SinkState>, JournalError> {
        Ok(None)
    }
    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), JournalError> {
        if *self.failing.borrow() {
            self.refused.send_modify(|n| *n += 1);
            return Err(JournalError::Cursors("no".into()));
        }
        self.ledger.settle(steps.clone()).await?;
        self.settled.send_modify(|all| all.extend(steps));
        Ok(())
    }
    fn hold(&self, _: &str, _: Position) {}
    fn release(&self, _: &str) {}
    fn at_risk(&self) -> u64 {
        0
    }
    async fn close(&self) -> Result<(), JournalError> {
        Ok(())
    }
}
