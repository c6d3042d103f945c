//! Daemons that come and go while events come: what is settled is settled once and in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::kit::{Daemon, SINK, Topics, eventually, number, step};
use crate::journal::kafka::seam::{CommitError, Committer as _};
use crate::journal::{Marks, News};

/// What was settled, by shard: the event's number, and by whom.
type Settled = Arc<Mutex<BTreeMap<u32, Vec<(u64, &'static str)>>>>;

/// Reads and settles as a sink's worker does, until it is to stop.
async fn work(daemon: Arc<Daemon>, name: &'static str, settled: Settled, mut stop: watch::Receiver<bool>) {
    let mut reader = daemon.reader().await;
    let mut cursors = Marks::default();
    loop {
        let news = tokio::select! {
            news = reader.next(200) => news,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match news.unwrap() {
            News::Given(marks) => marks.iter().for_each(|mark| cursors.set(mark)),
            News::Chunk(chunk) => {
                assert!(!cursors.is_past(chunk.entries[0].position), "twice");
                let numbers: Vec<u64> = chunk.entries.iter().map(|entry| number(&entry.record)).collect();
                let (shard, note) = (chunk.next.shard, format!("{name} {}", chunk.next.offset));
                loop {
                    match daemon
                        .groups
                        .commit(SINK, vec![step(shard, chunk.next.offset, &note, &[("last", &note)])])
                        .await
                    {
                        Ok(()) => {
                            let mut settled = settled.lock().unwrap();
                            settled.entry(shard).or_default().extend(numbers.into_iter().map(|number| (number, name)));
                            cursors.set(chunk.next);
                            break;
                        }
                        Err(CommitError::Fenced(_)) => break,
                        Err(CommitError::Unavailable(why)) => eprintln!("{name} tries again: {why}"),
                    }
                }
            }
            News::Taken(_, told) => {
                drop(reader);
                let _ = told.send(());
                (reader, cursors) = (daemon.reader().await, Marks::default());
            }
            News::Lost(_) => (reader, cursors) = (daemon.reader().await, Marks::default()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_settled_twice_or_out_of_order_while_daemons_come_and_go() {
    let Some(topics) = Topics::new("nothing_is_settled_twice_or_out_of_order").await else { return };
    topics.begin().await;
    let settled = Settled::default();
    let count = || settled.lock().unwrap().values().map(Vec::len).sum::<usize>();
    let by = |name| settled.lock().unwrap().values().flatten().filter(|(_, by)| *by == name).count();
    let mut running = BTreeMap::new();
    let mut start = |name: &'static str| {
        let (daemon, (stop, stopped)) = (Arc::new(topics.daemon(name)), watch::channel(false));
        let task = tokio::spawn(work(daemon.clone(), name, settled.clone(), stopped));
        running.insert(name, (daemon, stop, task));
    };
    // Events come until it is so.
    let mut events = 0u64;
    for name in ["a", "b", "c"] {
        start(name);
        while by(name) < 20 {
            topics.fill(events..events + 40);
            events += 40;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let (daemon, stop, task) = running.remove("a").unwrap();
    stop.send(true).unwrap();
    task.await.unwrap();
    daemon.groups.close().await;
    topics.fill(events..events + 400);
    events += 400;
    eventually("all is settled", || count() >= events as usize).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let settled = settled.lock().unwrap().clone();
    for (shard, had) in &settled {
        let numbers: Vec<u64> = had.iter().map(|(number, _)| *number).collect();
        let wanted: Vec<u64> = (0..events).filter(|number| number % 4 == u64::from(*shard)).collect();
        assert_eq!(numbers, wanted, "shard {shard}");
    }
    for (_, (_, stop, task)) in running {
        stop.send(true).unwrap();
        task.await.unwrap();
    }
}
