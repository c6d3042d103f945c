//! Which headers are valid, what is kept of them, and that everything derived is the same each time.

use http::HeaderValue;
use proptest::prelude::*;
use sink_api::Uuid;
use sink_testkit::event;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn kept(all: &[(&'static str, &str)]) -> Event {
    let mut event = event("t").no_headers().build();
    keep(&mut event, &headers(all));
    event
}

#[test]
fn a_traceparent_is_read_by_the_letter_of_the_specification() {
    let parent = Parent::read(PARENT).unwrap();
    assert_eq!((parent.is_sampled, parent.to_string().as_str()), (true, PARENT));
    assert!(!Parent::read(&PARENT.replace("-01", "-fe")).unwrap().is_sampled);
    assert_eq!(Parent::read(&PARENT.replace("-01", "-ff")).unwrap().to_string(), PARENT, "only `sampled` is passed on");
    // Of later versions the known parts count, whatever follows behind a dash.
    for later in ["", "-", "-what comes"] {
        assert_eq!(Parent::read(&format!("{}{later}", PARENT.replacen("00", "cc", 1))), Some(parent), "{later}");
    }
    let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
    let [upper, ff, longer, glued, short] = [
        PARENT.replace("4bf9", "4BF9"),
        PARENT.replacen("00", "ff", 1),
        format!("{PARENT}-00"),
        format!("{}00", PARENT.replacen("00", "cc", 1)),
        PARENT[..54].to_owned(),
    ];
    let shifted = "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01";
    let not_hex = PARENT.replace("4bf9", "4bg9");
    for bad in ["", zero_trace, zero_span, shifted, &upper, &ff, &longer, &glued, &short, &not_hex] {
        assert_eq!(Parent::read(bad), None, "{bad}");
    }
}

#[test]
fn what_is_valid_is_kept_with_the_event_once_and_within_bounds() {
    let event = kept(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("cookie", "x")]);
    assert_eq!(event.headers, [("traceparent".into(), PARENT.into()), ("tracestate".into(), "a=1,b=2".into())]);
    for none in [
        &[][..],
        &[("tracestate", "a=1")],
        &[("traceparent", "x"), ("tracestate", "a=1")],
        &[("traceparent", PARENT), ("traceparent", PARENT)],
    ] {
        assert_eq!(kept(none).headers, [], "{none:?}");
    }
    let long = vec!["k=012345678901234567"; 40].join(",");
    let event = kept(&[("traceparent", PARENT), ("tracestate", &long)]);
    let state = event.header("tracestate").unwrap();
    assert!(state.len() <= 512 && long.starts_with(state) && !state.ends_with(','), "{state}");
    assert_eq!(kept(&[("traceparent", PARENT), ("tracestate", &"x".repeat(600))]).headers.len(), 1);
}

#[test]
fn a_header_that_the_config_keeps_is_not_kept_twice() {
    let mut event = event("t").no_headers().header("traceparent", PARENT).build();
    keep(&mut event, &headers(&[("traceparent", PARENT)]));
    assert_eq!(event.headers.len(), 1);
}

#[test]
fn a_trace_goes_on_or_begins_with_the_event_and_its_spans_stay_the_same() {
    let event = kept(&[("traceparent", PARENT), ("tracestate", "a=1")]);
    let trace = EventTrace::of(&event, 0.0);
    assert_eq!((trace.trace.to_string().as_str(), trace.is_sampled), ("4bf92f3577b34da6a3ce929d0e0e4736", true));
    assert_eq!(trace.sender, Some(SpanId::from_hex("00f067aa0ba902b7").unwrap()));
    let fresh = Event { headers: vec![], ..event.clone() };
    let own = EventTrace::of(&fresh, 1.0);
    assert_eq!((own.trace.to_string(), own.sender), (fresh.id.simple().to_string(), None));
    assert_eq!(own.accept(), trace.accept());

    let span = |trace: &EventTrace, sink: &str, id: &str, first, forgiven| trace.delivery(sink, id, first, forgiven);
    let first = span(&own, "crm", "id", 5, 0);
    assert_eq!(first, span(&trace, "crm", "id", 5, 0));
    let others = [("crn", "id", 5, 0), ("crm", "id-b", 5, 0), ("crm", "id", 6, 0), ("crm", "id", 5, 1)];
    assert!(others.iter().all(|(sink, id, at, forgiven)| span(&own, sink, id, *at, *forgiven) != first));
    assert_eq!(own.headers(first).parent, format!("00-{}-{first}-01", own.trace));
    assert_eq!(trace.headers(first).all().nth(1), Some(("tracestate", "a=1")));
}

#[test]
fn the_share_that_is_recorded_is_the_one_asked_for_and_each_trace_is_decided_once() {
    let ids: Vec<[u8; 16]> = (0..4000).map(|_| *Uuid::now_v7().as_bytes()).collect();
    let sampled = |sample: f64| ids.iter().filter(|id| is_sampled(**id, sample)).count();
    assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
    let quarter = sampled(0.25);
    assert!((800..1200).contains(&quarter), "{quarter}");
    assert!(ids.iter().all(|id| !is_sampled(*id, 0.25) || is_sampled(*id, 0.5)), "a larger share holds the smaller");
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(text in "\\PC*", tail in "[-0-9a-f]{0,60}") {
        let _ = Parent::read(&text);
        let _ = Parent::read(&format!("00-{tail}"));
        let _ = bounded(&text);
    }

    #[test]
    fn every_valid_header_comes_back_as_it_went_in(
        trace in any::<[u8; 16]>(),
        span in any::<[u8; 8]>(),
        is_sampled: bool,
    ) {
        let parent = Parent { trace: TraceId::from_bytes(trace), span: SpanId::from_bytes(span), is_sampled };
        let is_valid = trace != [0; 16] && span != [0; 8];
        prop_assert_eq!(Parent::read(&parent.to_string()), is_valid.then_some(parent));
    }
}
