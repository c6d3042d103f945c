//! What jq is asked about the events that were read, before they are routed. Asking waits for the jq process of the
//! sink, and for nothing of any other sink's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info};

use crate::event;
use crate::journal::Entry;
use crate::route::RuleSet;
use crate::route::jq::{Ask, Asker, Said};

/// Most events asked about at once. Where one of them is at fault, all of them are asked about again one by one.
const SLICE_EVENTS: usize = 64;
/// Most bytes of these events.
const SLICE_BYTES: usize = 256 << 10;
/// Most bytes of payloads that programs make of one read; the events behind are read again.
const MAX_SAID: usize = 8 << 20;
/// The first pause before another process is started where none can be, and the longest; the pause doubles in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often the log says that there are no answers.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// A sink's questions to jq, and the process that answers them.
#[derive(Clone)]
pub struct Questions {
    sink: Arc<str>,
    rules: Arc<RuleSet>,
    /// None where no rule of the sink is in jq.
    asker: Option<Arc<Mutex<Asker>>>,
}

impl Questions {
    pub fn new(sink: &str, rules: &Arc<RuleSet>) -> Self {
        let asker = rules.asks(sink).then(|| Asker::new(rules)).flatten().map(|asker| Arc::new(Mutex::new(asker)));
        Self { sink: sink.into(), rules: Arc::clone(rules), asker }
    }

    /// About how many of these entries there are answers, which is not about all where jq makes much of them, and the
    /// answers about each; none where no rule asks.
    pub async fn ask(&self, entries: &[Entry]) -> (usize, Vec<Option<Said>>) {
        let Some(asker) = &self.asker else { return (entries.len(), vec![]) };
        let mut asker = asker.lock().await;
        let (mut said, mut size): (Vec<Option<Said>>, usize) = (Vec::new(), 0);
        while let Some(rest) = entries.get(said.len()..).filter(|rest| !rest.is_empty()) {
            if size > MAX_SAID {
                break;
            }
            let asks: Vec<Option<Ask>> = self.slice(rest);
            let asked: Vec<Ask> = asks.iter().flatten().cloned().collect();
            let mut answers = self.answers(&mut asker, &asked).await.into_iter();
            size += answers.as_slice().iter().map(Said::size).sum::<usize>();
            said.extend(asks.iter().map(|ask| ask.as_ref().and_then(|_| answers.next())));
        }
        (said.len(), said)
    }

    /// What to ask about the next entries, at least one; nothing about an entry that concerns no program.
    fn slice(&self, rest: &[Entry]) -> Vec<Option<Ask>> {
        let (mut asks, mut bytes, mut texts) = (Vec::new(), 0, event::Texts::default());
        for entry in rest.iter().take(SLICE_EVENTS) {
            let record = &entry.record;
            let questions = self.rules.questions(&self.sink, &record.source, &record.kind);
            // That an event cannot be decoded is found again, and said, when it is routed.
            let event = if questions.is_empty() { None } else { event::decode_once(record, &mut texts).ok() };
            bytes += event.as_ref().map_or(0, |event| event.body.len());
            asks.push(event.map(|event| Ask { event, questions, show: false }));
            if bytes >= SLICE_BYTES {
                break;
            }
        }
        asks
    }

    /// Asks until there are answers: that no process can be started, or that one is stopped, is no event's fault.
    async fn answers(&self, asker: &mut Asker, asks: &[Ask]) -> Vec<Said> {
        let mut pause = PAUSES.0;
        let mut logged: Option<Instant> = None;
        loop {
            match asker.ask(asks).await {
                Ok(said) => {
                    if logged.is_some() {
                        info!(sink = %self.sink, "rules can be evaluated again");
                    }
                    return said;
                }
                Err(error) if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) => {
                    error!(sink = %self.sink, %error, "rules cannot be evaluated: the sink waits; trying again");
                    logged = Some(Instant::now());
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}
