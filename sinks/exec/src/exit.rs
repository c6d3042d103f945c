//! The end of a process, to be waited for without reaping it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that is readable as soon as a process is dead, reaped or not.
pub struct Exit(AsyncFd<OwnedFd>);

impl Exit {
    /// The end of this process, which must not have been reaped yet.
    ///
    /// # Errors
    /// The system's.
    #[expect(
        deprecated,
        reason = "for types that may close their descriptor early; an OwnedFd cannot, and the new one is unsafe"
    )]
    pub fn of(pid: Pid) -> io::Result<Self> {
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self(AsyncFd::with_interest(fd, Interest::READABLE)?))
    }

    /// Waits until the process is dead. Cancel-safe.
    pub async fn wait(&self) {
        // An error means that the runtime shuts down, and then nothing waits any more.
        let _ = self.0.readable().await;
    }
}
