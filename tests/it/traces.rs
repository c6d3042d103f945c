//! One webhook is one trace, from its head to the end of each of its deliveries: at a receiver of OTLP and at a real
//! collector, over restarts, at targets over HTTP and Kafka. A collector that is away harms nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;
use sink_testkit::http::{Reply, Seen, Then};
use sink_testkit::kafka::Cluster;
use sink_testkit::{Callback, HttpServer, wait_until_async};

use crate::bodies::numbered;
use crate::collectors::{Collector, Real, Receiver, Span, spans};
use crate::harness::{ARCHIVE, House, lines_under, post_all, sign, wait_until};
use crate::metrics::{page_of, samples, value};
use crate::tables::{IMPATIENT, archive_and_crm, route};
use crate::verbs::{figures, verb};

const SENDER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

/// Posts an event with these headers; gives its id.
async fn post_with(url: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> String {
    let mut request = reqwest::Client::new().post(format!("{url}?token=in-the-query"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.header("Interakt-Signature", sign(&body)).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// Waits until so many spans are left out.
async fn are_left_out(house: &House, so_many: impl Fn(usize) -> bool) {
    let left_out = async || {
        let spans = value(&samples(&page_of(house).await), "hookrelay_spans_left_out_total", &[]).unwrap();
        so_many(spans as usize)
    };
    wait_until_async("spans are left out", left_out).await;
}

/// The spans by name, which must be told apart by it.
fn named(spans: Vec<Span>) -> HashMap<String, Span> {
    let count = spans.len();
    let by_name: HashMap<String, Span> = spans.into_iter().map(|span| (span.name.clone(), span)).collect();
    assert_eq!(by_name.len(), count, "{by_name:#?}");
    by_name
}

fn parents(server: &HttpServer) -> Vec<String> {
    server.seen().iter().map(|seen| seen.header("traceparent").unwrap_or_default().to_owned()).collect()
}

/// A webhook for a file and for a target that fails twice.
async fn is_one_trace(collector: &impl Collector) {
    let tries = AtomicUsize::new(0);
    let script = move |_: &Seen| Reply::Status(if tries.fetch_add(1, Ordering::SeqCst) < 2 { 500 } else { 200 });
    let target = HttpServer::start(script).await;
    let house = House::new(&(collector.table() + &archive_and_crm(&target.url("/hook"), IMPATIENT)));
    let daemon = house.start();
    let body = numbered(1);
    let id = post_with(&daemon.url(), body, &[]).await;
    let all = spans(collector, 3).await;

    // The trace is found by the event's id, and nothing in it is personal or secret.
    let said = format!("{all:?}");
    for secret in ["919876543210", "Asha", "in-the-query", "127.0.0.1", "m-1"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    assert!(all.iter().all(|span| span.trace == id.replace('-', "")), "{id}: {said}");
    assert!(all.iter().all(|span| span.get("cloudevents.event_id") == id));
    assert!(all.iter().all(|span| span.times[0] <= span.times[1] && !span.has_failed), "{said}");
    let all = named(all);
    let accept = &all["POST /webhooks/interakt"];
    assert_eq!((accept.kind, accept.parent.as_str()), (2, ""));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.path", "/webhooks/interakt"),
        ("http.response.status_code", "200"),
        ("cloudevents.event_type", "message_api_delivered"),
        ("cloudevents.event_source", "/webhooks/interakt"),
        ("hookrelay.source", "interakt"),
    ] {
        assert_eq!(accept.get(name), value, "{name}");
    }
    let [crm, archive] = ["crm", "archive"].map(|sink| &all[&format!("deliver {sink}")]);
    for (span, attempts) in [(crm, "3"), (archive, "1")] {
        assert_eq!((span.kind, &span.parent), (3, &accept.id));
        assert_eq!((span.get("hookrelay.attempts"), span.get("hookrelay.delivery_id")), (attempts, id.as_str()));
        assert!(span.times[0] >= accept.times[0]);
    }
    let failed: Vec<_> = crm.events.iter().map(|at| (at["hookrelay.attempt"].as_str(), &*at["error.type"])).collect();
    assert_eq!(failed, [("1", "http_5xx"), ("2", "http_5xx")]);
    assert!(archive.events.is_empty());
    assert_eq!(parents(&target), vec![crm.traceparent(); 3], "the target's spans are the delivery's children");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_webhook_is_one_trace() {
    is_one_trace(&Receiver::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_takes_the_trace() {
    let Some(collector) = Real::start("a_real_collector_takes_the_trace").await else { return };
    is_one_trace(&collector).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_s_trace_goes_on_and_one_that_it_does_not_record_is_not_recorded_here() {
    let (collector, callback) = (Receiver::start().await, Callback::start().await);
    let own = "headers = { TraceParent = \"my-own\" }";
    let keyed = format!("[sinks.keyed]\nkind = \"http\"\nurl = \"{}\"\n{own}\n", callback.url());
    let tables = [collector.table(), archive_and_crm(&callback.url(), ""), keyed, route("keyed", "*", "\"keyed\"")];
    let house = House::new(&tables.concat());
    let daemon = house.start();
    let [recorded, silent] = ["01", "00"].map(|flags| format!("{SENDER}-{flags}"));
    post_with(&daemon.url(), numbered(1), &[("traceparent", &silent)]).await;
    wait_until("both", || (callback.got().len() == 2).then_some(())).await;
    let headers = [("traceparent", recorded.as_str()), ("tracestate", "a=1"), ("tracestate", "b=2")];
    post_with(&daemon.url(), numbered(2), &headers).await;
    // The first event's spans would have come before.
    let all = named(spans(&collector, 4).await);
    let accept = &all["POST /webhooks/interakt"];
    assert_eq!(accept.parent, "00f067aa0ba902b7");
    assert!(all.values().all(|span| span.trace == "4bf92f3577b34da6a3ce929d0e0e4736" && span.state == "a=1,b=2"));

    let got = callback.got();
    let header = |name: &str| got.iter().map(|got| got.header(name).unwrap_or_default()).collect::<Vec<_>>();
    let parents = header("traceparent");
    assert_eq!(parents.iter().filter(|parent| **parent == "my-own").count(), 2, "the config's own header wins");
    let ours = parents.iter().filter(|parent| **parent != "my-own").collect::<Vec<_>>();
    assert!(ours[0].starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours[0].ends_with("-00"), "{ours:?}");
    assert_eq!(*ours[1], all["deliver crm"].traceparent());
    assert_eq!(header("tracestate").concat(), "a=1,b=2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_over_a_kill_and_a_parked_delivery_ends_in_a_later_life() {
    let collector = Receiver::start().await;
    let is_well = Arc::new(AtomicBool::new(false));
    // The first event fails until all is well; the others are taken, so that the first is parked.
    let well = Arc::clone(&is_well);
    let fails =
        move |seen: &Seen| !well.load(Ordering::SeqCst) && String::from_utf8_lossy(&seen.body).contains("\"m-1\"");
    let target = HttpServer::start(move |seen| Reply::Status(if fails(seen) { 500 } else { 200 })).await;
    let crm = format!("[sinks.crm]\nkind = \"http\"\nurl = \"{}\"\n{IMPATIENT}", target.url("/hook"));
    let house = House::new(&[&collector.table(), crm.as_str(), &route("all", "*", "\"crm\"")].concat());
    let daemon = house.start();
    let sender = format!("{SENDER}-01");
    let parked = post_with(&daemon.url(), numbered(1), &[("traceparent", &sender)]).await;
    post_all(&daemon.url(), [numbered(2)]).await;
    wait_until("it is parked", || (figures(&house, "crm", ["delivered", "parked"]) == [1, 1]).then_some(())).await;
    // Two accepted, one delivered.
    let first_life = spans(&collector, 3).await;
    // And one that is accepted and nothing else.
    verb(&house, 0, &["sink", "pause", "crm"]);
    post_with(&daemon.url(), numbered(4), &[("traceparent", &sender)]).await;
    let accepted = spans(&collector, 4).await.pop().unwrap();
    daemon.kill();

    is_well.store(true, Ordering::SeqCst);
    let daemon = house.start();
    verb(&house, 0, &["sink", "resume", "crm"]);
    let all = spans(&collector, 6).await;
    let ended = all.iter().skip(4).find(|span| span.get("cloudevents.event_id") == parked).unwrap();
    let later = all.iter().skip(4).find(|span| span.get("cloudevents.event_id") != parked).unwrap();
    assert_eq!(later.parent, accepted.id);
    assert_eq!(accepted.parent, "00f067aa0ba902b7");
    let accept = first_life.iter().find(|span| span.kind == 2 && span.get("cloudevents.event_id") == parked).unwrap();
    assert_eq!((&ended.trace, &ended.parent), (&accept.trace, &accept.id));
    assert!(ended.get("hookrelay.attempts").parse::<u32>().unwrap() >= 4, "{ended:?}");
    assert!(ended.times[0] < first_life.iter().map(|span| span.times[1]).max().unwrap(), "it began in the first life");
    // All tries of both lives are children of one span.
    let of_parked = target.seen().into_iter().filter(|seen| seen.header("ce-id") == Some(&parked));
    assert!(of_parked.clone().count() >= 4);
    assert!(of_parked.map(|seen| seen.header("traceparent").unwrap().to_owned()).all(|own| own == ended.traceparent()));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_ends_in_a_span_that_failed_and_another_try_is_another_span() {
    let collector = Receiver::start().await;
    let callback = Callback::start().await;
    callback.answer_with(400);
    let house = House::new(&(collector.table() + &archive_and_crm(&callback.url(), IMPATIENT)));
    let daemon = house.start();
    let id = post_with(&daemon.url(), numbered(1), &[]).await;
    let dead = named(spans(&collector, 3).await).remove("deliver crm").unwrap();
    assert!(dead.has_failed && dead.get("error.type") == "http_4xx" && dead.events.len() == 1, "{dead:?}");
    callback.answer_with(200);
    wait_until("it is dead", || (figures(&house, "crm", ["dead"]) == [1]).then_some(())).await;
    verb(&house, 0, &["dead", "retry", &id]);
    let again = spans(&collector, 4).await.pop().unwrap();
    assert_eq!((&again.trace, &again.parent, again.has_failed), (&dead.trace, &dead.parent, false));
    assert!(again.id != dead.id && again.get("hookrelay.attempts") == "1", "{again:?}");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_hangs_harms_no_webhook_and_no_delivery() {
    let away = format!("[tracing]\notlp = \"http://127.0.0.1:{}\"\n", 9);
    let house = House::new(&(away + ARCHIVE));
    let daemon = house.start();
    let ids = post_all(&daemon.url(), (0..50).map(numbered)).await;
    wait_until("all are delivered", || (lines_under(&house.path("out"), ".jsonl").len() == ids.len()).then_some(()))
        .await;
    are_left_out(&house, |spans| spans == 100).await;
    assert_eq!(daemon.log.text().matches("the collector takes no spans").count(), 1, "{}", daemon.log.text());
    assert_eq!(daemon.terminate(), 0);

    // One that takes requests, and does not want all of the spans in them.
    let partly = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too many".to_owned() };
    let partly = ExportTraceServiceResponse { partial_success: Some(partly) }.encode_to_vec();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", partly.len());
    let picky = HttpServer::always(Reply::Bytes([head.into_bytes(), partly].concat(), Then::Keep)).await;
    house.configure(&format!("[tracing]\notlp = \"{}\"\n{ARCHIVE}", picky.url("")));
    let daemon = house.start();
    post_all(&daemon.url(), [numbered(50)]).await;
    are_left_out(&house, |spans| spans > 0 && spans == picky.seen().len()).await;
    assert!(daemon.log.wait_for(|line| line.contains("they are left out: too many")).is_some());
    assert_eq!(daemon.terminate(), 0);

    // One that takes connections and says nothing.
    let silent = HttpServer::always(Reply::Bytes(vec![], Then::Hang)).await;
    house.configure(&format!("[tracing]\notlp = \"{}\"\n{ARCHIVE}", silent.url("")));
    let daemon = house.start();
    post_all(&daemon.url(), (51..100).map(numbered)).await;
    wait_until("all are delivered", || (lines_under(&house.path("out"), ".jsonl").len() == 100).then_some(())).await;
    assert_eq!(daemon.terminate(), 0, "the stop does not wait for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_switches_traces_on_and_moves_them_and_a_stop_sends_the_last() {
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let house = House::new(ARCHIVE);
    let mut command = house.command(&["run"]);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours");
    let daemon = House::start_as(command);
    assert!(daemon.log.wait_for(|line| line.contains("\"ready\"")).is_some());
    let delivered = async |count| {
        wait_until("delivered", || (figures(&house, "archive", ["delivered"]) == [count]).then_some(())).await;
    };
    post_all(&daemon.url(), [numbered(1)]).await;
    delivered(1).await;
    let reload = |tables: String| {
        house.configure(&(tables + ARCHIVE));
        verb(&house, 0, &["reload"]);
    };
    reload(one.table());
    let second = post_all(&daemon.url(), [numbered(2)]).await.remove(0);
    let all = spans(&one, 2).await;
    assert!(all.iter().all(|span| span.get("cloudevents.event_id") == second), "{all:?}");
    reload(two.table() + "sample = 0.0\n");
    post_all(&daemon.url(), [numbered(3)]).await;
    delivered(3).await;
    reload(two.table());
    let fourth = post_all(&daemon.url(), [numbered(4)]).await.remove(0);
    delivered(4).await;
    assert_eq!(daemon.terminate(), 0);
    let all = two.spans();
    assert!(all.len() == 2 && all.iter().all(|span| span.get("cloudevents.event_id") == fourth), "{all:?}");
    assert_eq!(one.spans().len(), 2);
    assert!(one.server.seen().iter().all(|seen| seen.header("x-tenant") == Some("ours")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_kafka_carries_its_trace() {
    let Some((cluster, _shared)) = sink_testkit::kafka::any("traces::a_message_on_kafka_carries_its_trace").await
    else {
        return;
    };
    let collector = Receiver::start().await;
    let topic = cluster.topic(1, &[]).await;
    let sink = format!(
        "[sinks.pipeline]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{topic}\"\n",
        Cluster::brokers(&cluster)
    );
    let house = House::new(&[&collector.table(), sink.as_str(), &route("all", "*", "\"pipeline\"")].concat());
    let daemon = house.start();
    let id =
        post_with(&daemon.url(), numbered(1), &[("traceparent", &format!("{SENDER}-01")), ("tracestate", "a=1")]).await;
    let all = named(spans(&collector, 2).await);
    let sent = &all[&format!("send {topic}")];
    assert_eq!((sent.kind, &sent.parent), (4, &all["POST /webhooks/interakt"].id));
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", &topic),
        ("messaging.operation.type", "send"),
        ("messaging.message.id", &id),
    ] {
        assert_eq!(sent.get(name), value, "{name}");
    }
    let message = cluster.stored(&topic).await.remove(0);
    assert_eq!(message.header("traceparent"), Some(sent.traceparent().as_str()));
    assert_eq!(message.header("tracestate"), Some("a=1"));
}
