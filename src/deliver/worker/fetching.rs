//! Fetches parked deliveries from the ledger when their lanes are due, and takes them in: as they stand, or routed
//! anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{Delivery, Payload, Target};
use tracing::error;

use super::outcomes::Outcomes;
use super::retrying::ParkedRow;
use super::under_way::UnderWay;
use crate::deliver::accounting::{self, Accounted, Origin, UNDECODABLE};
use crate::deliver::asking::Questions;
use crate::deliver::item::History;
use crate::deliver::told::Of;
use crate::event::{self, CodecError};
use crate::journal::Entry;
use crate::ledger::parked::{How, Row, Schedule};
use crate::ledger::runs::suffix;
use crate::ledger::{Counters, Fate, SettleError, SinkStorage, Try};
use crate::route::jq::Said;
use crate::route::{Destination, Routed, RuleSet};

/// The pause after a failed look into the ledger.
const RETRY: Duration = Duration::from_secs(1);

/// The lanes that were asked for and their rows, with what jq says of those that are routed anew.
pub(super) struct Fetched {
    lanes: Vec<Arc<str>>,
    rows: Result<Vec<(Row, Option<Said>)>, SettleError>,
    rules: Arc<RuleSet>,
}

/// Fetches for one sink.
pub(super) struct Fetcher {
    to: Destination,
    storage: SinkStorage,
    ordered: bool,
    under_way: UnderWay<Fetched>,
    /// Texts that events share.
    texts: event::Texts,
}

impl Fetcher {
    pub fn new(to: Destination, storage: SinkStorage, ordered: bool) -> Self {
        let (under_way, texts) = (UnderWay::default(), event::Texts::default());
        Self { to, storage, ordered, under_way, texts }
    }

    /// What the ledger has parked. Asks until the ledger answers.
    pub async fn schedule(&mut self) -> Schedule {
        let mut is_logged = false;
        loop {
            match self.storage.schedule(self.ordered).await {
                Ok(schedule) => return schedule,
                Err(error) if !is_logged => {
                    error!(sink = %self.to.name, %error, "what is parked cannot be read; trying again");
                    is_logged = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether lanes are being fetched.
    pub fn is_fetching(&self) -> bool {
        self.under_way.is_some()
    }

    /// Starts to fetch these lanes; rows that are routed anew are routed by these rules.
    pub fn start(&mut self, lanes: Vec<Arc<str>>, (rules, questions): (Arc<RuleSet>, Questions)) {
        let (storage, ordered) = (self.storage.clone(), self.ordered);
        self.under_way.start(async move {
            let rows = match storage.parked(ordered, lanes.clone()).await {
                Ok(rows) => Ok(asked(&questions, rows).await),
                Err(error) => Err(error),
            };
            Fetched { lanes, rows, rules }
        });
    }

    /// Waits for the lanes that are being fetched, for ever where there are none. Cancel-safe.
    pub async fn fetched(&mut self) -> Fetched {
        self.under_way.done().await
    }

    /// Takes in what was fetched.
    pub fn take_in(&mut self, fetched: Fetched, outcomes: &mut Outcomes<'_>) {
        let now = Instant::now();
        let rows = match fetched.rows {
            Ok(rows) => rows,
            Err(error) => {
                error!(sink = %self.to.name, %error, "what is parked cannot be read; trying again");
                fetched.lanes.iter().for_each(|lane| outcomes.backlog.put_off(lane, now));
                return;
            }
        };
        let mut rows = rows.into_iter().peekable();
        for lane in fetched.lanes {
            let mut run = Vec::new();
            while let Some(row) = rows.next_if(|(row, _)| row.lane == lane) {
                run.push(row);
            }
            outcomes.backlog.fetched(&lane, run.len());
            self.reinstate(&fetched.rules, &lane, run, outcomes);
        }
    }

    /// Takes a lane's run of parked deliveries in, up to the first that has to be routed anew.
    fn reinstate(
        &mut self,
        rules: &RuleSet,
        lane: &Arc<str>,
        run: Vec<(Row, Option<Said>)>,
        outcomes: &mut Outcomes<'_>,
    ) {
        let mut run = run.into_iter();
        let mut is_first = true;
        while let Some((row, said)) = run.next() {
            let mut left = run.len();
            if !is_anew(&row) {
                match self.delivery(&row) {
                    Ok((delivery, history)) => {
                        let held = &row.held;
                        let calls = [held.attempts, held.spent.uncounted];
                        outcomes.backlog.push_parked(held.position, delivery, calls, history);
                        is_first = false;
                        continue;
                    }
                    Err(error) => unreadable(lane, &row, &error, outcomes),
                }
            } else if is_first {
                self.route_anew(rules, lane, &row, said.as_ref(), outcomes);
            } else {
                left += 1;
            }
            outcomes.backlog.leave(lane, left, Instant::now());
            return;
        }
    }

    /// The delivery as it stands in the ledger, and what the ledger knows of it.
    fn delivery(&mut self, row: &Row) -> Result<(Delivery, History), CodecError> {
        let held = &row.held;
        let event = event::decode_shared(&held.event, &mut self.texts)?;
        let payload = held.payload.clone().map_or(Payload::Body, Payload::Json);
        let target: BTreeMap<String, String> = serde_json::from_str(&held.target).unwrap_or_default();
        let target: Target = target.into_iter().collect();
        let (id, key) = (held.id.clone(), held.key.as_str().into());
        let delivery = Delivery { id, event, payload, key, target, trace: None, position: None };
        let micros = u64::try_from(held.spent.micros).unwrap_or_default();
        let history = History {
            size: row.size,
            forgiven: held.attempts.saturating_sub(held.spent.attempts.saturating_add(held.spent.uncounted)),
            spent: Duration::from_micros(micros),
            first: (held.attempts > 0).then_some(held.times[1]),
        };
        Ok((delivery, history))
    }

    /// Routes a row by the rules in force: they say anew what is delivered, and where to.
    fn route_anew(
        &mut self,
        rules: &RuleSet,
        lane: &Arc<str>,
        row: &Row,
        said: Option<&Said>,
        outcomes: &mut Outcomes<'_>,
    ) {
        let held = &row.held;
        let event = match event::decode_shared(&held.event, &mut self.texts) {
            Ok(event) => event,
            Err(error) => return unreadable(lane, row, &error, outcomes),
        };
        // A row without attempts never was a delivery: it stands for all outputs of its event.
        let is_meant = |id: &str| id == held.id || (held.attempts == 0 && is_output(id, &held.id));
        let routed = accounting::route(rules, said, &self.to, &event, &mut ());
        let named = filtered_by(&routed.filtered, suffix(&held.id), rules.first_route(&self.to.name));
        let routed = only(routed, is_meant, named);
        let origin = Origin { position: held.position, record: &held.event, subject: &held.subject, key: &held.key };
        let accounted = Accounted::of(routed, origin);
        let filtered = accounted.filtered.first().cloned();
        for letter in &accounted.letters {
            outcomes.log.dead(Of::record(&letter.event), &letter.id, [&letter.code, &letter.detail]);
        }
        let (mut counts, mut by) = accounted.into_rows(held.position);
        // The row itself is accepted already.
        counts.accepted = counts.accepted.saturating_sub(1);
        for parked in by.iter_mut().filter(|parked| parked.due.is_some()) {
            parked.attempts = held.attempts;
            parked.times = held.times;
        }
        match filtered {
            Some(route) => outcomes.filtered(&ParkedRow::of(lane, row), route, &counts),
            None => outcomes.replaced(&ParkedRow::of(lane, row), by, &counts),
        }
    }
}

/// A row whose event this build cannot read is a dead letter.
fn unreadable(lane: &Arc<str>, row: &Row, error: &CodecError, outcomes: &mut Outcomes<'_>) {
    let held = &row.held;
    let tried = Try {
        attempts: held.attempts,
        spent: held.spent,
        times: [held.times[1], held.times[2]],
        code: UNDECODABLE.to_owned(),
        detail: error.to_string(),
        answer: None,
    };
    outcomes.log.dead(Of::record(&held.event), &held.id, [UNDECODABLE, &tried.detail]);
    let counts = Counters { dead: 1, ..Counters::default() };
    outcomes.over(&ParkedRow::of(lane, row), Fate::Dead(tried), &counts);
}

/// What routing an event comes to for those of its deliveries that are meant; filtered by that route, where it comes to
/// none of them.
fn only(routed: Routed, is_meant: impl Fn(&str) -> bool, by: Arc<str>) -> Routed {
    let Routed { mut deliveries, mut failed, .. } = routed;
    deliveries.retain(|delivery| is_meant(&delivery.id));
    failed.retain(|failed| is_meant(&failed.id));
    let is_nothing = deliveries.is_empty() && failed.is_empty();
    Routed { deliveries, failed, filtered: if is_nothing { vec![by] } else { vec![] } }
}

/// Which of these routes left nothing of the delivery whose id ends like this behind its event's: the `first` route of
/// the sink adds nothing there, every other one its name, and further outputs a number. Empty where it is none of them.
fn filtered_by(filtered: &[Arc<str>], suffix: &str, first: Option<&str>) -> Arc<str> {
    let is_of = |suffix: &str, route: &str| match suffix.strip_prefix('-') {
        Some(name) => name == route,
        None => first == Some(route),
    };
    // A route's name may end like a number.
    let bare = suffix.rsplit_once('-').filter(|(_, n)| n.parse::<u32>().is_ok_and(|n| n >= 2)).map(|(bare, _)| bare);
    let of = |suffix: &str| filtered.iter().find(|route| is_of(suffix, route)).cloned();
    of(suffix).or_else(|| of(bare?)).unwrap_or_default()
}

/// Whether a row is routed anew; it is tried as it stands otherwise.
fn is_anew(row: &Row) -> bool {
    row.how == How::ByRules || (row.how == How::AsWas && row.held.attempts == 0)
}

/// Whether an id is that of a further output of the one that has the bare id.
fn is_output(id: &str, bare: &str) -> bool {
    let number = id.strip_prefix(bare).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n >= 2))
}

/// Asks jq about the rows that may be routed anew. Where jq makes too much of them, the rows behind come another time.
async fn asked(questions: &Questions, rows: Vec<Row>) -> Vec<(Row, Option<Said>)> {
    let may_be_anew = |row: &Row| row.how != How::AsItStands;
    let entry = |row: &Row| Entry { position: row.held.position, record: Arc::clone(&row.held.event) };
    let entries: Vec<Entry> = rows.iter().filter(|row| may_be_anew(row)).map(entry).collect();
    if entries.is_empty() {
        return rows.into_iter().map(|row| (row, None)).collect();
    }
    let (mut left, said) = questions.ask(&entries).await;
    let mut said = said.into_iter();
    let mut out = Vec::new();
    for row in rows {
        let answer = match may_be_anew(&row) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rules_left_nothing_of_is_filtered_by_the_deliverys_own_route() {
        let filtered: Vec<Arc<str>> = ["alerts", "crm", "crm-2", "all"].map(Arc::from).into();
        let by = |suffix: &str| filtered_by(&filtered, suffix, Some("all"));
        for (suffix, route) in [("", "all"), ("-2", "all"), ("-crm", "crm"), ("-crm-2", "crm-2"), ("-crm-3", "crm")] {
            assert_eq!(&*by(suffix), route, "{suffix}");
        }
        assert_eq!(&*by("-gone"), "", "it is a route of other rules");
        assert_eq!(&*filtered_by(&filtered, "", Some("other")), "");
    }
}
