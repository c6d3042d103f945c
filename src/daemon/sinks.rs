//! The sinks' workers: started together once the ledger says where each goes on, which a full or failing disk may put off;
//! stopped together.

use std::sync::Arc;
use std::time::Duration;

use sink_api::{DiskFloor, SinkContext};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::panel::Books;
use super::store::Store;
use super::{DaemonError, make_folder};
use crate::config::{Config, SinkEntry};
use crate::deliver::{self, Book, Spec};
use crate::journal::{Journal, TypeCount};

/// How long sinks may finish what is under way when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause before the first new try to start them, and the longest one; it doubles in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The sinks' workers.
#[derive(Default)]
pub struct Sinks {
    running: JoinSet<()>,
    stop: watch::Sender<bool>,
    started: bool,
}

impl Sinks {
    /// Starts them, unless the disk is full or failing: then [`Self::keep_trying`] will, and until then every sink holds
    /// the whole journal.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub async fn start_if_possible(
        &mut self,
        config: &Config,
        store: &mut Store,
        books: &Books,
    ) -> Result<(), DaemonError> {
        match self.start(config, store, books).await {
            Err(reason) if reason.may_pass() => {
                error!(%reason, "no sink can start: webhooks are taken meanwhile, and it is tried again");
                store.hold_everything(config);
                Ok(())
            }
            done => done,
        }
    }

    /// Returns when all have started, which is at once where they have already. Cancel-safe.
    ///
    /// # Errors
    /// What waiting does not cure.
    pub async fn keep_trying(&mut self, config: &Config, store: &mut Store, books: &Books) -> Result<(), DaemonError> {
        let mut pause = PAUSES.0;
        while !self.started {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match self.start(config, store, books).await {
                Err(reason) if reason.may_pass() => {}
                Err(error) => return Err(error),
                Ok(()) => info!("the ledger can be used: the sinks have started"),
            }
        }
        Ok(())
    }

    /// All of them or none. The first cursors are durable before anything is delivered.
    async fn start(&mut self, config: &Config, store: &mut Store, books: &Books) -> Result<(), DaemonError> {
        store.open_ledger().await?;
        let named = config.sinks.iter().map(|sink| (sink.name.as_str(), sink.keys.start));
        let cursors = deliver::first_cursors(&*store.journal, named, store.begun, store.lost == Some(true)).await?;
        let mut ready = Vec::with_capacity(config.sinks.len());
        for ((sink, cursor), (_, book)) in config.sinks.iter().zip(cursors).zip(&books.sinks) {
            let state = store.journal.load(&sink.name).await?;
            let stood = store.journal.owed(cursor, store.begun).await?;
            let owed = |c: &TypeCount| c.events * u64::from(config.rules.owed(&sink.name, &c.source, &c.kind));
            book.begin(state, stood.iter().map(owed).sum());
            ready.push((sink, cursor, sink.keys.enabled.then(|| spec(config, sink, book, store)).transpose()?));
        }
        // From here on nothing fails and nothing waits.
        for (sink, cursor, spec) in ready {
            store.journal.hold(&sink.name, cursor);
            let Some(spec) = spec else {
                info!(sink = %sink.name, "not enabled: its cursor stays");
                continue;
            };
            let (rules, journal): (_, Arc<dyn Journal>) = (Arc::clone(&config.rules), store.journal.clone());
            self.running.spawn(deliver::run(spec, cursor, rules, journal, self.stop.subscribe(), DRAIN));
        }
        // Every sink holds what it is owed: only now may anything be deleted.
        store.journal.begin_retention();
        self.started = true;
        Ok(())
    }

    /// Lets them finish what is under way, within [`DRAIN`].
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.running.join_next().await.is_some() {}
    }
}

fn spec(config: &Config, sink: &SinkEntry, book: &Arc<Book>, store: &Store) -> Result<Spec, DaemonError> {
    let context = SinkContext {
        name: sink.name.clone(),
        base_dir: config.base_dir.clone(),
        state_dir: config.data_dir.join("sinks").join(&sink.name),
        floor: DiskFloor { min_free: config.journal.min_free.0 },
    };
    make_folder(&context.state_dir)?;
    Ok(Spec {
        name: sink.name.clone(),
        config: Arc::clone(&sink.config),
        keys: sink.keys.clone(),
        limits: sink.limits,
        context,
        book: Arc::clone(book),
        room: Arc::clone(store.ledger.room()),
        ledger: Arc::clone(&store.ledger),
    })
}
