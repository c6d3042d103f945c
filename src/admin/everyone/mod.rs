//! Where several daemons share a journal, any of them answers for all: this stands before the daemon's own answers,
//! asks the others the same, and makes one answer of all. Who did not answer is named in it.
//!
//! - `others`: asks them; `reach`: by which address
//! - `status`, `lists`, `fates`, `history`, `scraped`: make one answer of several; pure
//!
//! Others are asked for what they have themselves, by a header (`SCOPE` in `service`) that anybody may send. What
//! is of one daemon by its nature (whether it is ready, its config and log, what it is told to do at once) or stands in
//! the journal for all to read is answered by the one that is asked.

mod fates;
mod history;
mod lists;
mod others;
mod reach;
mod scraped;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dead::{Count, DeadAct, DeadAsk, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use super::explain::{ExplainAsk, ExplainView};
use super::fates::{FatesAsk, FatesView};
use super::found::{CloudLine, DeliveryFateView, EventAsk, EventView, EventsAsk, TailAsk, Tailed, TraceAsk, TraceView};
use super::history::{HistoryAsk, HistoryView};
use super::list::{List, Unanswered};
use super::log::{LogAsk, LogLevels};
use super::reload::ReloadDone;
use super::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView};
use super::running::ConfigView;
use super::sending::{CancelAsk, CancelDone, ResendView, ResendsAsk, SendDone, ToSend};
use super::sink::{ProbeDone, SinkAct, SinkAsk, SinkDone};
use super::status::ReasonCode;
use super::{AdminConfig, BoxStream, Control, Readiness, Refusal, Status, client};
use crate::journal::Position;
use crate::ledger::held::{MAX_PAGE, SHORT_ID};
use crate::ledger::nodes::Nodes;
use crate::metrics::Format;
pub use others::UNKNOWN;
use others::{Others, Question, Said};
pub use reach::advertised;

/// Most resends of one answer, and how many there are where nobody says.
const RESENDS: (usize, usize) = (1_000, 200);

/// The answers of all daemons.
pub struct Everyone {
    own: Arc<dyn Control>,
    others: Others,
}

impl Everyone {
    /// This daemon's answers with those of the others; it has that name among them, and is on a host of that name.
    pub fn new(own: Arc<dyn Control>, nodes: Arc<dyn Nodes>, [name, host]: [&str; 2], config: &AdminConfig) -> Self {
        Self { own, others: Others::new(nodes, name, host, config) }
    }

    /// What all say to the same question, and who said nothing.
    async fn all<T: DeserializeOwned + Send>(
        &self,
        own: impl Future<Output = Result<T, Refusal>> + Send,
        question: Question,
    ) -> Result<(Vec<T>, Vec<Unanswered>), Refusal> {
        let (own, said) = self.others.ask(own, question).await;
        said.read().with(self.others.own(), own)
    }

    async fn letters(
        &self,
        path: &str,
        own: impl Future<Output = Result<List<DeadView>, Refusal>> + Send,
        ask: &DeadAsk,
    ) -> Result<List<DeadView>, Refusal> {
        let (pages, mut unanswered) = self.all(own, Question::get(path, ask)).await?;
        let limit = ask.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let page = lists::page(pages, limit);
        unanswered.extend(self.own_gap());
        if let Some((short, ids)) = lists::ambiguous(&short(&ask.ids), &page.items) {
            return Err(Refusal::Question(format!("`{short}` stands for several ids: {}", ids.join(", "))));
        }
        Ok(List { unanswered, ..page })
    }

    async fn counts(
        &self,
        path: &str,
        own: impl Future<Output = Result<List<Count>, Refusal>> + Send,
        ask: &DeadAsk,
    ) -> Result<List<Count>, Refusal> {
        let (all, mut unanswered) = self.all(own, Question::get(path, ask)).await?;
        unanswered.extend(self.own_gap());
        Ok(List { unanswered, ..lists::counts(all) })
    }

    /// What a daemon holds is of the shards that it has. While those who keep the journal are away it may have none.
    fn own_gap(&self) -> Option<Unanswered> {
        let is_failing = self.own.readiness().reasons.iter().any(|code| code == ReasonCode::JournalFailing.name());
        let why = "the journal cannot be asked: what is held of shards that no daemon has now is left out";
        is_failing.then(|| Unanswered { node: self.others.own().to_owned(), why: why.to_owned() })
    }

    /// Adds what others know of these events, and of a message.
    async fn told(&self, of: Vec<(String, String)>, message: Option<String>, clear: bool) -> Told {
        if of.is_empty() && message.is_none() {
            return Told::default();
        }
        let ask = FatesAsk { of, message, clear };
        let (_, said) = self.others.ask(async {}, Question::post("/api/fates", &ask)).await;
        let said: Said<FatesView> = said.read();
        // Nothing is known of itself that was not said before.
        match said.with(self.others.own(), Ok(FatesView::default())) {
            Ok((views, unanswered)) => Told { views, unanswered },
            Err(_) => Told::default(),
        }
    }
}

/// What others know of events.
#[derive(Default)]
struct Told {
    views: Vec<FatesView>,
    unanswered: Vec<Unanswered>,
}

impl Told {
    /// Adds it to what is known of an event's deliveries.
    fn add_to(&mut self, event: &str, deliveries: &mut Vec<DeliveryFateView>) {
        for known in self.views.iter_mut().flat_map(|view| &mut view.events).filter(|known| known.id == event) {
            fates::overlay(deliveries, std::mem::take(&mut known.sinks));
        }
    }
}

/// Those of the ids that are no whole ones.
fn short(ids: &[String]) -> Vec<String> {
    let is_short = |id: &&String| id.len() >= SHORT_ID && crate::ids::event(id).is_none();
    ids.iter().filter(is_short).cloned().collect()
}

/// An event and its place, as other daemons are asked for it.
fn asked(id: &str, at: Option<Position>) -> Option<(String, String)> {
    at.map(|at| (id.to_owned(), format!("{}/{}", at.shard, at.offset)))
}

/// A question without what stands in its path.
fn without(question: &impl Serialize, part: &str) -> serde_json::Value {
    let mut question = serde_json::to_value(question).unwrap_or_default();
    question.as_object_mut().map(|members| members.remove(part));
    question
}

#[async_trait::async_trait]
impl Control for Everyone {
    fn readiness(&self) -> Readiness {
        self.own.readiness()
    }

    async fn status(&self) -> Status {
        let (own, said) = self.others.ask(self.own.status(), Question::get("/api/status", &())).await;
        status::merged(self.others.own(), own, said.read())
    }

    async fn metrics(&self, format: Format) -> String {
        let question = Question::get("/metrics", &()).accepting(format.content_type());
        let (own, said): (_, Said<Bytes>) = self.others.ask(self.own.metrics(format), question).await;
        let texts: Vec<(String, Option<String>)> = said
            .others
            .into_iter()
            .map(|(node, page)| (node.name, page.ok().and_then(|page| String::from_utf8(page.to_vec()).ok())))
            .collect();
        let mut pages = vec![(self.others.own(), Some(own.as_str()))];
        pages.extend(texts.iter().map(|(name, page)| (name.as_str(), page.as_deref())));
        scraped::page(&pages)
    }

    async fn dead(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        self.letters("/api/dead", self.own.dead(ask.clone()), &ask).await
    }

    async fn pending(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        self.letters("/api/pending", self.own.pending(ask.clone()), &ask).await
    }

    async fn dead_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal> {
        self.counts("/api/dead/counts", self.own.dead_counts(ask.clone()), &ask).await
    }

    async fn pending_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal> {
        self.counts("/api/pending/counts", self.own.pending_counts(ask.clone()), &ask).await
    }

    async fn outcomes(&self, ask: OutcomesAsk) -> Result<List<OutcomeView>, Refusal> {
        let question = Question::post("/api/dead/outcomes", &ask);
        let (all, unanswered) = self.all(self.own.outcomes(ask), question).await?;
        Ok(List { unanswered, ..lists::outcomes(all) })
    }

    /// Changes a page of the letters of all: which these are is found first, so that every daemon is told the same
    /// whole ids, and the next page begins behind them.
    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        let meant = DeadAsk { whole: false, clear: false, ..ask.clone() };
        let page = self.dead(meant).await?;
        let path = match act {
            DeadAct::Retry => "/api/dead/retry",
            DeadAct::Drop => "/api/dead/drop",
        };
        if page.items.is_empty() {
            if let Some(gap) = self.own_gap() {
                return Err(Refusal::Unable(gap.why));
            }
            // Nobody has any: what is wrong with the question the daemon itself knows.
            let done = self.own.change_dead(ask, act).await?;
            return Ok(DeadDone { unanswered: page.unanswered, ..done });
        }
        let ids = page.items.into_iter().map(|letter| letter.id).collect();
        let ask = DeadAsk { ids, after: None, limit: None, ..ask };
        let question = Question::change(path, &ask);
        let (all, mut unanswered) = self.all(self.own.change_dead(ask, act), question).await?;
        for one in page.unanswered {
            if !unanswered.iter().any(|other| other.node == one.node) {
                unanswered.push(one);
            }
        }
        let mut sum = DeadDone { next: page.next, unanswered, ..DeadDone::default() };
        for done in all {
            sum.letters += done.letters;
            done.sinks.into_iter().for_each(|(sink, n)| *sum.sinks.entry(sink).or_default() += n);
        }
        Ok(sum)
    }

    async fn resends(&self, ask: ResendsAsk) -> Result<List<ResendView>, Refusal> {
        let limit = ask.limit.unwrap_or(RESENDS.1).clamp(1, RESENDS.0);
        let question = Question::get("/api/resends", &ask);
        let (pages, unanswered) = self.all(self.own.resends(ask), question).await?;
        Ok(List { unanswered, ..lists::page(pages, limit) })
    }

    async fn cancel_resends(&self, ask: CancelAsk) -> Result<CancelDone, Refusal> {
        let question = Question::change("/api/resends/cancel", &ask);
        let (all, unanswered) = self.all(self.own.cancel_resends(ask), question).await?;
        let mut sum = CancelDone { unanswered, ..CancelDone::default() };
        for done in all {
            sum.cancelled += done.cancelled;
            sum.resends.extend(done.resends);
            sum.over.extend(done.over);
        }
        Ok(sum)
    }

    async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal> {
        let clear = ask.clear;
        let mut view = self.own.event(ask).await?;
        let mut told = self.told(asked(&view.id, view.at).into_iter().collect(), None, clear).await;
        told.add_to(&view.id, &mut view.deliveries);
        Ok(EventView { unanswered: told.unanswered, ..view })
    }

    async fn trace(&self, ask: TraceAsk) -> Result<TraceView, Refusal> {
        let clear = ask.clear;
        let mut view = match self.own.trace(ask.clone()).await {
            Ok(view) => view,
            Err(refusal @ Refusal::Missing(_)) => return self.elsewhere(&ask, refusal).await,
            Err(refusal) => return Err(refusal),
        };
        let of = view.events.iter().filter_map(|event| asked(&event.id, event.at)).collect();
        let mut told = self.told(of, view.about.clone(), clear).await;
        for event in &mut view.events {
            told.add_to(&event.id, &mut event.deliveries);
        }
        for more in told.views.into_iter().filter_map(|view| view.message) {
            fates::add_message(&mut view.message, more);
        }
        Ok(TraceView { unanswered: told.unanswered, ..view })
    }

    async fn history(&self, ask: HistoryAsk) -> Result<HistoryView, Refusal> {
        let question = Question::get("/api/history", &ask);
        let (all, unanswered) = self.all(self.own.history(ask), question).await?;
        Ok(HistoryView { unanswered, ..history::merged(all) })
    }

    async fn fates(&self, ask: FatesAsk) -> Result<FatesView, Refusal> {
        self.own.fates(ask).await
    }

    async fn probe(&self, sink: String) -> Result<ProbeDone, Refusal> {
        self.own.probe(sink).await
    }

    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        self.own.sink(ask, act).await
    }

    async fn replays(&self) -> Result<List<ReplayView>, Refusal> {
        self.own.replays().await
    }

    async fn replay_plan(&self, ask: ReplayAsk) -> Result<ReplayPlan, Refusal> {
        self.own.replay_plan(ask).await
    }

    async fn replay_outcome(&self, ask: ReplayCancel) -> Result<List<ReplayOutcome>, Refusal> {
        self.own.replay_outcome(ask).await
    }

    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        self.own.replay(ask).await
    }

    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        self.own.cancel_replay(ask).await
    }

    async fn reload(&self) -> Result<ReloadDone, Refusal> {
        self.own.reload().await
    }

    fn log_levels(&self) -> LogLevels {
        self.own.log_levels()
    }

    fn set_log_level(&self, ask: LogAsk) -> Result<LogLevels, Refusal> {
        self.own.set_log_level(ask)
    }

    async fn send(&self, told: ToSend) -> Result<SendDone, Refusal> {
        self.own.send(told).await
    }

    async fn events(&self, ask: EventsAsk) -> Result<List<CloudLine>, Refusal> {
        self.own.events(ask).await
    }

    async fn tail(&self, ask: TailAsk) -> Result<BoxStream<Tailed>, Refusal> {
        self.own.tail(ask).await
    }

    async fn config(&self) -> Result<ConfigView, Refusal> {
        self.own.config().await
    }

    async fn explain(&self, ask: ExplainAsk) -> Result<ExplainView, Refusal> {
        self.own.explain(ask).await
    }
}

impl Everyone {
    /// What only another daemon knows: a message that it sent and of which no event has come.
    async fn elsewhere(&self, ask: &TraceAsk, refusal: Refusal) -> Result<TraceView, Refusal> {
        let path = format!("/api/messages/{}", client::part(&ask.id));
        let (_, said) = self.others.ask(async {}, Question::get(path, &without(ask, "id"))).await;
        let (views, unanswered) = said.read::<TraceView>().with(self.others.own(), Err(refusal))?;
        let view = views.into_iter().next().unwrap_or_default();
        Ok(TraceView { unanswered, ..view })
    }
}
