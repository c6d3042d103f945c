//! What the rules in force say of events that somebody looks at: where they go, and why. Asks jq where a rule or a
//! question is written in it, through a worker process of the asker's own, which ends with it.

use std::sync::Arc;

use async_trait::async_trait;
use sink_api::{BuildError, Event, Fault, Reason, Sink, SinkConfig, SinkContext, Target};

use super::books::BookSet;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::news::SOURCE;
use crate::route::jq::{Ask, Asker, Said};
use crate::route::{Destination, Explanation, JqEval, RouteConfig, RuleSet, explain_by};

/// The name that the sink of a [`Where`] has.
const LOOKER: &str = "looker";

/// Stands for any sink: that an event goes there is asked, and not where to inside of it.
#[derive(Debug)]
struct Anywhere;

#[async_trait]
impl SinkConfig for Anywhere {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::default())
    }

    async fn build(&self, _cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Err(BuildError::Refused("it is no sink".into()))
    }
}

fn anywhere(name: &str) -> Destination {
    Destination { name: name.to_owned(), config: Arc::new(Anywhere), key: None }
}

/// The rules of one moment, ready to be asked.
pub(super) struct Rules {
    rules: Arc<RuleSet>,
    sinks: Vec<Destination>,
    asker: Option<Asker>,
}

impl Rules {
    /// The rules in force. Starts no process yet.
    pub fn of(books: &BookSet) -> Self {
        let sinks = books.sinks.iter().map(|book| anywhere(&book.name)).collect();
        Self { rules: Arc::clone(&books.rules), sinks, asker: Asker::new(&books.rules) }
    }

    /// How many workers of jq it takes to ask them.
    pub fn askers(&self) -> u32 {
        u32::from(self.asker.is_some())
    }

    /// Whether these are the rules in force still.
    pub fn are_of(&self, books: &BookSet) -> bool {
        Arc::ptr_eq(&self.rules, &books.rules)
    }

    /// Whether any sink may get an event of that source and type; `sink` alone, where one is named.
    pub fn wants(&self, sink: Option<&str>, source: &str, kind: &str) -> bool {
        match sink {
            Some(sink) => self.rules.wants(sink, source, kind),
            None => self.rules.matched(source, kind),
        }
    }

    /// The sinks that each event goes to, in the order of the config.
    ///
    /// # Errors
    /// There is no worker process for jq.
    pub async fn sinks(&mut self, events: &[Arc<Event>]) -> Result<Vec<Vec<String>>, Refusal> {
        let mut all = Vec::with_capacity(events.len());
        let said = self.ask(events, false).await?;
        let mut said = said.iter();
        for event in events {
            let mut names = Vec::new();
            for sink in self.sinks.iter().filter(|sink| self.rules.wants(&sink.name, &event.source, &event.kind)) {
                let asks = !self.rules.questions(&sink.name, &event.source, &event.kind).is_empty();
                let answered = if asks { said.next() } else { None };
                let routed = match answered {
                    Some(said) => self.rules.route_by(said, sink, event, &mut ()),
                    None => self.rules.route(sink, event, &mut ()),
                };
                if !routed.deliveries.is_empty() {
                    names.push(sink.name.clone());
                }
            }
            all.push(names);
        }
        Ok(all)
    }

    /// Which routes match an event and why, and what each sink gets of it. What conditions evaluated to is only shown
    /// where `show` is set: it may be a part of the body.
    ///
    /// # Errors
    /// There is no worker process for jq.
    pub async fn explain(&mut self, event: &Arc<Event>, show: bool) -> Result<Explanation, Refusal> {
        let question = |sink: &Destination| Ask {
            event: Arc::clone(event),
            questions: self.rules.questions(&sink.name, &event.source, &event.kind),
            show,
        };
        let asks: Vec<Ask> = self.sinks.iter().map(question).collect();
        let said = match &mut self.asker {
            Some(asker) if asks.iter().any(|ask| !ask.questions.is_empty()) => {
                asker.ask(&asks).await.map_err(unable)?
            }
            _ => vec![],
        };
        Ok(explain_by(&self.rules, &self.sinks, event, &said))
    }

    /// What jq says of each event for each sink that asks about it, one after the other.
    async fn ask(&mut self, events: &[Arc<Event>], show: bool) -> Result<Vec<Said>, Refusal> {
        let Some(asker) = &mut self.asker else { return Ok(vec![]) };
        let mut asks = Vec::new();
        for event in events {
            for sink in self.sinks.iter().filter(|sink| self.rules.wants(&sink.name, &event.source, &event.kind)) {
                let questions = self.rules.questions(&sink.name, &event.source, &event.kind);
                if !questions.is_empty() {
                    asks.push(Ask { event: Arc::clone(event), questions, show });
                }
            }
        }
        if asks.is_empty() { Ok(vec![]) } else { asker.ask(&asks).await.map_err(unable) }
    }
}

/// A jq condition that somebody asks events by.
pub(super) struct Where {
    rules: RuleSet,
    to: Destination,
    asker: Option<Asker>,
}

impl Where {
    /// Compiles a condition: what a route's `where` takes.
    ///
    /// # Errors
    /// Where the text is no jq program that may run here.
    pub fn compile(text: &str) -> Result<Self, Refusal> {
        // Internal events are for routes alone that name their source.
        let route = |source: Option<&str>| RouteConfig {
            name: None,
            globs: vec!["*".into()],
            source: source.map(str::to_owned),
            condition: Some(text.to_owned()),
            transform: None,
            to: vec![LOOKER.into()],
            is_final: false,
        };
        let routes = [route(None), route(Some(SOURCE))];
        let rules = RuleSet::compile(&routes, &[LOOKER], &[], Arc::new(JqEval)).map_err(|faults| {
            let why = faults.into_iter().next().map(|(_, fault)| fault.message).unwrap_or_default();
            Refusal::Question(why)
        })?;
        let asker = Asker::new(&rules);
        Ok(Self { rules, to: anywhere(LOOKER), asker })
    }

    /// How many workers of jq it takes.
    pub fn askers(&self) -> u32 {
        u32::from(self.asker.is_some())
    }

    /// Of which of these events the condition holds. Where it fails it does not.
    ///
    /// # Errors
    /// There is no worker process for jq.
    pub async fn holds(&mut self, events: &[Arc<Event>]) -> Result<Vec<bool>, Refusal> {
        let ask = |event: &Arc<Event>| Ask {
            event: Arc::clone(event),
            questions: self.rules.questions(LOOKER, &event.source, &event.kind),
            show: false,
        };
        let asks: Vec<Ask> = events.iter().map(ask).collect();
        let said = match &mut self.asker {
            Some(asker) if !asks.is_empty() => asker.ask(&asks).await.map_err(unable)?,
            _ => vec![],
        };
        let holds = |(index, event): (usize, &Arc<Event>)| {
            let routed = match said.get(index) {
                Some(said) => self.rules.route_by(said, &self.to, event, &mut ()),
                None => self.rules.route(&self.to, event, &mut ()),
            };
            !routed.deliveries.is_empty()
        };
        Ok(events.iter().enumerate().map(holds).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_no_program_is_refused_with_its_fault() {
        assert!(Where::compile(".type == \"a\"").is_ok());
        let Err(Refusal::Question(why)) = Where::compile(".type ==") else { panic!("it was taken") };
        assert!(why.contains("where"), "{why}");
    }
}
