//! Worker processes that do not start, or are stopped: no event is blamed for that, and nobody waits for ever.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookrelay::config;
use hookrelay::registry::KINDS;
use hookrelay::route::jq::{Ask, AskError, Asker};
use hookrelay::route::{Answers, RuleSet};
use rustix::process::{Pid, Signal, kill_process};
use sink_api::{Event, Timestamp, Uuid};

use crate::harness::{House, wait_until};

const RULE: &str = "[sinks.out]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\n\
                    where = '.n >= 0'\n\
                    to = \"out\"\n";
/// Short enough for a test, which waits for it to pass; long enough for an answer on a busy machine.
const SILENCE: Duration = Duration::from_millis(500);

/// A script that does something first and then becomes the worker's own binary.
fn worker(house: &House, first: &str) -> PathBuf {
    let path = house.path("worker");
    let script = format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_hookrelay"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn rules(house: &House) -> Arc<RuleSet> {
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("${INTERAKT_WEBHOOK_SECRET}", "secret")).unwrap();
    config::read(&house.config(), KINDS).unwrap().rules
}

fn asks(rules: &RuleSet, count: usize) -> Vec<Ask> {
    let event = |n: usize| Event {
        id: Uuid::now_v7(),
        source: "interakt".into(),
        kind: "t".into(),
        subject: "".into(),
        key: "".into(),
        time: Timestamp::now(),
        method: "POST".into(),
        path: "/w".into(),
        remote: "127.0.0.1".into(),
        headers: vec![],
        body: Bytes::from(format!("{{\"n\":{n}}}")),
        rendered: Default::default(),
    };
    let questions = rules.questions("out", "interakt", "t");
    (0..count).map(|n| Ask { event: Arc::new(event(n)), questions: questions.clone(), show: false }).collect()
}

/// Asks until there are answers, which must all be "yes". Gives the errors that came before.
async fn answered(asker: &mut Asker, asks: &[Ask]) -> Vec<AskError> {
    let mut errors = Vec::new();
    loop {
        match asker.ask(asks).await {
            Ok(said) => {
                assert_eq!(said.len(), asks.len());
                for (said, ask) in said.iter().zip(asks) {
                    let program = ask.questions[0].condition.as_ref().unwrap();
                    assert_eq!(said.condition(program, &ask.event), Ok(true));
                }
                return errors;
            }
            Err(error) => errors.push(error),
        }
        assert!(errors.len() < 100, "{errors:?}");
    }
}

/// The process whose id a worker's script has written down.
fn noted(file: &Path) -> Pid {
    let text = std::fs::read_to_string(file).unwrap();
    Pid::from_raw(text.lines().last().unwrap().parse().unwrap()).unwrap()
}

/// Whether every thread of the process is stopped.
fn is_stopped(process: Pid) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).unwrap();
    tasks.map(Result::unwrap).all(|task| stat(task).contains(") T "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_is_replaced_and_no_event_is_blamed() {
    let house = House::new(RULE);
    let (rules, pids) = (rules(&house), house.path("pids"));
    let worker = worker(&house, &format!("echo $$ >> {}", pids.display()));
    let mut asker = Asker::with_executable(&rules, &worker).unwrap().silent_for(SILENCE);
    for count in [1, 20] {
        answered(&mut asker, &asks(&rules, 1)).await;
        let stopped = noted(&pids);
        kill_process(stopped, Signal::STOP).unwrap();
        // On a busy machine another of its threads may still run for a while.
        wait_until("it stands still", || is_stopped(stopped).then_some(())).await;
        let errors = answered(&mut asker, &asks(&rules, count)).await;
        assert!(matches!(errors[0], AskError::Silent(_)), "{errors:?}");
        assert!(errors[0].to_string().contains("no answer for 0.5 s"), "{}", errors[0]);
        assert_ne!(noted(&pids), stopped);
        let stat = format!("/proc/{}/cmdline", stopped.as_raw_nonzero());
        wait_until("the stopped one is dead", || {
            std::fs::read(&stat).map_or(true, |line| line.is_empty()).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_before_it_is_ready_is_replaced_too() {
    let house = House::new(RULE);
    let rules = rules(&house);
    let flag = house.path("was-stopped");
    let worker = worker(&house, &format!("[ -e {0} ] || {{ : > {0}; kill -STOP $$; }}", flag.display()));
    let mut asker = Asker::with_executable(&rules, &worker).unwrap().silent_for(SILENCE);
    let errors = answered(&mut asker, &asks(&rules, 1)).await;
    assert!(matches!(errors[0], AskError::Silent(_)), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_before_its_first_answer_is_no_event_s_fault() {
    let house = House::new(RULE);
    let (rules, tries) = (rules(&house), house.path("tries"));
    let script = format!("echo >> {0}; [ $(wc -l < {0}) -gt 3 ] || exit 1", tries.display());
    let mut asker = Asker::with_executable(&rules, &worker(&house, &script)).unwrap();
    let errors = answered(&mut asker, &asks(&rules, 20)).await;
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors.iter().all(|error| error.to_string().contains("before it was ready (exit status: 1)")),
        "{errors:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_no_memory_to_start_with_is_no_event_s_fault() {
    let house = House::new(RULE);
    let rules = rules(&house);
    // This is less address space than the stack of the thread that runs programs needs.
    let flag = house.path("was-short");
    let script = format!("[ -e {0} ] || {{ : > {0}; ulimit -v 160000; }}", flag.display());
    let mut asker = Asker::with_executable(&rules, &worker(&house, &script)).unwrap();
    let errors = answered(&mut asker, &asks(&rules, 20)).await;
    assert!(
        errors.iter().all(|error| error.to_string().contains("no worker process")) && errors.len() == 1,
        "{errors:?}"
    );
}
