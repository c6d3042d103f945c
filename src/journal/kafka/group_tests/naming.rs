//! Whose a name is.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::kit::{PATIENCE, SESSION, SINK, Topics};
use crate::journal::kafka::clients;
use crate::journal::kafka::naming::Naming;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_its_last_takers_who_waits_where_another_folder_had_it() {
    let Some(topics) = Topics::new("a_name_is_its_last_takers_who_waits_where_another_folder_had_it").await else {
        return;
    };
    let (one, two, cluster) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), &topics.cluster);
    let mut before: Option<Naming> = None;
    for (folder, waits) in [(&one, false), (&one, false), (&two, true), (&one, true), (&one, false)] {
        let naming = Naming::of(folder.path());
        assert!(naming.is_ours(cluster).unwrap(), "nothing was taken yet");
        // The second time it is not asked anew.
        assert_eq!([(); 2].map(|()| naming.take(cluster).unwrap()), [Some(waits); 2]);
        assert!(naming.is_ours(cluster).unwrap());
        assert!(before.is_none_or(|before| !before.is_ours(cluster).unwrap()));
        before = Some(naming);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_another_of_its_name_joins_again_where_no_daemon_has_it() {
    let Some(topics) = Topics::new("who_is_told_of_another_of_its_name_joins_again").await else { return };
    topics.begin().await;
    let daemon = topics.marked("a");
    let (mut reader, _) = daemon.joins(4).await;
    // What is no daemon takes the place in the group and is gone: so the coordinator says of the daemon's member, as it
    // does of one that has lost its place while brokers were away.
    let cluster = daemon.groups.common().cluster.clone();
    tokio::task::spawn_blocking(move || {
        let other: BaseConsumer = clients::member(&cluster, SINK, SESSION).create().unwrap();
        other.subscribe(&[&cluster.events()]).unwrap();
        let until = Instant::now() + PATIENCE;
        while other.assignment().unwrap().count() == 0 {
            assert!(Instant::now() < until, "it takes the place");
            let _ = other.poll(Duration::from_millis(50));
        }
    })
    .await
    .unwrap();
    let ended = tokio::time::timeout(PATIENCE, async { while reader.next(1).await.is_ok() {} }).await;
    ended.expect("the member is of no use any more");
    let again = tokio::time::timeout(PATIENCE, daemon.joins(4)).await;
    assert!(again.is_ok_and(|(_, given)| given.iter().count() == 4) && !daemon.groups.is_replaced());
}
