//! A program's standard error → our log: a line each, cut where it is long; where there are many, some are left out and
//! counted. The pipe is read whatever happens, so that a program which writes much there is never held up.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

use crate::spec::Spec;

/// Longest piece of a line that is logged, in bytes.
const MAX_LINE: usize = 2 << 10;
/// Read at once, in bytes.
const CHUNK: usize = 8 << 10;

/// Runs until every process that holds the other end of the pipe has closed it.
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
    match spec.error_lines.admit() {
        Some(0) => tracing::info!(sink = spec.sink, "{text}{cut}"),
        Some(left_out) => tracing::info!(sink = spec.sink, left_out, "{text}{cut}"),
        None => {}
    }
}
