//! Connections to the server, and the few of them that are kept. Knows no rows.
//!
//! tokio-postgres splits a connection into a handle and a driver that does the reading and writing, and expects the
//! driver to be spawned. Here the call that uses a connection drives it ([`Conn::run`]): nothing runs when no call
//! does, and a call that is dropped takes its connection, and with it its transaction, along.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use sink_api::table::OnConflict;
use sink_api::{BuildError, Reason, SinkContext, code};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;
use tokio_postgres::{Client, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::PostgresConfig;
use crate::tls;
use crate::url::Url;
use crate::verdict::{self, Trouble};

/// Longest that connecting may take, all hosts together, TLS and password included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// What is connected to, and how.
pub struct Spec {
    /// The sink's name.
    pub sink: String,
    /// The table's name, as in SQL.
    pub table: String,
    /// What happens to a row whose key is there already.
    pub on_conflict: OnConflict,
    connections: usize,
    address: String,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Spec {
    /// From the sink's table; reads the trusted roots.
    ///
    /// # Errors
    /// Where the URL or the roots are no good.
    pub async fn new(config: &PostgresConfig, cx: &SinkContext) -> Result<Self, BuildError> {
        let url = Url::read(config.url.expose()).map_err(|text| BuildError::Refused(format!("url: {text}")))?;
        let address = url.address();
        let (trust, roots) = (url.trust, url.roots.map(|path| cx.resolve(path)));
        let read = spawn_blocking(move || tls::client(trust, roots.as_deref())).await;
        let client = read.map_err(|e| e.to_string()).and_then(|read| read).map_err(BuildError::Refused)?;
        Ok(Self {
            sink: cx.name.clone(),
            table: config.table.clone(),
            on_conflict: config.on_conflict,
            connections: config.connections,
            address,
            config: url.config,
            tls: MakeRustlsConnect::new(client),
        })
    }

    /// A connection of its own, outside the pool.
    ///
    /// # Errors
    /// Why there is none, with the address.
    pub async fn connect(&self, deadline: Instant) -> Result<Conn, Reason> {
        let deadline = deadline.min(Instant::now() + CONNECT_PATIENCE);
        let connected = timeout_at(deadline.into(), self.config.connect(self.tls.clone())).await;
        match connected {
            Ok(Ok((client, driver))) => Ok(Conn { client, driver: Box::pin(driver), ended: false }),
            Ok(Err(error)) => {
                let why = verdict::of(&error).into_reason();
                Err(Reason::new(why.code, format!("{}: {}", self.address, why.detail)))
            }
            Err(_) => Err(Reason::new(code::TIMEOUT, format!("{}: connecting took too long", self.address))),
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A connection, with its driver.
pub struct Conn {
    client: Client,
    driver: Driver,
    /// The driver has ended: there is no connection any more.
    ended: bool,
}

impl Conn {
    /// Does work with the connection while driving it, until the deadline.
    ///
    /// # Errors
    /// `Trouble`. After `Trouble::Late`, and when this future is dropped, the connection must not be used again.
    pub async fn run<'c, T, W>(
        &'c mut self,
        deadline: Instant,
        work: impl FnOnce(&'c Client) -> W,
    ) -> Result<T, Trouble>
    where
        W: Future<Output = Result<T, Error>>,
    {
        if self.ended {
            return Err(Trouble::Ended);
        }
        let Self { client, driver, ended } = self;
        let mut work = pin!(work(client));
        let raced = async {
            tokio::select! { biased; done = &mut work => Ok(done), cause = driver => Err(cause) }
        };
        let cause = match timeout_at(deadline.into(), raced).await {
            Ok(Ok(done)) => return Ok(done?),
            Ok(Err(cause)) => cause,
            Err(_) => return Err(Trouble::Late),
        };
        *ended = true;
        // The server's last words may have reached the work already; they say more than the end of the stream.
        match (poll_once(work), cause) {
            (Some(Ok(done)), _) => Ok(done),
            (Some(Err(error)), cause) if error.is_closed() => Err(cause.err().map_or(Trouble::Ended, Trouble::Sql)),
            (Some(Err(error)), _) => Err(error.into()),
            (None, cause) => Err(cause.err().map_or(Trouble::Ended, Trouble::Sql)),
        }
    }

    /// Whether the connection is open, as far as the server has been heard.
    fn is_open(&mut self) -> bool {
        self.ended = self.ended || poll_once(self.driver.as_mut()).is_some();
        !self.ended
    }
}

/// What a future gives without being waited for.
fn poll_once<F>(future: Pin<&mut F>) -> Option<F::Output>
where
    F: Future + ?Sized,
{
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// At most so many connections, of which those at rest are kept.
pub struct Pool {
    /// What they are connected to.
    pub spec: Arc<Spec>,
    slots: Semaphore,
    /// Never more than there are slots.
    idle: Mutex<Vec<Conn>>,
}

/// A connection in use. It goes back to rest by [`Lease::rest`] only; dropped, it is closed.
pub struct Lease<'p> {
    /// The connection.
    pub conn: Conn,
    pool: &'p Pool,
    _slot: SemaphorePermit<'p>,
}

impl Pool {
    /// No connection yet.
    pub fn new(spec: Spec) -> Self {
        let slots = Semaphore::new(spec.connections);
        Self { spec: Arc::new(spec), slots, idle: Mutex::default() }
    }

    /// A connection at rest, else a new one, as soon as a slot is free.
    ///
    /// # Errors
    /// Why there is none before the deadline.
    pub async fn take(&self, deadline: Instant) -> Result<Lease<'_>, Reason> {
        let busy = || Reason::new(code::BUSY, "all connections are in use; more are allowed by `connections`");
        let slot = timeout_at(deadline.into(), self.slots.acquire()).await;
        let slot = slot.ok().and_then(Result::ok).ok_or_else(busy)?;
        let conn = match self.at_rest() {
            Some(conn) => conn,
            None => self.spec.connect(deadline).await?,
        };
        Ok(Lease { conn, pool: self, _slot: slot })
    }

    /// Closes the connections at rest: what one has met (a restart, a failover, silence), the others will meet too.
    pub fn close_idle(&self) {
        self.idle().clear();
    }

    fn at_rest(&self) -> Option<Conn> {
        let mut idle = self.idle();
        while let Some(mut conn) = idle.pop() {
            if conn.is_open() {
                return Some(conn);
            }
        }
        None
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// Puts the connection to rest. Only one that is in no transaction and owes no answer.
    pub fn rest(self) {
        let Self { mut conn, pool, .. } = self;
        if conn.is_open() {
            pool.idle().push(conn);
        }
    }
}
