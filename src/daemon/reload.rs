//! A new config in the place of the old one while the daemon runs: all of it, or nothing.
//!
//! The file is read and judged first, by the same code as at a start. What needs a restart refuses the reload. Then first
//! cursors of new sinks become durable, and the rest cannot fail: sources, books, rules, sinks. A sink whose table is the
//! same goes on untouched, with the new rules for what it has yet to read; one that changed hands over at its cursor.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::books::Books;
use super::replays::Replays;
use super::sinks::Sinks;
use super::store::Store;
use crate::admin::Refusal;
use crate::admin::orders::{ReloadDone, Removed};
use crate::config::Config;
use crate::deliver::{self};
use crate::ingress::Ingress;
use crate::journal::{Journal, TypeCount};

/// Reading a config takes no longer, its tests included.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Most readings that hang at once: what blocks cannot be ended, only left behind.
const MAX_LOADS: usize = 8;

/// Reads the config again; the error is what there is to say to the user, ready to print. May block.
pub type Load = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a reload changes.
pub(super) struct World {
    pub config: Config,
    pub store: Store,
    pub sinks: Sinks,
    pub replays: Replays,
    pub books: Arc<Books>,
    pub front: Arc<Ingress>,
    pub load: Load,
    /// Held by every reading that has not come back.
    pub loads: Arc<()>,
}

impl World {
    /// Reads the config again, within [`LOAD_TIMEOUT`]. May be dropped, which lets go of what is read.
    ///
    /// # Errors
    /// Why it cannot come into force.
    pub async fn load(&self) -> Result<Config, Refusal> {
        if Arc::strong_count(&self.loads) > MAX_LOADS {
            let why = format!("{MAX_LOADS} earlier readings of the config hang: a file it names does not answer");
            return Err(Refusal::Unable(why));
        }
        let (load, under_way) = (Arc::clone(&self.load), Arc::clone(&self.loads));
        let loading = tokio::task::spawn_blocking(move || {
            let _under_way = under_way;
            load()
        });
        match tokio::time::timeout(LOAD_TIMEOUT, loading).await {
            Ok(Ok(Ok(config))) => Ok(config),
            Ok(Ok(Err(faults))) => Err(Refusal::Config(faults)),
            Ok(Err(panicked)) => Err(Refusal::Unable(panicked.to_string())),
            Err(_) => Err(Refusal::Unable(format!(
                "reading the config and running its tests took longer than {} s: a file it names does not answer, or its \
                 tests are too many",
                LOAD_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Puts what was read in force.
    ///
    /// # Errors
    /// Why the old one stays in force, whole.
    pub async fn reload(&mut self, loaded: Result<Config, Refusal>) -> Result<ReloadDone, Refusal> {
        let next = match loaded {
            Ok(config) => self.follow(config).await,
            Err(refusal) => Err(refusal),
        };
        match &next {
            Ok(done) => {
                let removed = done.removed.iter().map(|removed| removed.sink.as_str()).collect::<Vec<_>>().join(" ");
                let (added, changed) = (done.added.join(" "), done.changed.join(" "));
                info!(
                    added,
                    changed,
                    removed,
                    sources = done.sources,
                    routes = done.routes,
                    "the config was read again and is in force"
                );
            }
            Err(why) => error!(%why, "the config was read again and refused: the old one stays in force"),
        }
        next
    }

    async fn follow(&mut self, next: Config) -> Result<ReloadDone, Refusal> {
        if let Some(what) = needs_restart(&self.config, &next) {
            return Err(Refusal::Config(format!(
                "{}: {what} changed, which takes a restart; nothing of the new config is in force",
                next.file.display()
            )));
        }
        if !self.sinks.has_started() {
            return Err(Refusal::Unable("the sinks have not started yet: the disk is full or failing".into()));
        }
        let mut done = ReloadDone { sources: next.sources.len(), routes: next.routes.len(), ..ReloadDone::default() };
        for old in &self.config.sinks {
            match next.sinks.iter().find(|sink| sink.name == old.name) {
                None => done.removed.push(Removed { sink: old.name.clone(), pending: 0 }),
                Some(sink) if sink.digest != old.digest => done.changed.push(old.name.clone()),
                Some(_) => {}
            }
        }
        let is_new = |name: &String| self.config.sinks.iter().all(|old| old.name != *name);
        done.added = next.sinks.iter().map(|sink| sink.name.clone()).filter(is_new).collect();

        // What may fail comes first.
        let unable = |error: &dyn std::fmt::Display| Refusal::Unable(error.to_string());
        let added = next.sinks.iter().filter(|sink| done.added.contains(&sink.name));
        let named: Vec<_> = added.map(|sink| (sink.name.as_str(), sink.keys.start)).collect();
        let journal = Arc::clone(&self.store.journal);
        let firsts = deliver::first_cursors(&*journal, named, journal.end(), false).await;
        let firsts = firsts.map_err(|error| unable(&error))?;
        let sources = next.sources.iter().map(|source| (source.name.clone(), source.config.clone())).collect();
        self.front.replace_sources(sources).map_err(|error| unable(&error))?;

        // Under the rules that name them: under the next ones they would pass over what they have not read yet. Replays read
        // with the sinks' tables: they go on with the new ones.
        self.replays.halt().await;
        self.sinks.halt(done.removed.iter().map(|removed| removed.sink.as_str())).await;
        let names = next.sinks.iter().map(|sink| sink.name.clone()).collect();
        let before = self.books.now();
        let books = self.books.follow(&next.rules, names);
        // What stands before is counted from the journal, what comes from here on by these books.
        let from = journal.end();
        self.sinks.follow(&next.rules, from);
        self.config = next;
        for (name, cursor) in done.added.iter().zip(firsts) {
            journal.hold(name, cursor);
            let state = journal.load(name).await.ok().flatten();
            let stood = journal.owed(cursor, from).await.unwrap_or_default();
            let owed = |c: &TypeCount| c.events * u64::from(books.rules.owed(name, &c.source, &c.kind));
            if let Some(book) = books.of(name) {
                book.book.begin(state, stood.iter().map(owed).sum(), from);
            }
        }
        self.sinks.halt(done.changed.iter().map(String::as_str)).await;
        for removed in &mut done.removed {
            journal.release(&removed.sink);
            removed.pending = super::panel::pending(&self.store, &before, &removed.sink).await;
        }
        for name in done.changed.iter().chain(&done.added) {
            if let Err(error) = self.launch(name).await {
                error!(sink = %name, %error, "the sink cannot be started; it keeps its place and is tried again at the next reload");
            }
        }
        if let Err(error) = self.resume_replays().await {
            error!(%error, "replays wait for the next reload or start");
        }
        for warning in &self.config.warnings {
            warn!("{warning}");
            done.warnings.push(warning.to_string());
        }
        Ok(done)
    }

    /// Opens every sink that runs anew, each where its cursor stands.
    pub async fn restart(&mut self) {
        let names: Vec<String> = self.config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let running: Vec<String> = names.into_iter().filter(|name| self.sinks.is_running(name)).collect();
        self.sinks.halt(running.iter().map(String::as_str)).await;
        for name in running {
            if let Err(error) = self.launch(&name).await {
                error!(sink = %name, %error, "the sink cannot be started; it keeps its place and is tried again at the next reload");
            }
        }
    }

    /// Starts a sink of the config where its cursor stands.
    pub async fn launch(&mut self, name: &str) -> Result<(), super::DaemonError> {
        let books = self.books.now();
        let Some((sink, book)) = self.config.sinks.iter().find(|sink| sink.name == name).zip(books.of(name)) else {
            return Ok(());
        };
        self.sinks.launch(&self.config, sink, &book.book, &self.store).await
    }
}

/// What changed that is taken up at a start alone.
fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    let changes = [
        ("`data_dir`", old.data_dir != new.data_dir),
        ("[server]", old.server != new.server),
        ("[journal]", old.journal != new.journal),
        ("[admin]", old.admin != new.admin),
        ("[dead_letters]", old.dead_letters != new.dead_letters),
    ];
    changes.into_iter().find(|(_, changed)| *changed).map(|(what, _)| what)
}
