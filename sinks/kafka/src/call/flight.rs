//! Messages of one call that are under way with one producer.

use sink_api::{Reason, code};

use crate::producer::Producer;

/// Messages under way. Where they still are when this is dropped, the producer ends.
pub struct Flight<'p> {
    /// By which they are sent.
    pub producer: &'p Producer,
    is_under_way: Vec<bool>,
    count: usize,
}

impl<'p> Flight<'p> {
    /// None of so many deliveries is under way.
    pub fn new(producer: &'p Producer, deliveries: usize) -> Self {
        Self { producer, is_under_way: vec![false; deliveries], count: 0 }
    }

    /// A delivery is under way.
    pub fn insert(&mut self, i: usize) {
        self.set(i, true);
    }

    /// A delivery is not under way any more. Says whether it was.
    pub fn remove(&mut self, i: usize) -> bool {
        self.set(i, false)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets all that are, and says which, in the batch's order.
    pub fn take(&mut self) -> Vec<usize> {
        self.count = 0;
        let all = self.is_under_way.iter_mut().enumerate();
        all.filter_map(|(i, is)| std::mem::take(is).then_some(i)).collect()
    }

    /// Says what it was before.
    fn set(&mut self, i: usize, is: bool) -> bool {
        let Some(slot) = self.is_under_way.get_mut(i) else { return false };
        let before = std::mem::replace(slot, is);
        self.count = self.count + usize::from(is) - usize::from(before);
        before
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.is_empty() {
            self.producer.end(&Reason::new(code::TIMEOUT, "a call was given up with messages under way"));
        }
    }
}
