//! What a step comes to in its shard: from what the copy holds, the rows that change and the next note, both whole.
//! Pure.
//!
//! It mirrors what SQLite does with the same step (`cursors::step`, `held::keep`, `held::change`, `parked::end`,
//! `replays::passed`), so that a copy that lived through the steps and one that is made from the rows are the same.
//! Sums wrap around as they do there: what is counted in one shard may be taken off again in the same step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::note::{Come, MOST_REPLAYS, Note};
use super::rows::{Body, Key, Progress, State};
use crate::journal::Position;
use crate::journal::kafka::seam::{Row, Stand, Step};
use crate::ledger::held::{Change, in_line};
use crate::ledger::parked::How;
use crate::ledger::replays::Delta;
use crate::ledger::{Fate, HeldDelivery, ParkedFate, Settlement, Spent, Try};

/// A delivery as the copy holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its state.
    pub state: State,
    /// The replay that brought it, where one did.
    pub replay: Option<i64>,
    /// Where its event stands.
    pub position: Position,
}

/// A replay as the copy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownReplay {
    /// How far it has come in the shard.
    pub progress: Progress,
    /// Whether it is under way, in any shard of the copy.
    pub is_under_way: bool,
}

/// One shard of a sink as the copy has it, as far as a step needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Where the sink stands.
    pub cursor: Position,
    /// Its last note.
    pub note: Note,
    /// Those of the deliveries that the step names which are held in the shard, by id.
    pub held: HashMap<String, Known>,
    /// Replays, by number.
    pub replays: BTreeMap<i64, KnownReplay>,
}

/// What a step comes to.
#[derive(Clone, Debug)]
pub struct Derived {
    /// For Kafka.
    pub step: Step,
    /// What the step says of replays; `None`: they are forgotten in the shard.
    pub progress: Vec<(i64, Option<Bytes>)>,
}

/// A step in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    base: Base,
    rows: BTreeMap<String, Option<Bytes>>,
    replays: BTreeSet<i64>,
}

fn bump(count: &mut u64, by: i64) {
    *count = count.wrapping_add_signed(by);
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Draft {
    /// Begins where the copy stands.
    pub fn new(base: Base) -> Self {
        Self { base, rows: BTreeMap::new(), replays: BTreeSet::new() }
    }

    /// Begins a replay in the shard. Those of `over`, which are under way nowhere any more, are forgotten where there
    /// are too many, the oldest first.
    pub fn begin_replay(&mut self, replay: i64, progress: Progress, over: impl Fn(i64) -> bool) {
        let too_many = (self.base.replays.len() + 1).saturating_sub(MOST_REPLAYS);
        let forgotten: Vec<i64> = self.base.replays.keys().copied().filter(|id| over(*id)).take(too_many).collect();
        forgotten.iter().for_each(|id| _ = self.base.replays.remove(id));
        self.replays.extend(forgotten);
        self.base.replays.insert(replay, KnownReplay { progress, is_under_way: true });
        self.replays.insert(replay);
    }

    /// Takes a step of the sink or of one of its replays.
    pub fn settle(&mut self, step: &Settlement) {
        match (step.cursor, step.replay) {
            (Some(cursor), Some(replay)) => self.replay_passed(replay, cursor, step),
            (Some(cursor), None) => self.base.cursor = cursor,
            (None, _) => {}
        }
        let (counters, delta) = (&mut self.base.note.counters, &step.delta);
        for (count, by) in [
            (&mut counters.accepted, delta.accepted),
            (&mut counters.delivered, delta.delivered),
            (&mut counters.dead, delta.dead),
            (&mut counters.filtered, delta.filtered),
            (&mut counters.dropped, delta.dropped),
        ] {
            *count = count.wrapping_add(by);
        }
        step.held.iter().for_each(|held| self.keep(held, step.replay));
        step.fates.iter().for_each(|fate| self.end(fate));
    }

    /// Changes these letters, where they are dead.
    pub fn change(&mut self, ids: &[String], change: Change) {
        for id in ids {
            let Some(known) = self.base.held.get(id).filter(|known| known.state.is_dead()).cloned() else { continue };
            let dropped = match change {
                Change::Retry { due, as_was } => {
                    let how = if as_was { How::AsWas } else { How::ByRules };
                    let tried = Try { spent: Spent::default(), ..known.state.tried };
                    self.set_state(id, State { due: Some(due), how, tried });
                    0
                }
                Change::Drop => {
                    self.forget(id);
                    1
                }
            };
            bump(&mut self.base.note.counters.dead, -1);
            bump(&mut self.base.note.counters.dropped, dropped);
            self.replay_counts(known.replay, Delta { dead: -1, dropped, ..Delta::default() });
        }
    }

    /// The step, as this process makes it.
    pub fn finish(self, by: u32) -> Derived {
        let Self { base, mut rows, replays } = self;
        let mut progress = Vec::new();
        for replay in replays {
            let row = base.replays.get(&replay).map(|known| known.progress.write());
            rows.insert(Key::Progress(replay).to_string(), row.clone());
            progress.push((replay, row));
        }
        let newest = base.replays.iter().rev().take(MOST_REPLAYS).rev();
        let come = newest.map(|(replay, KnownReplay { progress, .. })| Come {
            replay: *replay,
            at: progress.at,
            fed: progress.fed,
            counts: progress.counts,
        });
        let note = Note { replays: come.collect(), ..base.note };
        let stand = Stand { cursor: base.cursor, note: note.next(by).to_string() };
        let rows = rows.into_iter().map(|(key, value)| Row { key, value }).collect();
        Derived { step: Step { stand, rows }, progress }
    }

    // ── deliveries ──

    /// Holds a delivery, in the place of one of the same id.
    fn keep(&mut self, held: &HeldDelivery, replay: Option<i64>) {
        let before = self.base.held.get(&held.id).cloned();
        let stood = before.as_ref().filter(|before| !before.state.is_dead()).map(|before| before.position);
        let position = in_line(held.position, stood);
        if let Some(before) = before {
            let was_dead = i64::from(before.state.is_dead());
            bump(&mut self.base.note.counters.dead, -was_dead);
            bump(&mut self.base.note.counters.dropped, 1);
            self.replay_counts(before.replay, Delta { dead: -was_dead, dropped: 1, ..Delta::default() });
            self.count_row(&before.state, -1);
        }
        let state = State::of(held);
        self.count_row(&state, 1);
        let body = Body { position, ..Body::of(held, replay) };
        self.rows.insert(Key::Body(held.id.clone()).to_string(), Some(body.write()));
        self.rows.insert(Key::State(held.id.clone()).to_string(), Some(state.write()));
        self.base.held.insert(held.id.clone(), Known { state, replay, position });
    }

    /// Writes a state of a delivery that is held.
    fn set_state(&mut self, id: &str, state: State) {
        let Some(known) = self.base.held.get_mut(id) else { return };
        self.rows.insert(Key::State(id.to_owned()).to_string(), Some(state.write()));
        let before = std::mem::replace(&mut known.state, state.clone());
        self.count_row(&before, -1);
        self.count_row(&state, 1);
    }

    /// Forgets a delivery; gives the replay that brought it.
    fn forget(&mut self, id: &str) -> Option<i64> {
        let known = self.base.held.remove(id)?;
        self.count_row(&known.state, -1);
        self.rows.insert(Key::Body(id.to_owned()).to_string(), None);
        self.rows.insert(Key::State(id.to_owned()).to_string(), None);
        known.replay
    }

    /// The same of a delivery that is parked; nothing of a dead letter.
    fn forget_parked(&mut self, id: &str) -> Option<i64> {
        let is_parked = self.base.held.get(id).is_some_and(|known| !known.state.is_dead());
        if is_parked { self.forget(id) } else { None }
    }

    fn count_row(&mut self, state: &State, by: i64) {
        let note = &mut self.base.note;
        bump(if state.is_dead() { &mut note.letters } else { &mut note.parked }, by);
    }

    /// Takes what became of a parked delivery.
    fn end(&mut self, parked: &ParkedFate) {
        let (due, tried) = match &parked.fate {
            Fate::Delivered(..) => return self.over(&parked.id, Delta { delivered: 1, ..Delta::default() }),
            Fate::Filtered(_) | Fate::Skipped(_) => {
                return self.over(&parked.id, Delta { filtered: 1, ..Delta::default() });
            }
            Fate::Replaced(by) => return self.replace(&parked.id, by),
            Fate::Again(due, tried) => (Some(*due), tried),
            Fate::Dead(tried) => (None, tried),
        };
        let Some(known) = self.base.held.get(&parked.id).filter(|known| !known.state.is_dead()) else { return };
        let replay = known.replay;
        self.set_state(&parked.id, State { due, how: How::AsItStands, tried: tried.clone() });
        if due.is_none() {
            self.replay_counts(replay, Delta { dead: 1, ..Delta::default() });
        }
    }

    fn over(&mut self, id: &str, delta: Delta) {
        let replay = self.forget_parked(id);
        self.replay_counts(replay, delta);
    }

    /// Keeps these, which the rules made of a parked delivery, in its place.
    fn replace(&mut self, id: &str, by: &[HeldDelivery]) {
        let failed =
            self.base.held.get(id).map(|known| [known.state.tried.code.clone(), known.state.tried.detail.clone()]);
        let replay = self.forget_parked(id);
        for held in by {
            self.keep(held, replay);
            // What it failed with before is told beside how it ends.
            let failed = failed.as_ref().filter(|_| held.id == id && held.code.is_empty());
            if let (Some([code, detail]), Some(known)) = (failed.cloned(), self.base.held.get(id)) {
                let state = known.state.clone();
                self.set_state(id, State { tried: Try { code, detail, ..state.tried }, ..state });
            }
        }
        let dead = count(by.iter().filter(|held| held.due.is_none()).count());
        // The delivery itself was counted when the replay brought it.
        let accepted = count(by.len()).saturating_sub(1);
        self.replay_counts(replay, Delta { accepted, dead, ..Delta::default() });
    }

    // ── replays ──

    fn replay(&mut self, replay: i64) -> Option<&mut KnownReplay> {
        let known = self.base.replays.get_mut(&replay)?;
        self.replays.insert(replay);
        Some(known)
    }

    fn replay_counts(&mut self, replay: Option<i64>, by: Delta) {
        let Some(known) = replay.and_then(|replay| self.replay(replay)) else { return };
        let counts = &mut known.progress.counts;
        bump(&mut counts.accepted, by.accepted);
        bump(&mut counts.delivered, by.delivered);
        bump(&mut counts.dead, by.dead);
        bump(&mut counts.filtered, by.filtered);
        bump(&mut counts.dropped, by.dropped);
    }

    fn replay_passed(&mut self, replay: i64, to: Position, step: &Settlement) {
        let Some(known) = self.replay(replay) else { return };
        let (counts, delta) = (&mut known.progress.counts, &step.delta);
        counts.accepted = counts.accepted.wrapping_add(delta.accepted);
        counts.dead = counts.dead.wrapping_add(delta.dead);
        counts.filtered = counts.filtered.wrapping_add(delta.filtered);
        if known.is_under_way {
            known.progress.at = to.offset;
            known.progress.fed = known.progress.fed.wrapping_add(delta.accepted);
        }
    }
}
