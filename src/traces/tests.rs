//! That nobody waits for a collector, and that what is off makes nothing. What a collector is sent is in `tests/it`.

use sink_testkit::event;

use super::*;

fn accepting(tracer: &Arc<Tracer>) -> Option<Box<Accepting>> {
    let mut event = event("t").no_headers().build();
    Arc::clone(tracer).accepting(&mut event, &HeaderMap::new())
}

#[test]
fn what_the_queue_has_no_room_for_is_left_out_and_counted() {
    let (queue, mut waiting) = mpsc::channel(2);
    let tracer = Arc::new(Tracer { sample: 1.0, queue });
    let before = left_out();
    for _ in 0..5 {
        accepting(&tracer).unwrap().answered(Some(200), Duration::from_millis(3));
    }
    assert!(left_out() >= before + 3);
    let span = waiting.try_recv().unwrap();
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(3));
    assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_err());
}

#[tokio::test]
async fn off_makes_nothing_and_a_new_config_holds_from_the_next_event_on() {
    let traces = Traces::default();
    assert!(traces.tracer().is_none());
    let config = |sample| TracingConfig { otlp: Some("http://127.0.0.1:9".to_owned()), sample };
    traces.put_in_force(&config(0.0));
    assert!(accepting(&traces.tracer().unwrap()).is_none(), "its trace is not recorded");
    traces.put_in_force(&config(1.0));
    assert!(accepting(&traces.tracer().unwrap()).is_some());
    traces.put_in_force(&TracingConfig::default());
    assert!(traces.tracer().is_none());
    traces.stop().await;
}

#[test]
fn what_the_daemon_tells_itself_has_no_trace() {
    let (queue, _waiting) = mpsc::channel(2);
    let tracer = Tracer { sample: 1.0, queue };
    let mut own = event("sink.down").build();
    assert!(tracer.headers(&own, "crm", "id", 1, 0).is_some() && tracer.records(&own));
    own.method = "".into();
    assert!(tracer.headers(&own, "crm", "id", 1, 0).is_none() && !tracer.records(&own));
}
