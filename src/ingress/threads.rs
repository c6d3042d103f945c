//! The threads that serve: one single-threaded runtime per core, each accepting from a duplicate of every listener.
//!
//! Measured against one shared runtime with work stealing (`docs/performance.md`). The listeners are
//! duplicated, not bound again with SO_REUSEPORT: whichever thread is free accepts (and passes the connection on to the
//! thread that has the fewest, see `http/balance.rs`), a stop loses no connection that the kernel had already given to
//! one of several queues, and a second daemon cannot listen on the same port.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::http::balance::{self, Member};
use super::{Ingress, Listener, Listening};
use crate::sockets::unix::Placed;

/// A duplicate of a listener, and a thread's membership in those that share it.
type Share = (Listening, Member);

/// A runtime that may be dropped on the threads of another one, too, as it is where the system gives no thread for it.
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// The serving threads, each with its runtime, and what removes the Unix sockets that they listen on.
pub struct Threads(Vec<(JoinHandle<()>, Handle)>, Vec<Placed>);

impl Threads {
    /// Starts serving until `stop` turns true.
    ///
    /// # Errors
    /// Where the system gives no thread, runtime or duplicate.
    pub fn start(ingress: &Arc<Ingress>, listeners: Vec<Listening>, stop: &watch::Receiver<bool>) -> io::Result<Self> {
        let mut placed = Vec::new();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut shares: Vec<Vec<Share>> = (0..cores).map(|_| Vec::with_capacity(listeners.len())).collect();
        for mut listener in listeners {
            placed.extend(listener.take_placed());
            for (own, member) in shares.iter_mut().zip(balance::members(cores)) {
                own.push((listener.duplicate()?, member));
            }
        }
        let one = |(core, own): (usize, Vec<Share>)| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let own = {
                let _inside = runtime.enter();
                let ready = |(listener, member): Share| Ok((listener.start()?, member));
                own.into_iter().map(ready).collect::<io::Result<Vec<_>>>()?
            };
            let handle = runtime.handle().clone();
            let (ingress, stop, runtime) = (Arc::clone(ingress), stop.clone(), Own(Some(runtime)));
            let thread = std::thread::Builder::new().name(format!("ingress-{core}")).spawn(move || {
                if let Some(runtime) = &runtime.0 {
                    serve(runtime, &ingress, own, &stop);
                }
            });
            Ok((thread?, handle))
        };
        let threads = shares.into_iter().enumerate().map(one).collect::<io::Result<Vec<_>>>()?;
        Ok(Self(threads, placed))
    }

    /// Every thread's runtime.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter().map(|(_, runtime)| runtime)
    }

    /// Waits until every thread has answered what had begun. Blocks.
    pub fn join(self) {
        for (thread, _) in self.0 {
            // A panic was reported on stderr by the thread itself; the others still want their time.
            let _ = thread.join();
        }
        drop(self.1);
    }
}

fn serve(runtime: &Runtime, ingress: &Arc<Ingress>, listeners: Vec<(Listener, Member)>, stop: &watch::Receiver<bool>) {
    runtime.block_on(async {
        let mut serving = JoinSet::new();
        for (listener, member) in listeners {
            let (ingress, mut stop) = (Arc::clone(ingress), stop.clone());
            serving.spawn(async move {
                // An error means that the sender is gone: then it is time to stop, too.
                ingress.serve(listener, member, async move { drop(stop.wait_for(|stop| *stop).await) }).await;
            });
        }
        while serving.join_next().await.is_some() {}
    });
}
