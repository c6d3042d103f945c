//! What this daemon tells the others that share its journal: that it is there, where its admin listener is asked, and
//! by which config it runs. Where nobody can share the journal there is nobody to tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::config_state::ConfigState;
use super::host::host;
use crate::admin::AdminConfig;
use crate::admin::everyone::advertised;
use crate::config::Config;
use crate::ledger::nodes::{Node, Nodes};
use crate::version::VERSION;

/// How often it is told anew; the others forget one that has said nothing for a day.
const EVERY: Duration = Duration::from_secs(3600);
/// How often it is looked whether there is something new to tell, and pause before the next try.
const LOOK: Duration = Duration::from_secs(5);
/// Longest that a stop waits until the others are told.
const PATIENCE: Duration = Duration::from_secs(2);
/// What of a config is a machine's own: daemons of one cluster need not have it alike.
const OWN_TABLES: [&str; 5] = ["data_dir", "server", "admin", "log", "tracing"];
const OWN_KEYS: [&str; 4] = ["node", "dir", "min_free", "overflow_disk"];
/// Digits of the digest of a config.
const DIGITS: usize = 16;

/// Tells the others, and tells them anew, until this task is dropped.
pub(super) async fn announce(nodes: Arc<dyn Nodes>, admin: AdminConfig, config_state: Arc<ConfigState>) {
    if nodes.own().is_none() {
        return;
    }
    let host = host();
    let (mut told, mut is_failing) = (None::<(Arc<Config>, Instant)>, false);
    loop {
        let config = config_state.in_force();
        let is_told = told.as_ref().is_some_and(|(of, at)| Arc::ptr_eq(of, &config) && at.elapsed() < EVERY);
        if !is_told {
            let said = Node {
                admin: advertised(&admin, &host),
                host: host.clone(),
                version: VERSION.to_owned(),
                config: told_apart(config.written.text()),
                ..Node::default()
            };
            match nodes.announce(said).await {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        info!("the other daemons are told where this one is asked");
                    }
                    told = Some((config, Instant::now()));
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(%error, "the other daemons are not told where this one is asked; it is tried again");
                    }
                }
            }
        }
        sleep(LOOK).await;
    }
}

/// Tells the others that this daemon ends, as far as that can be done soon. Where it cannot, or the daemon was not
/// asked to end, they name it as one that does not answer: it is missed.
pub(super) async fn withdraw(nodes: &dyn Nodes, was_asked: bool) {
    if was_asked {
        let _ = timeout(PATIENCE, nodes.withdraw()).await;
    }
}

/// Tells what a config says from what another does, but for what is a machine's own.
fn told_apart(text: &str) -> String {
    let mut all = toml::from_str::<Value>(text).unwrap_or_default();
    if let Some(all) = all.as_object_mut() {
        OWN_TABLES.iter().for_each(|table| _ = all.remove(*table));
        let journal = all.get_mut("journal").and_then(Value::as_object_mut);
        journal.into_iter().for_each(|journal| OWN_KEYS.iter().for_each(|key| _ = journal.remove(*key)));
    }
    let digest = hex::encode(Sha256::digest(in_order(all).to_string()));
    digest.chars().take(DIGITS).collect()
}

/// The same with all names in the order of the alphabet, whatever that of the text was.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<String, Value> = object.into_iter().map(|(key, one)| (key, in_order(one))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(in_order).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_are_told_apart_by_what_daemons_of_a_cluster_have_alike() {
        let text = "data_dir = \"a\"\n[server]\nlisten = \"a:1\"\n[journal]\nkind = \"kafka\"\nnode = \"a\"\n\
                    [sinks.crm]\nkind = \"http\"\nurl = \"http://crm\"\n";
        let same = "[sinks.crm]\nurl = \"http://crm\" # the same\nkind = \"http\"\n\
                    [journal]\nnode = \"b\"\nkind = \"kafka\"\n[log]\nlevel = \"debug\"\n";
        assert_eq!(told_apart(text), told_apart(same));
        assert_ne!(told_apart(text), told_apart(&text.replace("http://crm", "http://other")));
        assert_eq!(told_apart(text).len(), DIGITS);
    }
}
