//! The daemons that share a journal: what each says of itself, so that any of them can ask the others. Whichever engine
//! keeps the journal.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::SettleError;

/// A daemon, as it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name, which no other daemon has.
    #[serde(skip)]
    pub name: String,
    /// Where its admin listener is asked: `unix:PATH` or `HOST:PORT`.
    pub admin: String,
    /// Name of its host.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Tells what its config says from what another's does.
    pub config: String,
    /// When it said so, seconds since 1970.
    pub seen: i64,
    /// Tells this life of the daemon from an earlier one, and from another daemon of that name.
    pub life: String,
}

/// Who shares the journal.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// This daemon's name among them; `None` where nobody can share its journal.
    fn own(&self) -> Option<&str>;
    /// Tells the others of this daemon. It is to be told again within the hour.
    async fn announce(&self, said: Node) -> Result<(), SettleError>;
    /// Tells them that it ends.
    async fn withdraw(&self) -> Result<(), SettleError>;
    /// All of them, by name, this one included; as they were a few seconds ago at most. Answers soon.
    async fn all(&self) -> Result<Vec<Node>, SettleError>;
}

/// Of a journal that is this daemon's alone.
pub struct Alone;

#[async_trait]
impl Nodes for Alone {
    fn own(&self) -> Option<&str> {
        None
    }

    async fn announce(&self, _: Node) -> Result<(), SettleError> {
        Ok(())
    }

    async fn withdraw(&self) -> Result<(), SettleError> {
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Node>, SettleError> {
        Ok(vec![])
    }
}
