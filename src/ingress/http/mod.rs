//! What speaks HTTP: sockets and connections, how many of them there may be, their requests' bodies, and the answers.
//!
//! Rooms: `address` reads what `listen` takes, `binding` finds a socket for each address, `socket` is what TCP and Unix
//! sockets have in common; `listener` accepts, `balance` spreads connections over the serving threads, `admission` says
//! who may be connected at once; `connection` is one connection, `connection_state` what it is doing and since when,
//! `wire` its bytes, `http2_share` what processor time HTTP/2 may take; `tls` reads certificates, `handshake` speaks
//! TLS at the beginning of a connection, `handshake_turns` says who may compute, `transport` is a connection with TLS
//! or without; `body` reads a request's body, within the memory that `budget` and `uploads` give; `pressure` tells when
//! there is too little of all this; `remote` finds the client's address; `reply` is the only place where outcomes
//! become HTTP statuses; `counts`, `config` and `check` are its counters and its table.
//!
//! Knows no sources, no journal and no events: whatever answers requests is its `Handler`.

pub mod address;
pub(in crate::ingress) mod admission;
pub mod balance;
mod binding;
pub(in crate::ingress) mod body;
mod budget;
pub mod check;
pub mod config;
mod connection;
pub(in crate::ingress) mod connection_state;
pub mod counts;
mod handshake;
mod handshake_turns;
mod http2_frames;
mod http2_share;
pub(in crate::ingress) mod listener;
mod pressure;
pub mod remote;
pub(in crate::ingress) mod reply;
mod socket;
pub mod tls;
mod transport;
mod uploads;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;

pub use self::binding::{BindError, Bound, bind};
pub use self::socket::{Listener, Listening, Peer};

use self::admission::Admission;
use self::budget::Budget;
use self::config::ServerConfig;
use self::connection_state::Link;
use self::counts::ServerCounts;
use self::handshake_turns::HandshakeTurns;
use self::pressure::Pressure;
use self::reply::Answer;
use self::tls::TlsState;

/// Answers the requests of connections. Cloned for every request.
pub(in crate::ingress) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request, and says whether part of its body was left unread.
    fn answer(&self, link: &Link, request: Request<Incoming>) -> impl Future<Output = (Answer, bool)> + Send;

    /// Hears of a request that was refused before its head was complete.
    fn refused(&self, link: &Link, why: BadHead);
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum BadHead {
    /// It did not come in time: 408.
    TooSlow,
    /// It is larger than `max_header_bytes`: 431.
    TooLarge,
    /// It is not HTTP: 400.
    Malformed,
}

/// What too many senders have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressed {
    /// Connections closed to make room for others, since the start.
    pub connections_cut: u64,
    /// Requests whose bodies were slow while others needed their room: 408, since the start.
    pub requests_cut: u64,
    /// Requests that wait for room now.
    pub waiting: usize,
}

/// What all listeners and their connections share.
pub(in crate::ingress) struct Server {
    pub(in crate::ingress) budget: Budget,
    pub(in crate::ingress) admission: Admission,
    /// What the listeners counted.
    pub counts: ServerCounts,
    pressure: Arc<Pressure>,
    pub(in crate::ingress) tls: TlsState,
    handshake_turns: HandshakeTurns,
    /// Where it is told whether a webhook would be taken.
    pub health: Option<String>,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<remote::Network>,
    /// Largest body, in bytes.
    pub max_body: usize,
    max_header_bytes: usize,
    header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    drain: Duration,
}

impl Server {
    /// A server with these limits, and no listener yet.
    pub fn new(config: &ServerConfig) -> Self {
        let pressure = Arc::<Pressure>::default();
        Self {
            budget: Budget::new(config, Arc::clone(&pressure)),
            admission: Admission::new(config.max_connections, Arc::clone(&pressure)),
            pressure,
            counts: ServerCounts::default(),
            tls: TlsState::default(),
            handshake_turns: HandshakeTurns::default(),
            health: config.health.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            max_body: config.max_body.as_usize(),
            max_header_bytes: config.max_header_bytes.as_usize(),
            header_timeout: config.header_timeout.0,
            body_timeout: config.body_timeout.0,
            drain: config.drain.0,
        }
    }

    /// Whether, in the last ten seconds, more was sent than there is room for, so that a sender had to wait or to go.
    pub fn is_pressed(&self) -> bool {
        self.pressure.is_on()
    }

    /// What too many senders have cost since the start, and how many wait now.
    pub fn pressed(&self) -> Pressed {
        Pressed {
            connections_cut: self.pressure.connections_cut.get(),
            requests_cut: self.budget.cut(),
            waiting: self.budget.waiting(),
        }
    }
}

#[cfg(test)]
mod uploads_tests;
