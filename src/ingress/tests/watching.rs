//! What is counted and told: of refusals at a source and elsewhere, of requests that go away, of feeds.

use super::super::answered::Asked;
use super::super::elsewhere::OTHER;
use super::super::guard::Guard;
use super::super::http::connection_state::Link;
use super::*;
use crate::news::{Desk, Kind, Notice};

/// The news of what the served ingress does from now on.
fn news_of(served: &Served) -> Desk {
    let (news, desk) = News::new();
    desk.want(|_| true);
    served.ingress.set_news(news);
    desk
}

fn told(notices: &[Notice]) -> Vec<(Kind, &str, &str, u64)> {
    let one = |notice: &'_ Notice| (notice.item.kind, notice.item.count);
    let all = notices.iter().map(|notice| (one(notice), notice.item.subject.as_str(), notice.item.reason.as_str()));
    all.map(|((kind, count), subject, reason)| (kind, subject, reason, count)).collect()
}

#[tokio::test]
async fn one_slash_too_many_is_the_same_path_and_another_case_is_none() {
    let health = ServerConfig { health: Some(format!("{PATH}/")), ..server() };
    for (server, status) in [(server(), 200), (health, 405)] {
        let served = serve(server, source(), Does::Flush).await;
        let with_slash = String::from_utf8(signed(b"{}")).unwrap().replacen(PATH, &format!("{PATH}/"), 1);
        assert_eq!(served.ask(&with_slash).await.status, status);
        assert_eq!(served.ask(with_slash.replacen("/webhooks", "/Webhooks", 1)).await.status, 404);
        assert_eq!(
            served.journal.events().iter().filter(|event| *event.path == *PATH).count(),
            usize::from(status == 200)
        );
    }
}

#[tokio::test]
async fn what_is_refused_elsewhere_is_counted_by_path_without_its_query_and_told() {
    let served = plain().await;
    let desk = news_of(&served);
    let ask = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    for path in ["/webhooks/interact?token=hush", "/webhooks/interact", "/x&token=hush"] {
        assert_eq!(served.ask(ask(path)).await.status, 404);
    }
    served.ask("hello\r\n\r\n").await;
    wait_until(|| served.ingress.elsewhere().by_reason().get(Reason::Malformed) == 1).await;
    let mut counted = served.ingress.elsewhere().totals();
    counted.sort();
    let counted: Vec<_> = counted.iter().map(|(path, count)| (&**path, *count)).collect();
    assert_eq!(counted, [("/webhooks/interact", 2), ("/x…", 1), (OTHER, 1)]);
    served.ingress.tell_rest();
    let notices = desk.take_all();
    let all: u64 = notices.iter().map(|notice| notice.item.count).sum();
    assert_eq!(all, 4, "{notices:?}");
    let first = &notices[0].item;
    assert_eq!((first.subject.as_str(), first.reason.as_str()), ("/webhooks/interact", "unknown_path"));
    assert!(first.text.contains("did you mean /webhooks/interakt?"), "{}", first.text);
    assert!(!format!("{notices:?}").contains("hush"));
}

#[tokio::test]
async fn failures_of_a_feed_are_news_at_three_of_five_and_at_five() {
    let served = plain().await;
    let desk = news_of(&served);
    for _ in 0..6 {
        assert_eq!(served.ask(posted("", b"{}")).await.status, 401);
    }
    let budget = || served.ingress.sources_now().remove(0).budget.map(|budget| budget.used);
    assert_eq!(budget(), Some(5));
    served.ingress.tell_rest();
    let notices = desk.take_all();
    assert_eq!(
        told(&notices),
        [
            (Kind::RequestRefused, "interakt", "missing", 1),
            (Kind::FeedAtRisk, "interakt", "missing", 1),
            (Kind::FeedFailing, "interakt", "missing", 1),
            (Kind::RequestRefused, "interakt", "missing", 5),
        ]
    );
}

#[tokio::test]
async fn neither_probes_nor_good_webhooks_nor_other_paths_spend_the_budget() {
    let served = plain().await;
    served.post(b"{}").await;
    served.ask(format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    served.ask("GET /else HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(served.ingress.sources_now().remove(0).budget.map(|budget| budget.used), Some(0));
    served.ask(format!("PUT {PATH} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert_eq!(served.ingress.sources_now().remove(0).budget.map(|budget| budget.used), Some(1));
}

#[tokio::test]
async fn a_sender_that_goes_away_before_its_answer_is_counted_where_no_event_came_of_it() {
    let served = serve(server(), source(), Does::Hang).await;
    let mut client = served.connect().await;
    let whole = signed(b"{\"a\":1}");
    client.send(&whole[..whole.len() - 1]).await;
    drop(client);
    wait_until(|| served.counts().refused.get(Reason::Broken) == 1).await;
    let mut client = served.connect().await;
    client.send(&whole).await;
    wait_until(|| served.journal.hanging() == 1).await;
    drop(client);
    served.journal.tell(DURABLE);
    wait_until(|| served.counts().accepted.get() == 1).await;
    assert_eq!(served.counts().refused.get(Reason::Broken), 1);
}

/// As hyper drops it when a stream of HTTP/2 is reset.
#[tokio::test]
async fn a_request_that_is_dropped_is_counted_until_its_body_has_come() {
    let served = plain().await;
    let link = Link::new(1, None, served.ingress.server.clone(), served.at.into());
    let (parts, ()) = ::http::Request::post(PATH).body(()).unwrap().into_parts();
    let place = served.ingress.sources().at(PATH, None);
    let broken = || served.counts().refused.get(Reason::Broken);
    drop(Asked::new(&served.ingress, &link, &parts, &place));
    assert_eq!(broken(), 1);
    let mut asked = Asked::new(&served.ingress, &link, &parts, &place);
    asked.has_body();
    drop(asked);
    assert_eq!(broken(), 1);
}

#[tokio::test]
async fn an_answer_that_is_late_is_counted_and_spends_the_budget() {
    let late = SourceConfig { answer_within: Some(Period::LEAST), ..source() };
    let served = serve(server(), late, Does::Flush).await;
    assert_eq!(served.post(b"{}").await.status, 200);
    let facts = served.ingress.sources_now().remove(0);
    assert_eq!((served.counts().late.get(), served.counts().accepted.get()), (1, 1));
    assert!(facts.budget.is_some_and(|budget| budget.used == 1) && facts.last_accepted.is_some());
}

#[test]
fn a_feed_that_goes_quiet_is_news_once_and_so_is_its_return() {
    let quiet: SourceConfig = toml::from_str("kind = \"none\"\npath = \"/q\"\nsilence = \"10s\"").unwrap();
    let (plan, guard, began) = (plan(&quiet), Guard::default(), Timestamp::now());
    let at = |second: u64| began + Duration::from_secs(second);
    let look = |last: Option<u64>, second| {
        guard.look(&plan, last.map(at), Now(Instant::now(), at(second))).map(|item| item.kind)
    };
    assert_eq!((look(None, 9), look(None, 11), look(None, 12)), (None, Some(Kind::SourceSilent), None));
    assert!(guard.silent_since().is_some());
    assert_eq!((look(Some(13), 13), look(Some(13), 14)), (Some(Kind::SourceBack), None));
    assert_eq!(*guard.silent_since(), None);
    assert_eq!(look(Some(13), 23), Some(Kind::SourceSilent), "and again");
}
