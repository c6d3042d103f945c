//! What a program is asked in one batch, and what it has answered. Pure: bytes out, lines in.
//!
//! Where order is owed, a delivery is handed out once the one before it of its key has been delivered; so a program may
//! work on everything it was handed at once, and cannot break the order of a key. Of two deliveries with one id the
//! second is handed out after the first was answered.

use std::collections::{HashMap, VecDeque};

use sink_api::{Batch, Delivery, Outcome, Reason, Report, cloudevents, code};

use crate::mask::Mask;
use crate::verdict::{self, EXEC_PROTOCOL};

/// How a program broke off or broke the protocol.
#[derive(Debug)]
pub struct Broken {
    /// The code of the deliveries left without a verdict.
    pub code: &'static str,
    /// What the program did, without showing anything it wrote.
    pub what: String,
    /// What the program wrote, for the log alone.
    pub line: String,
}

impl Broken {
    /// A program that wrote nothing worth showing.
    pub fn silent(code: &'static str, what: &str) -> Self {
        Self { code, what: what.to_owned(), line: String::new() }
    }
}

/// Longest piece of a line that is logged, in bytes.
const EXCERPT: usize = 200;

struct Handed {
    delivery: usize,
    /// Where its line ends in `out`.
    end: usize,
}

/// A batch on its way through a program.
pub struct Exchange<'b> {
    batch: &'b Batch,
    max_line: usize,
    report: Report,
    /// Deliveries not handed out yet, by key where order is owed, else by id.
    lanes: HashMap<&'b str, VecDeque<usize>>,
    /// Deliveries handed out and not answered, by id.
    awaited: HashMap<&'b str, Handed>,
    out: Vec<u8>,
    sent: usize,
}

impl<'b> Exchange<'b> {
    /// Hands out the first of every lane.
    pub fn new(batch: &'b Batch, max_line: usize) -> Self {
        let report = Report::open(batch);
        let (lanes, awaited) = (HashMap::new(), HashMap::new());
        let mut exchange = Self { batch, max_line, report, lanes, awaited, out: Vec::new(), sent: 0 };
        let mut firsts = Vec::new();
        for (i, delivery) in batch.deliveries.iter().enumerate() {
            let lane = exchange.lane_of(delivery);
            let queue = exchange.lanes.entry(lane).or_insert_with(|| {
                firsts.push(lane);
                VecDeque::new()
            });
            queue.push_back(i);
        }
        for lane in firsts {
            exchange.hand_out(lane);
        }
        exchange
    }

    /// Whether no answer is waited for.
    pub fn is_done(&self) -> bool {
        self.awaited.is_empty()
    }

    /// What is still to be written to the program.
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of [`Self::unsent`] were written.
    pub fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    /// Takes a line of the program's.
    ///
    /// # Errors
    /// It is no verdict about a delivery the program has. What was answered before stands.
    pub fn take(&mut self, line: &[u8], mask: &Mask) -> Result<(), Broken> {
        let broken = |what: String| {
            let cut = String::from_utf8_lossy(line.get(..line.len().min(8 * EXCERPT)).unwrap_or_default());
            let begun = if line.len() > 8 * EXCERPT { mask.whole(&cut) } else { &cut };
            Broken { code: EXEC_PROTOCOL, what, line: mask.clean(begun, EXCERPT) }
        };
        let read = verdict::read(line, mask);
        let (id, outcome) =
            read.map_err(|why| broken(format!("the program wrote a line that is no verdict: {why}")))?;
        let handed = self.awaited.get(id.as_str()).filter(|handed| handed.end <= self.sent);
        let Some(&Handed { delivery: i, .. }) = handed else {
            let what = "the program gave a verdict on an id it does not have: never handed out, or answered before";
            return Err(broken(what.to_owned()));
        };
        self.awaited.remove(id.as_str());
        self.report.set(self.batch, i, outcome);
        let batch: &'b Batch = self.batch;
        if let Some(delivery) = batch.deliveries.get(i) {
            self.hand_out(self.lane_of(delivery));
        }
        Ok(())
    }

    /// The report, when nothing more will be answered: deliveries handed out and not answered are Retry, and those not
    /// handed out are left unset.
    pub fn end(mut self, why: Option<&Reason>) -> Report {
        if let Some(why) = why {
            for handed in self.awaited.into_values() {
                self.report.set(self.batch, handed.delivery, Outcome::retry_for(why.clone()));
            }
        }
        self.report
    }

    fn lane_of(&self, delivery: &'b Delivery) -> &'b str {
        if self.batch.ordered { &delivery.key } else { &delivery.id }
    }

    /// Hands out the next of a lane that may be attempted and fits on a line.
    fn hand_out(&mut self, lane: &'b str) {
        let batch: &'b Batch = self.batch;
        while let Some(i) = self.lanes.get_mut(lane).and_then(VecDeque::pop_front) {
            let Some(delivery) = batch.deliveries.get(i).filter(|_| self.report.may_attempt(batch, i)) else {
                continue;
            };
            let start = self.out.len();
            push_line(&mut self.out, delivery);
            let length = self.out.len() - start;
            if length <= self.max_line {
                self.awaited.insert(&delivery.id, Handed { delivery: i, end: self.out.len() });
                return;
            }
            self.out.truncate(start);
            let why = format!("its line is {length} bytes, max_line is {}", self.max_line);
            self.report.set(batch, i, Outcome::reject(code::BAD_PAYLOAD, why));
        }
    }
}

/// Appends a delivery's line: a CloudEvent with its ordering key as the last member, and a line feed.
fn push_line(out: &mut Vec<u8>, delivery: &Delivery) {
    cloudevents::push_structured(out, delivery);
    out.pop(); // the closing brace
    out.extend_from_slice(b",\"key\":");
    // Writing a &str into a Vec cannot fail: no I/O, and every str is valid JSON text.
    let _ = serde_json::to_writer(&mut *out, &*delivery.key);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
