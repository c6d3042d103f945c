//! Tests of the routing room, by behaviour: `transforms` what built-ins make of real payloads; `messages` that rows of
//! one message come to its history; `routing` what goes where; `compiling` which rules are refused; `explaining` that
//! explain says what run does; `implicit` the routes that stand in no file.

mod compiling;
mod explaining;
mod implicit;
mod messages;
mod routing;
mod transforms;

use std::sync::Arc;

use bytes::Bytes;
use sink_api::{
    BuildError, Escape, Event, Fault, Reason, Sink, SinkConfig, SinkContext, Target, Template, Uuid, async_trait, code,
};

use super::eval::{Answers, BuiltinEval, Eval, Program};
use super::{Destination, RouteConfig, RuleSet};

pub(super) fn event(kind: &str, body: &[u8]) -> Event {
    Event {
        id: Uuid::from_u128(1),
        source: "interakt".into(),
        kind: kind.into(),
        subject: "m-1".into(),
        key: "m-1".into(),
        time: "2026-01-13T23:05:00.5Z".parse().unwrap(),
        method: "POST".into(),
        path: "/webhooks/interakt".into(),
        remote: "203.0.113.7".into(),
        headers: vec![],
        body: Bytes::copy_from_slice(body),
        rendered: Default::default(),
    }
}

fn shared(kind: &str) -> Arc<Event> {
    Arc::new(event(kind, br#"{"n":1}"#))
}

const ID: &str = "00000000-0000-0000-0000-000000000001";
const SINKS: &[&str] = &["a", "b", "c"];

/// `[[routes]]` tables as in a config file.
fn routes(toml: &str) -> Vec<RouteConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<RouteConfig>,
    }
    toml::from_str::<File>(toml).unwrap().routes
}

fn rules(toml: &str) -> RuleSet {
    RuleSet::compile(&routes(toml), SINKS, &["interakt", "other"], Arc::new(ScriptedEval)).unwrap()
}

/// Conditions `true`, `false` and `error`; transforms `body`, `error`, or JSON values one a word, where `-` is none.
/// Built-ins by name.
struct ScriptedEval;

impl Eval for ScriptedEval {
    fn read_condition(&self, text: &str) -> Result<Program, Fault> {
        Ok(Program::new(text))
    }

    fn read_transform(&self, text: &str) -> Result<Program, Fault> {
        Ok(Program::new(text))
    }
}

impl Answers for ScriptedEval {
    fn condition(&self, program: &Program, _event: &Event) -> Result<bool, Reason> {
        program.text().parse().map_err(|_| Reason::new(code::RULE_ERROR, "no such field"))
    }

    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason> {
        match program.text() {
            "error" => Err(Reason::new(code::RULE_ERROR, "cannot index")),
            "body" => Ok(vec![event.body.clone()]),
            "-" => Ok(vec![]),
            "api_log" => BuiltinEval.transform(program, event),
            words => Ok(words.split_whitespace().map(|w| Bytes::copy_from_slice(w.as_bytes())).collect()),
        }
    }
}

/// A sink whose target is a template, or a failure.
#[derive(Debug)]
struct StubConfig(Option<Template>);

#[async_trait]
impl SinkConfig for StubConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, event: &Event) -> Result<Target, Reason> {
        match &self.0 {
            Some(topic) => Ok(Target::of("topic", topic.render(event, Escape::Topic)?)),
            None => Err(Reason::new(code::BAD_PAYLOAD, "no such topic")),
        }
    }

    async fn build(&self, _cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Err(BuildError::Refused("only for tests".into()))
    }
}

fn sink(name: &str) -> Destination {
    let topic = Template::parse("whatsapp.{type}").unwrap();
    Destination { name: name.into(), config: Arc::new(StubConfig(Some(topic))), key: None }
}

fn sink_without_target(name: &str) -> Destination {
    Destination { name: name.into(), config: Arc::new(StubConfig(None)), key: None }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/interakt/{}"), name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
