//! Webhooks from senders on a machine's own loopback, and a record, kept outside it, of those that were answered 200.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hookrelay::verify::Hmac;

use crate::bodies::numbered;
use crate::machine::Machine;

/// Where the packaged config takes Interakt's webhooks.
const URL: &str = "http://127.0.0.1:4000/webhooks/interakt";
/// Senders at once; every second one opens a connection for each webhook, the others keep theirs.
const SENDERS: usize = 8;
/// How long a sender rests after an answer.
const REST: Duration = Duration::from_millis(5);
/// So many of those that are missing, or have failed, are named.
const NAMED: usize = 20;
/// Longest that a sender waits for an answer, and a test for answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// The record of all loads of a machine.
#[derive(Default)]
pub struct Record {
    next: AtomicU64,
    answered: Mutex<BTreeSet<u64>>,
}

impl Record {
    /// How many webhooks were answered 200.
    pub fn answered(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// What of those that were answered 200 is not in the text, a webhook a line.
    pub fn missing_in(&self, text: &str) -> Option<String> {
        let there: BTreeSet<u64> = text.lines().filter_map(number_in).collect();
        let answered = self.answered.lock().unwrap();
        let missing: Vec<&u64> = answered.difference(&there).collect();
        let said = || format!("{} of {} answered 200: {:?} …", missing.len(), answered.len(), first(&missing));
        (!missing.is_empty()).then(said)
    }

    /// Waits until all of them are in a file.
    pub fn arrives_in(&self, file: &Path) {
        let end = Instant::now() + PATIENCE;
        loop {
            let Some(missing) = self.missing_in(&std::fs::read_to_string(file).unwrap_or_default()) else { return };
            assert!(Instant::now() < end, "missing in {}: {missing}", file.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The number of a webhook of ours, from a line that holds its message's id.
fn number_in(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("\"m-")?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// Senders at work.
pub struct Load {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    /// What did not go well.
    failed: Arc<Mutex<Vec<String>>>,
    senders: JoinHandle<()>,
    /// How many were answered 200 before it.
    before: usize,
}

impl Load {
    /// Starts the senders, whose webhooks are signed with the secret.
    pub fn start(machine: &Machine, record: &Arc<Record>, secret: &str) -> Self {
        let (record, before, secret) = (Arc::clone(record), record.answered(), secret.to_owned());
        let (stop, failed) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (to, ends, faults) = (Arc::clone(&record), Arc::clone(&stop), Arc::clone(&failed));
        let senders = machine.in_its_network(async move {
            let sender = |n| send(Arc::clone(&to), Arc::clone(&ends), Arc::clone(&faults), secret.clone(), n % 2 == 0);
            (0..SENDERS).map(sender).collect::<tokio::task::JoinSet<()>>().join_all().await;
        });
        Self { record, stop, failed, senders, before }
    }

    /// Waits until so many more were answered 200.
    pub fn goes_on_for(&self, more: usize) {
        let (before, end) = (self.record.answered(), Instant::now() + PATIENCE);
        while self.record.answered() < before + more {
            if Instant::now() > end {
                let failed = self.failed.lock().unwrap().clone();
                panic!("no more webhooks are answered 200: {:#?}", first(&failed));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the senders; gives how many were answered 200, and what became of the others.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, SeqCst);
        self.senders.join().unwrap();
        (self.record.answered() - self.before, std::mem::take(&mut *self.failed.lock().unwrap()))
    }

    /// Stops the senders, all of whose webhooks must have been answered 200; gives how many these were.
    pub fn stop_unharmed(self) -> usize {
        let (answered, failed) = self.stop();
        let all = answered + failed.len();
        assert!(failed.is_empty(), "{} of {all} failed: {:#?}", failed.len(), first(&failed));
        answered
    }
}

fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(NAMED)]
}

/// Sends until it is told to stop.
async fn send(
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
    secret: String,
    keeps: bool,
) {
    let client = client(keeps);
    while !stop.load(SeqCst) {
        let number = record.next.fetch_add(1, SeqCst);
        match post(&client, &secret, number).await {
            Ok(200) => _ = record.answered.lock().unwrap().insert(number),
            Ok(status) => failed.lock().unwrap().push(format!("{number}: answered {status}")),
            Err(error) => failed.lock().unwrap().push(format!("{number}: {error:?}")),
        }
        tokio::time::sleep(REST).await;
    }
}

fn client(keeps: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
    builder.pool_max_idle_per_host(if keeps { 1 } else { 0 }).build().unwrap()
}

async fn post(client: &reqwest::Client, secret: &str, number: u64) -> reqwest::Result<u16> {
    let body = numbered(number);
    let signature = Hmac::new(secret.as_bytes(), None).unwrap().sign(&body);
    let request = client.post(URL).header("Interakt-Signature", signature).header("content-type", "application/json");
    Ok(request.body(body).send().await?.status().as_u16())
}

/// Sends one webhook; gives its answer's status, or what went wrong. The record knows it if it was answered 200.
pub fn send_one(machine: &Machine, record: &Arc<Record>, secret: &str) -> JoinHandle<Result<u16, String>> {
    let (record, secret) = (Arc::clone(record), secret.to_owned());
    machine.in_its_network(async move {
        let number = record.next.fetch_add(1, SeqCst);
        let status = post(&client(false), &secret, number).await.map_err(|error| format!("{error:?}"))?;
        if status == 200 {
            record.answered.lock().unwrap().insert(number);
        }
        Ok(status)
    })
}
