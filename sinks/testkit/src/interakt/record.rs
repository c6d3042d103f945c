//! What the stand-in has taken, and what it has told of each: bounded, the oldest are forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::check::Message;
use super::course::Status;

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its id.
    pub id: Uuid,
    /// How many messages for the same phone were taken before it.
    pub attempt: u32,
    /// Whether the call was answered; false where the answer was lost by a fault.
    pub is_answered: bool,
    /// When the call came.
    pub at: Instant,
    /// What it was.
    pub message: Arc<Message>,
    /// What was told of it, in the order it was told.
    pub told: Vec<Told>,
}

/// A webhook about a message.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: Status,
    /// How often it was posted.
    pub tries: u32,
    /// When the daemon answered; or when the last try came to nothing.
    pub at: Instant,
    /// What it answered; 0 is nothing within 3 s.
    pub answer: u16,
}

impl Taken {
    /// When this status was answered 200 first.
    pub fn when(&self, is: impl Fn(&Status) -> bool) -> Option<Instant> {
        self.told.iter().filter(|told| told.answer == 200 && is(&told.status)).map(|told| told.at).min()
    }
}

/// The messages that are kept.
#[derive(Debug)]
pub(super) struct Record {
    keep: usize,
    /// How many were forgotten: the number of the first that is kept.
    first: u64,
    messages: VecDeque<Taken>,
    /// How many messages there are for a phone.
    phones: HashMap<String, u32>,
}

impl Record {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep: keep.max(1), first: 0, messages: VecDeque::new(), phones: HashMap::new() }
    }

    /// How many messages for this phone are kept.
    pub(super) fn attempts(&self, phone: &str) -> u32 {
        self.phones.get(phone).copied().unwrap_or(0)
    }

    /// Keeps a message, and gives its number.
    pub(super) fn add(&mut self, taken: Taken) -> u64 {
        if self.messages.len() == self.keep {
            self.forget();
        }
        *self.phones.entry(taken.message.phone.clone()).or_default() += 1;
        self.messages.push_back(taken);
        self.first + self.messages.len() as u64 - 1
    }

    fn forget(&mut self) {
        let Some(oldest) = self.messages.pop_front() else { return };
        self.first += 1;
        if let Some(count) = self.phones.get_mut(&oldest.message.phone) {
            *count -= 1;
            if *count == 0 {
                self.phones.remove(&oldest.message.phone);
            }
        }
    }

    /// Notes what was told of the message with this number, if it is still kept.
    pub(super) fn note(&mut self, number: u64, told: Told) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(message) = at.and_then(|at| self.messages.get_mut(at)) {
            message.told.push(told);
        }
    }

    pub(super) fn all(&self) -> Vec<Taken> {
        self.messages.iter().cloned().collect()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.first
    }
}
