//! A connection whose other end must read: where it takes nothing for a while, writing fails. Otherwise whoever asks
//! and does not read his answer would keep a place from others for as long as a connection may live.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Longest that a client may take nothing of its answer.
const STALL: Duration = Duration::from_secs(5);

/// The connection.
pub(super) struct Hurried<S> {
    stream: S,
    is_stalled: bool,
    stalled: Pin<Box<Sleep>>,
}

impl<S> Hurried<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, is_stalled: false, stalled: Box::pin(sleep(STALL)) }
    }

    /// What came of a try to write; an error where nothing could be written for too long.
    fn noted<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.is_stalled = false;
            return tried;
        }
        if !self.is_stalled {
            self.is_stalled = true;
            self.stalled.as_mut().reset(Instant::now() + STALL);
        }
        match self.stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hurried<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hurried<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(cx, tried)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(cx);
        self.noted(cx, tried)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.noted(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_now_and_then_is_not() {
        let (mut reader, writer) = tokio::io::duplex(8);
        let mut writer = Hurried::new(writer);
        let began = Instant::now();
        let slow = async {
            for _ in 0..4 {
                tokio::time::sleep(STALL - Duration::from_millis(1)).await;
                reader.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writer.write_all(&[0; 40]), slow);
        written.unwrap();
        assert!(began.elapsed() > STALL * 3);
        assert_eq!(writer.write_all(&[0; 40]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
