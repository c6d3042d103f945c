//! `hookrelay explain EVENT.json`: a body is made an event as the daemon would make it, and routed by the same code
//! with an observer. Touches no network, and the journal only to read an event of it (`--id`); the signature is not
//! asked for.

use clap::Args;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sink_api::files::{self, Patience};
use sink_api::{Event, json};

use super::{Failure, block_on, dump, source_or_own};
use crate::admin::client;
use crate::admin::explain::{ExplainAsk, ExplainView, Explained, ExplainedDelivery, ExplainedEvent};
use crate::config::Config;
use crate::ingress::SourcePlan;
use crate::journal::Find;
use crate::route::explain::{EventView, RouteView};
use crate::route::{DeliveryView, Explanation, PayloadView, printable_json};
use crate::trial::{self, Trial, masked};
use crate::{event, journal};

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// File with the webhook's body, byte for byte; - is standard input
    #[arg(value_name = "EVENT.json", required_unless_present = "id")]
    pub event: Option<PathBuf>,
    /// An event of the journal instead, by its id (that of a delivery will do, or the last 8 characters); the daemon
    /// may be running
    #[arg(long, value_name = "ID", conflicts_with_all = ["event", "source", "header"])]
    pub id: Option<String>,
    /// The source it comes from; not needed where there is one. `hookrelay`: one of the daemon's own events
    #[arg(long, short, value_name = "NAME")]
    pub source: Option<String>,
    /// A request header it came with, NAME:VALUE; may be given several times
    #[arg(long, short = 'H', value_name = "K:V")]
    pub header: Vec<String>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
EVENT.json is a webhook's raw body, as the provider would post it; --id takes an event from the
journal as it was accepted, under the rules of the config given. Where the journal is on Kafka
the daemon is asked for it, and the rules are those in force. Sinks that are not enabled are left
out. Values that came in by ${…} are shown as ${NAME}.

Examples:
  hookrelay explain body.json
  curl -s https://example.test/capture | hookrelay explain - --header 'user-agent: curl'
  hookrelay explain --id 0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e
  hookrelay explain body.json --json | jq '.deliveries[].sink'

Exit codes: 0 explained (also where nothing matches), 1 the event cannot be read,
69 no daemon answers, 78 the config has faults.";

/// Says where an event would go, and why.
///
/// # Errors
/// A file that cannot be read, a source that is not there.
pub fn run(config: &Config, args: &ExplainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(id) = args.id.as_deref().filter(|_| config.journal.folder(&config.data_dir).is_err()) {
        return by_daemon(config, id, args.json, out);
    }
    let (event, notes) = match (&args.id, &args.event) {
        (Some(id), _) => {
            let event = journaled(config, id)?;
            let notes = trial::notes(config, &event);
            (event, notes)
        }
        (None, file) => {
            let source = source_or_own(config, args.source.as_deref())?;
            let headers = headers(&args.header)?;
            let body = read(file.as_deref().unwrap_or(Path::new("-")), config.server.max_body.0)?;
            source.inspect(|source| remark(&headers, source));
            trial::event(source, &headers, body)
        }
    };
    let event = Arc::new(event);
    let mut explanation = block_on(async { Ok(Trial::new(config).explain(&event).await?) })?;
    explanation.event.notes = notes;
    if json::compact(&event.body).is_none() {
        explanation.event.notes.insert(0, "its body is not JSON: `where` and `transform` see null".to_owned());
    }
    let explanation = masked(explanation, &config.masks);
    if args.json {
        let json = serde_json::to_string(&explanation).map_err(io::Error::from)?;
        return Ok(writeln!(out, "{}", printable_json(&json))?);
    }
    Ok(write!(out, "{explanation}")?)
}

/// Of a journal that is on no disk of this machine, a daemon that runs has the event; it goes by the rules in force.
fn by_daemon(config: &Config, id: &str, is_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let ask = ExplainAsk { event: Some(id.to_owned()), clear: true, ..ExplainAsk::default() };
    let view: ExplainView =
        block_on(async { Ok(client::ask(&config.admin, Method::POST, "/api/explain", &ask).await?) })?;
    let explained = view.now.ok_or_else(|| Failure::Refused("the daemon explains nothing".to_owned()))?;
    if is_json {
        let json = serde_json::to_string(&explained).map_err(io::Error::from)?;
        return Ok(writeln!(out, "{}", printable_json(&json))?);
    }
    Ok(write!(out, "{}", explanation(explained))?)
}

/// What a daemon has explained, as it is shown to people.
fn explanation(explained: Explained) -> Explanation {
    let Explained { event, routes, deliveries } = explained;
    let delivery = |one: ExplainedDelivery| DeliveryView {
        sink: one.sink,
        id: one.id,
        key: one.key,
        payload: PayloadView::of(one.payload.get().as_bytes()),
        target: one.target.into_iter().collect(),
    };
    let ExplainedEvent { id, source, kind, subject, key, notes } = event;
    Explanation {
        event: EventView { id, source, kind, subject, key, notes },
        routes: routes.into_iter().map(|r| RouteView { name: r.name, matched: r.matched, why: r.why }).collect(),
        deliveries: deliveries.into_iter().map(delivery).collect(),
    }
}

/// The event of that id, as it was accepted.
fn journaled(config: &Config, id: &str) -> Result<Event, Failure> {
    let dir = config.journal.folder(&config.data_dir).map_err(|error| Failure::Refused(error.to_string()))?;
    let uuid = dump::event_id(dir, id)?;
    let refused = |what: String| Failure::Refused(format!("the journal in {}: {what}", dir.display()));
    let what = Find::Event(*uuid.as_bytes());
    let found = journal::find(dir, &what, 1, event::subject_of).map_err(|error| refused(error.to_string()))?;
    let record =
        found.first().ok_or_else(|| refused(format!("there is no event {uuid}; retention may have deleted it")))?;
    event::decode(record).map_err(|error| refused(format!("event {uuid} cannot be read: {error}")))
}

/// `NAME:VALUE`, each.
pub(super) fn headers(given: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for header in given {
        let parts = header.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parts.ok_or_else(|| Failure::Usage(format!("--header `{header}`: expected NAME:VALUE")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// A remark about the headers that the daemon would not keep with the event.
fn remark(given: &HeaderMap, source: &SourcePlan) {
    for name in given.keys().filter(|name| !source.keeps(name)) {
        // Nobody left to tell where standard error is gone.
        let source = &source.name;
        let _ = writeln!(io::stderr(), "remark: `{name}` is not kept with events of [sources.{source}] (keep_headers)");
    }
}

/// The body, of at most as many bytes as the daemon would take.
fn read(file: &Path, max: u64) -> Result<Bytes, Failure> {
    let too_large = || {
        let message = format!("{}: larger than max_body ({max} bytes): it would be answered 413", file.display());
        Failure::Refused(message)
    };
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(),
        _ => Failure::Refused(format!("{}: {error}", file.display())),
    };
    if file != Path::new("-") {
        return files::read(file, max, &Patience::new()).map(Bytes::from).map_err(refused);
    }
    // Whoever asks for standard input may type it: it has all the time it takes.
    let mut body = Vec::new();
    io::stdin().take(max + 1).read_to_end(&mut body).map_err(refused)?;
    if body.len() as u64 > max { Err(too_large()) } else { Ok(body.into()) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::tests::{SOURCE, config_with};

    const RULES: &str = "[sinks.a]\nkind = \"file\"\npath = \"${DIR}/{type}.jsonl\"\n[sinks.off]\nkind = \"stdout\"\n\
        enabled = false\n[[routes]]\nname = \"all\"\nmatch = \"*\"\nto = [\"a\", \"off\"]\n\
        [[routes]]\nname = \"none\"\nmatch = \"x_*\"\nto = \"a\"\n";

    fn args(event: &Path, json: bool, headers: &[&str]) -> ExplainArgs {
        let header = headers.iter().map(|h| (*h).to_owned()).collect();
        ExplainArgs { event: Some(event.to_owned()), id: None, source: None, header, json }
    }

    fn explain_text(body: &[u8], json: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("e.json");
        std::fs::write(&file, body).unwrap();
        let config = config_with(&format!("{SOURCE}{RULES}"), &[("DIR", "very-secret-folder")]);
        let mut out = Vec::new();
        run(&config, &args(&file, json, &["User-Agent: x"]), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_typed_routed_and_shown_in_the_documented_shape() {
        let body = br#"{"type":"message_api_sent","data":{"message":{"id":"m-1"}}}"#;
        let shown: Value = serde_json::from_str(&explain_text(body, true)).unwrap();
        assert_eq!(shown["event"]["type"], "message_api_sent");
        assert_eq!((&shown["event"]["subject"], &shown["event"]["key"]), (&"m-1".into(), &"m-1".into()));
        assert_eq!((&shown["routes"][0]["matched"], &shown["routes"][1]["matched"]), (&true.into(), &false.into()));
        assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
        assert_eq!(shown["deliveries"][0]["payload"]["data"]["message"]["id"], "m-1");
    }

    #[test]
    fn a_value_of_the_config_is_shown_as_its_placeholder() {
        for json in [false, true] {
            let text = explain_text(b"not json", json);
            assert!(text.contains("${DIR}/unparsable.jsonl") && !text.contains("very-secret"), "{text}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_named_as_such() {
        let note = "its body is not JSON: `where` and `transform` see null";
        assert!(explain_text(b"type=a", false).contains(note));
        let shown: Value = serde_json::from_str(&explain_text(b"type=a", true)).unwrap();
        assert_eq!(shown["event"]["notes"], serde_json::json!([note]));
        assert!(!explain_text(br#"{"type":"\ud83d"}"#, false).contains("not JSON"));
    }

    #[test]
    fn a_type_that_comes_in_a_header_is_read_from_there() {
        let source = "sources.gh = { kind = \"github\", path = \"/gh\", secret = \"s\" }\n";
        let config = config_with(source, &[]);
        let given = headers(&["X-GitHub-Event: push".to_owned(), "x-other: 1".to_owned()]).unwrap();
        let (event, _) = trial::event(Some(&config.sources[0]), &given, Bytes::from_static(b"{}"));
        assert_eq!((&*event.kind, event.headers.len()), ("push", 1));
        assert_eq!((&*event.headers[0].0, &*event.headers[0].1), ("x-github-event", "push"));
    }

    #[test]
    fn a_header_that_holds_a_proof_is_left_out_as_the_daemon_leaves_it_out() {
        let source = "sources.t = { kind = \"token\", path = \"/t\", secret = \"s\", header = \"x-token\", \
                      keep_headers = [\"X-Token\", \"Authorization\", \"X-A\"] }\n";
        let config = config_with(source, &[]);
        let given = ["x-token: s", "authorization: s", "x-a: 1"].map(str::to_owned);
        let (event, _) = trial::event(Some(&config.sources[0]), &headers(&given).unwrap(), Bytes::new());
        assert_eq!(event.headers.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn what_cannot_be_read_or_meant_is_refused() {
        let config = config_with(&format!("{SOURCE}[server]\nmax_body = 4\n"), &[]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("e.json");
        let refused = |args: &ExplainArgs| run(&config, args, &mut Vec::new()).unwrap_err();
        assert!(matches!(refused(&args(&file, false, &[])), Failure::Refused(_)));
        std::fs::write(&file, "12345").unwrap();
        assert!(refused(&args(&file, false, &[])).to_string().contains("413"));
        assert!(matches!(refused(&args(&file, false, &["no colon"])), Failure::Usage(_)));
        let other = ExplainArgs { source: Some("interact".into()), ..args(&file, false, &[]) };
        assert!(refused(&other).to_string().contains("did you mean `interakt`?"));
    }
}
