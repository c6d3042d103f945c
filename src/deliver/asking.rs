//! What jq is asked about the events that were read, before they are routed. Waits for the worker process of the sink,
//! and for nothing of any other sink's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info};

use crate::event;
use crate::journal::{Chunk, Entry};
use crate::route::RuleSet;
use crate::route::jq::{Ask, Asker, Said};

/// Most events asked about at once, and most bytes of them: what is asked again one by one where one of them is at fault.
const SLICE_EVENTS: usize = 64;
const SLICE_BYTES: usize = 256 << 10;
/// Most bytes of payloads made of one read; what comes behind is read again.
const MAX_SAID: usize = 8 << 20;
/// Pause before a worker process is started again where none can be, and the longest one; it doubles in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Pause before it is said again that there are no answers.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// A sink's questions to jq, and the worker process that answers them.
#[derive(Clone)]
pub struct Questions {
    sink: Arc<str>,
    rules: Arc<RuleSet>,
    /// None where no rule asks.
    asker: Option<Arc<Mutex<Asker>>>,
}

impl Questions {
    pub fn new(sink: &str, rules: &Arc<RuleSet>) -> Self {
        let asker = rules.asks(sink).then(|| Asker::new(rules)).flatten().map(|asker| Arc::new(Mutex::new(asker)));
        Self { sink: sink.into(), rules: Arc::clone(rules), asker }
    }

    /// The chunk, cut short where jq made much of it, and the answers about each of its entries.
    pub async fn ask(&self, mut chunk: Chunk) -> (Chunk, Vec<Option<Said>>) {
        let Some(asker) = &self.asker else { return (chunk, vec![]) };
        let mut asker = asker.lock().await;
        let (mut said, mut size): (Vec<Option<Said>>, usize) = (Vec::new(), 0);
        while let Some(rest) = chunk.entries.get(said.len()..).filter(|rest| !rest.is_empty()) {
            if size > MAX_SAID {
                break;
            }
            let asks: Vec<Option<Ask>> = self.slice(rest);
            let asked: Vec<Ask> = asks.iter().flatten().cloned().collect();
            let mut answers = self.answers(&mut asker, &asked).await.into_iter();
            size += answers.as_slice().iter().map(Said::size).sum::<usize>();
            said.extend(asks.iter().map(|ask| ask.as_ref().and_then(|_| answers.next())));
        }
        if let Some(first) = chunk.entries.get(said.len()) {
            chunk.next = first.position;
            chunk.entries.truncate(said.len());
        }
        (chunk, said)
    }

    /// What to ask about the next entries; nothing about those that no program has a say in. At least one entry.
    fn slice(&self, rest: &[Entry]) -> Vec<Option<Ask>> {
        let (mut asks, mut bytes, mut texts) = (Vec::new(), 0, event::Texts::default());
        for entry in rest.iter().take(SLICE_EVENTS) {
            let record = &entry.record;
            let questions = self.rules.questions(&self.sink, &record.source, &record.kind);
            // One that cannot be decoded is for the router to say.
            let event = if questions.is_empty() { None } else { event::decode_shared(record, &mut texts).ok() };
            bytes += event.as_ref().map_or(0, |event| event.body.len());
            asks.push(event.map(|event| Ask { event, questions, show: false }));
            if bytes >= SLICE_BYTES {
                break;
            }
        }
        asks
    }

    /// Tried until there are answers: that no process can be started, or that one is stopped, is no event's fault.
    async fn answers(&self, asker: &mut Asker, asks: &[Ask]) -> Vec<Said> {
        let mut pause = PAUSES.0;
        let mut told: Option<Instant> = None;
        loop {
            match asker.ask(asks).await {
                Ok(said) => {
                    if told.is_some() {
                        info!(sink = %self.sink, "rules can be evaluated again");
                    }
                    return said;
                }
                Err(error) if told.is_none_or(|at| at.elapsed() >= SAY_AGAIN) => {
                    error!(sink = %self.sink, %error, "rules cannot be evaluated: the sink waits; trying again");
                    told = Some(Instant::now());
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}
