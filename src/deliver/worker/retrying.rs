//! What the worker parks in the ledger after a few quick tries, and how that is tried again: so the cursor moves on and
//! pins no segment of the journal, however long a delivery takes. Of a key that has something parked everything later is
//! parked behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Delivery, Payload, Reason, Target, Timestamp};
use tracing::error;

use super::{READ_RETRY, Worker};
use crate::deliver::backoff;
use crate::deliver::item::{History, Item, Ordinal};
use crate::deliver::verdict::Verdict;
use crate::deliver::window::End;
use crate::event::{self, CodecError};
use crate::journal::{Chunk, Counters, Entry, Fate, Held, JournalError, Position, Settlement, Spent, Try, Turn};
use crate::ledger::held::size_of;
use crate::ledger::parked::{How, Row};
use crate::route::jq::Said;
use crate::route::{Routed, RuleSet};

/// A delivery is parked after so many tries…
const QUICK_TRIES: u32 = 3;
/// … or where the next one is further away.
const QUICK_WAIT: Duration = Duration::from_secs(5);
/// Of a sink's slots, retries of parked deliveries get one in so many (one at least): they cannot starve fresh events.
const SHARE: usize = 4;
/// Lanes fetched at once.
const FETCH_LANES: usize = 64;
/// Nothing more is fetched while so many lanes have something to try.
const MAX_READY: usize = 128;
/// How soon a lane is looked for again whose key is under way.
const KEY_BUSY: Duration = Duration::from_millis(20);

/// The lanes that were asked for, and their rows; with what jq says of those that are routed anew.
pub(super) struct Fetched {
    lanes: Vec<Arc<str>>,
    rows: Result<Vec<(Row, Option<Said>)>, JournalError>,
    rules: Arc<RuleSet>,
}
pub(super) type Fetching = Pin<Box<dyn Future<Output = Fetched> + Send>>;

impl Worker {
    /// Learns from the ledger what is parked, which it tries until it succeeds.
    pub(super) async fn load_parked(&mut self) {
        let mut told = false;
        let schedule = loop {
            match self.spec.ledger.schedule(&self.spec.name, self.ordered).await {
                Ok(schedule) => break schedule,
                Err(error) if !told => {
                    error!(sink = %self.spec.name, %error, "what is parked cannot be read; trying again");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(READ_RETRY).await;
        };
        let new = self.parked.load(schedule, Timestamp::now().as_microsecond(), Instant::now());
        if self.ordered {
            new.iter().for_each(|key| self.lanes.set_behind_parked(key));
        }
    }

    /// What a delivery stands in line with.
    fn lane(&self, delivery: &Delivery) -> Arc<str> {
        if self.ordered { Arc::clone(&delivery.key) } else { delivery.id.as_str().into() }
    }

    // ── parking ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether a failed delivery leaves the window now. While the breaker is open nothing does: the sink is at fault.
    pub(super) fn may_park(&self, item: &Item, due: Instant, now: Instant) -> bool {
        let long = item.failures >= QUICK_TRIES || due.saturating_duration_since(now) > QUICK_WAIT;
        long && self.breaker.is_closed() && !self.parked.is_full()
    }

    /// It goes into the ledger with the cursor that passes it.
    pub(super) fn park(&mut self, item: &Item, due: Instant, why: Reason, now: Instant) {
        let wait = due.saturating_duration_since(now);
        let spent = self.spent(item, wait, now);
        let held = self.keep(item, why, Some(wall(wait)), spent);
        self.parked.park(&self.lane(&item.delivery), due, size_of(&held));
        self.window.ended(item.ordinal.position, End::Held(Box::new(held)));
    }

    /// Parks those of a batch that have failed again and again although the sink is well: it has taken something since, or
    /// the breaker would be open. Else a few of them would open it each time it has closed.
    pub(super) fn park_suspects(&mut self, items: Vec<Item>, now: Instant) -> Vec<Item> {
        if !items.iter().any(|item| item.failures >= QUICK_TRIES) {
            return items;
        }
        let (suspects, mut rest): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.failures >= QUICK_TRIES && !self.parked.is_full());
        let mut behind = Vec::new();
        for item in &suspects {
            let due = now + backoff::wait(&self.spec.keys.retry, item.failures, None, rand::random::<f64>());
            self.park(item, due, Reason::new("", "failed again while others were delivered"), now);
        }
        if self.ordered {
            // Of the same key, later: they go back, to be parked behind it.
            (behind, rest) = rest.into_iter().partition(|item| self.parked.holds(&item.delivery.key));
        }
        let keys: Vec<Arc<str>> = suspects.iter().map(|item| Arc::clone(&item.delivery.key)).collect();
        self.lanes.put_back(behind.into_iter().map(|item| (item, None)).collect(), &suspects);
        if self.ordered {
            keys.iter().for_each(|key| self.lanes.set_behind_parked(key));
        }
        rest
    }

    /// Parks what stands behind parked deliveries of its key, as long as there is room.
    pub(super) fn park_behind(&mut self, now: Instant) {
        while !self.parked.is_full()
            && let Some(items) = self.lanes.take_behind_parked()
        {
            for item in items {
                self.park(&item, now, Reason::new("", ""), now);
            }
        }
    }

    /// What counts against its bounds after that wait.
    fn spent(&self, item: &Item, wait: Duration, now: Instant) -> Spent {
        let time = item.time_spent(self.breaker.time_open(now), now).saturating_add(wait);
        Spent { attempts: item.counted(), micros: i64::try_from(time.as_micros()).unwrap_or(i64::MAX) }
    }

    /// The ledger knows.
    pub(super) fn written(&mut self, step: Option<Settlement>) {
        let turns = step.iter().flat_map(|step| &step.turns);
        let replaced = turns.filter_map(|turn| if let Fate::Replaced(by) = &turn.fate { Some(by) } else { None });
        let held = step.iter().flat_map(|step| &step.held).chain(replaced.flatten());
        for held in held.filter(|held| held.due.is_some()) {
            let lane = if self.ordered { &held.key } else { &held.id };
            self.parked.written(lane, size_of(held));
        }
        for turn in step.iter().flat_map(|step| &step.turns) {
            self.parked.settled(&turn.lane);
        }
    }

    // ── fetching ───────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn may_fetch(&self) -> bool {
        self.fetching.is_none() && self.retries.ready() < MAX_READY && !self.settler.is_full()
    }

    /// Looks for what is due.
    pub(super) fn prepare_fetch(&mut self, now: Instant) {
        if !self.may_fetch() {
            return;
        }
        let (busy, lanes): (Vec<_>, Vec<_>) = self
            .parked
            .take_due(now, FETCH_LANES)
            .into_iter()
            .partition(|lane| self.ordered && self.lanes.is_flying(lane));
        busy.iter().for_each(|lane| self.parked.put_off(lane, Some(now + KEY_BUSY), now));
        if lanes.is_empty() {
            return;
        }
        let (ledger, sink, ordered) = (Arc::clone(&self.spec.ledger), self.spec.name.clone(), self.ordered);
        let (questions, rules) = (self.questions.clone(), Arc::clone(&self.rules));
        self.fetching = Some(Box::pin(async move {
            let rows = match ledger.parked(&sink, ordered, lanes.clone()).await {
                Ok(rows) => Ok(asked(&questions, rows).await),
                Err(error) => Err(error),
            };
            Fetched { lanes, rows, rules }
        }));
    }

    pub(super) fn take_in(&mut self, fetched: Fetched) {
        let now = Instant::now();
        let rows = match fetched.rows {
            Ok(rows) => rows,
            Err(error) => {
                error!(sink = %self.spec.name, %error, "what is parked cannot be read; trying again");
                fetched.lanes.iter().for_each(|lane| self.parked.put_off(lane, None, now));
                return;
            }
        };
        let mut rows = rows.into_iter().peekable();
        for lane in fetched.lanes {
            let mut run = Vec::new();
            while let Some(row) = rows.next_if(|(row, _)| row.lane == lane) {
                run.push(row);
            }
            let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
            if self.parked.fetched(&lane, count) {
                self.lanes.release(&lane);
            }
            self.reinstate(&fetched.rules, &lane, run, now);
        }
    }

    /// Takes a lane's run of parked deliveries in, up to the first that has to be routed anew.
    fn reinstate(&mut self, rules: &RuleSet, lane: &Arc<str>, run: Vec<(Row, Option<Said>)>, now: Instant) {
        let mut run = run.into_iter();
        let mut is_first = true;
        while let Some((row, said)) = run.next() {
            let anew = row.how == How::ByRules || (row.how == How::AsWas && row.held.attempts == 0);
            if anew && is_first {
                self.route_anew(rules, lane, &row, said.as_ref());
            } else if !anew {
                match self.item(&row) {
                    Ok(item) => {
                        self.retries.push(item);
                        is_first = false;
                        continue;
                    }
                    Err(error) => self.unreadable(lane, &row, &error),
                }
            } else {
                self.parked.let_go(lane, 1);
            }
            let rest = u32::try_from(run.len()).unwrap_or(u32::MAX);
            self.parked.let_go(lane, rest);
            self.parked.put_off(lane, Some(now), now);
            return;
        }
    }

    fn item(&mut self, row: &Row) -> Result<Item, CodecError> {
        let held = &row.held;
        let event = event::decode_shared(&held.event, &mut self.texts)?;
        let payload = held.payload.clone().map_or(Payload::Body, Payload::Json);
        let target: std::collections::BTreeMap<String, String> = serde_json::from_str(&held.target).unwrap_or_default();
        let target: Target = target.into_iter().collect();
        let delivery = Delivery { id: held.id.clone(), event, payload, key: held.key.as_str().into(), target };
        self.fetched = self.fetched.wrapping_add(1);
        let micros = u64::try_from(held.spent.micros).unwrap_or_default();
        let history = History {
            size: row.size,
            forgiven: held.attempts.saturating_sub(held.spent.attempts),
            spent: Duration::from_micros(micros),
            first: (held.attempts > 0).then_some(held.times[1]),
        };
        let item = Item::new(Ordinal { position: held.position, number: self.fetched }, delivery);
        Ok(Item { attempts: held.attempts, parked: Some(history), ..item })
    }

    fn unreadable(&mut self, lane: &Arc<str>, row: &Row, error: &CodecError) {
        let held = &row.held;
        let tried = Try {
            attempts: held.attempts,
            spent: held.spent,
            times: [held.times[1], held.times[2]],
            code: "undecodable".to_owned(),
            detail: error.to_string(),
        };
        self.over(lane, held.id.clone(), row.size, Fate::Dead(tried), &Counters { dead: 1, ..Counters::default() });
    }

    /// A dead letter that somebody wants delivered by the rules in force: they say anew what is delivered, and where to.
    fn route_anew(&mut self, rules: &RuleSet, lane: &Arc<str>, row: &Row, said: Option<&Said>) {
        let held = &row.held;
        let event = match event::decode_shared(&held.event, &mut self.texts) {
            Ok(event) => event,
            Err(error) => return self.unreadable(lane, row, &error),
        };
        let Routed { deliveries, failed, .. } = match said {
            None => rules.route(&self.to, &event, &mut ()),
            Some(said) => rules.route_by(said, &self.to, &event, &mut ()),
        };
        let is_meant = |id: &str| id == held.id || (held.attempts == 0 && is_output(id, &held.id));
        let position = held.position;
        let mut by = Vec::new();
        for delivery in deliveries.into_iter().filter(|delivery| is_meant(&delivery.id)) {
            let item = Item { attempts: held.attempts, ..Item::new(Ordinal { position, number: 0 }, delivery) };
            let again = self.keep(&item, Reason::new("", ""), Some(wall(Duration::ZERO)), Spent::default());
            by.push(Held { times: held.times, ..again });
        }
        for failed in failed.into_iter().filter(|failed| is_meant(&failed.id)) {
            let texts = (held.subject.clone(), held.key.clone());
            by.push(self.unrouted(position, &held.event, texts, failed));
        }
        let dead = by.iter().filter(|held| held.due.is_none()).count() as u64;
        let more = (by.len() as u64).saturating_sub(1);
        let filtered = u64::from(by.is_empty());
        let delta = Counters { accepted: more, dead, filtered, ..Counters::default() };
        // They are parked as if they were new, each in its own lane, while this row goes.
        for held in by.iter().filter(|held| held.due.is_some()) {
            let lane: Arc<str> = if self.ordered { held.key.as_str() } else { held.id.as_str() }.into();
            self.parked.park(&lane, Instant::now(), size_of(held));
            if self.ordered {
                self.lanes.set_behind_parked(&lane);
            }
        }
        self.over(lane, held.id.clone(), row.size, Fate::Replaced(by), &delta);
    }

    // ── trying again ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether the next batch is one of parked deliveries: in turns with fresh ones, and within their share of slots.
    pub(super) fn is_turn_of_retries(&self) -> bool {
        let share = (self.spec.limits.concurrency / SHARE).max(1);
        self.retries.ready() > 0 && self.retries_under_way < share && (self.lanes.ready() == 0 || !self.was_retry)
    }

    /// Parked deliveries that were tried again.
    pub(super) fn retried(&mut self, verdicts: Vec<Verdict>, now: Instant) {
        let (mut again, mut done, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for verdict in verdicts {
            match verdict {
                Verdict::Again(item, due) => again.push((item, due)),
                Verdict::Failed(item, due, why) => {
                    self.fail(&item, due, why, now);
                    failed.push(item.clone());
                    done.push(item);
                }
                Verdict::Delivered(item) => {
                    let delta = Counters { delivered: 1, ..Counters::default() };
                    self.end(&item, Fate::Over, &delta);
                    done.push(item);
                }
                Verdict::Dead(item, why) => {
                    self.log_dead(&item.delivery.id, &why);
                    let fate = Fate::Dead(self.tried_in_vain(&item, why, Spent::default()));
                    self.end(&item, fate, &Counters { dead: 1, ..Counters::default() });
                    done.push(item);
                }
            }
        }
        self.retries.put_back(again, &done);
        for item in failed {
            // What stands behind it waits in the ledger until it is due again.
            let rest = u32::try_from(self.retries.take_lane(&item).len()).unwrap_or(u32::MAX);
            self.parked.let_go(&self.lane(&item.delivery), rest);
        }
    }

    fn fail(&mut self, item: &Item, due: Instant, why: Reason, now: Instant) {
        let wait = due.saturating_duration_since(now);
        let tried = self.tried_in_vain(item, why, self.spent(item, wait, now));
        let lane = self.lane(&item.delivery);
        self.parked.turned(&lane, None, Some(due));
        let turn = Turn { id: item.delivery.id.clone(), lane, fate: Fate::Again(wall(wait), tried) };
        self.settler.turned(turn, &Counters::default());
    }

    fn end(&mut self, item: &Item, fate: Fate, delta: &Counters) {
        let (lane, size) = (self.lane(&item.delivery), item.parked.map_or(0, |history| history.size));
        self.over(&lane, item.delivery.id.clone(), size, fate, delta);
    }

    fn over(&mut self, lane: &Arc<str>, id: String, size: u64, fate: Fate, delta: &Counters) {
        self.parked.turned(lane, Some(size), None);
        self.settler.turned(Turn { id, lane: Arc::clone(lane), fate }, delta);
    }

    fn tried_in_vain(&self, item: &Item, why: Reason, spent: Spent) -> Try {
        let now = Timestamp::now().as_microsecond();
        Try {
            attempts: item.attempts,
            spent,
            times: [item.first_wall().unwrap_or(now), now],
            code: why.code.to_owned(),
            detail: why.detail,
        }
    }
}

/// That far from now, microseconds.
fn wall(wait: Duration) -> i64 {
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_add(wait)
}

/// Whether an id is that of a further output of the one that has the bare id.
fn is_output(id: &str, bare: &str) -> bool {
    let number = id.strip_prefix(bare).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n >= 2))
}

/// Asks jq about those rows that are routed anew. Where it makes too much of them the rest comes another time.
async fn asked(questions: &crate::deliver::asking::Questions, rows: Vec<Row>) -> Vec<(Row, Option<Said>)> {
    let is_anew = |row: &Row| row.how != How::AsItStands;
    let entry = |row: &Row| Entry { position: row.held.position, record: Arc::clone(&row.held.event) };
    let entries: Vec<Entry> = rows.iter().filter(|row| is_anew(row)).map(entry).collect();
    let next = entries.last().map_or(Position { shard: 0, offset: 0 }, |entry| entry.position);
    if entries.is_empty() {
        return rows.into_iter().map(|row| (row, None)).collect();
    }
    let (chunk, said) = questions.ask(Chunk { entries, next, gap: None }).await;
    let (mut left, mut said) = (chunk.entries.len(), said.into_iter());
    let mut out = Vec::new();
    for row in rows {
        let answer = match is_anew(&row) {
            true if left == 0 => break,
            true => {
                left -= 1;
                said.next().flatten()
            }
            false => None,
        };
        out.push((row, answer));
    }
    out
}
