//! A daemon that is frozen for longer than its session. It is a process of its own: this test's binary, which runs
//! [`a_daemon_that_will_be_frozen`] alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use tokio::runtime::Handle;

use super::kit::{SHARDS, SINK, Topics, cluster, given, news, step};
use crate::journal::News;
use crate::journal::kafka::group::Groups;
use crate::journal::kafka::seam::{CommitError, Committer as _};

/// Says to the daemon in which cluster it is.
const NAME: &str = "HOOKRELAY_TEST_FROZEN";
/// And where its brokers are.
const BROKERS: &str = "HOOKRELAY_TEST_FROZEN_BROKERS";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_will_be_frozen() {
    let (Ok(name), Ok(brokers)) = (std::env::var(NAME), std::env::var(BROKERS)) else { return };
    let kept = std::sync::Arc::new(super::kit::Kept::default());
    let groups = Groups::new(cluster(brokers, name, "frozen"), kept, |_| Err("none".into()), Handle::current());
    groups.set_session(SINK, super::kit::SESSION);
    let mut reader = groups.reader(SINK).await.unwrap();
    assert_eq!(given(&mut reader).await.iter().count(), SHARDS as usize);
    groups.commit(SINK, vec![step(0, 1, "before", &[("row", "before")])]).await.unwrap();
    println!("\nowns");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let holds = groups.lease(SINK).holds();
    let late = groups.commit(SINK, vec![step(0, 9, "late", &[("row", "late")])]).await;
    println!("\nlate {} {holds}", matches!(late, Err(CommitError::Fenced(shards)) if shards == [0]));
    let lost = loop {
        if let News::Lost(lost) = news(&mut reader).await {
            break lost;
        }
    };
    println!("\nlost {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_frozen_changes_nothing_when_it_wakes() {
    let Some(topics) = Topics::new("a_daemon_that_was_frozen_changes_nothing_when_it_wakes").await else { return };
    topics.begin().await;
    topics.fill(0..40);
    let name = std::any::type_name_of_val(&a_daemon_that_will_be_frozen);
    let (_, name) = name.split_once("::").expect("the crate's name comes first");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(NAME, &topics.cluster.name)
        .env(BROKERS, &topics.cluster.brokers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line == "owns").expect("it has the shards");
    let pid = rustix::process::Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    signal(rustix::process::Signal::STOP);
    let heir = topics.daemon("heir");
    let (_reader, given) = heir.joins(SHARDS as usize).await;
    assert_eq!(given.at(0).offset, 1);
    assert_eq!(heir.kept.rows(0).into_values().collect::<Vec<_>>(), ["before"]);
    heir.groups.commit(SINK, vec![step(0, 2, "heir", &[])]).await.unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    signal(rustix::process::Signal::CONT);
    assert_eq!(lines.find(|line| line.starts_with("late")).as_deref(), Some("late true false"));
    assert_eq!(lines.find(|line| line.starts_with("lost")).as_deref(), Some("lost [0, 1, 2, 3]"));
    child.wait().unwrap();
    assert_eq!(heir.stands().await.get(&0), Some(&(2, "heir".to_owned())));
    heir.groups.close().await;
    let next = topics.daemon("next");
    next.joins(SHARDS as usize).await;
    assert_eq!(next.kept.rows(0).into_values().collect::<Vec<_>>(), ["before"]);
}
