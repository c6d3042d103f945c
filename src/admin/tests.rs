//! The admin listener, asked by its own client.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sink_api::Secret;

use super::client::{AskError, ask, get, send_message};
use super::dead::{Count, DeadAct, DeadAsk, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use super::everyone::Everyone;
use super::explain::{ExplainAsk, ExplainView};
use super::fates::{FatesAsk, FatesView};
use super::found::{CloudLine, EventAsk, EventView, EventsAsk, TailAsk, Tailed, TraceAsk, TraceView};
use super::history::{HistoryAsk, HistoryView};
use super::list::List;
use super::log::{LogAsk, LogLevels};
use super::reload::ReloadDone;
use super::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView};
use super::running::ConfigView;
use super::sending::{CancelAsk, CancelDone, ResendView, ResendsAsk, SendAsk, SendDone, SendState, ToSend};
use super::service::Answering;
use super::sink::{ProbeDone, SinkAct, SinkAsk, SinkDone};
use super::status::JournalStatus;
use super::{AdminConfig, BoxStream, Control, Listen, Listener, Readiness, Refusal, Status};
use crate::ledger::SettleError;
use crate::ledger::nodes::{Node, Nodes};
use crate::metrics::{Format, Page};

struct Fixed(bool);

#[async_trait::async_trait]
impl Control for Fixed {
    fn readiness(&self) -> Readiness {
        Readiness { ready: self.0, at_risk: 7, reasons: if self.0 { vec![] } else { vec!["front_pressed".into()] } }
    }

    async fn dead(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        match ask.sink.as_deref() {
            Some("crm") => Ok(List::new(vec![], Some("crm/a".into()))),
            other => Err(Refusal::Question(format!("no sink {other:?}"))),
        }
    }

    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        if act == DeadAct::Drop {
            return Err(Refusal::Unable("the disk is full".into()));
        }
        Ok(DeadDone { letters: ask.ids.len() as u64, ..DeadDone::default() })
    }

    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        Ok(SinkDone { paused: act == SinkAct::Pause, dropped: ask.sink.len() as u64, ..SinkDone::default() })
    }

    async fn replays(&self) -> Result<List<ReplayView>, Refusal> {
        let items = vec![ReplayView { id: 3, sink: "crm".into(), done: 0.5, deliveries: 7 }];
        Ok(List::new(items, None))
    }

    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        Ok(ReplayBegun { id: 4, sinks: ask.sinks, events: 9 })
    }

    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        Ok(ReplayCancelled { id: ask.id, sinks: 1 })
    }

    fn log_levels(&self) -> LogLevels {
        LogLevels { levels: "info".into(), of_environment: false, left_out: 2 }
    }

    fn set_log_level(&self, ask: LogAsk) -> Result<LogLevels, Refusal> {
        Ok(LogLevels { levels: format!("{:?}={}", ask.room, ask.level), of_environment: false, left_out: 2 })
    }

    async fn reload(&self) -> Result<ReloadDone, Refusal> {
        Err(Refusal::Config("config.toml:1:1: error".into()))
    }

    async fn status(&self) -> Status {
        let journal = JournalStatus { events: Some(3), bytes: Some(9), ..JournalStatus::default() };
        Status { ready: self.0, journal, ..Status::default() }
    }

    async fn send(&self, told: ToSend) -> Result<SendDone, Refusal> {
        let state = match &*told.body {
            b"{}" => SendState::Refused,
            _ if told.ask.wait_s == Some(0) => SendState::Waiting,
            _ => SendState::Sent,
        };
        let error = (state == SendState::Refused).then(|| "bad_payload: no phone".to_owned());
        Ok(SendDone { event: told.key.unwrap_or_default(), state, error, ..SendDone::default() })
    }

    async fn resends(&self, _: ResendsAsk) -> Result<List<ResendView>, Refusal> {
        Ok(List::default())
    }

    async fn cancel_resends(&self, ask: CancelAsk) -> Result<CancelDone, Refusal> {
        Err(Refusal::Missing(format!("nothing that waits is `{}`", ask.id)))
    }

    async fn events(&self, _: EventsAsk) -> Result<List<CloudLine>, Refusal> {
        Ok(List::default())
    }

    async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal> {
        Err(Refusal::Missing(format!("there is no event `{}`", ask.id)))
    }

    async fn trace(&self, ask: TraceAsk) -> Result<TraceView, Refusal> {
        Err(Refusal::Missing(format!("nothing is `{}`", ask.id)))
    }

    async fn tail(&self, _: TailAsk) -> Result<BoxStream<Tailed>, Refusal> {
        Err(Refusal::Unable("no journal".into()))
    }

    async fn pending(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        self.dead(ask).await
    }

    async fn dead_counts(&self, _: DeadAsk) -> Result<List<Count>, Refusal> {
        Ok(List::default())
    }

    async fn pending_counts(&self, _: DeadAsk) -> Result<List<Count>, Refusal> {
        Ok(List::default())
    }

    async fn outcomes(&self, _: OutcomesAsk) -> Result<List<OutcomeView>, Refusal> {
        Ok(List::default())
    }

    async fn probe(&self, sink: String) -> Result<ProbeDone, Refusal> {
        Err(Refusal::Missing(format!("there is no sink `{sink}`")))
    }

    async fn replay_plan(&self, _: ReplayAsk) -> Result<ReplayPlan, Refusal> {
        Err(Refusal::Unable("no journal".into()))
    }

    async fn replay_outcome(&self, _: ReplayCancel) -> Result<List<ReplayOutcome>, Refusal> {
        Ok(List::default())
    }

    async fn config(&self) -> Result<ConfigView, Refusal> {
        Err(Refusal::Unable("no config".into()))
    }

    async fn history(&self, _: HistoryAsk) -> Result<HistoryView, Refusal> {
        Err(Refusal::Unable("no history".into()))
    }

    async fn explain(&self, _: ExplainAsk) -> Result<ExplainView, Refusal> {
        Err(Refusal::Unable("no rules".into()))
    }

    async fn fates(&self, _: FatesAsk) -> Result<FatesView, Refusal> {
        Ok(FatesView::default())
    }

    async fn metrics(&self, format: Format) -> String {
        let mut page = Page::default();
        page.counter("asked_total", "Asked", [(vec![], 3)]);
        Arc::new(page).write(format)
    }
}

#[tokio::test]
async fn changes_go_through_and_a_refused_config_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap();
    let change = |what: &'static str| {
        let at = on(&path);
        async move { ask::<SinkDone>(&at, http::Method::POST, &format!("/api/sinks/crm/{what}"), &()).await }
    };
    for (what, paused) in [("pause", true), ("resume", false), ("skip", false)] {
        assert_eq!(change(what).await.unwrap(), SinkDone { paused, dropped: 3, ..SinkDone::default() }, "{what}");
    }
    assert!(matches!(change("stop").await, Err(AskError::Refused { status: 404, .. })));
    let replays: List<ReplayView> = get(&on(&path), "/api/replay").await.unwrap();
    assert_eq!((replays.items.len(), replays.items[0].id), (1, 3));
    let question = ReplayAsk { since: "x".into(), sinks: vec!["crm".into()], ..ReplayAsk::default() };
    let begun: ReplayBegun = ask(&on(&path), http::Method::POST, "/api/replay", &question).await.unwrap();
    assert_eq!(begun, ReplayBegun { id: 4, sinks: vec!["crm".into()], events: 9 });
    let cancel = ReplayCancel { id: 4 };
    let ended: ReplayCancelled = ask(&on(&path), http::Method::POST, "/api/replay/cancel", &cancel).await.unwrap();
    assert_eq!(ended, ReplayCancelled { id: 4, sinks: 1 });
    let refused = ask::<ReloadDone>(&on(&path), http::Method::POST, "/api/reload", &()).await;
    assert!(matches!(&refused, Err(AskError::Refused { status: 422, why, .. }) if why.contains("1:1")), "{refused:?}");
    listener.stop();
}

fn on(path: &std::path::Path) -> AdminConfig {
    AdminConfig { listen: Listen::Unix(path.to_owned()), advertise: None, token: None, read_only: false }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_by_one_for_its_owner_alone_and_goes_with_the_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let status: Status = get(&on(&path), "/api/status").await.unwrap();
    assert_eq!((status.ready, status.journal.events), (true, Some(3)));
    listener.stop();
    assert!(!path.exists());
    let error = get::<Status>(&on(&path), "/api/status").await.unwrap_err();
    assert!(matches!(&error, AskError::NoDaemon { .. }) && error.to_string().contains("hookrelay run"), "{error}");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone_and_a_long_path_is_none_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    std::fs::write(&path, "mine").unwrap();
    assert!(Listener::start(&on(&path), Arc::new(Fixed(true))).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let deep = folder.path().join("d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("admin.sock");
    let listener = Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap();
    get::<Status>(&on(&path), "/api/status").await.unwrap();
    listener.stop();
}

#[tokio::test]
async fn readiness_shows_in_the_status_and_unknown_paths_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = Listener::start(&on(&path), Arc::new(Fixed(false))).unwrap();
    get::<serde_json::Value>(&on(&path), "/healthz").await.unwrap();
    let status = async |path: &str, config: &AdminConfig| match get::<serde_json::Value>(config, path).await {
        Err(AskError::Refused { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status("/readyz", &on(&path)).await, 503);
    assert_eq!(status("/api/nothing", &on(&path)).await, 404);
    listener.stop();
}

#[tokio::test]
async fn an_unknown_path_is_no_verb_and_a_wrong_method_is_told_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let (listener, on) = (Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap(), on(&path));
    let refused = async |method, path| match ask::<serde_json::Value>(&on, method, path, &()).await {
        Err(AskError::Refused { status, why, .. }) => (status, why),
        other => panic!("{path}: {other:?}"),
    };
    for path in ["/api/reload/now", "/api/reloads", "/api/sinks/a/stop", "/api/dead/forget", "/api/replay/", "/api"] {
        for method in [http::Method::GET, http::Method::POST, http::Method::DELETE] {
            assert_eq!(refused(method, path).await, (404, "there is nothing at this path".into()), "{path}");
        }
    }
    for (method, path, allowed) in [
        (http::Method::POST, "/api/status", "only GET and HEAD"),
        (http::Method::DELETE, "/api/replay", "only GET and HEAD and POST"),
        (http::Method::GET, "/api/reload", "only POST"),
    ] {
        assert_eq!(refused(method, path).await, (405, allowed.into()), "{path}");
    }
    listener.stop();
}

#[tokio::test]
async fn over_tcp_the_token_is_demanded() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let with = |token: Option<&str>| AdminConfig {
        listen: Listen::Tcp(format!("127.0.0.1:{port}")),
        advertise: None,
        token: token.map(Secret::new),
        read_only: false,
    };
    let listener = Listener::start(&with(Some("right")), Arc::new(Fixed(true))).unwrap();
    get::<Status>(&with(Some("right")), "/api/status").await.unwrap();
    for token in [None, Some("wrong"), Some("")] {
        let error = get::<Status>(&with(token), "/api/status").await.unwrap_err();
        assert!(matches!(error, AskError::Refused { status: 401, .. }), "{error}");
    }
    get::<serde_json::Value>(&with(None), "/healthz").await.unwrap();
    listener.stop();
}

/// Sends one request on a connection and reads its answer: the head, and whether the connection is still open after it.
fn on_a_connection(stream: &mut std::net::TcpStream, path: &str, token: Option<&str>) -> (String, bool) {
    use std::io::{Read, Write};
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{token}\r\n").unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    let ended = loop {
        let read = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        match text.split_once("\r\n\r\n") {
            _ if read == 0 => break true,
            Some((head, body)) if !head.contains("connection: close") => {
                let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    break false;
                }
            }
            _ => {}
        }
    };
    (text, !ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_the_token_keeps_a_connection() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = Listen::Tcp(format!("127.0.0.1:{port}"));
    let config = AdminConfig { listen, advertise: None, token: Some(Secret::new("right")), read_only: false };
    let listener = Listener::start(&config, Arc::new(Fixed(true))).unwrap();
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let strange = [("/healthz", None), ("/readyz", None), ("/api/status", None), ("/nothing", None)];
    for (path, token) in strange.into_iter().chain([("/healthz", Some("right")), ("/api/status", Some("wrong"))]) {
        let (answer, open) = on_a_connection(&mut connect(), path, token);
        assert!(answer.starts_with("HTTP/1.1 ") && !open, "{path} {token:?}: {answer}");
    }
    let mut kept = connect();
    for (path, status) in [("/api/status", " 200 "), ("/nothing", " 404 "), ("/api/status", " 200 ")] {
        let (answer, open) = on_a_connection(&mut kept, path, Some("right"));
        assert!(answer.contains(status) && open, "{path}: {answer}");
    }
    assert!(!on_a_connection(&mut kept, "/api/status", None).1, "once let in, the token is still asked for");
    listener.stop();
}

#[tokio::test]
async fn questions_reach_the_control_whole_and_refusals_come_back_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let (listener, on) = (Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap(), on(&path));
    let of = |sink: &str| DeadAsk { sink: Some(sink.into()), ids: vec!["a".into(), "b".into()], ..DeadAsk::default() };
    let page: List<DeadView> = ask(&on, http::Method::GET, "/api/dead", &of("crm")).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("crm/a"));
    let done: DeadDone = ask(&on, http::Method::POST, "/api/dead/retry", &of("crm")).await.unwrap();
    assert_eq!(done.letters, 2);
    let refused =
        async |method, path, question: &serde_json::Value| match ask::<DeadDone>(&on, method, path, question).await {
            Err(AskError::Refused { status, why, .. }) => (status, why),
            other => panic!("{other:?}"),
        };
    let other = serde_json::json!({ "sink": "other" });
    let (status, why) = refused(http::Method::GET, "/api/dead", &other).await;
    assert!(status == 400 && why.contains("other"), "{status} {why}");
    let (status, why) = refused(http::Method::POST, "/api/dead/drop", &other).await;
    assert!(status == 503 && why.contains("disk"), "{status} {why}");
    let (status, why) = refused(http::Method::POST, "/api/dead/retry", &serde_json::json!({ "sinks": "crm" })).await;
    assert!(status == 400 && why.contains("sinks"), "a misspelt filter must not widen it: {status} {why}");
    assert_eq!(refused(http::Method::GET, "/api/dead/drop", &other).await.0, 405);
    let large = serde_json::json!({ "sink": "x".repeat(2 << 20) });
    assert!(
        ask::<List<DeadView>>(&on, http::Method::GET, "/api/dead", &large).await.is_err(),
        "it is not read to its end"
    );
    listener.stop();
}

#[tokio::test]
async fn the_status_of_a_send_says_how_far_it_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let (listener, on) = (Listener::start(&on(&path), Arc::new(Fixed(true))).unwrap(), on(&path));
    let send = async |ask: SendAsk, key: Option<&str>, body: &str| send_message(&on, &ask, key, body.into()).await;
    let done = send(SendAsk::default(), Some("order-77"), "{\"type\":\"Text\"}").await.unwrap();
    assert_eq!((done.state, done.event.as_str()), (SendState::Sent, "order-77"));
    let at_once = SendAsk { wait_s: Some(0), ..SendAsk::default() };
    assert_eq!(send(at_once, None, "{\"type\":\"Text\"}").await.unwrap().state, SendState::Waiting);
    let refused = send(SendAsk::default(), None, "{}").await.unwrap();
    assert_eq!((refused.state, refused.error.as_deref()), (SendState::Refused, Some("bad_payload: no phone")));
    let bad = send(SendAsk::default(), Some("\u{fc}"), "{}").await;
    assert!(matches!(bad, Err(AskError::Refused { status: 400, .. })), "{bad:?}");
    listener.stop();
}

/// Daemons that share a journal: `a` is asked.
struct Known(Vec<Node>);

#[async_trait::async_trait]
impl Nodes for Known {
    fn own(&self) -> Option<&str> {
        Some("a")
    }

    async fn announce(&self, _: Node) -> Result<(), SettleError> {
        Ok(())
    }

    async fn withdraw(&self) -> Result<(), SettleError> {
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Node>, SettleError> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn of_several_daemons_the_asked_one_answers_for_all_and_names_who_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(format!("{name}.sock"));
    let node = |name: &str, socket: &str| Node {
        name: name.into(),
        admin: format!("unix:{}", at(socket).display()),
        host: "red".into(),
        ..Node::default()
    };
    let named = |name: &str| {
        let fixed: Arc<dyn Control> = Arc::new(Fixed(true));
        Answering { all: Arc::clone(&fixed), itself: fixed, name: Some(name.to_owned()) }
    };
    // One that answers, one whose address is another's, one that hangs, one that is away.
    let other = Listener::start(&on(&at("b")), named("b")).unwrap();
    let hangs = tokio::net::UnixListener::bind(at("d")).unwrap();
    let nodes = vec![node("a", "a"), node("b", "b"), node("c", "b"), node("d", "d"), node("e", "e")];
    let config = on(&at("a"));
    let all = Everyone::new(Arc::new(Fixed(true)), Arc::new(Known(nodes)), ["a", "red"], &config);
    let listener = Listener::start(&config, Answering { all: Arc::new(all), ..named("a") }).unwrap();

    let status: Status = get(&config, "/api/status").await.unwrap();
    let answered: Vec<_> = status.nodes.iter().map(|node| (node.name.as_str(), node.answered)).collect();
    assert_eq!(answered, [("a", true), ("b", true), ("c", false), ("d", false), ("e", false)]);
    assert_eq!(status.journal.at_risk, 0);
    let why = |n: usize| status.nodes[n].why.clone().unwrap_or_default();
    assert!(why(2).contains("`b` answers there"), "{}", why(2));
    assert!(why(3).contains("no answer within 2 s"), "{}", why(3));
    assert!(why(4).contains("nobody answers at"), "{}", why(4));
    // It is not asked again at once, so that it makes no answer slow.
    hangs.accept().await.unwrap();
    let list: List<Count> = ask(&config, http::Method::GET, "/api/dead/counts", &()).await.unwrap();
    let unanswered: Vec<_> = list.unanswered.iter().map(|one| one.node.as_str()).collect();
    assert_eq!(unanswered, ["c", "d", "e"]);
    let second = std::future::poll_fn(|cx| std::task::Poll::Ready(hangs.poll_accept(cx).is_ready())).await;
    assert!(!second, "it was asked again");
    tokio::task::spawn_blocking(|| (listener.stop(), other.stop())).await.unwrap();
}
