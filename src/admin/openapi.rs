//! The admin API as an OpenAPI 3.1 description, `GET /openapi.json`: made from the table of paths and from the shapes
//! of questions and answers, so that it says of each path what is there and nothing else.

use std::sync::OnceLock;

use http::Method;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::List;
use super::answers::Refused;
use super::dead::{Count, DeadAct, DeadAsk, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use super::endpoints::{Endpoint, Right, TABLE};
use super::explain::{ExplainAsk, ExplainView};
use super::fates::{FatesAsk, FatesView};
use super::found::{CloudLine, EventAsk, EventView, EventsAsk, TailAsk, TraceAsk, TraceView};
use super::history::{HistoryAsk, HistoryView};
use super::log::{LogAsk, LogLevels};
use super::login::LogInAsk;
use super::reload::ReloadDone;
use super::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView};
use super::running::ConfigView;
use super::sending::{
    CancelAsk, CancelDone, KEY_HEADER, MAX_KEY, ResendView, ResendsAsk, SendAsk, SendDone, body_shape,
};
use super::service::{ITSELF, SCOPE};
use super::sink::{ProbeAsk, ProbeDone, SinkAct, SinkAsk, SinkDone};
use super::status::{Alive, ReadyView, Status};
use crate::version::VERSION;

/// Where schemas stand that several places refer to.
const SCHEMAS: &str = "/components/schemas";

/// A shape of a question or an answer.
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What there is to say of an endpoint.
struct About {
    summary: &'static str,
    /// What is asked: a query string of a `GET`, a body of a `POST`.
    asks: Option<Shape>,
    answers: Answers,
}

enum Answers {
    Json(Shape),
    /// Text of these media types.
    Text(&'static [&'static str]),
    Nothing,
}

/// The description.
pub(super) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| describe().to_string())
}

fn describe() -> Value {
    let generator = |contract| {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.contract = contract;
            settings.meta_schema = None;
        });
        settings.into_generator()
    };
    let (mut asks, mut answers) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let mut paths = Map::new();
    for (path, methods, endpoint, right) in TABLE {
        let operation = operation(path, methods, *endpoint, *right, (&mut asks, &mut answers));
        let method = methods.first().map(|method| method.as_str().to_lowercase()).unwrap_or_default();
        if let Some(at) = paths.entry(*path).or_insert_with(|| json!({})).as_object_mut() {
            at.insert(method, operation);
        }
    }
    let mut schemas = asks.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    let mut described = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hookrelay's admin API",
            "version": VERSION,
            "description": "What the live verbs and the page ask of a running daemon.",
        },
        "security": [{ "bearer": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::session::COOKIE },
            },
        },
    });
    without_tuples(&mut described);
    described
}

/// Makes plain arrays of tuples, whose `prefixItems` (JSON Schema 2020-12) many a program that reads OpenAPI does not
/// know. All of ours have parts of one type.
fn without_tuples(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(without_tuples),
        Value::Object(object) => {
            if let Some(Value::Array(parts)) = object.remove("prefixItems")
                && let Some(one) = parts.into_iter().next()
            {
                object.insert("items".into(), one);
            }
            object.values_mut().for_each(without_tuples);
        }
        _ => {}
    }
}

fn operation(
    path: &str,
    methods: &[Method],
    endpoint: Endpoint,
    right: Right,
    (asks, answers): (&mut SchemaGenerator, &mut SchemaGenerator),
) -> Value {
    let About { summary, asks: question, answers: answer } = about(endpoint, path);
    let (is_get, part) = (methods.contains(&Method::GET), part_of(path));
    let mut operation = json!({ "summary": summary, "responses": responses(endpoint, right, is_get, answer, answers) });
    let Some(object) = operation.as_object_mut() else { return operation };
    if matches!(right, Right::Open | Right::Page | Right::Enter) {
        object.insert("security".into(), json!([]));
    }
    let mut schema = question.map(|shape| shape(asks).to_value()).unwrap_or_default();
    let mut parameters = Vec::new();
    if let Some(part) = part {
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        let own = properties.and_then(|properties| properties.remove(part)).unwrap_or_default();
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != part);
        }
        let description = own.get("description").cloned().unwrap_or_else(|| "Its name.".into());
        let schema = json!({ "type": "string", "minLength": 1 });
        let parameter =
            json!({ "name": part, "in": "path", "required": true, "description": description, "schema": schema });
        parameters.push(parameter);
    }
    if endpoint == Endpoint::SendMessage {
        parameters.extend(query(&of::<SendAsk>(asks).to_value()));
        let description = "Known under this key, it is sent once, however often it is asked for.";
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$" });
        parameters.push(json!({
            "name": KEY_HEADER, "in": "header", "required": false, "description": description, "schema": schema,
        }));
    }
    if endpoint.is_for_all() {
        parameters.extend(scope(endpoint));
    }
    if is_get {
        parameters.extend(query(&schema));
    } else if schema.is_object() {
        let mut content = json!({ "application/json": { "schema": schema } });
        if let (Endpoint::LogIn, Some(content)) = (endpoint, content.as_object_mut()) {
            content.insert("application/x-www-form-urlencoded".into(), json!({ "schema": schema }));
        }
        object.insert(
            "requestBody".into(),
            json!({ "content": content, "required": matches!(endpoint, Endpoint::LogIn | Endpoint::SendMessage) }),
        );
    }
    if !parameters.is_empty() {
        object.insert("parameters".into(), parameters.into());
    }
    operation
}

/// By what somebody asks one of several daemons for what it has itself.
fn scope(endpoint: Endpoint) -> Vec<Value> {
    let parameter = |name: &str, place: &str| {
        let description = "Where several daemons share a journal: only what this one has itself.";
        let schema = json!({ "type": "string", "enum": [ITSELF] });
        json!({ "name": name, "in": place, "required": false, "description": description, "schema": schema })
    };
    let mut all = vec![parameter(SCOPE, "header")];
    if endpoint == Endpoint::Metrics {
        all.push(parameter("scope", "query"));
    }
    all
}

/// The name of a path's part that varies.
fn part_of(path: &str) -> Option<&str> {
    path.split('/').find_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// The names of a query string: an object's properties. Nothing is `null` there: what is not meant is left out.
fn query(schema: &Value) -> Vec<Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.get("description").cloned().unwrap_or_default();
        if let Some(object) = schema.as_object_mut() {
            object.remove("default");
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|one| one != "null");
            }
        }
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    };
    properties.into_iter().flatten().map(parameter).collect()
}

fn responses(endpoint: Endpoint, right: Right, is_get: bool, answer: Answers, answers: &mut SchemaGenerator) -> Value {
    let json_of = |schema: Schema| json!({ "application/json": { "schema": schema.to_value() } });
    let (status, content) = match answer {
        Answers::Json(shape) if endpoint == Endpoint::SendMessage => ("201", json_of(shape(answers))),
        Answers::Json(shape) => ("200", json_of(shape(answers))),
        Answers::Text(kinds) => {
            let kinds = kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": { "type": "string" } })));
            ("200", kinds.collect::<Map<_, _>>().into())
        }
        Answers::Nothing => ("204", json!({})),
    };
    let mut responses = json!({ status: { "description": "Done.", "content": content } });
    let refused = json_of(answers.subschema_for::<Refused>());
    let mut refuses = |status: &str, why: &str| {
        if let Some(responses) = responses.as_object_mut() {
            responses.insert(status.into(), json!({ "description": why, "content": refused }));
        }
    };
    if !matches!(right, Right::Open | Right::Page) {
        refuses("400", "The question is not understood, or makes no sense.");
        refuses("401", "The token is missing or wrong.");
        refuses("429", "Too many ask at once, or for the same, or too many wrong tokens came from the same address.");
        refuses("503", "It cannot be done now.");
    }
    if !is_get {
        refuses("403", "A page of another site asks, or nothing can be changed here: `read_only`.");
    }
    match endpoint {
        Endpoint::ShowEvent | Endpoint::Trace | Endpoint::Explain | Endpoint::Page | Endpoint::CancelResends => {
            refuses("404", "There is no such thing.");
        }
        Endpoint::Ready => {
            let ready = json_of(answers.subschema_for::<ReadyView>());
            if let Some(responses) = responses.as_object_mut() {
                responses
                    .insert("503".into(), json!({ "description": "A webhook would be refused.", "content": ready }));
            }
        }
        _ => {}
    }
    if let Some(responses) = responses.as_object_mut() {
        special(endpoint, &refused, responses, answers);
    }
    responses
}

/// What only some endpoints answer.
fn special(endpoint: Endpoint, refused: &Value, responses: &mut Map<String, Value>, answers: &mut SchemaGenerator) {
    let mut add = |status: &str, answer| _ = responses.insert(status.into(), answer);
    match endpoint {
        Endpoint::Reload | Endpoint::Explain => {
            add("422", json!({ "description": "The config or the rules have faults.", "content": refused }));
        }
        Endpoint::Page => add("304", json!({ "description": "The browser has it already." })),
        Endpoint::SendMessage => {
            let done = answers.subschema_for::<SendDone>().to_value();
            let either = json!({ "anyOf": [done, answers.subschema_for::<Refused>().to_value()] });
            let content = |schema| json!({ "application/json": { "schema": schema } });
            add("202", json!({ "description": "It is yet to be sent.", "content": content(done) }));
            let why = "It is not sent; nothing can send it; or the key was given to another message before.";
            add("422", json!({ "description": why, "content": content(either) }));
        }
        _ => {}
    }
}

/// An object's own schema, not a reference to it: its properties are looked at.
fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// A reference to a schema.
fn to<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn about(endpoint: Endpoint, path: &str) -> About {
    use Answers::{Json, Nothing, Text};
    let says = |summary, asks: Option<Shape>, answers| About { summary, asks, answers };
    match endpoint {
        Endpoint::Page if path == "/" => says("The page for people.", None, Text(&["text/html"])),
        Endpoint::Page => says("A file of the page.", None, Text(&["*/*"])),
        Endpoint::Describe => says("This description.", None, Json(to::<Map<String, Value>>)),
        Endpoint::LogIn => says("Begins a session: the answer sets its cookie.", Some(of::<LogInAsk>), Nothing),
        Endpoint::LogOut => says("Ends the session.", None, Nothing),
        Endpoint::Health => says("Whether the process answers.", None, Json(to::<Alive>)),
        Endpoint::Ready => says("Whether a webhook sent now would be taken.", None, Json(to::<ReadyView>)),
        Endpoint::Status => says("All figures.", None, Json(to::<Status>)),
        Endpoint::Metrics => {
            says("All figures, for Prometheus.", None, Text(&["text/plain", "application/openmetrics-text"]))
        }
        Endpoint::ListEvents => says("Lists events.", Some(of::<EventsAsk>), Json(to::<List<CloudLine>>)),
        Endpoint::ShowEvent => says("Shows an event.", Some(of::<EventAsk>), Json(to::<EventView>)),
        Endpoint::Trace => says("Shows the history of a message.", Some(of::<TraceAsk>), Json(to::<TraceView>)),
        Endpoint::Fates => {
            let summary = "Says what this daemon knows of events that another one has found.";
            says(summary, Some(of::<FatesAsk>), Json(to::<FatesView>))
        }
        Endpoint::Tail => {
            says("Shows events as they come: server-sent events.", Some(of::<TailAsk>), Text(&["text/event-stream"]))
        }
        Endpoint::ListDead => says("Lists dead letters.", Some(of::<DeadAsk>), Json(to::<List<DeadView>>)),
        Endpoint::CountDead => says("Counts dead letters by key.", Some(of::<DeadAsk>), Json(to::<List<Count>>)),
        Endpoint::CountPending => says("Counts what is parked by key.", Some(of::<DeadAsk>), Json(to::<List<Count>>)),
        Endpoint::Outcomes => {
            let summary = "Says what became of dead letters that were retried.";
            says(summary, Some(of::<OutcomesAsk>), Json(to::<List<OutcomeView>>))
        }
        Endpoint::ChangeDead(act) => {
            let summary = match act {
                DeadAct::Retry => "Delivers dead letters again.",
                DeadAct::Drop => "Forgets dead letters.",
            };
            says(summary, Some(of::<DeadAsk>), Json(to::<DeadDone>))
        }
        Endpoint::ListPending => says("Lists what is parked.", Some(of::<DeadAsk>), Json(to::<List<DeadView>>)),
        Endpoint::ChangeSink(act) => {
            let summary = match act {
                SinkAct::Pause => "Pauses a sink.",
                SinkAct::Resume => "Resumes a sink.",
                SinkAct::Skip => "Moves a sink on; what it skips counts as dropped.",
            };
            says(summary, Some(of::<SinkAsk>), Json(to::<SinkDone>))
        }
        Endpoint::ProbeSink => says("Tries a sink at once.", Some(of::<ProbeAsk>), Json(to::<ProbeDone>)),
        Endpoint::ListReplays => says("Lists the replays under way.", None, Json(to::<List<ReplayView>>)),
        Endpoint::PlanReplay => {
            says("Says what a replay would come to.", Some(of::<ReplayAsk>), Json(to::<ReplayPlan>))
        }
        Endpoint::ReplayOutcome => {
            let summary = "Says what became of a replay so far.";
            says(summary, Some(of::<ReplayCancel>), Json(to::<List<ReplayOutcome>>))
        }
        Endpoint::StartReplay => says("Begins a replay.", Some(of::<ReplayAsk>), Json(to::<ReplayBegun>)),
        Endpoint::CancelReplay => says("Ends a replay.", Some(of::<ReplayCancel>), Json(to::<ReplayCancelled>)),
        Endpoint::ShowConfig => says("The config in force, and the one on disk.", None, Json(to::<ConfigView>)),
        Endpoint::Reload => says("Reads the config again.", None, Json(to::<ReloadDone>)),
        Endpoint::History => says("The last hour or day in figures.", Some(of::<HistoryAsk>), Json(to::<HistoryView>)),
        Endpoint::Explain => {
            let summary = "Says where an event goes and why, and what other rules would change.";
            says(summary, Some(of::<ExplainAsk>), Json(to::<ExplainView>))
        }
        Endpoint::SendMessage | Endpoint::ListResends | Endpoint::CancelResends => about_sending(endpoint),
        Endpoint::LogLevels => says("What the log says.", None, Json(to::<LogLevels>)),
        Endpoint::SetLogLevel => says("Changes what the log says.", Some(of::<LogAsk>), Json(to::<LogLevels>)),
    }
}

fn about_sending(endpoint: Endpoint) -> About {
    use Answers::Json;
    match endpoint {
        Endpoint::SendMessage => About {
            summary: "Sends a message; how stands in the query string.",
            asks: Some(body_shape),
            answers: Json(to::<SendDone>),
        },
        Endpoint::CancelResends => About {
            summary: "Gives up what waits to be sent again.",
            asks: Some(of::<CancelAsk>),
            answers: Json(to::<CancelDone>),
        },
        _ => About {
            summary: "Lists what waits to be sent again.",
            asks: Some(of::<ResendsAsk>),
            answers: Json(to::<List<ResendView>>),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_described_and_no_other() {
        let described = describe();
        let paths = described["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, TABLE.len());
        for (path, methods, ..) in TABLE {
            let operation = &described["paths"][*path][methods[0].as_str().to_lowercase()];
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{path}");
            let parts = operation["parameters"].as_array().into_iter().flatten();
            let parts: Vec<&Value> = parts.filter(|one| one["in"] == "path").collect();
            assert_eq!(parts.len(), usize::from(path.contains('{')), "{path}");
        }
        // Every reference leads somewhere.
        let text = described.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(described.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn a_query_is_described_by_its_names() {
        let described = describe();
        let query = described["paths"]["/api/events"]["get"]["parameters"].as_array().unwrap();
        let of = |name: &str| query.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!((&of("where")["in"], &of("type")["required"]), (&json!("query"), &json!(false)));
        assert_eq!(of("limit")["schema"]["type"], json!(["integer"]));
        let skip = &described["paths"]["/api/sinks/{sink}/skip"]["post"];
        let body = &skip["requestBody"]["content"]["application/json"]["schema"];
        assert!(body["properties"]["to"].is_object() && body["properties"]["sink"].is_null(), "{body}");
    }
}
