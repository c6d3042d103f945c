//! The bare durable server: what a webhook costs that is authentic and on disk before its answer, by ordinary
//! means, and nothing else. Hyper on a multi-threaded runtime; each body's HMAC is checked; a thread writes what
//! has come in with one write and one fdatasync a batch; four readers, as many as a small relay has sinks, are told
//! of each batch and only look. It keeps no index, parses nothing, routes nothing. It ends when its standard input
//! ends.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use hookrelay::verify::Hmac;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::bare;
use crate::client::SECRET;

/// Readers that are told of each batch.
const READERS: usize = 4;
/// Most bodies that wait to be written, and most of a batch.
const MOST: usize = 8192;
/// Bytes before each body in the file: its length.
const LENGTH: usize = size_of::<u32>();

/// A body, and who waits for it to be on disk.
type Waiting = (Bytes, oneshot::Sender<()>);

struct Server {
    hmac: Hmac,
    queue: SyncSender<Waiting>,
}

/// Serves until standard input ends, and keeps what comes in a file in that folder; its address is the first line on
/// standard output.
pub fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    bare::end_with_standard_input();
    std::fs::create_dir_all(folder)?;
    let file = File::create(folder.join("bodies"))?;
    let (queue, waiting) = sync_channel(MOST);
    let (end, durable) = watch::channel(0);
    std::thread::spawn(move || {
        let failed = commit(file, &waiting, &end);
        eprintln!("bench: the durable server cannot write: {failed:?}");
        std::process::exit(1);
    });
    let server = Arc::new(Server { hmac: Hmac::new(SECRET.as_bytes(), None)?, queue });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        for _ in 0..READERS {
            tokio::spawn(look(durable.clone()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let server = Arc::clone(&server);
            let service = service_fn(move |request| answer(Arc::clone(&server), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// Writes and flushes what waits, all of it at once, over and over.
fn commit(mut file: File, waiting: &Receiver<Waiting>, end: &watch::Sender<u64>) -> io::Result<()> {
    let (mut bytes, mut answers) = (Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        for (body, answer) in std::iter::once(first).chain(waiting.try_iter().take(MOST)) {
            let length = u32::try_from(body.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&body);
            answers.push(answer);
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        end.send_modify(|end| *end += bytes.len() as u64);
        bytes.clear();
        for answer in answers.drain(..) {
            // Who has gone meanwhile needs no answer.
            let _ = answer.send(());
        }
    }
    Ok(())
}

/// A reader that looks how much there is, each time that there is more.
async fn look(mut durable: watch::Receiver<u64>) {
    let mut seen = 0;
    while durable.changed().await.is_ok() {
        let end = *durable.borrow_and_update();
        assert!(end >= seen + LENGTH as u64, "a batch without a body");
        seen = end;
    }
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let signature = request.headers().get("interakt-signature").cloned();
    let refuse = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    // If a body breaks off, the client notices it.
    let Ok(body) = request.into_body().collect().await else { return refuse(StatusCode::BAD_REQUEST) };
    let body = body.to_bytes();
    if server.hmac.verify(signature.as_ref().map(HeaderValue::as_bytes), &body).is_err() {
        return refuse(StatusCode::UNAUTHORIZED);
    }
    let (written, is_written) = oneshot::channel();
    if server.queue.try_send((body, written)).is_err() || is_written.await.is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut response = Response::new(Full::new(Bytes::from_static(bare::ANSWER)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
