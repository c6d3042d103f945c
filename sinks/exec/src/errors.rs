//! A program's standard error → our log: a line each, cut where it is long, left out and counted where there are many.
//! Reads on whatever happens, so that a program that writes much there is never held up.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

use crate::spec::Spec;

/// Longest piece of a line that is logged, in bytes.
const MAX_LINE: usize = 2 << 10;
/// Read at once, in bytes.
const CHUNK: usize = 8 << 10;

/// Runs until everybody who holds the other end has closed it.
pub async fn copy(mut errors: ChildStderr, spec: Arc<Spec>) {
    let mut chunk = vec![0; CHUNK];
    let mut line = Vec::new();
    while let Ok(read @ 1..) = errors.read(&mut chunk).await {
        for piece in chunk.get(..read).unwrap_or_default().split_inclusive(|&byte| byte == b'\n') {
            // One byte over, so that a cut shows.
            let room = (MAX_LINE + 1).saturating_sub(line.len());
            line.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            if piece.ends_with(b"\n") {
                log(&spec, &line);
                line.clear();
            }
        }
    }
    log(&spec, &line);
}

fn log(spec: &Spec, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let text = if line.len() > MAX_LINE { spec.mask.whole(&text) } else { &text };
    let text = spec.mask.clean(text, MAX_LINE);
    if text.is_empty() {
        return;
    }
    let cut = if line.len() > MAX_LINE { "…" } else { "" };
    let admitted = spec.said.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
    match admitted {
        Some(0) => tracing::info!(sink = spec.sink, "{text}{cut}"),
        Some(left_out) => tracing::info!(sink = spec.sink, left_out, "{text}{cut}"),
        None => {}
    }
}
