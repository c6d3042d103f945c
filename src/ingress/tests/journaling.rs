//! How the journal's outcome decides answers and repeats.

use super::*;

const BODY: &[u8] = br#"{"type":"message_api_sent"}"#;

fn refusing() -> SourceConfig {
    SourceConfig { on_journal_failure: Some(OnJournalFailure::Refuse), ..source() }
}

fn impatient(source: SourceConfig) -> SourceConfig {
    SourceConfig { ack_deadline: Period::millis(50), ..source }
}

#[tokio::test]
async fn a_repeat_is_answered_200_with_the_first_events_id_and_kept_once() {
    let served = plain().await;
    let first = served.post(BODY).await.id();
    let repeat = served.post(BODY).await;
    assert_eq!(
        (repeat.status, repeat.body.as_str()),
        (200, format!(r#"{{"id":"{first}","duplicate":true}}"#).as_str())
    );
    assert_eq!(served.journal.events().len(), 1);
    assert_eq!((served.counts().accepted.get(), served.counts().duplicate.get()), (1, 1));
    assert!(served.journal.records.lock().unwrap()[0].0.fingerprint.is_some());
}

#[tokio::test]
async fn with_dedupe_off_every_repeat_is_an_event() {
    let served = serve(server(), SourceConfig { dedupe: Some(Window::Off), ..source() }, Does::Flush).await;
    assert_ne!(served.post(BODY).await.id(), served.post(BODY).await.id());
    assert_eq!(served.journal.events().len(), 2);
    assert_eq!(served.journal.records.lock().unwrap()[0].0.fingerprint, None);
    assert_eq!(served.ingress.dedupe_windows(), [("interakt".to_owned(), Duration::ZERO)]);
}

#[tokio::test]
async fn a_forged_repeat_learns_nothing() {
    let served = plain().await;
    served.post(BODY).await;
    let forged = served.ask(posted(&format!("interakt-signature: {}\r\n", "0".repeat(64)), BODY)).await;
    assert_eq!((forged.status, forged.json()["id"].is_null()), (401, true));
}

#[tokio::test]
async fn repeats_at_the_same_moment_share_one_event_and_its_answer() {
    for (progress, status) in [(DURABLE, 200), (FAILED, 503), (Progress::AtRisk, 200)] {
        let served = serve(server(), source(), Does::Hang).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = served.connect().await;
            client.send(signed(BODY)).await;
            clients.push(client);
        }
        // The requests are being answered: one waits for the journal, the others for it.
        wait_until(|| served.ingress.dedupe.waiting(0) == 4).await;
        assert_eq!(served.journal.hanging(), 1);
        served.journal.tell(progress);
        let (mut ids, mut repeats) = (std::collections::BTreeSet::new(), 0);
        for client in &mut clients {
            let reply = client.reply().await;
            assert_eq!(reply.status, status);
            if status == 200 {
                ids.insert(reply.id());
                repeats += usize::from(reply.json()["duplicate"] == true);
            }
        }
        assert_eq!((ids.len(), repeats), if status == 200 { (1, 4) } else { (0, 0) });
        assert_eq!(served.journal.events().len(), 1);
    }
}

#[tokio::test]
async fn after_a_definite_failure_the_same_webhook_is_taken_anew() {
    for does in [Does::Fail, Does::Forget] {
        let served = serve(server(), source(), does).await;
        let reply = served.post(BODY).await;
        assert_eq!((reply.status, reply.header("retry-after"), served.counts().accepted.get()), (503, Some("5"), 0));
        served.journal.does(Does::Flush);
        let again = served.post(BODY).await;
        assert_eq!((again.status, &again.json()["duplicate"]), (200, &serde_json::Value::Null));
        assert_eq!((served.counts().accepted.get(), served.counts().refused.get(Reason::Unavailable)), (1, 1));
    }
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_its_reservation_to_the_journal() {
    let served = serve(server(), source(), Does::Hang).await;
    let mut gone = served.connect().await;
    gone.send(signed(BODY)).await;
    wait_until(|| served.journal.hanging() == 1).await;
    gone.0.set_zero_linger().unwrap();
    drop(gone);
    let mut repeat = served.connect().await;
    repeat.send(signed(BODY)).await;
    wait_until(|| served.ingress.dedupe.waiting(0) == 1).await;
    served.journal.tell(DURABLE);
    assert_eq!(repeat.reply().await.json()["duplicate"], true);
    assert_eq!((served.journal.events().len(), served.counts().accepted.get()), (1, 1));
}

#[tokio::test]
async fn during_a_change_of_secret_a_repeat_is_known_by_either_signature() {
    let by = |secret: &[u8]| {
        let signature = Hmac::new(secret, None).unwrap().sign(BODY);
        posted(&format!("interakt-signature: {signature}\r\n"), BODY)
    };
    let changing =
        SourceConfig { secret: Some(Secret::new("new")), previous_secret: Some(Secret::new("old")), ..source() };
    for order in [[&b"old"[..], b"new"], [b"new", b"old"]] {
        let served = serve(server(), changing.clone(), Does::Flush).await;
        let first = served.ask(by(order[0])).await.id();
        let repeat = served.ask(by(order[1])).await;
        assert_eq!((repeat.id(), repeat.json()["duplicate"] == true), (first, true));
        assert_eq!(served.ask(by(b"other")).await.status, 401);
    }
}

#[tokio::test]
async fn an_earlier_lifes_webhooks_are_known_after_a_restart() {
    let served = plain().await;
    let first = served.post(BODY).await.id();
    let record = served.journal.records.lock().unwrap()[0].0.clone();
    let known = |source: &str| Fingerprint {
        source: source.into(),
        fingerprint: record.fingerprint.unwrap(),
        id: record.id,
        time: record.time,
    };
    for (known, is_known) in [(known("interakt"), true), (known("removed"), false)] {
        let sources = vec![plan(&source())];
        let ingress = Ingress::new(&server(), sources, FakeJournal::new(Does::Flush), vec![known]);
        let listener = listening(&server());
        let mut client = Client(TcpStream::connect(listener.tcp_address().unwrap()).await.unwrap());
        let listener = listener.start().unwrap();
        tokio::spawn(async move { ingress.serve(listener, alone(), std::future::pending()).await });
        client.send(signed(BODY)).await;
        assert_eq!(client.reply().await.id() == first, is_known);
    }
}

#[tokio::test]
async fn accept_answers_200_at_once_when_the_journal_fails_and_counts_it_at_risk() {
    let served = serve(server(), source(), Does::Risk).await;
    let first = served.post(BODY).await;
    assert_eq!(first.status, 200);
    assert_eq!(served.journal.records.lock().unwrap()[0].1, OnFailure::Keep);
    let repeat = served.post(BODY).await;
    assert_eq!((repeat.id(), repeat.json()["duplicate"] == true), (first.id(), true));
    assert_eq!((served.counts().at_risk.get(), served.counts().accepted.get()), (1, 1));
    assert_eq!(served.at_risk_now(), 1);
    served.journal.tell(DURABLE);
    assert_eq!((served.counts().accepted.get(), served.at_risk_now()), (1, 0), "counted once");
}

#[tokio::test]
async fn refuse_answers_503_when_the_journal_fails() {
    let served = serve(server(), refusing(), Does::Risk).await;
    for _ in 0..2 {
        let reply = served.post(BODY).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
    }
    assert_eq!(served.journal.records.lock().unwrap()[0].1, OnFailure::GiveBack);
    assert_eq!((served.counts().at_risk.get(), served.counts().refused.get(Reason::Unavailable)), (0, 2));
    served.journal.tell(DURABLE);
    assert_eq!(served.post(BODY).await.json()["duplicate"], true, "it was written after all");
}

#[tokio::test]
async fn past_ack_deadline_accept_answers_200_and_keeps_the_reservation() {
    let served = serve(server(), impatient(source()), Does::Hang).await;
    let first = served.post(BODY).await;
    assert_eq!((first.status, served.counts().at_risk.get(), served.at_risk_now()), (200, 1, 1));
    let repeat = served.post(BODY).await;
    assert_eq!((repeat.id(), repeat.json()["duplicate"] == true), (first.id(), true));
    assert_eq!(served.journal.events().len(), 1);
    served.journal.tell(DURABLE);
    assert_eq!(served.post(BODY).await.id(), first.id());
    assert_eq!((served.counts().accepted.get(), served.counts().duplicate.get()), (1, 2));
    assert_eq!(served.at_risk_now(), 0);
}

#[tokio::test]
async fn past_ack_deadline_refuse_answers_503_and_keeps_the_reservation() {
    let served = serve(server(), impatient(refusing()), Does::Hang).await;
    for _ in 0..2 {
        assert_eq!(served.post(BODY).await.status, 503);
    }
    assert_eq!(served.journal.events().len(), 1, "the repeat is not a second event");
    served.journal.tell(DURABLE);
    assert_eq!(served.post(BODY).await.json()["duplicate"], true);
}

#[tokio::test]
async fn a_full_commit_queue_is_503_for_both() {
    for source in [source(), refusing()] {
        let served = serve(server(), source, Does::Fail).await;
        let reply = served.post(BODY).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
        assert!(reply.json()["error"].is_string());
    }
}
