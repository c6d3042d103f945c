//! `hookrelay send`: signs samples or files with a source's secret and posts them to the running daemon, as the
//! provider would. Speaks HTTP to one address; reads no journal and no ledger.
//!
//! A round is every payload once, in order; rounds run side by side, so that the statuses of one message stay in order.

use clap::Args;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use indicatif::ProgressBar;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use sink_api::fault::nearest;
use sink_api::files::{self, Patience};
use sink_api::{Bytes, Size, Timestamp, Uuid};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::explain::headers;
use super::samples::{Round, SAMPLES, Sample};
use super::target::Target;
use super::{Failure, block_on, progress, source};
use crate::config::Config;
use crate::ingress::SourceKind;
use crate::ingress::source::signer::Signer;

/// `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Bodies to send, byte for byte; without any, a sample of each type
    #[arg(value_name = "FILE", conflicts_with = "kind")]
    pub files: Vec<PathBuf>,
    /// Send the sample of this type only
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
    /// Send everything so many times; samples have fresh ids and times each time
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Most requests per second; without it, as fast as they are answered
    #[arg(long, short, value_name = "R")]
    pub rate: Option<f64>,
    /// Where to post; without a path the source's is taken. Without it: the first address the config listens on
    #[arg(long, short, value_name = "URL")]
    pub url: Option<String>,
    /// The source to sign for; not needed where there is one
    #[arg(long, short, value_name = "NAME")]
    pub source: Option<String>,
    /// A request header, NAME:VALUE; may be given several times
    #[arg(long, short = 'H', value_name = "K:V")]
    pub header: Vec<String>,
    /// One JSON object a line on standard output: each answer, then the sum
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
The samples of one round tell the history of one message: sent, delivered, read, clicked.
Their ids and times are fresh, so that a repeat is a new webhook. They are Interakt's; for a
source of another kind a small body of --type is made up. They are marked in their bodies
(hookrelay_sample: true), and no rule or sink sends anything for them: nobody is written to.
Files are sent byte for byte, so that a repeat is a duplicate.

Examples:
  hookrelay send                            one of each of the 18 types
  hookrelay send --type message_received
  hookrelay send body.json                  this body, signed
  hookrelay send --source gh -H 'x-github-event: push' push.json
  hookrelay send --count 1000 --rate 200    18000 webhooks at 200 a second
  hookrelay send --url https://relay.example.com --json

Exit codes: 0 every answer was 200 (or the source's status), 1 one was not, 69 the daemon does not answer,
78 the config has faults.";

/// Rounds under way at once.
const MAX_ROUNDS: u64 = 32;
/// Longest an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;
/// Largest file that is sent: a little more than any `max_body`, so that a 413 can be had.
const MAX_FILE: Size = Size::mib(65);
/// Answers waiting to be printed.
const QUEUE: usize = 1024;
/// A progress bar is shown after this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is sent, once per round.
enum Payload {
    Sample(&'static Sample),
    /// A small body of this type.
    Made {
        kind: String,
    },
    File {
        kind: String,
        body: Bytes,
    },
}

/// What came of one request.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    /// 0 where there was no answer.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    duplicate: bool,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Nobody listens there.
    #[serde(skip)]
    refused: bool,
}

/// What the daemon answers.
#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    error: Option<String>,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Sum {
    sent: u64,
    ok: u64,
    duplicate: u64,
    failed: u64,
    seconds: f64,
}

/// Sends, and prints what was answered.
///
/// # Errors
/// Nobody answers; an answer is not 200; a file or type is not there.
pub fn run(config: &Config, args: &SendArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let source = source(config, args.source.as_deref())?;
    let signer = Signer::new(source);
    let Target { url, socket } = Target::of(config, source, args.url.as_deref())?;
    let client = Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("hookrelay-send/", env!("CARGO_PKG_VERSION")));
    // Without TLS a machine without root certificates is fine.
    let client = if url.scheme() == "https" { client } else { client.tls_certs_only([]) };
    let client = socket.into_iter().fold(client, reqwest::ClientBuilder::unix_socket);
    let post = Post {
        url,
        client: client.build().map_err(|error| Failure::Refused(format!("no HTTP client: {error}")))?,
        payloads: payloads(args, source.kind, &signer)?,
        headers: headers(&args.header)?,
        signer,
        rounds: args.count,
        gap: gap(args.rate)?,
        first: Timestamp::now(),
        start: Instant::now(),
        next_round: AtomicU64::new(0),
        sent: AtomicU64::new(0),
    };
    let success = source.status.as_u16();
    block_on(work(Arc::new(post), args, success, out))
}

fn payloads(args: &SendArgs, of: SourceKind, signer: &Signer) -> Result<Vec<Payload>, Failure> {
    if of != SourceKind::Interakt && args.files.is_empty() {
        return Ok(vec![Payload::Made { kind: args.kind.clone().unwrap_or_else(|| "sample".into()) }]);
    }
    if let Some(kind) = &args.kind {
        let sample = SAMPLES.iter().find(|sample| sample.kind == kind).ok_or_else(|| {
            let near = nearest(kind, SAMPLES.iter().map(|s| s.kind));
            let help = near.map(|near| format!("\n  help: did you mean `{near}`?")).unwrap_or_default();
            let list: Vec<&str> = SAMPLES.iter().map(|s| s.kind).collect();
            Failure::Usage(format!("there is no sample of type `{kind}`, expected one of {}{help}", list.join(", ")))
        })?;
        return Ok(vec![Payload::Sample(sample)]);
    }
    if args.files.is_empty() {
        return Ok(SAMPLES.iter().map(Payload::Sample).collect());
    }
    let given = headers(&args.header)?;
    let patience = Patience::new();
    let read = |file: &PathBuf| {
        let body = files::read(file, MAX_FILE.0, &patience);
        let body = body.map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))?;
        let kind = signer.kind(&given, &body);
        Ok(Payload::File { kind, body: body.into() })
    };
    args.files.iter().map(read).collect()
}

fn gap(rate: Option<f64>) -> Result<Option<Duration>, Failure> {
    let Some(rate) = rate else { return Ok(None) };
    let gap =
        Duration::try_from_secs_f64(1.0 / rate).ok().filter(|gap| rate > 0.0 && *gap < Duration::from_secs(86_400));
    gap.map(Some).ok_or_else(|| Failure::Usage(format!("--rate {rate}: expected a number of requests per second")))
}

/// Everything the rounds share.
struct Post {
    url: Url,
    client: Client,
    signer: Signer,
    headers: HeaderMap,
    payloads: Vec<Payload>,
    rounds: u64,
    gap: Option<Duration>,
    /// Time of the first round's samples; each further round is one microsecond later, so that no two are the same.
    first: Timestamp,
    start: Instant,
    next_round: AtomicU64,
    sent: AtomicU64,
}

impl Post {
    fn total(&self) -> u64 {
        self.rounds.saturating_mul(self.payloads.len() as u64)
    }

    /// Takes rounds until there is none left, or nobody listens.
    async fn rounds(self: Arc<Self>, answers: mpsc::Sender<Answer>) {
        loop {
            let n = self.next_round.fetch_add(1, Ordering::Relaxed);
            if n >= self.rounds {
                return;
            }
            let later = jiff::SignedDuration::from_micros(i64::try_from(n).unwrap_or(i64::MAX));
            let round = Round::new(self.first.checked_add(later).unwrap_or(self.first));
            for payload in &self.payloads {
                self.wait_for_turn().await;
                let answer = match payload {
                    Payload::Sample(sample) => self.post(sample.kind, round.body(sample).into()).await,
                    Payload::Made { kind } => {
                        let id = Uuid::now_v7().to_string();
                        let body = self.signer.sample(kind, &id, &Timestamp::now().to_string());
                        self.post(kind, body.into()).await
                    }
                    Payload::File { kind, body } => self.post(kind, body.clone()).await,
                };
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    /// With a rate, request n is due n gaps after the start.
    async fn wait_for_turn(&self) {
        let n = self.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(gap) = self.gap {
            let due = gap.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
            tokio::time::sleep(due.saturating_sub(self.start.elapsed())).await;
        }
    }

    async fn post(&self, kind: &str, body: Bytes) -> Answer {
        let begun = Instant::now();
        let id = Uuid::now_v7().to_string();
        let signed = self.signer.sign(&self.headers, kind, &id, Timestamp::now().as_second(), &body);
        let mut url = self.url.clone();
        if let Some((name, value)) = &signed.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut headers = signed.headers;
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let mut answer = Answer {
            kind: kind.to_owned(),
            status: 0,
            id: None,
            duplicate: false,
            ms: 0.0,
            error: None,
            refused: false,
        };
        match sent {
            Ok(response) => {
                answer.status = response.status().as_u16();
                let said = read(response).await;
                (answer.id, answer.duplicate, answer.error) = (said.id, said.duplicate, said.error);
            }
            Err(error) => {
                // The query may hold a token.
                let error = error.without_url();
                answer.refused = error.is_connect();
                answer.error = Some(reason(&error));
            }
        }
        answer.ms = (begun.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        answer
    }
}

/// The answer's body; nothing where it is none of ours.
async fn read(mut response: reqwest::Response) -> Said {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Said::default();
        }
    }
    serde_json::from_slice(&body).unwrap_or_default()
}

/// The innermost cause: what reqwest wraps around it names the URL only.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { format!("no answer within {} s", TIMEOUT.as_secs()) } else { cause.to_string() }
}

/// Sends everything and prints what comes back.
async fn work(post: Arc<Post>, args: &SendArgs, success: u16, out: &mut dyn Write) -> Result<(), Failure> {
    let (answers, mut answered) = mpsc::channel(QUEUE);
    let mut rounds = JoinSet::new();
    for _ in 0..post.rounds.min(MAX_ROUNDS) {
        rounds.spawn(Arc::clone(&post).rounds(answers.clone()));
    }
    drop(answers);
    let mut tally = Answers::new(args, post.total(), success);
    while let Some(answer) = answered.recv().await {
        if answer.refused && tally.answered == 0 {
            return Err(Failure::Unavailable(not_there(&post.url, answer.error.as_deref(), args)));
        }
        tally.add(&answer, out)?;
    }
    tally.finish(post.start.elapsed(), out)
}

fn not_there(url: &Url, error: Option<&str>, args: &SendArgs) -> String {
    let port = url.port_or_known_default().map(|p| format!(":{p}")).unwrap_or_default();
    let at = format!("{}{port}", url.host_str().unwrap_or_default());
    let help = if args.url.is_none() {
        "start the daemon in another terminal: hookrelay run"
    } else {
        "is the daemon running there? hookrelay run starts one"
    };
    format!("nobody answers at {at}: {}\n  help: {help}", error.unwrap_or("refused"))
}

/// What was answered so far.
struct Answers {
    json: bool,
    each: bool,
    total: u64,
    /// The status of success.
    success: u16,
    answered: u64,
    duplicate: u64,
    /// The ids that were answered first and last.
    ids: [Option<String>; 2],
    /// By type and status.
    by: BTreeMap<(String, u16), u64>,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Answers {
    fn new(args: &SendArgs, total: u64, success: u16) -> Self {
        let (json, each) = (args.json, args.count == 1);
        Self {
            json,
            each,
            total,
            success,
            answered: 0,
            duplicate: 0,
            ids: [None, None],
            by: BTreeMap::new(),
            begun: Instant::now(),
            bar: None,
        }
    }

    fn add(&mut self, answer: &Answer, out: &mut dyn Write) -> Result<(), Failure> {
        self.answered += 1;
        self.duplicate += u64::from(answer.duplicate);
        if let Some(id) = &answer.id {
            let [first, last] = &mut self.ids;
            first.get_or_insert_with(|| id.clone());
            *last = Some(id.clone());
        }
        *self.by.entry((answer.kind.clone(), answer.status)).or_default() += 1;
        self.show_progress();
        let line = if self.json {
            serde_json::to_string(answer).map_err(std::io::Error::from)?
        } else if self.each {
            line(answer)
        } else {
            return Ok(());
        };
        let mut print = || writeln!(out, "{line}");
        match &self.bar {
            Some(bar) => bar.suspend(&mut print)?,
            None => print()?,
        }
        Ok(())
    }

    /// A bar on standard error, where that is a terminal and the reader has waited a while.
    fn show_progress(&mut self) {
        if self.bar.is_none() && self.begun.elapsed() >= PATIENCE && std::io::stderr().is_terminal() {
            self.bar = Some(progress::bar(self.total, "{bar:40} {human_pos}/{human_len}  {per_sec}  {eta} left"));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.answered);
        }
    }

    fn finish(&mut self, took: Duration, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let ok: u64 = self.by.iter().filter(|((_, status), _)| *status == self.success).map(|(_, n)| n).sum();
        let failed = self.answered - ok;
        if self.json {
            let sum = Sum { sent: self.answered, ok, duplicate: self.duplicate, failed, seconds: took.as_secs_f64() };
            writeln!(out, "{}", serde_json::to_string(&sum).map_err(std::io::Error::from)?)?;
        } else {
            if !self.each {
                for ((kind, status), n) in &self.by {
                    writeln!(out, "{} {kind} ×{n}", shown(*status))?;
                }
                if let [Some(first), Some(last)] = &self.ids {
                    writeln!(out, "first id={first}, last id={last}; --json has all")?;
                }
            }
            let repeats = if self.duplicate > 0 { format!(", {} duplicate", self.duplicate) } else { String::new() };
            writeln!(
                out,
                "{ok} of {} answered {}{repeats}, in {:.2} s",
                self.answered,
                self.success,
                took.as_secs_f64()
            )?;
        }
        if failed == 0 {
            return Ok(());
        }
        Err(Failure::Refused(format!("{failed} of {} were not answered {}", self.answered, self.success)))
    }
}

fn shown(status: u16) -> String {
    if status == 0 { "---".into() } else { status.to_string() }
}

fn line(answer: &Answer) -> String {
    let mut line = format!("{} {}", shown(answer.status), answer.kind);
    if let Some(id) = &answer.id {
        line.push_str(&format!(" id={id}"));
    }
    if answer.duplicate {
        line.push_str(" (duplicate)");
    }
    if let Some(error) = &answer.error {
        line.push_str(&format!(" {error}"));
    }
    line
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
