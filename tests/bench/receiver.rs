//! The receiver that sinks of kind `http` and their twin deliver to: the bare server, which besides counts what it was
//! sent and tells that to whoever asks for `GET /count`. It ends when its standard input ends.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::bare;

/// Serves until standard input ends; its address is the first line on standard output.
pub fn serve() -> Result<(), Box<dyn Error>> {
    bare::end_with_standard_input();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let taken = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let taken = Arc::clone(&taken);
            let service = service_fn(move |request| answer(Arc::clone(&taken), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn answer(taken: Arc<AtomicU64>, request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::from(taken.load(Ordering::Relaxed).to_string())));
    }
    // A body that breaks off is not counted.
    if request.into_body().collect().await.is_ok() {
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Response::new(Full::default()))
}
