//! `[journal]` in `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;
use sink_api::{Period, Size};

/// What happens when `max_size` is reached and every event left is still owed to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The laggard's oldest events go, counted as dropped.
    DropOldest,
    /// New events are refused.
    Refuse,
}

/// The journal's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Folder; default `<data_dir>/journal`. May lie on another disk.
    pub dir: Option<PathBuf>,
    /// A segment is sealed when it has grown to this.
    pub segment_size: Size,
    /// How long settled events stay for replay.
    pub retention: Period,
    /// Most disk the journal and the ledger may take together.
    pub max_size: Size,
    /// What happens when `max_size` holds only owed events.
    pub when_full: WhenFull,
    /// The disk counts as full when less than this is free.
    pub min_free: Size,
    /// Most bytes waiting for a flush.
    pub overflow_max: Size,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            dir: None,
            segment_size: Size::mib(64),
            retention: Period::secs(7 * 24 * 3600),
            max_size: Size::mib(10 * 1024),
            when_full: WhenFull::DropOldest,
            min_free: Size::mib(512),
            overflow_max: Size::mib(64),
        }
    }
}
