//! A member that has lost its shards joins its group anew by itself, and would take the daemon's name back from a
//! younger process that has it by now. So it is first asked whose the name is: the loss is answered, and the group
//! joined, only once that is known. A thread of its own asks, as long as it takes; meanwhile the member polls on.
//!
//! The same is asked where the coordinator says that the name is another's: it says so of a member, too, that has lost
//! its place while brokers were away, and asks with none. Such a client is of no use any more: where the name is ours
//! the member ends, and a new one joins the group for the next reader.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use tracing::{debug, warn};

use super::member::{Member, spawn};

/// How soon brokers are asked again that did not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Shards that were lost.
pub(super) struct Losing {
    /// Those that the client still has to be told of.
    pub assigned: Vec<u32>,
    is_ours: Receiver<bool>,
}

impl Losing {
    /// Asks whose the name is.
    pub fn begin(member: &Arc<Member>, assigned: Vec<u32>) -> Self {
        let (tell, is_ours) = sync_channel(1);
        let (member, sink) = (Arc::clone(member), member.sink.clone());
        let asking = spawn("kafka-name", &sink, move || {
            while !member.shards.is_over() {
                match member.common.naming.is_ours(&member.common.cluster) {
                    Ok(is_ours) => {
                        // Whoever asked may have ended.
                        let _ = tell.send(is_ours);
                        return;
                    }
                    Err(error) => debug!(sink = %member.sink, %error, "it is not known yet whose the name is"),
                }
                std::thread::sleep(PAUSE);
            }
        });
        if let Err(error) = asking {
            warn!(%sink, %error, "nobody asks whose the daemon's name is");
        }
        Self { assigned, is_ours }
    }

    /// Whether the name is still this daemon's; `None`: it is not known yet.
    pub fn is_ours(&self) -> Option<bool> {
        match self.is_ours.try_recv() {
            Ok(is_ours) => Some(is_ours),
            Err(TryRecvError::Empty) => None,
            // The thread ends without an answer where all is over, and where it never began.
            Err(TryRecvError::Disconnected) => Some(true),
        }
    }
}
