//! `http`: a bare hyper client with as many connections as the sink has requests under way, each used in sequence, to
//! the receiver of this bench.

use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::{Row, Sample};
use crate::contestant::Contestant;
use crate::everyday;
use crate::recipe::Recipe;

/// Requests under way, as the sink's kind has it.
const CONCURRENCY: usize = 8;

pub struct HttpRow {
    /// What the sink delivers to, and what the twin does.
    receivers: [Contestant; 2],
}

impl HttpRow {
    pub fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let start = || Contestant::start(&Recipe::receiver(), folder);
        Ok(Self { receivers: [start()?, start()?] })
    }
}

impl Row for HttpRow {
    fn name(&self) -> &'static str {
        "http"
    }

    fn tables(&self) -> String {
        everyday::http(self.name(), self.receivers[0].address)
    }

    fn arrived(&mut self, _: u64) -> Result<u64, Box<dyn Error>> {
        self.receivers[0].taken()
    }

    fn by_hand(&mut self, samples: &[Sample], events: u64) -> Result<Duration, Box<dyn Error>> {
        let bodies: Rc<[Bytes]> = samples.iter().map(|sample| Bytes::from(sample.body.clone())).collect();
        let address = self.receivers[1].address;
        let begun = Instant::now();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let next = Rc::new(Cell::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..CONCURRENCY {
                tasks.spawn_local(send(address, Rc::clone(&bodies), Rc::clone(&next), events));
            }
            while let Some(done) = tasks.join_next().await {
                done?.map_err(|error| error.to_string())?;
            }
            Ok::<_, Box<dyn Error>>(())
        })?;
        let took = begun.elapsed();
        let there = self.receivers[1].taken()?;
        if there == events { Ok(took) } else { Err(format!("{there} requests by hand, not {events}").into()) }
    }
}

/// Sends one request after the other on a connection, until so many were begun by all.
async fn send(
    address: SocketAddr,
    bodies: Rc<[Bytes]>,
    next: Rc<Cell<u64>>,
    events: u64,
) -> Result<(), Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    while next.get() < events {
        let n = next.get();
        next.set(n + 1);
        let body = bodies[n as usize % bodies.len()].clone();
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header("host", "localhost")
            .header("content-type", "application/json");
        sender.ready().await?;
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        if !answer.status().is_success() {
            return Err(format!("the receiver answered {}", answer.status()).into());
        }
        answer.into_body().collect().await?;
    }
    Ok(())
}
