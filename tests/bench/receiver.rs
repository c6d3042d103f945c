//! The receiver that sinks of kind `http` and their twin deliver to: the bare server, which besides counts what it was
//! sent and tells that to whoever asks for `GET /count`. It ends when its standard input ends.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};

use crate::bare;

/// Serves until standard input ends, each answer after so long; its address is the first line on standard output.
pub fn serve(after: Duration) -> Result<(), Box<dyn Error>> {
    let taken = Arc::new(AtomicU64::new(0));
    bare::serve_by(move |request| answer(Arc::clone(&taken), after, request))
}

async fn answer(
    taken: Arc<AtomicU64>,
    after: Duration,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::from(taken.load(Ordering::Relaxed).to_string())));
    }
    // A body that breaks off is not counted.
    if request.into_body().collect().await.is_ok() {
        if after > Duration::ZERO {
            tokio::time::sleep(after).await;
        }
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Response::new(Full::default()))
}
