//! Tests of topics: judged by themselves, and made and judged by real brokers.

use super::super::testing;
use super::*;

fn wanted() -> (Wanted, Wanted) {
    let cluster = testing::cluster("nowhere", 24);
    (Wanted::events(&cluster, 2400), Wanted::held(&cluster, "s"))
}

/// As it would be made.
fn found(wanted: &Wanted) -> Found {
    let properties = wanted.properties().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Found { partitions: wanted.partitions, copies: 3, properties }
}

#[test]
fn what_is_made_is_what_is_accepted() {
    let (events, held) = wanted();
    assert_eq!(events.role, Role::Events(100));
    for topic in [events, held] {
        assert_eq!(judge(&topic, &found(&topic)), []);
    }
}

#[test]
fn a_topic_that_is_weaker_than_a_200_is_refused_for_each_reason() {
    let (events, held) = wanted();
    let with = |wanted: &Wanted, name: &str, value: &str| {
        let mut found = found(wanted);
        found.properties.insert(name.into(), value.into());
        judge(wanted, &found)
    };
    for (name, value) in [
        ("min.insync.replicas", "1"),
        ("min.insync.replicas", "3"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1048588"),
        ("cleanup.policy", "compact"),
        ("retention.ms", "604800000"),
        ("message.timestamp.type", "CreateTime"),
    ] {
        let faults = with(&events, name, value);
        let [fault] = &faults[..] else { panic!("{name}: {faults:?}") };
        let text = fault.to_string();
        assert!(text.contains(&events.name) && text.contains(name) && text.contains(value), "{text}");
        assert!(text.contains("kafka-configs.sh"), "{text}");
    }
    let flushed = events.clone().flushed(true);
    assert_eq!(judge(&flushed, &found(&flushed)), []);
    assert_eq!((judge(&flushed, &found(&events)).len(), judge(&events, &found(&flushed)).len()), (1, 0));
    assert_eq!(with(&flushed, "flush.messages", "9223372036854775807")[0].property, "flush.messages");
    assert_eq!(with(&held, "cleanup.policy", "compact,delete").len(), 1);
    assert_eq!(with(&held, "retention.ms", "604800000"), []);
    let fewer = Found { partitions: 12, ..found(&events) };
    assert!(judge(&events, &fewer)[0].help.contains("partitions = 12"));
    assert_eq!(judge(&events, &Found { copies: 2, ..found(&events) }), []);
    let alone = judge(&events, &Found { copies: 1, ..found(&events) });
    assert_eq!((alone.len(), alone[0].property), (1, "replication.factor"));
    assert!(judge(&events, &Found { partitions: 24, ..Found::default() }).len() > 5, "nothing is known of it");
}

#[test]
fn a_topic_is_made_with_as_many_copies_as_brokers_are_named_or_not_yet() {
    let of = |named: &str, brokers| {
        let cluster = testing::cluster(named, 2);
        copies(&cluster, &Wanted::control(&cluster), brokers, true)
    };
    assert_eq!([of("a:1,b:1,c:1", 3), of("a:1,b:1,c:1,d:1", 3), of("a:1", 5), of("a:1,b:1", 2)], [3, 3, 3, 2].map(Ok));
    for away in [of("a:1,b:1,c:1", 2), of("a:1,b:1,c:1", 1), of("a:1,b:1", 1)] {
        assert!(matches!(&away, Err(TopicsError::Unavailable(why)) if why.contains("brokers are there")), "{away:?}");
    }
    let cluster = testing::cluster("a:1,b:1,c:1", 2);
    let later = |brokers| copies(&cluster, &Wanted::held(&cluster, "new"), brokers, false);
    assert_eq!(later(2), Ok(2), "the relay goes on");
    assert!(matches!(later(1), Err(TopicsError::Unavailable(_))));
    let alone = of("a:1", 1);
    assert!(matches!(&alone, Err(TopicsError::Missing { why, .. }) if why.contains("alone")), "{alone:?}");
}

#[tokio::test]
async fn where_nobody_listens_that_is_known_at_once() {
    let somebody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, nobody) = (somebody.local_addr().unwrap(), testing::nobody());
    let error = reach(&nobody).await.unwrap_err().to_string();
    assert!(error.contains(&nobody), "{error}");
    assert_eq!(reach(&format!("{nobody},{here}")).await, Ok(()));
}

#[tokio::test]
async fn topics_are_made_once_and_weak_ones_are_named() {
    let Some(cluster) = testing::real("topics", 2) else { return };
    let all = || {
        let all = [Wanted::events(&cluster, 1 << 30), Wanted::held(&cluster, "s"), Wanted::control(&cluster)];
        all.map(|topic| topic.flushed(true)).to_vec()
    };
    let names: Vec<String> = all().iter().map(|topic| topic.name.clone()).collect();
    for turn in ["first", "second"] {
        assert_eq!(inspect(&cluster, all()).await, Ok(names.clone()), "{turn}: whoever looks makes nothing");
    }
    assert_eq!(prepare(&cluster, all()).await, Ok(()));
    assert_eq!(prepare(&cluster, all()).await, Ok(()), "they are there");
    assert_eq!(inspect(&cluster, all()).await, Ok(vec![]));
    let more = Cluster { partitions: 3, ..cluster.clone() };
    let Err(TopicsError::Weak(faults)) = prepare(&more, vec![Wanted::events(&more, 1)]).await else { panic!() };
    assert_eq!((faults[0].property, &*faults[0].found), ("partitions", "2"));
    assert_eq!(inspect(&more, vec![Wanted::events(&more, 1)]).await, Err(TopicsError::Weak(faults)));
    testing::remove(&cluster, &all().iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_an_error() {
    let cluster = testing::cluster(&testing::nobody(), 2);
    let error = prepare(&cluster, vec![Wanted::control(&cluster)]).await;
    assert!(matches!(error, Err(TopicsError::Unavailable(_))), "{error:?}");
}
