//! Puts a new config in the place of the old one while the daemon runs: all of it, or nothing.
//!
//! The file was read and judged before, by the same code as at a start. A change that needs a restart refuses the
//! reload. Then the first cursors of new sinks become durable and the new sources are set up; what comes after that
//! cannot fail: books, rules, sinks. A sink whose table is the same goes on untouched, with the new rules for what it
//! has yet to read; a sink whose table changed is stopped, and started anew at its cursor.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::books::BookSet;
use super::config_reading::{Loaded, NotLoaded, Refused};
use super::error::DaemonError;
use super::own_events;
use super::refusals::{sinks_not_started, unable};
use super::resends;
use super::sinks::{book_missed, readers};
use super::world::World;
use crate::admin::reload::{Fixed, ReloadDone, Removed};
use crate::admin::{AdminConfig, Refusal};
use crate::config::{Config, FixedKey};
use crate::deliver::{self, DeliveryConfig};
use crate::ingress::ServerConfig;
use crate::journal::{JournalConfig, Marks};
use crate::ledger::{DeadLetterKeys, Storage};
use crate::news::{Item, Kind};
use crate::telemetry::{self, config::LogConfig};

/// Where a sink that is added begins, and how many deliveries it is owed of the events from there up to `until`.
struct FirstCursor {
    cursors: Marks,
    until: Marks,
    owed: u64,
}

impl World {
    /// Puts the config that was read in force, and logs what came of it.
    ///
    /// # Errors
    /// Why the old config stays in force, whole.
    pub async fn reload(&mut self, read: Loaded) -> Result<ReloadDone, Refusal> {
        let (file, outcome) = match read {
            Ok(config) => (Some(config.written.digest()), self.put_in_force(config).await),
            Err(NotLoaded::Refused(Refused { why, file })) => (file, Err(Refusal::Config(why))),
            Err(NotLoaded::Unable(why)) => (None, Err(Refusal::Unable(why))),
        };
        if let Err(Refusal::Config(why)) = &outcome {
            self.config_state.refuse(&Refused { why: why.clone(), file });
        }
        let [applied, refused] = &self.config_state.reloads;
        if outcome.is_ok() { applied } else { refused }.inc();
        match &outcome {
            Ok(done) => {
                self.config_state.put_in_force(&self.config);
                self.config_state.keep().await;
                let fixed = done.fixed.iter().map(|fixed| fixed.key.as_str()).collect::<Vec<_>>().join(" ");
                let removed = done.removed.iter().map(|removed| removed.sink.as_str()).collect::<Vec<_>>().join(" ");
                let (added, changed) = (done.added.join(" "), done.changed.join(" "));
                info!(
                    added,
                    changed,
                    removed,
                    sources = done.sources,
                    routes = done.routes,
                    resend_rules = done.resend_rules,
                    fixed_by_environment = fixed,
                    "the config was read again and is in force"
                );
                let text = format!(
                    "the config is in force: {} routes; sinks added: {added:?}, changed: {changed:?}, removed: \
                     {removed:?}",
                    done.routes
                );
                let item = Item::new(Kind::ConfigReloaded, self.config.file.display().to_string(), text);
                let item = item.with("added", added).with("changed", changed).with("removed", removed);
                self.news.tell(item.with("sources", done.sources).with("routes", done.routes));
            }
            Err(why) => {
                error!(%why, "the config was read again and refused: the old one stays in force");
                let goes_on = "and the old one stays in force";
                self.news.tell(own_events::config_refused(&self.config.file, &why.to_string(), goes_on));
            }
        }
        outcome
    }

    async fn put_in_force(&mut self, next: Config) -> Result<ReloadDone, Refusal> {
        let keys = needs_restart(&self.config, &next);
        if !keys.is_empty() {
            return Err(Refusal::Config(format!(
                "{}: {} changed, which takes a restart; nothing of the new config is in force\n  help: restart \
                 the daemon (`systemctl restart hookrelay`), or take that change out again",
                next.file.display(),
                keys.join(", ")
            )));
        }
        if !self.sinks.has_started() {
            return Err(sinks_not_started());
        }
        let mut done = compared(&self.config, &next);
        // What may fail comes first.
        let storage = self.store.storage.clone();
        let oldest = storage.journal.oldest().await.map_err(unable)?;
        done.added.iter().for_each(|name| storage.retention.hold(name, &oldest));
        let prepared = match self.prepare(&next, &done.added).await {
            Ok(prepared) => prepared,
            Err(error) => {
                done.added.iter().for_each(|name| storage.retention.leave(name, &oldest));
                return Err(unable(error));
            }
        };

        // Removed sinks stop under the rules that name them: under the next rules they would pass over what they have
        // not read yet. Replays use the sinks' tables: they stop here, and go on with the new tables.
        self.replays.halt().await;
        self.sinks.halt(done.removed.iter().map(|removed| removed.sink.as_str())).await;
        let before = self.books.now();
        // Events before `from` are counted from the journal, events from there on by these books.
        let (books, from) = self.books.switch(&next.rules, next.sink_names().collect(), &*storage.journal);
        self.sinks.set_rules(&next.rules);
        self.store.outbox.put_in_force(Arc::clone(&next.resends));
        self.ingress.set_tls(next.tls.clone());
        telemetry::put_in_force(&next.log);
        self.ingress.traces().put_in_force(&next.tracing);
        self.config = next;
        for (name, first) in done.added.iter().zip(prepared) {
            storage.retention.hold(name, &first.cursors);
            self.begin_book(&books, name, first, &from).await;
        }
        self.books.replace(books);
        self.own_events.follow(&self.config.rules);
        self.sinks.halt(done.changed.iter().map(String::as_str)).await;
        for removed in &mut done.removed {
            if let Some(book) = before.of(&removed.sink) {
                removed.pending = self.books.figures(&storage, book).await.pending;
            }
        }
        self.let_go(&done.removed).await;
        self.launch_all(done.changed.iter().chain(&done.added)).await;
        if let Err(error) = self.resume_replays().await {
            error!(%error, "replays wait for the next reload or start");
        }
        for warning in &self.config.warnings {
            warn!("{warning}");
            done.warnings.push(warning.to_string());
        }
        for remark in resends::without_rule(&self.store.outbox, &self.config.resends) {
            warn!("{remark}");
            done.warnings.push(remark);
        }
        let fixed = |FixedKey { key, variable }: FixedKey| Fixed { key, variable };
        done.fixed = self.config.fixed.iter().cloned().map(fixed).collect();
        Ok(done)
    }

    /// Does what may fail: makes durable where added sinks begin, counts what they are owed by now, and puts the new
    /// sources in force. Where it fails, nothing of the next config is in force.
    async fn prepare(&self, next: &Config, added: &[String]) -> Result<Vec<FirstCursor>, DaemonError> {
        let Storage { journal, settle, ledger, .. } = &self.store.storage;
        // From here on the ledger notes what is deleted before a sink that comes back, so that the sink reads of it.
        ledger.present(self.config.sink_names().chain(next.sink_names()).collect()).await?;
        journal.prepare(&readers(next)).await?;
        let sinks = next.sinks.iter().filter(|sink| added.contains(&sink.name));
        let named: Vec<_> = sinks.map(|sink| (sink.name.as_str(), sink.keys.start)).collect();
        let (oldest, now) = (journal.oldest().await?, journal.ends().await?);
        let cursors = deliver::first_cursors(&**settle, named, [&oldest, &now], false).await?;
        let mut prepared = Vec::with_capacity(added.len());
        for (name, cursors) in added.iter().zip(cursors) {
            let until = journal.ends().await?.later(&cursors);
            let events = journal.owed(&cursors, &until).await?;
            prepared.push(FirstCursor { cursors, until, owed: deliver::owed(&next.rules, name, &events.known) });
        }
        self.ingress.replace_sources(next.sources.clone());
        Ok(prepared)
    }

    /// Begins the book of a sink that is added. The sink is owed what `prepare` counted, and what came between that
    /// count and `from`.
    async fn begin_book(&self, books: &BookSet, name: &str, first: FirstCursor, from: &Marks) {
        let Storage { journal, settle, .. } = &self.store.storage;
        let inexact = |error: DaemonError| {
            error!(sink = name, %error, "what the sink is owed cannot be told exactly until it has caught up");
        };
        book_missed(&self.store, &books.rules, name, &self.news).await.unwrap_or_else(|error| inexact(error.into()));
        let since = journal.owed(&first.until, from).await.map_err(|error| inexact(error.into())).unwrap_or_default();
        let state = settle.load(name).await.map_err(|error| inexact(error.into())).ok().flatten();
        if let Some(book) = books.of(name) {
            book.book.begin(state, first.owed + deliver::owed(&books.rules, name, &since.known));
        }
    }

    /// From now on removed sinks hold nothing in the journal: what is deleted before they are back is counted for them.
    async fn let_go(&self, removed: &[Removed]) {
        let Storage { journal, retention, ledger, .. } = &self.store.storage;
        let away = ledger.present(self.config.sink_names().collect()).await.unwrap_or_else(|error| {
            // Until the next reload or start, what is deleted is noted in full: as exact as a count, and larger.
            error!(%error, "the ledger cannot note that sinks are gone");
            vec![]
        });
        // Where it cannot be read, the beginning: then more is noted than need be.
        let oldest = journal.oldest().await.unwrap_or_default();
        for Removed { sink, .. } in removed {
            let cursors = away.iter().find(|(name, _)| name == sink).map_or(&oldest, |(_, cursors)| cursors);
            retention.leave(sink, cursors);
        }
    }
}

/// Which sinks are added, changed and removed.
fn compared(old: &Config, next: &Config) -> ReloadDone {
    let mut done = ReloadDone {
        sources: next.sources.len(),
        routes: next.routes.len(),
        resend_rules: Some(next.resends.len()).filter(|rules| rules + old.resends.len() > 0),
        ..ReloadDone::default()
    };
    for old in &old.sinks {
        match next.sinks.iter().find(|sink| sink.name == old.name) {
            None => done.removed.push(Removed { sink: old.name.clone(), pending: 0 }),
            Some(sink) if sink.digest != old.digest => done.changed.push(old.name.clone()),
            Some(_) => {}
        }
    }
    let is_new = |name: &String| old.sinks.iter().all(|old| old.name != *name);
    done.added = next.sink_names().filter(is_new).collect();
    done
}

/// The keys whose values differ in two of the same table. All of the table's keys must be named, behind a semicolon
/// those that a reload puts in force.
macro_rules! changed_keys {
    ($name:literal, $old:expr, $new:expr, $table:ident { $($key:ident),+ $(; $($free:ident),+)? }) => {{
        let $table { $($key),+ $(, $($free: _),+)? } = $old;
        let keys = [$((stringify!($key), *$key != $new.$key)),+].into_iter().filter(|(_, changed)| *changed);
        keys.map(|(key, _)| format!(concat!("[", $name, "] {}"), key))
    }};
}

/// Every key that changed and takes a restart.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let data_dir = (old.data_dir != new.data_dir).then(|| "`data_dir`".to_owned());
    let server = changed_keys!(
        "server",
        &old.server,
        &new.server,
        ServerConfig {
            listen,
            max_body,
            header_timeout,
            body_timeout,
            max_header_bytes,
            max_connections,
            max_inflight_bytes,
            dedupe_max,
            drain,
            trusted_proxies,
            health;
            tls
        }
    );
    let journal = changed_keys!(
        "journal",
        &old.journal,
        &new.journal,
        JournalConfig {
            kind,
            dir,
            segment_size,
            retention,
            max_size,
            when_full,
            min_free,
            overflow_max,
            brokers,
            cluster,
            node,
            partitions,
            overflow_disk,
            flush,
            properties
        }
    );
    let admin = changed_keys!("admin", &old.admin, &new.admin, AdminConfig { listen, advertise, token, read_only });
    let dead_letters =
        changed_keys!("dead_letters", &old.dead_letters, &new.dead_letters, DeadLetterKeys { max_size, max_age });
    let delivery = changed_keys!("delivery", &old.delivery, &new.delivery, DeliveryConfig { memory });
    let log = changed_keys!("log", &old.log, &new.log, LogConfig { format; level, levels, bodies });
    data_dir
        .into_iter()
        .chain(server)
        .chain(log)
        .chain(journal)
        .chain(admin)
        .chain(delivery)
        .chain(dead_letters)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::registry::KINDS;

    const SMALL: &str = r#"
data_dir = "data"
[sources.shop]
kind = "interakt"
path = "/shop"
secret = "0123456789abcdef"
[sinks.out]
kind = "stdout"
[[routes]]
match = "*"
to = "out"
"#;

    #[test]
    fn every_changed_key_that_takes_a_restart_is_named_with_its_table() {
        let folder = tempfile::tempdir().unwrap();
        let config = |text: &str| {
            let file = folder.path().join("config.toml");
            std::fs::write(&file, format!("{SMALL}{text}")).unwrap();
            crate::config::read(Path::new(&file), KINDS).unwrap()
        };
        let before = config("[server]\nmax_body = \"1MiB\"\n");
        for (text, named) in [
            ("[server]\nmax_body = \"1MiB\"\ndrain = \"2s\"\n", &[][..]),
            ("[server]\nmax_body = \"2MiB\"\n", &["[server] max_body"]),
            (
                "[server]\nlisten = \"127.0.0.1:4010\"\ndrain = \"3s\"\n[journal]\nretention = \"1d\"\n",
                &["[server] listen", "[server] drain", "[journal] retention"],
            ),
            (
                "[admin]\nlisten = \"unix:a.sock\"\n[delivery]\nmemory = \"8MiB\"\n[dead_letters]\nmax_age = \"1d\"\n",
                &["[admin] listen", "[delivery] memory", "[dead_letters] max_age"],
            ),
            ("[log]\nformat = \"json\"\nlevel = \"debug\"\nbodies = true\n", &["[log] format"]),
        ] {
            assert_eq!(needs_restart(&before, &config(text)), named, "{text}");
        }
    }
}
