//! The suite can fail: a fake sink breaks each clause in turn and the suite names it; unbroken, it passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sink_api::{
    Batch, BuildError, Delivery, Event, Fault, Outcome, Reason, Report, Sink, SinkConfig, SinkContext, Target, code,
};
use sink_testkit::{EventBuilder, Has, MARKER, Repeats, Subject, event, run_all};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Nothing,
    OneSlotShort,
    ReportsWithoutWriting,
    ProbeFails,
    WritesTwice,
    LosesDropped,
    RejectsWhileDown,
    LeavesSlotsUnsetWhileDown,
    ProbeFineWhileDown,
    StaysDown,
    RetriesPoison,
    RejectsWholeBatch,
    Reorders,
    GoesOnAfterFailure,
    StopsWithoutOrder,
    TriesWhatItPutsOff,
    GoesOnBehindWhatItPutsOff,
    StopsAfterASkip,
    RetriesASkip,
    OvertakesInTheMiddle,
    BlamesWhatIsBehind,
    ReordersWhatWasDropped,
    MixesConcurrentCalls,
    LosesAtClose,
    ShowsBody,
    ShowsSecret,
    DebugShowsSecret,
    BadLabel,
}

#[derive(Default)]
struct World {
    seen: Vec<String>,
    /// What calls have begun to write, for `LosesDropped`.
    begun: Vec<String>,
    /// One buffer for all calls, for `MixesConcurrentCalls`.
    slot: Vec<String>,
    down: bool,
}

#[derive(Clone)]
struct Fake {
    breaks: Breaks,
    world: Arc<Mutex<World>>,
}

const SECRET: &str = "hunter2-secret";

impl Fake {
    fn new(breaks: Breaks) -> Self {
        Self { breaks, world: Arc::default() }
    }

    fn detail(&self) -> String {
        match self.breaks {
            Breaks::ShowsBody => format!("could not take {MARKER}"),
            Breaks::ShowsSecret => format!("login with {SECRET} failed"),
            _ => "refused".to_owned(),
        }
    }

    fn untried(&self, delivery: &Delivery) -> Option<Outcome> {
        let why = || Reason::new("quiet", "not now");
        match (delivery.event.kind.as_ref(), self.breaks) {
            ("night", _) | ("read", Breaks::StopsAfterASkip) => {
                Some(Outcome::Later { after: Duration::ZERO, why: why() })
            }
            ("read", Breaks::RetriesASkip) => Some(Outcome::retry_for(why())),
            ("read", _) => Some(Outcome::Skipped { why: why() }),
            _ => None,
        }
    }

    fn deliver_now(&self, batch: &Batch) -> Report {
        let mut world = self.world.lock().unwrap();
        let label = if self.breaks == Breaks::BadLabel { "Not A Label" } else { code::CONNECT };
        if world.down {
            return match self.breaks {
                Breaks::RejectsWhileDown => Report::all(batch, &Outcome::reject(label, self.detail())),
                Breaks::LeavesSlotsUnsetWhileDown => Report::open(batch),
                _ => Report::all(batch, &Outcome::retry(label, self.detail())),
            };
        }
        let poisoned = batch.deliveries.iter().any(|d| d.event.kind.as_ref() == "poison");
        if poisoned && self.breaks == Breaks::RejectsWholeBatch {
            return Report::all(batch, &Outcome::reject(code::BAD_PAYLOAD, "refused"));
        }
        let mut report = Report::open(batch);
        // A pipeline of three: what is refused in it is found when what is behind it is there already.
        if self.breaks == Breaks::OvertakesInTheMiddle && batch.len() > 100 {
            let behind = |i: usize| batch.deliveries.get(i.saturating_sub(3)..i).unwrap_or_default();
            let is_poison = |delivery: &Arc<Delivery>| delivery.event.kind.as_ref() == "poison";
            let caught = (0..batch.len()).filter(|i| behind(*i).iter().any(is_poison)).map(|i| &batch.deliveries[i]);
            let caught: Vec<String> = caught.filter(|d| !is_poison(d)).map(|d| d.id.clone()).collect();
            let last = caught.into_iter().rev().filter(|id| !world.seen.contains(id)).collect::<Vec<_>>();
            world.seen.extend(last);
        }
        let mut order: Vec<usize> = (0..batch.len()).collect();
        if self.breaks == Breaks::Reorders {
            order.reverse();
        }
        let mut failed = false;
        for i in order {
            let delivery = &batch.deliveries[i];
            let stop_anyway = failed && self.breaks == Breaks::StopsWithoutOrder && !batch.ordered;
            if stop_anyway || (self.breaks != Breaks::GoesOnAfterFailure && !report.may_attempt(batch, i)) {
                continue;
            }
            if let Some(untried) = self.untried(delivery) {
                if self.breaks == Breaks::TriesWhatItPutsOff {
                    world.seen.push(delivery.id.clone());
                }
                report.set(batch, i, untried);
                if self.breaks == Breaks::GoesOnBehindWhatItPutsOff {
                    report = reopened(batch, report);
                }
                continue;
            }
            if delivery.event.kind.as_ref() == "poison" {
                failed = true;
                if self.breaks == Breaks::BlamesWhatIsBehind && i + 1 < batch.len() {
                    report.set(batch, i + 1, Outcome::reject(code::BAD_PAYLOAD, "refused"));
                }
                report.set(
                    batch,
                    i,
                    match self.breaks {
                        Breaks::RetriesPoison => Outcome::retry(code::IO, "refused"),
                        _ => Outcome::reject(code::BAD_PAYLOAD, "refused"),
                    },
                );
                continue;
            }
            if self.breaks != Breaks::ReportsWithoutWriting && !world.seen.contains(&delivery.id) {
                world.seen.push(delivery.id.clone());
            }
            if self.breaks == Breaks::WritesTwice {
                world.seen.push(delivery.id.clone());
            }
            report.set(batch, i, Outcome::Delivered);
        }
        report
    }
}

/// The same slots, of a report that knows of no key that has stopped.
fn reopened(batch: &Batch, report: Report) -> Report {
    let mut open = Report::open(&Batch { ordered: false, ..batch.clone() });
    for (i, slot) in report.into_slots().into_iter().enumerate() {
        slot.into_iter().for_each(|outcome| open.set(batch, i, outcome));
    }
    open
}

#[async_trait]
impl Sink for Fake {
    async fn deliver(&self, batch: &Batch) -> Report {
        if self.breaks == Breaks::OneSlotShort {
            let short = Batch { deliveries: batch.deliveries[1..].to_vec(), ..batch.clone() };
            return self.deliver_now(&short);
        }
        let ids: Vec<String> = batch.deliveries.iter().map(|d| d.id.clone()).collect();
        if self.breaks == Breaks::LosesDropped {
            let begun_before = self.world.lock().unwrap().begun.clone();
            self.world.lock().unwrap().begun.extend(ids.iter().cloned());
            tokio::task::yield_now().await;
            self.world.lock().unwrap().begun.retain(|id| !ids.contains(id));
            if begun_before.contains(&ids[0]) {
                return Report::all(batch, &Outcome::Delivered);
            }
        }
        if self.breaks == Breaks::ReordersWhatWasDropped && batch.len() > 100 {
            // The end of the batch goes first, and is there should the call be dropped.
            let last = &ids[ids.len() - 1];
            if !self.world.lock().unwrap().seen.contains(last) {
                self.world.lock().unwrap().seen.push(last.clone());
                tokio::task::yield_now().await;
                self.world.lock().unwrap().seen.retain(|id| id != last);
            }
        }
        if self.breaks == Breaks::MixesConcurrentCalls {
            self.world.lock().unwrap().slot = ids;
            tokio::task::yield_now().await;
            let mine = std::mem::take(&mut self.world.lock().unwrap().slot);
            let kept = batch.deliveries.iter().filter(|d| mine.contains(&d.id)).cloned().collect();
            let _ = self.deliver_now(&Batch { deliveries: kept, ..batch.clone() });
            return Report::all(batch, &Outcome::Delivered);
        }
        self.deliver_now(batch)
    }

    async fn probe(&self) -> Result<(), Reason> {
        let down = self.world.lock().unwrap().down && self.breaks != Breaks::ProbeFineWhileDown;
        if down || self.breaks == Breaks::ProbeFails { Err(Reason::new(code::CONNECT, "refused")) } else { Ok(()) }
    }

    async fn close(self: Box<Self>) {
        if self.breaks == Breaks::LosesAtClose {
            self.world.lock().unwrap().seen.pop();
        }
    }
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = if self.breaks == Breaks::DebugShowsSecret { SECRET } else { "***" };
        write!(f, "Fake {{ password: {shown} }}")
    }
}

#[async_trait]
impl SinkConfig for Fake {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, _: &Event) -> Result<Target, Reason> {
        Ok(Target::default())
    }

    async fn build(&self, _: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Subject for Fake {
    fn config(&self) -> &dyn SinkConfig {
        self
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(self.clone()))
    }

    async fn delivered(&self) -> Vec<String> {
        self.world.lock().unwrap().seen.clone()
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(event("poison"))
    }

    fn put_off(&self) -> Option<EventBuilder> {
        Some(event("night"))
    }

    fn unneeded(&self) -> Option<EventBuilder> {
        Some(event("read"))
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn take_down(&self) -> Has<()> {
        self.world.lock().unwrap().down = true;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.world.lock().unwrap().down = self.breaks == Breaks::StaysDown;
    }

    fn repeats(&self) -> Repeats {
        Repeats::Never
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }
}

async fn broken_clauses(breaks: Breaks) -> Vec<&'static str> {
    let failures = run_all(&Fake::new(breaks)).await.expect_err(&format!("{breaks:?} went unseen"));
    failures.0.iter().map(|f| f.clause).collect()
}

#[tokio::test]
async fn a_sink_that_keeps_every_clause_passes_and_nothing_is_excused() {
    let summary = run_all(&Fake::new(Breaks::Nothing)).await.unwrap();
    assert_eq!(summary.kept.len(), 11, "{summary:?}");
    assert!(summary.excused.is_empty());
}

#[tokio::test]
async fn each_broken_clause_is_named() {
    let table = [
        (Breaks::OneSlotShort, "report"),
        (Breaks::ReportsWithoutWriting, "report"),
        (Breaks::ProbeFails, "report"),
        (Breaks::WritesTwice, "report"),
        (Breaks::LosesDropped, "dropped"),
        (Breaks::RejectsWhileDown, "down"),
        (Breaks::LeavesSlotsUnsetWhileDown, "down"),
        (Breaks::ProbeFineWhileDown, "down"),
        (Breaks::StaysDown, "down"),
        (Breaks::RetriesPoison, "poison"),
        (Breaks::RejectsWholeBatch, "poison"),
        (Breaks::Reorders, "order"),
        (Breaks::GoesOnAfterFailure, "order"),
        (Breaks::StopsWithoutOrder, "order"),
        (Breaks::TriesWhatItPutsOff, "untried"),
        (Breaks::GoesOnBehindWhatItPutsOff, "untried"),
        (Breaks::StopsAfterASkip, "untried"),
        (Breaks::RetriesASkip, "untried"),
        (Breaks::OvertakesInTheMiddle, "pipeline"),
        (Breaks::BlamesWhatIsBehind, "pipeline"),
        (Breaks::ReordersWhatWasDropped, "pipeline"),
        (Breaks::MixesConcurrentCalls, "concurrent"),
        (Breaks::LosesAtClose, "close"),
        (Breaks::ShowsBody, "quiet"),
        (Breaks::ShowsSecret, "quiet"),
        (Breaks::DebugShowsSecret, "quiet"),
        (Breaks::BadLabel, "quiet"),
    ];
    for (breaks, clause) in table {
        let named = broken_clauses(breaks).await;
        assert!(named.contains(&clause), "{breaks:?} should break `{clause}`, broke {named:?}");
    }
}

#[tokio::test]
async fn a_clause_the_subject_cannot_be_tried_for_is_listed_with_its_reason() {
    struct Stubborn(Fake);
    #[async_trait]
    impl Subject for Stubborn {
        fn config(&self) -> &dyn SinkConfig {
            &self.0
        }
        async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
            self.0.open().await
        }
        async fn delivered(&self) -> Vec<String> {
            self.0.delivered().await
        }
        fn poison(&self) -> Has<EventBuilder> {
            Has::No("takes everything")
        }
        async fn take_down(&self) -> Has<()> {
            Has::No("never down")
        }
        async fn bring_up(&self) {}
        fn repeats(&self) -> Repeats {
            Repeats::Never
        }
    }
    let summary = run_all(&Stubborn(Fake::new(Breaks::Nothing))).await.unwrap();
    let excused =
        [("down", "never down"), ("poison", "takes everything"), ("order after a failure", "takes everything")];
    assert_eq!(summary.excused, excused);
}
