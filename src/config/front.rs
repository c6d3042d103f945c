//! What may be wrong with `[server]` beyond its own table: the files that `tls` names.

use std::ops::Range;
use std::path::Path;

use sink_api::Timestamp;
use toml::de::DeTable;

use super::env::Env;
use super::faults::Report;
use crate::ingress::http::tls;
use crate::ingress::{ServerConfig, Tls};

/// `[server]` as it was read.
pub(super) struct ServerRead<'t> {
    pub config: ServerConfig,
    /// The bytes of its `max_body`.
    pub max_body_at: Range<usize>,
    /// The table, and the bytes of its header.
    pub table: (DeTable<'t>, Range<usize>),
}

impl Default for ServerRead<'_> {
    fn default() -> Self {
        Self { config: ServerConfig::default(), max_body_at: 0..0, table: (DeTable::new(), 0..0) }
    }
}

impl ServerRead<'_> {
    /// Reads the files that `tls` names; what is wrong with them, or soon will be, goes to the report.
    pub fn tls(&self, env: &dyn Env, report: &mut Report<'_>) -> Option<Tls> {
        let (kept, header) = &self.table;
        let read = |path: &Path, is_secret| if is_secret { env.read_file(path) } else { env.read_public(path) };
        match tls::load(self.config.tls.as_ref()?, read, Timestamp::now()) {
            Ok((tls, doubts)) => {
                doubts.into_iter().for_each(|doubt| report.doubt("server", doubt, kept, header));
                Some(tls)
            }
            Err(faults) => {
                report.faults("server", faults, kept, header);
                None
            }
        }
    }
}
