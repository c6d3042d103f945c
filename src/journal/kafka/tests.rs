//! The journal on Kafka, on real brokers and on none.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sink_api::{Size, Uuid};
use tempfile::TempDir;

use super::cluster::Cluster;
use super::journal::KafkaJournal;
use super::testing::{self, PATIENCE, append, next, open, read, record, until};
use crate::journal::{
    AppendError, Find, Journal, JournalError, Marks, News, Of, OnFailure, Position, Progress, Reads, Record, Within,
};

/// A journal with an overflow of its own, which goes with it.
struct Opened {
    journal: KafkaJournal,
    _overflow: TempDir,
}

impl std::ops::Deref for Opened {
    type Target = KafkaJournal;
    fn deref(&self) -> &KafkaJournal {
        &self.journal
    }
}

async fn alone(cluster: &Cluster) -> Opened {
    let overflow = tempfile::tempdir().unwrap();
    Opened { journal: open(cluster, overflow.path(), Size::mib(10)).await, _overflow: overflow }
}

async fn real(test: &str, shards: u32) -> Option<(Cluster, Opened)> {
    let cluster = testing::real(test, shards)?;
    let journal = alone(&cluster).await;
    journal.prepare(&[]).await.unwrap();
    Some((cluster, journal))
}

async fn end(cluster: &Cluster, journal: Opened) {
    journal.close().await.unwrap();
    testing::remove(cluster, &[&cluster.events(), &cluster.control()]).await;
}

async fn keep(journal: &KafkaJournal, record: Record) -> Position {
    let mut told = append(journal, record, OnFailure::Keep);
    loop {
        match next(&mut told).await {
            Progress::Durable(position) => return position,
            Progress::AtRisk => {}
            Progress::Failed(why) => panic!("{why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_ends_where_messages_are_missing_or_are_no_events() {
    let Some((cluster, journal)) = real("spans with holes", 1).await else { return };
    let first = keep(&journal, record(Uuid::now_v7(), "k", "1")).await;
    let topic = cluster.events();
    tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || {
            let mut config = cluster.client("other");
            config.set("transactional.id", cluster.transactions("s"));
            let other: BaseProducer = config.create().unwrap();
            other.init_transactions(PATIENCE).unwrap();
            other.begin_transaction().unwrap();
            other.send(BaseRecord::to(&cluster.events()).payload("?").key("k").partition(0)).unwrap();
            other.commit_transaction(PATIENCE).unwrap();
        }
    })
    .await
    .unwrap();
    // Behind the foreign message stands a marker that no reader is given.
    let until = Marks::from(Position { offset: first.offset + 3, ..first });
    let is_there = async { while journal.ends().await.unwrap() != until {} };
    tokio::time::timeout(PATIENCE, is_there).await.expect("brokers write it soon");
    let chunks = read(&journal, Marks::from(first), until.clone()).await;
    let entries: usize = chunks.iter().map(|chunk| chunk.entries.len()).sum();
    let lost: u64 = chunks.iter().filter_map(|chunk| chunk.gap.as_ref()).map(|gap| gap.lost).sum();
    assert_eq!((entries, lost, chunks.last().unwrap().next), (1, 1, until.at(0)));
    // Of a span that holds only the marker there is an end, too.
    let marker = Marks::from(Position { shard: 0, offset: until.at(0).offset - 1 });
    assert_eq!(read(&journal, marker, until.clone()).await.len(), 1);
    let owed = journal.owed(&Marks::default(), &until).await.unwrap();
    assert_eq!((owed.known.len(), owed.known[0].events), (1, 1));
    // What was deleted is a gap.
    let admin: AdminClient<DefaultClientContext> = cluster.client("test").create().unwrap();
    let mut upto = rdkafka::TopicPartitionList::new();
    upto.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(2)).unwrap();
    admin.delete_records(&upto, &AdminOptions::new()).await.unwrap();
    assert_eq!(journal.oldest().await.unwrap().at(0).offset, 2);
    let chunks = read(&journal, Marks::default(), until.clone()).await;
    let gap = chunks[0].gap.as_ref().unwrap();
    assert_eq!((gap.from.offset, gap.to.offset, gap.lost), (0, 2, 2));
    assert_eq!(journal.owed(&Marks::default(), &until).await.unwrap().unknown, 2, "they were owed, and are gone");
    end(&cluster, journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_whose_end_is_yet_to_come_waits_for_it() {
    let Some((cluster, journal)) = real("spans that wait", 1).await else { return };
    let until = Marks::from(Position { shard: 0, offset: 2 });
    let mut reader = journal.reader(Of::Span { from: Marks::default(), until }).await.unwrap();
    assert!(matches!(reader.next(1).await, Ok(News::Given(_))));
    for text in ["1", "2", "3"] {
        keep(&journal, record(Uuid::now_v7(), "k", text)).await;
    }
    let mut got = Vec::new();
    while got.len() < 2 {
        let news = tokio::time::timeout(PATIENCE, reader.next(1)).await.expect("there is more").unwrap();
        let News::Chunk(chunk) = news else { panic!("no chunk") };
        got.extend(chunk.entries.iter().map(|entry| entry.record.payload.clone()));
    }
    assert_eq!(got, ["1", "2"]);
    end(&cluster, journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_its_id_and_by_what_it_is_about() {
    let Some((cluster, journal)) = real("finding", 2).await else { return };
    let ids: Vec<Uuid> = (0..6).map(|_| Uuid::now_v7()).collect();
    for (n, id) in ids.iter().enumerate() {
        let record = record(*id, &format!("k{n}"), &format!("m{} {n}", n % 2));
        // Ids of one millisecond tell the same time.
        keep(&journal, Record { time: record.time + n as i64, ..record }).await;
    }
    // One that says as little as may be.
    let nothing = Record { kind: "".into(), fingerprint: Some([0; 16]), ..record(Uuid::now_v7(), "", "") };
    keep(&journal, nothing.clone()).await;
    let found = journal.find(Find::Event(nothing.id), Within::newest(1)).await.unwrap();
    assert_eq!(*found.entries[0].record, nothing);
    // Its id tells no time that is near.
    let (old, odd) = (Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001), Uuid::from_u128(7));
    for id in [old, odd] {
        keep(&journal, record(id, "k", "other")).await;
    }
    for id in ids.iter().chain([&old, &odd]) {
        let found = journal.find(Find::Event(id.into_bytes()), Within::newest(1)).await.unwrap();
        assert_eq!(found.entries.iter().map(|entry| entry.record.id).collect::<Vec<_>>(), [id.into_bytes()]);
    }
    let nobody = journal.find(Find::Event(Uuid::now_v7().into_bytes()), Within::newest(1)).await.unwrap();
    assert!(nobody.entries.is_empty() && !nobody.is_cut, "all was looked at");
    let about = |most| journal.find(Find::Subject("m1".into()), Within::newest(most));
    let texts = |found: crate::journal::LookedUp| {
        let text = |entry: &crate::journal::Entry| String::from_utf8(entry.record.payload.to_vec()).unwrap();
        (found.entries.iter().map(text).collect::<Vec<_>>(), found.is_cut)
    };
    assert_eq!(texts(about(9).await.unwrap()), (vec!["m1 1".into(), "m1 3".into(), "m1 5".into()], false));
    assert_eq!(texts(about(2).await.unwrap()), (vec!["m1 3".into(), "m1 5".into()], true), "the newest");
    end(&cluster, journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_do_not_answer_are_an_error_and_no_hang() {
    let journal = alone(&testing::cluster(&testing::nobody(), 2)).await;
    let (marks, until) = (Marks::default(), Marks::from(Position { shard: 0, offset: 1 }));
    let is_kafka =
        |error: Option<JournalError>| assert!(matches!(error, Some(JournalError::Kafka { .. })), "{error:?}");
    let mut reader = journal.reader(Of::Span { from: marks.clone(), until: until.clone() }).await.unwrap();
    assert!(matches!(reader.next(1).await, Ok(News::Given(_))));
    let all = async {
        tokio::join!(
            async { is_kafka(journal.oldest().await.err()) },
            async { is_kafka(journal.ends().await.err()) },
            async { is_kafka(journal.seek(5).await.err()) },
            async { is_kafka(journal.find(Find::Event([0; 16]), Within::newest(1)).await.err()) },
            async { is_kafka(journal.owed(&marks, &until).await.err()) },
            async { assert_eq!(journal.stat().await.unwrap().events, None, "nobody has said") },
            async { is_kafka(reader.next(1).await.err()) },
        )
    };
    tokio::time::timeout(PATIENCE, all).await.expect("none hangs");
    // By now that is known, and nobody is made to wait.
    assert!(journal.trouble().is_some_and(|text| text.contains("brokers")), "{:?}", journal.trouble());
    is_kafka(journal.reader(Of::Span { from: marks, until }).await.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_broker_an_event_is_at_risk_or_refused() {
    let journal = alone(&testing::cluster(&testing::nobody(), 2)).await;
    journal.allow();
    until(|| journal.refuses() == (false, false)).await;
    let mut first = append(&journal, record(Uuid::now_v7(), "k", "1"), OnFailure::Keep);
    assert_eq!(next(&mut first).await, Progress::AtRisk);
    assert!(journal.at_risk() > 0 && journal.refuses() == (true, false));
    let mut second = append(&journal, record(Uuid::now_v7(), "k", "2"), OnFailure::Keep);
    assert_eq!(next(&mut second).await, Progress::AtRisk, "at once");
    let mut back = append(&journal, record(Uuid::now_v7(), "k", "3"), OnFailure::GiveBack);
    assert!(matches!(next(&mut back).await, Progress::Failed(AppendError::Unwritable(_))));
    let large = Record { payload: vec![0; super::message::MAX_BYTES].into(), ..record(Uuid::now_v7(), "k", "") };
    let mut large = append(&journal, large, OnFailure::Keep);
    assert!(matches!(next(&mut large).await, Progress::Failed(AppendError::TooLarge(_))));
    assert_eq!(journal.overflow().await.unwrap().events, Some(2), "their copies");
    journal.close().await.unwrap();
    let mut late = append(&journal, record(Uuid::now_v7(), "k", "4"), OnFailure::Keep);
    assert_eq!(next(&mut late).await, Progress::Failed(AppendError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_topics_were_looked_at() {
    let Some(cluster) = testing::real("topics before events", 2) else { return };
    let journal = alone(&cluster).await;
    let mut told = append(&journal, record(Uuid::now_v7(), "k", "1"), OnFailure::Keep);
    assert_eq!(next(&mut told).await, Progress::AtRisk);
    let mut back = append(&journal, record(Uuid::now_v7(), "k", "2"), OnFailure::GiveBack);
    assert!(matches!(next(&mut back).await, Progress::Failed(AppendError::Unwritable(_))));
    // Had it been sent, brokers might have made a weak topic.
    journal.prepare(&[Reads { name: "s".into(), timeout: PATIENCE }]).await.unwrap();
    assert!(matches!(next(&mut told).await, Progress::Durable(_)));
    testing::remove(&cluster, &[&cluster.held("s")]).await;
    end(&cluster, journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_fails_is_followed_by_one_that_sends_the_rest_in_order() {
    let Some((cluster, journal)) = real("producers that fail", 2).await else { return };
    let mut told = Vec::new();
    for n in 0..200 {
        told.push(append(&journal, record(Uuid::now_v7(), &format!("k{}", n % 4), &n.to_string()), OnFailure::Keep));
        if n % 50 == 25 {
            journal.break_producer();
        }
    }
    for told in &mut told {
        while !matches!(next(told).await, Progress::Durable(_)) {}
    }
    let until = journal.ends().await.unwrap();
    let mut firsts: std::collections::BTreeMap<String, Vec<u64>> = Default::default();
    for entry in read(&journal, Marks::default(), until).await.iter().flat_map(|chunk| &chunk.entries) {
        let number = std::str::from_utf8(&entry.record.payload).unwrap().parse().unwrap();
        let of_key = firsts.entry(entry.record.key.to_string()).or_default();
        if !of_key.contains(&number) {
            of_key.push(number);
        }
    }
    for (n, key) in ["k0", "k1", "k2", "k3"].into_iter().enumerate() {
        assert_eq!(firsts[key], (0..50).map(|i| i * 4 + n as u64).collect::<Vec<_>>());
    }
    end(&cluster, journal).await;
}

/// Bytes of a shard's events in the folder of one broker.
fn on_disk(topic: &str, shard: u32) -> u64 {
    let brokers = sink_testkit::kafka::Cluster::of_three();
    let dir = format!("{}/data-1/{topic}-{shard}", brokers.folder());
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "log"));
    logs.map(|file| file.metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_events_take_is_estimated_by_what_was_sent() {
    let Some((cluster, journal)) = real("estimates", 2).await else { return };
    assert_eq!(journal.stat().await.unwrap().bytes, None, "nothing was sent");
    let text = "it is the same again and again ".repeat(40);
    let mut told = Vec::new();
    for n in 0..600 {
        told.push(append(&journal, record(Uuid::now_v7(), &format!("k{n}"), &format!("{n} {text}")), OnFailure::Keep));
        if n % 20 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    for told in &mut told {
        while !matches!(next(told).await, Progress::Durable(_)) {}
    }
    let ends = journal.ends().await.unwrap();
    journal.sizes().need(Some([0, 1].map(|shard| Position { shard, offset: 100 }).into_iter().collect()));
    // Statistics come every few seconds, and the first may not have all.
    let told = async {
        loop {
            let stat = journal.stat().await.unwrap();
            let really: u64 = (0..2).map(|shard| on_disk(&cluster.events(), shard)).sum();
            match stat.bytes {
                Some(estimate) if estimate.abs_diff(really) * 100 <= really => break (stat, estimate, really),
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    let (stat, estimate, really) = tokio::time::timeout(PATIENCE, told).await.expect("it is right to 1 %");
    assert!(really < 600 * text.len() as u64 / 2, "compressed: {really}");
    let fullest = ends.iter().map(|end| end.offset - 100).max().unwrap();
    let owed = estimate * fullest * 2 / 600;
    assert!(stat.owed_bytes.unwrap().abs_diff(owed) <= 2, "{stat:?} {owed}");
    end(&cluster, journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_had_no_leader_for_a_moment_can_be_asked_for_its_end_again() {
    let brokers = MockCluster::new(1).unwrap();
    let cluster = testing::cluster(&brokers.bootstrap_servers(), 2);
    brokers.create_topic(&cluster.events(), 2, 1).unwrap();
    let journal = alone(&cluster).await;
    journal.ends().await.unwrap();
    brokers.partition_leader(&cluster.events(), 1, None).unwrap();
    // First the old leader says so, then the brokers.
    for _ in 0..2 {
        asked(async || journal.ends().await.err().filter(|error| error.to_string().contains("its offsets"))).await;
    }
    brokers.partition_leader(&cluster.events(), 1, Some(1)).unwrap();
    asked(async || journal.ends().await.ok()).await;
    journal.close().await.unwrap();
}

/// Asks until there is such an answer: for a moment after brokers gave none they are not asked.
async fn asked<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it is answered so")
}
