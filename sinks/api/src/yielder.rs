//! Giving way inside long loops: work on a batch of thousands keeps a processor for milliseconds, and the threads that
//! answer senders may be waiting for just that one.

/// Items worked on between two chances for others.
const EVERY: u32 = 16;

/// Counts the items of a loop, and lets other threads in now and then. Costs a system call every few items, and nothing
/// more where nobody waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yielder(u32);

impl Yielder {
    /// To be called after each item.
    pub fn step(&mut self) {
        self.0 += 1;
        if self.0 >= EVERY {
            self.0 = 0;
            std::thread::yield_now();
        }
    }
}
