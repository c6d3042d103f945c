//! The HTTP sink's target: it refuses some events always and some a few times, and keeps who came when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sink_testkit::HttpServer;
use sink_testkit::http::{Reply, Seen};

use super::plan::{REFUSALS, body, is_refused, is_stubborn};
use super::verdict::Arrival;
use crate::bodies::number_in;

#[derive(Default)]
struct State {
    arrivals: Vec<Arrival>,
    refusals: HashMap<String, u32>,
    changed: Vec<String>,
}

/// The target.
pub struct Target {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

impl Target {
    pub async fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let kept = Arc::clone(&state);
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = HttpServer::start_at(here, move |seen| Reply::Status(kept.lock().unwrap().take(seen))).await;
        Self { server, state }
    }

    pub fn url(&self) -> String {
        self.server.url("/hook")
    }

    /// What was taken, in the order in which it came.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.lock().unwrap().arrivals.clone()
    }

    /// Bodies that are not as they were sent.
    pub fn changed(&self) -> Vec<String> {
        self.state.lock().unwrap().changed.clone()
    }
}

impl State {
    fn take(&mut self, seen: &Seen) -> u16 {
        let text = String::from_utf8_lossy(&seen.body);
        let n = number_in(&text);
        let id = seen.header("ce-id").unwrap_or_default().to_owned();
        if seen.body != body(n) {
            self.changed.push(text.into_owned());
        }
        if is_refused(n) {
            return 400;
        }
        let refusals = self.refusals.entry(id.clone()).or_default();
        if is_stubborn(n) && *refusals < REFUSALS {
            *refusals += 1;
            return 503;
        }
        self.arrivals.push(Arrival { n, id });
        200
    }
}
