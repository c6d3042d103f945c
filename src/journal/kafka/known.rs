//! The ends of the shards as far as this process knows them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::journal::view::lock;
use crate::journal::{JournalError, Marks, News, Position, Reader};

/// Past every event that this process was told durable or has read. Shared by whoever hears of either.
#[derive(Debug, Default)]
pub struct KnownEnds(Mutex<Marks>);

impl KnownEnds {
    /// An event stands here.
    pub fn pass(&self, position: Position) {
        self.reach(position.behind());
    }

    /// The shard goes up to here at least.
    pub fn reach(&self, end: Position) {
        let mut marks = lock(&self.0);
        if !marks.is_past(end) {
            marks.set(end);
        }
    }

    /// What is known now.
    pub fn now(&self) -> Marks {
        lock(&self.0).clone()
    }
}

/// A reader of which is noted how far it has read.
pub struct Noted {
    /// The reader.
    pub reader: Box<dyn Reader>,
    /// Where that is noted.
    pub known: Arc<KnownEnds>,
}

#[async_trait]
impl Reader for Noted {
    async fn ready(&mut self) {
        self.reader.ready().await;
    }

    async fn next(&mut self, max_bytes: u64) -> Result<News, JournalError> {
        let news = self.reader.next(max_bytes).await?;
        if let News::Chunk(chunk) = &news {
            self.known.reach(chunk.next);
        }
        Ok(news)
    }

    fn is_over(&self) -> bool {
        self.reader.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_only_move_on() {
        let known = KnownEnds::default();
        let at = |offset| Position { shard: 1, offset };
        known.pass(at(4));
        known.reach(at(5));
        known.pass(at(2));
        assert_eq!(known.now(), Marks::from(at(5)));
    }
}
