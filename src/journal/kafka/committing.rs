//! What the ledger has made durable in Kafka ([`Committer`]): each sink's steps go to the thread that settles it, all
//! else is asked and written by clients that come and go.

use std::sync::Arc;

use async_trait::async_trait;

use super::control;
use super::group::{Groups, blocking};
use super::seam::{CommitError, Committer, Row, Stand, Step};
use super::shards::shards_of;
use super::standing;

#[async_trait]
impl Committer for Groups {
    async fn commit(&self, sink: &str, steps: Vec<Step>) -> Result<(), CommitError> {
        match self.member(sink) {
            _ if steps.is_empty() => Ok(()),
            Some(member) if !member.has_ended() => member.settling.settle(&member, steps).await,
            // Where nobody reads, nothing is this daemon's.
            _ => Err(CommitError::Fenced(shards_of(&steps))),
        }
    }

    async fn stands(&self, sink: &str) -> Result<Vec<Stand>, CommitError> {
        let (common, sink) = (Arc::clone(self.common()), sink.to_owned());
        blocking(move || Ok(standing::all(&common.cluster, &sink)?)).await
    }

    async fn begin(&self, sink: &str, stands: Vec<Stand>) -> Result<(), CommitError> {
        let (common, sink) = (Arc::clone(self.common()), sink.to_owned());
        blocking(move || standing::begin(&common.cluster, &sink, &stands)).await
    }

    async fn set_control(&self, row: Row) -> Result<(), CommitError> {
        let common = Arc::clone(self.common());
        blocking(move || Ok(control::set(&common.cluster, &row)?)).await
    }

    async fn control(&self) -> Result<Vec<Row>, CommitError> {
        let common = Arc::clone(self.common());
        blocking(move || Ok(control::all(&common.cluster)?)).await
    }
}
