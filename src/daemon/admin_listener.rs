//! The admin listener as the daemon runs it: started once, started anew where its socket went away with the data
//! folder, and missing where the system gives none.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::error;

use super::control::DaemonControl;
use super::host::host;
use crate::admin::everyone::Everyone;
use crate::admin::{AdminConfig, Answering, Listener};
use crate::ledger::nodes::Nodes;

/// The admin listener, as long as there is one.
#[derive(Clone)]
pub(super) struct AdminListener {
    config: AdminConfig,
    answering: Answering,
    listener: Arc<Mutex<Option<Listener>>>,
}

impl AdminListener {
    /// Starts the listener. Where that fails the daemon goes on without: a disk that has no room for a socket must not
    /// keep webhooks from being taken.
    pub fn start(config: AdminConfig, control: &Arc<DaemonControl>, nodes: &Arc<dyn Nodes>) -> Self {
        let mut answering = Answering::from(Arc::clone(control));
        if let Some(name) = nodes.own() {
            let all = Everyone::new(answering.itself.clone(), Arc::clone(nodes), [name, &host()], &config);
            (answering.all, answering.name) = (Arc::new(all), Some(name.to_owned()));
        }
        let admin = Self { config, answering, listener: Arc::default() };
        admin.open();
        admin
    }

    fn open(&self) {
        let started = Listener::start(&self.config, self.answering.clone());
        let missing =
            |error: &_| error!(%error, "the admin listener is missing: no live verbs, no /healthz; a restart may help");
        let started = started.inspect_err(missing).ok();
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = started;
    }

    /// Starts the listener anew, with a new socket. Blocks, shortly.
    pub fn restart(&self) {
        self.stop();
        self.open();
    }

    /// Stops the listener and removes its socket. Blocks, shortly.
    pub fn stop(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        listener.map(Listener::stop).unwrap_or_default();
    }
}
