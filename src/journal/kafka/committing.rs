//! What the ledger has made durable in Kafka ([`Committer`]), and hears of it ([`Hears`]): each sink's steps go to the
//! thread that settles it, what all daemons see is read by a client that stays, and all else is asked and written by
//! clients that come and go.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::control;
use super::group::{Groups, blocking};
use super::seam::{CommitError, Committer, Hears, Row, Stand, Step, Told};
use super::shards::{Taken, shards_of};
use super::standing;

/// The row whose place is a number.
const NUMBER: &str = "number";

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
        let place = blocking(move || control::set(&common.cluster, &row)).await?;
        // Whoever wrote it finds it there. Where the reader is late, the row stands all the same.
        self.watching().read_past(place).await;
        Ok(())
    }

    async fn control(&self) -> Result<Vec<Row>, CommitError> {
        if let Some(rows) = self.watching().now().await {
            let row = |(key, value): (&String, &Bytes)| Row { key: key.clone(), value: Some(value.clone()) };
            return Ok(rows.iter().map(row).collect());
        }
        let common = Arc::clone(self.common());
        blocking(move || Ok(control::all(&common.cluster)?)).await
    }
}

#[async_trait]
impl Hears for Groups {
    fn told(&self) -> watch::Receiver<Told> {
        self.watching().told()
    }

    fn here(&self, sink: &str) -> Vec<Stand> {
        let owned = |taken: Taken| taken.stand;
        self.member(sink).map(|member| member.shards.owned().into_iter().map(owned).collect()).unwrap_or_default()
    }

    async fn glance(&self, sink: &str) -> Result<Vec<Stand>, CommitError> {
        let (glancing, common, sink) = (Arc::clone(self.glancing()), Arc::clone(self.common()), sink.to_owned());
        blocking(move || Ok(glancing.stands(&common.cluster, &sink)?)).await
    }

    async fn number(&self) -> Result<u64, CommitError> {
        let common = Arc::clone(self.common());
        // No two rows have one place, whoever writes them.
        let row = Row { key: NUMBER.to_owned(), value: Some(common.cluster.node.clone().into()) };
        blocking(move || Ok(control::set(&common.cluster, &row)?)).await
    }
}
