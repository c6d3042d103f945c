//! Servers that die in the middle of a batch, fail over, turn read-only, and have no connection left.

use sink_api::Batch;
use sink_testkit::postgres::PostgresServer;
use sink_testkit::{batch, deliver, detail, verdict, verdicts};

use crate::server::{Fixture, config, own, texts, url};
use crate::{delivery, table};

fn rows(n: usize) -> Batch {
    batch((0..n).map(|_| delivery(r#"{"v":"x"}"#)))
}

/// Tries as the core would, a few times: a connection at rest may have died unheard.
async fn delivered_in_the_end(sink: &dyn sink_api::Sink, owed: &Batch) {
    for _ in 0..3 {
        let got = verdicts(sink, owed).await;
        if got.iter().all(|v| v == "delivered") {
            return;
        }
        assert!(got.iter().all(|v| v.starts_with("retry")), "{got:?}");
    }
    panic!("never delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    for verb in ["stop", "kill"] {
        let Some(server) = own(&[]) else { return };
        let fixture = Fixture::on(server, &format!("setup = '''{}'''", table(", v TEXT"))).await;
        let sink = fixture.open().await;
        let before = rows(5);
        assert_eq!(verdicts(&*sink, &before).await, ["delivered"; 5]);
        let holder = fixture.other().await;
        holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let owed = rows(100);
        let restart = async {
            fixture.wait_until_locked(1).await;
            tokio::task::block_in_place(|| fixture.server.order(verb));
        };
        let (slots, ()) = tokio::join!(deliver(&*sink, &owed), restart);
        assert!(slots.iter().all(|slot| verdict(slot) == "retry connect"), "{verb}: {:?}", slots[0]);
        assert_eq!(verdicts(&*sink, &owed).await, vec!["retry connect"; 100], "while it is down");
        fixture.server.order("start");
        delivered_in_the_end(&*sink, &owed).await;
        delivered_in_the_end(&*sink, &before).await;
        let client = fixture.server.client().await;
        let count = format!("SELECT count(*) || ' ' || count(DISTINCT event_id) FROM {}.t", fixture.schema);
        assert_eq!(texts(&client, &count).await, ["105 105"], "{verb}");
    }
}

/// A primary with table `t`, and its standby.
struct Pair {
    fixture: Fixture,
    standby: PostgresServer,
}

impl Pair {
    async fn new() -> Option<Self> {
        let primary = own(&[])?;
        let standby = primary.standby();
        let fixture = Fixture::on(primary, "").await;
        fixture.sql(&table(", v TEXT")).await;
        Some(Self { fixture, standby })
    }

    /// A sink with both hosts in its URL, in this order.
    async fn sink(&self, first: &PostgresServer, second: &PostgresServer) -> Box<dyn sink_api::Sink> {
        let hosts = format!("{},{}", first.address(), second.address());
        let both = self.fixture.server.url.replace(self.fixture.server.address(), &hosts);
        self.fixture.build_from(&*config(&url(&both, &self.fixture.schema), "")).await.unwrap()
    }

    /// Waits until the standby has all that the primary has.
    async fn wait_until_alike(&self) {
        let alike = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication";
        self.fixture.wait_until(alike, "t").await;
    }

    /// Rows, and different event ids, on the new primary.
    async fn counts(&self) -> String {
        let count = format!("SELECT count(*) || ' ' || count(DISTINCT event_id) FROM {}.t", self.fixture.schema);
        texts(&self.standby.client().await, &count).await.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_to_the_new_primary() {
    let Some(pair) = Pair::new().await else { return };
    let Pair { fixture, standby } = &pair;
    let sink = pair.sink(&fixture.server, standby).await;
    let before = rows(50);
    let (first, rest) = before.deliveries.split_at(10);
    let part =
        |deliveries: &[std::sync::Arc<sink_api::Delivery>]| Batch { deliveries: deliveries.to_vec(), ..before.clone() };
    assert_eq!(verdicts(&*sink, &part(rest)).await, ["delivered"; 40]);
    // A standby that comes first is passed over.
    let other = pair.sink(standby, &fixture.server).await;
    assert_eq!(verdicts(&*other, &part(first)).await, ["delivered"; 10]);
    pair.wait_until_alike().await;
    fixture.server.order("kill");
    let owed = rows(50);
    let slots = deliver(&*sink, &owed).await;
    assert!(slots.iter().all(|slot| verdict(slot) == "retry connect"), "a standby is not written to: {:?}", slots[0]);
    standby.order("promote");
    delivered_in_the_end(&*sink, &owed).await;
    delivered_in_the_end(&*sink, &before).await;
    assert_eq!(pair.counts().await, "100 100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_turns_read_only_is_left_for_the_new_one() {
    let Some(pair) = Pair::new().await else { return };
    let Pair { fixture, standby } = &pair;
    let sink = pair.sink(&fixture.server, standby).await;
    assert_eq!(verdicts(&*sink, &rows(2)).await, ["delivered"; 2]);
    read_only(fixture, true).await;
    pair.wait_until_alike().await;
    standby.order("promote");
    let owed = rows(2);
    let got = verdicts(&*sink, &owed).await;
    assert!(got.iter().all(|v| v == "retry connect"), "{got:?}");
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"; 2]);
    assert_eq!(pair.counts().await, "4 4");
}

async fn read_only(fixture: &Fixture, is: bool) {
    let is = if is { "on" } else { "off" };
    fixture.sql("SET transaction_read_only = off").await;
    fixture.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {is}")).await;
    fixture.sql("SELECT pg_reload_conf()").await;
    fixture.wait_until("SHOW default_transaction_read_only", is).await;
}

#[tokio::test]
async fn a_server_that_turns_read_only_is_left_and_the_event_is_not_to_blame() {
    let Some(server) = own(&[]) else { return };
    let fixture = Fixture::on(server, &format!("setup = '''{}'''", table(", v TEXT"))).await;
    let sink = fixture.open().await;
    read_only(&fixture, true).await;
    for _ in 0..2 {
        let slots = deliver(&*sink, &rows(2)).await;
        assert!(slots.iter().all(|slot| verdict(slot) == "retry connect"), "{slots:?}");
    }
    read_only(&fixture, false).await;
    delivered_in_the_end(&*sink, &rows(2)).await;
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_tried_again() {
    let Some(server) = own(&["max_connections=4"]) else { return };
    let fixture = Fixture::on(server, &format!("connections = 3\nsetup = '''{}'''", table(", v TEXT"))).await;
    let sink = fixture.open().await;
    // With the test's own and the sink's one: all four.
    let held = [fixture.other().await, fixture.other().await];
    assert_eq!(verdicts(&*sink, &rows(1)).await, ["delivered"], "the sink's own connection is there still");
    let (one, two) = (rows(20), rows(20));
    let (a, b) = tokio::join!(deliver(&*sink, &one), deliver(&*sink, &two));
    let mut got = [verdict(&a[0]), verdict(&b[0])];
    got.sort();
    assert_eq!(got, ["delivered", "retry connect"], "{:?} {:?}", a[0], b[0]);
    let refused = if verdict(&a[0]) == "delivered" { &b[0] } else { &a[0] };
    assert!(detail(refused).contains("53300"), "{refused:?}");
    drop(held);
    fixture.wait_until("SELECT count(*) <= 3 FROM pg_stat_activity WHERE backend_type = 'client backend'", "t").await;
    delivered_in_the_end(&*sink, &one).await;
    delivered_in_the_end(&*sink, &two).await;
    assert_eq!(fixture.texts("SELECT count(*) FROM t").await, ["41"]);
}
