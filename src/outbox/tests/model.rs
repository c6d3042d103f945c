//! Whatever is sent, lost, heard in whatever order, killed and cancelled: no message is sent again more often than its
//! rule says, none that is due is forgotten, none is sent after a delivery was heard of, and no call is made twice
//! where a status has told of it, or before `confirm`.
//!
//! The provider is a stand-in that takes a call or not, and answers or not. What it says stands in a journal that is
//! heard later, or when the outbox asks whether all is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Cases, unless the variable says otherwise.
const CASES: u32 = 40;
const CASES_VAR: &str = "HOOKRELAY_OUTBOX_CASES";
/// `times` of a code, `max_attempts`, and `confirm`.
const TIMES: [(&str, u32); 2] = [("131049", 2), ("130429", 5)];
const MOST_TRIES: u32 = 3;
const CONFIRM: i64 = 120;

/// What the provider does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Takes it, and says so.
    Taken,
    /// Takes it, and the answer is lost.
    TakenUnheard,
    /// The call is lost.
    Lost,
    /// Does not take it, and says so.
    Refused,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The sink tries a delivery that is owed.
    Try { which: usize, fate: Fate, killed: bool },
    /// The daemon ends while the sink's question waits for statuses.
    EndWhileAsking { which: usize },
    /// The provider tells of a message.
    Tell { which: usize, word: usize, code: usize },
    /// It tells again what it told before.
    Repeat { which: usize },
    /// The follower reads the journal.
    Read,
    /// Time passes.
    Pass { seconds: i64 },
    /// The scheduler hands over what is due; the daemon ends before it is noted, perhaps.
    Schedule { killed: bool },
    /// Somebody gives up what follows from a message.
    Cancel { which: usize },
    /// The daemon ends.
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    let fate = prop::sample::select(vec![Fate::Taken, Fate::Taken, Fate::TakenUnheard, Fate::Lost, Fate::Refused]);
    let which = 0_usize..6;
    prop_oneof![
        6 => (which.clone(), fate, prop::bool::weighted(0.2))
            .prop_map(|(which, fate, killed)| Act::Try { which, fate, killed }),
        1 => which.clone().prop_map(|which| Act::EndWhileAsking { which }),
        6 => (which.clone(), 0_usize..6, 0_usize..2).prop_map(|(which, word, code)| Act::Tell { which, word, code }),
        2 => which.clone().prop_map(|which| Act::Repeat { which }),
        3 => Just(Act::Read),
        4 => prop::sample::select(vec![1_i64, 30, 121, 600, 3601]).prop_map(|seconds| Act::Pass { seconds }),
        4 => any::<bool>().prop_map(|killed| Act::Schedule { killed }),
        1 => which.prop_map(|which| Act::Cancel { which }),
        1 => Just(Act::Kill),
    ]
}

/// A call as it was made.
struct Made {
    at: i64,
    refused: bool,
}

/// A message of the provider's.
struct Message {
    id: String,
    origin: Origin,
    /// The first message of its chain, as it is in truth.
    root: String,
}

/// What a delivery sends again: the first message of its chain, and the code of the failure.
type Again = Option<(String, String)>;

/// What is true, beside what is remembered.
struct World {
    house: House,
    /// What the sink still has to deliver.
    owed: Vec<(Arc<Delivery>, Again)>,
    messages: Vec<Message>,
    told: Vec<Arc<Delivery>>,
    made: BTreeMap<CallId, Vec<Made>>,
    /// Calls of which a status was accepted.
    confirmed: BTreeSet<CallId>,
    /// Roots of which a message was said to be delivered, in an event that was accepted.
    delivered: BTreeSet<String>,
    failed: BTreeSet<String>,
    cancelled: BTreeSet<String>,
    /// By root and code: the calls that sent it again.
    again: BTreeMap<(String, String), BTreeSet<CallId>>,
    /// Commands that were handed over, by their ids.
    handed: BTreeSet<Uuid>,
}

impl World {
    fn new() -> Self {
        let house = House::new();
        let owed = (0..3).map(|_| (house.order(), None)).collect();
        Self {
            house,
            owed,
            messages: vec![],
            told: vec![],
            made: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            delivered: BTreeSet::new(),
            failed: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            again: BTreeMap::new(),
            handed: BTreeSet::new(),
        }
    }

    async fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Try { which, fate, killed } => self.attempt(which, fate, killed).await?,
            Act::EndWhileAsking { which } => self.end_while_asking(which).await,
            Act::Tell { which, word, code } => self.tell(which, word, code),
            Act::Repeat { which } => {
                let again = self.told.get(which % self.told.len().max(1)).cloned();
                self.house.reading.journal.lock().unwrap().extend(again);
            }
            Act::Read => self.house.reading.read_all().await,
            Act::Pass { seconds } => self.house.pass(seconds),
            Act::Schedule { killed } => self.schedule(killed).await,
            Act::Cancel { which } => {
                if let Some(message) = self.messages.get(which % self.messages.len().max(1)) {
                    let root = message.root.clone();
                    let cancelled = self.house.outbox.cancel(&root, &[]).await.unwrap();
                    self.cancelled.extend(cancelled.into_iter().map(|planned| planned.failed));
                }
            }
            Act::Kill => self.house.reopen(),
        }
        Ok(())
    }

    /// The sink tries a delivery: gives it up where it is told to.
    async fn attempt(&mut self, which: usize, fate: Fate, killed: bool) -> Result<(), TestCaseError> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let at = which % self.owed.len();
        let (delivery, again) = self.owed[at].clone();
        let is_delivered = again.as_ref().is_some_and(|(root, _)| self.delivered.contains(root));
        let call = CallId::of(SINK, &delivery.id);
        let is_confirmed = self.confirmed.contains(&call);
        match self.house.begin(&delivery).await {
            Begun::Call(origin) => {
                prop_assert!(!is_delivered, "sent again after a delivery was heard of");
                prop_assert!(!is_confirmed, "called again although a status has told of the first call");
                self.note_call(&origin, again.as_ref(), fate)?;
                self.provider(&delivery, origin, again, fate, killed).await;
            }
            Begun::Sent { .. } | Begun::Unwanted(_) | Begun::Never(_) => drop(self.owed.remove(at)),
            Begun::Later { .. } => {}
            Begun::Unavailable(why) => prop_assert!(false, "{}", why),
        }
        Ok(())
    }

    fn note_call(
        &mut self,
        origin: &Origin,
        again: Option<&(String, String)>,
        fate: Fate,
    ) -> Result<(), TestCaseError> {
        let now = self.house.now().as_second();
        let made = self.made.entry(origin.call).or_default();
        if let Some(last) = made.last() {
            prop_assert!(last.refused || now - last.at >= CONFIRM, "called again {} s later", now - last.at);
        }
        made.push(Made { at: now, refused: fate == Fate::Refused });
        let Some((root, code)) = again else { return Ok(()) };
        self.again.entry((root.clone(), code.clone())).or_default().insert(origin.call);
        let of_code = self.again[&(root.clone(), code.clone())].len();
        let in_all: usize = self.again.iter().filter(|((of, _), _)| of == root).map(|(_, calls)| calls.len()).sum();
        let times = TIMES.iter().find(|(of, _)| of == code).unwrap().1;
        prop_assert!(of_code <= times as usize && in_all <= MOST_TRIES as usize, "{of_code} {in_all} of {code}");
        Ok(())
    }

    async fn provider(&mut self, delivery: &Arc<Delivery>, origin: Origin, again: Again, fate: Fate, killed: bool) {
        let id = Uuid::now_v7().to_string();
        let call = origin.call;
        if matches!(fate, Fate::Taken | Fate::TakenUnheard) {
            // Of several messages of one call each is the first one.
            let before = self.messages.iter().find(|message| message.origin.call == call);
            let first = before.map_or_else(|| id.clone(), |message| message.root.clone());
            let root = again.map_or(first, |(root, _)| root);
            self.messages.push(Message { id: id.clone(), origin, root });
        }
        if killed {
            // What came of it is never written down, and the delivery is owed still.
            if let Some(made) = self.made.get_mut(&call).and_then(|made| made.last_mut()) {
                made.refused = false;
            }
            self.house.reopen();
            return;
        }
        let end = match fate {
            Fate::Taken => End::Sent { message: Some(id) },
            Fate::TakenUnheard | Fate::Lost => End::Unknown,
            Fate::Refused => End::NotSent,
        };
        if fate == Fate::Taken {
            self.owed.retain(|(owed, _)| owed.id != delivery.id);
        }
        self.house.outbox.end(call, end).await;
    }

    async fn end_while_asking(&mut self, which: usize) {
        let Some((delivery, _)) = self.owed.get(which % self.owed.len().max(1)).cloned() else { return };
        self.house.reading.hangs.store(true, Ordering::SeqCst);
        let begun = tokio::select! {
            begun = self.house.begin(&delivery) => Some(begun),
            () = self.house.reading.asked.notified() => None,
        };
        self.house.reading.hangs.store(false, Ordering::SeqCst);
        if let Some(Begun::Call(origin)) = begun {
            // Nobody had to be asked: the call ends before it is made.
            self.house.outbox.end(origin.call, End::NotSent).await;
        }
        self.house.reopen();
    }

    /// The provider tells something of a message: it stands in the journal.
    fn tell(&mut self, which: usize, word: usize, code: usize) {
        let Some(message) = self.messages.get(which % self.messages.len().max(1)) else { return };
        let word = ["sent", "failed", "failed", "failed", "delivered", "read"][word];
        let status = self.house.status(word, &message.id, Some(&text(&message.origin)), TIMES[code].0);
        self.confirmed.insert(message.origin.call);
        match word {
            "failed" => drop(self.failed.insert(message.id.clone())),
            "delivered" | "read" => drop(self.delivered.insert(message.root.clone())),
            _ => {}
        }
        self.told.push(Arc::clone(&status));
        self.house.reading.journal.lock().unwrap().push(status);
    }

    async fn schedule(&mut self, killed: bool) {
        for planned in self.house.outbox.due_of(SINK, self.house.now(), 10).await.unwrap() {
            let root = self.messages.iter().find(|message| message.id == planned.failed).unwrap().root.clone();
            // The journal has it; a repeat is the same event.
            if self.handed.insert(planned.id) {
                self.owed.push((self.house.command(&planned), Some((root, planned.code.clone()))));
            }
            if killed {
                return self.house.reopen();
            }
            self.house.outbox.handed(vec![planned.id]).await.unwrap();
        }
    }

    /// All that is owed is delivered, all that was said is heard, and all that waits becomes due. Where a code is
    /// given, whatever was not delivered fails of it, until no further try is made.
    async fn settle(&mut self, fails_of: Option<usize>) -> Result<(), TestCaseError> {
        for _ in 0..40 {
            for which in 0..self.messages.len() {
                if let Some(code) = fails_of.filter(|_| !self.is_over(&self.messages[which])) {
                    self.tell(which, 1, code);
                }
            }
            self.house.reading.read_all().await;
            self.schedule(false).await;
            for which in (0..self.owed.len()).rev() {
                self.attempt(which, Fate::Taken, false).await?;
            }
            let is_all_told = fails_of.is_none() || self.messages.iter().all(|one| self.is_over(one));
            if self.owed.is_empty() && is_all_told && self.house.waits().await.is_empty() {
                return Ok(());
            }
            self.house.pass(3601);
        }
        prop_assert!(false, "{} owed and {} wait", self.owed.len(), self.house.waits().await.len());
        Ok(())
    }

    fn is_over(&self, message: &Message) -> bool {
        self.failed.contains(&message.id) || self.delivered.contains(&message.root)
    }

    /// What was planned for a chain: under the message of its first call that was heard of first.
    async fn chain(&self, root: &str) -> Vec<Planned> {
        let mut longest = Vec::new();
        for message in self.messages.iter().filter(|message| message.root == root && message.origin.attempt == 0) {
            let chain = self.house.outbox.about(&message.id).await.unwrap().chain;
            longest = if chain.len() > longest.len() { chain } else { longest };
        }
        longest
    }

    /// Whatever failed was sent again, or need not be, or may not be.
    async fn nothing_is_forgotten(&self) -> Result<(), TestCaseError> {
        for failed in &self.failed {
            let message = self.messages.iter().find(|message| message.id == *failed).unwrap();
            let chain = self.chain(&message.root).await;
            let was_sent = chain.iter().any(|one| one.state == State::Sent && one.attempt > message.origin.attempt);
            let is_needless = self.delivered.contains(&message.root) || self.cancelled.contains(failed);
            let of_code = |code: &str| chain.iter().filter(|one| one.code == code).count();
            let is_spent = chain.len() >= MOST_TRIES as usize || of_code(TIMES[0].0) >= TIMES[0].1 as usize;
            // Of two messages of one call, whose answer was lost, one is sent again.
            let was_cancelled = chain.iter().any(|one| one.state == State::Cancelled);
            prop_assert!(
                was_sent || is_needless || is_spent || was_cancelled,
                "{failed} of {} is forgotten: {chain:#?}",
                message.root
            );
        }
        Ok(())
    }
}

fn cases() -> u32 {
    std::env::var(CASES_VAR).map_or(CASES, |n| n.parse().unwrap_or_else(|_| panic!("{CASES_VAR}={n}: not a number")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn none_too_often_none_forgotten_none_after_a_delivery(
        acts in prop::collection::vec(act(), 1..60),
        fails_of in prop::option::of(0_usize..2),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for act in acts {
                world.act(act).await?;
            }
            world.settle(fails_of).await?;
            world.nothing_is_forgotten().await
        })?;
    }
}
