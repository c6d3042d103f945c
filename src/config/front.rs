//! What may be wrong with `[server]` beyond its own table: files that `tls` names, and a path of `health` that a source
//! has.

use std::ops::Range;
use std::path::Path;

use sink_api::{Fault, Timestamp};
use toml::de::DeTable;

use super::env::Env;
use super::faults::Report;
use crate::admin::{AdminConfig, Listen};
use crate::ingress::http::address::Address;
use crate::ingress::http::tls;
use crate::ingress::{ServerConfig, SourceConfig, Tls};

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

    /// The admin listener, on which nobody shows a signature, has an address of its own.
    pub fn admin(&self, admin: &AdminConfig, report: &mut Report<'_>) {
        let (kept, header) = &self.table;
        let own = match &admin.listen {
            Listen::Unix(path) => format!("unix:{}", path.display()),
            Listen::Tcp(address) => address.clone(),
        };
        let Ok(own) = Address::parse(&own) else { return };
        let is_own = |text: &&String| Address::parse(text).is_ok_and(|address| address.is_same_place(&own));
        if let Some(text) = self.config.listen.iter().find(is_own) {
            let message =
                format!("listen address `{text}` is the admin listener's: whoever sends webhooks could ask it");
            let help = "give [admin] another `listen`, or leave it out: then it is admin.sock in data_dir";
            report.faults("server", vec![Fault::at_key("listen", message).help(help)], kept, header);
        }
    }

    /// `health` has a path of its own.
    pub fn health(&self, sources: &[(String, SourceConfig)], report: &mut Report<'_>) {
        let (kept, header) = &self.table;
        let Some(path) = &self.config.health else { return };
        if let Some((name, _)) = sources.iter().find(|(_, source)| source.path == *path) {
            let message = format!("health path `{path}` is source `{name}`'s already");
            report.faults("server", vec![Fault::at_key("health", message)], kept, header);
        }
    }
}
