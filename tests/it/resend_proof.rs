//! What is sent again, over kills: a world with a stand-in of Interakt's API and a daemon that is killed again and
//! again, and an oracle that knows only what the stand-in took, what it told, and when. It reads nothing of the
//! daemon's own.
//!
//! Each first message is taken by the stand-in as if another program had sent it, to a phone of its own. A chain is all
//! that is sent to that phone. The stand-in tells each status until it is answered 200, which Interakt does not do:
//! what is proved is that nothing is forgotten *that the daemon was told*, and a daemon that is down takes nothing.
//!
//! - too often: more further tries than the rule says for the codes that the chain failed with
//! - forgotten: fewer, though nobody said that a message of the chain was delivered or read
//! - after a delivered: a call that came later than the 200 for a "delivered" or "read" of its chain. A call that was
//!   on its way at that moment cannot be taken back: [`UNDER_WAY`] is allowed, and counted
//! - repeated: the same call again before `confirm` is over, or though a status had confirmed it
//! - changed: a further try that is not what the first message was

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::json;
use sink_api::{CallId, Origin};
use sink_testkit::interakt::check::Template;
use sink_testkit::interakt::course::{Asked, Course, Status, Step, by_name};
use sink_testkit::interakt::record::Taken;
use sink_testkit::interakt::{Fault, KEY, Options, StandIn, Webhooks};

use crate::harness::{Daemon, House, SECRET};

/// The rule's codes: how often each. What is missing is never tried again.
const CODES: [(&str, usize); 2] = [("131049", 2), ("130429", 3)];
/// Most further tries of a chain, whatever the codes.
const MAX_ATTEMPTS: usize = 4;
/// How long after a failure with 131049, seconds; with 130429 it is one.
const AFTER: u64 = 3;
/// `confirm` of the sink.
const CONFIRM: Duration = Duration::from_secs(5);
/// How long a call may be on its way, and how much two clocks may differ.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long a status takes.
const PACE: Duration = Duration::from_millis(500);
/// How long the end is waited for while nothing happens.
const PATIENCE: Duration = Duration::from_secs(60);

/// The templates, whose names are what becomes of their messages. In turn, chain by chain.
const TEMPLATES: [&str; 11] = [
    "fail_131049_then_read",
    "fail_131049_131049_then_delivered",
    "fail_always_131049",
    "fail_always_130429",
    "fail_always_131049_130429",
    "fail_131026_then_read",
    "fail_131049_yet_delivered",
    "fail_131049_then_late_failure",
    "fail_130429_then_read_first",
    "fail_130429_then_nothing",
    DELIVERED_LATE,
];
/// All fail, and the first one is delivered all the same, when the second is about to fail.
const DELIVERED_LATE: &str = "delivered_late";

/// A house with a sink of kind `interakt` and a rule, and the stand-in that both talk to.
pub struct World {
    pub house: House,
    pub stand_in: StandIn,
    /// How many first messages were sent.
    chains: u64,
}

impl World {
    /// For so many first messages. Loses every so many-th answer, and a gateway every one after it, where that is
    /// said; answers some calls badly.
    pub async fn new(chains: u64, seed: u64, loses: Option<u64>) -> Self {
        let by_name = by_name(PACE);
        let webhooks = Webhooks {
            // The daemon is not there yet.
            url: "http://127.0.0.1:9/".to_owned(),
            secret: SECRET.to_owned(),
            until_taken: Some(Duration::from_millis(100)),
        };
        let stand_in = StandIn::start(Options {
            templates: vec![Template::new(DELIVERED_LATE, "Hi {{1}}")],
            script: std::sync::Arc::new(move |asked| course(asked, &by_name)),
            seed,
            webhooks: Some(webhooks),
            keep: usize::try_from(chains).unwrap() * (MAX_ATTEMPTS + 4) + 100,
            ..Options::default()
        })
        .await;
        let mut faults = vec![(Fault::Broken(500), 17), (Fault::Garbage, 29)];
        let lost = |every| [(Fault::Lost, every), (Fault::Gateway(504), every + 1)];
        faults.extend(loses.into_iter().flat_map(lost));
        faults.rotate_right(1);
        stand_in.set_faults(&faults);
        let house = House::new(&tables(&stand_in.url()));
        Self { house, stand_in, chains: 0 }
    }

    /// Starts a daemon, and has the stand-in tell it of statuses.
    pub fn start(&self) -> Daemon {
        let daemon = self.house.start();
        self.stand_in.call_back(&daemon.url());
        daemon
    }

    /// Starts a daemon and kills it after this long, while it starts or recovers.
    pub fn kill_while_starting(&self, after: Duration) {
        let mut child = self.house.command(&["run"]).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a first message, by way of no daemon.
    pub fn send_first(&mut self) {
        self.send(TEMPLATES[usize::try_from(self.chains).unwrap() % TEMPLATES.len()]);
    }

    fn send(&mut self, template: &str) {
        let n = self.chains;
        let request = json!({
            "countryCode": "+91",
            "phoneNumber": (7_000_000_000 + n).to_string(),
            "callbackData": format!("own:{n}"),
            "type": "Template",
            "template": {
                "name": template,
                "languageCode": "en",
                "bodyValues": [format!("Asha é {n}")],
            },
        });
        self.stand_in.send(&request).unwrap();
        self.chains += 1;
    }

    /// How many deliveries the daemon owes any sink; none if it does not answer.
    fn pending(&self) -> Option<u64> {
        let out = self.house.command(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        Some(status["sinks"].as_object()?.values().filter_map(|sink| sink["pending"].as_u64()).sum())
    }

    /// Waits until everything has come to its end, or nothing more happens, and judges. The daemon must be running.
    pub async fn judge(&mut self) -> Verdict {
        self.quiet().await;
        // What comes of a further chain with the longest wait comes after all that was due before.
        self.send(TEMPLATES[0]);
        self.quiet().await;
        assert_eq!(self.stand_in.forgotten(), 0, "the stand-in keeps too few messages");
        judge(&self.stand_in.taken())
    }

    async fn quiet(&self) {
        let (mut moved, mut last) = (Instant::now(), None);
        while moved.elapsed() < PATIENCE {
            let now = (self.stand_in.under_way(), self.stand_in.taken().len(), self.pending());
            let (under_way, _, pending) = now;
            if under_way == 0 && pending == Some(0) && judge(&self.stand_in.taken()).forgotten.is_empty() {
                return;
            }
            if last != Some(now) {
                (moved, last) = (Instant::now(), Some(now));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn tables(url: &str) -> String {
    let codes = CODES.map(|(code, times)| {
        let after = if code == "131049" { AFTER } else { 1 };
        format!("\"{code}\" = {{ after = \"{after}s\", times = {times} }}")
    });
    format!(
        r#"
[sinks.whatsapp]
kind = "interakt"
url = "{url}"
api_key = "{KEY}"
rate = "1000/s"
confirm = "{confirm}s"
max_attempts = 10
timeout = "2s"
concurrency = 16
retry = {{ initial = "50ms", max = "500ms" }}
breaker = {{ probe = "50ms", probe_max = "500ms" }}
[resend.proof]
match = "message_*_failed"
to = "whatsapp"
max_attempts = {MAX_ATTEMPTS}
codes = {{ {codes}, "131026" = "never" }}
[sinks.archive]
kind = "file"
path = "out/{{type}}.jsonl"
[[routes]]
match = "message_*"
to = "archive"
"#,
        confirm = CONFIRM.as_secs(),
        codes = codes.join(", "),
    )
}

/// What becomes of a message; every fifth chain hears of everything twice.
fn course(asked: &Asked<'_>, by_name: &sink_testkit::interakt::course::Script) -> Course {
    let mut steps = match (asked.template, asked.attempt) {
        (Some(DELIVERED_LATE), attempt) => {
            let failed = [(100, Status::Sent), (300, Status::Failed("131049".to_owned()))];
            let late = (attempt == 0).then_some((1000 * AFTER + 1500, Status::Delivered));
            let steps = failed.into_iter().chain(late);
            steps.map(|(ms, status)| Step { after: Duration::from_millis(ms), status, times: 1 }).collect()
        }
        _ => by_name(asked),
    };
    if asked.phone.ends_with(['0', '5']) {
        steps.iter_mut().for_each(|step| step.times *= 2);
    }
    steps
}

/// What the oracle says. Whatever is wrong is named: the phone, and what was seen.
#[derive(Default)]
pub struct Verdict {
    /// Chains, and further tries, by template.
    pub templates: BTreeMap<String, (u64, u64)>,
    pub too_often: Vec<String>,
    pub forgotten: Vec<String>,
    pub after_delivered: Vec<String>,
    pub repeated: Vec<String>,
    pub changed: Vec<String>,
    /// Calls that came within [`UNDER_WAY`] of a "delivered" of their chain.
    pub under_way: u64,
    /// Calls whose answer was lost.
    pub lost: u64,
    /// Calls that were made again once `confirm` was over and nothing had confirmed them.
    pub unconfirmed: u64,
    /// Chains in which a "delivered" made a further try needless.
    pub overtaken: u64,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        let Self { too_often, forgotten, after_delivered, repeated, changed, .. } = self;
        [too_often, forgotten, after_delivered, repeated, changed].iter().all(|faults| faults.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (template, (chains, resends)) in &self.templates {
            writeln!(f, "  {template}: {chains} failed, sent again {resends} times")?;
        }
        let Self { under_way, lost, unconfirmed, overtaken, .. } = self;
        writeln!(
            f,
            "  {lost} answers lost, {unconfirmed} calls made again after `confirm`; {overtaken} chains overtaken by a \
             \"delivered\", {under_way} calls on their way when it came"
        )?;
        let all = [
            ("too often", &self.too_often),
            ("forgotten", &self.forgotten),
            ("after a delivered", &self.after_delivered),
            ("repeated too early", &self.repeated),
            ("changed", &self.changed),
        ];
        for (what, faults) in all {
            faults.iter().take(10).try_for_each(|fault| writeln!(f, "  {what}: {fault}"))?;
        }
        let counts = all.map(|(what, faults)| format!("{} {what}", faults.len())).join(", ");
        write!(f, "verdict: {counts}: {}", if self.is_good() { "good" } else { "BAD" })
    }
}

/// Judges a record: all messages that were taken, with what was told of each.
pub fn judge(taken: &[Taken]) -> Verdict {
    let mut chains: BTreeMap<&str, Vec<&Taken>> = BTreeMap::new();
    for message in taken {
        chains.entry(&message.message.phone).or_default().push(message);
    }
    let mut verdict = Verdict::default();
    chains.values().for_each(|chain| judge_chain(&mut verdict, chain));
    verdict
}

fn judge_chain(verdict: &mut Verdict, chain: &[&Taken]) {
    let Some((first, further)) = chain.split_first() else { return };
    let phone = &first.message.phone;
    let mut calls: BTreeMap<CallId, Vec<&Taken>> = BTreeMap::new();
    for message in further {
        let callback = message.message.callback.as_deref().unwrap_or_default();
        let origin = Origin::read(callback);
        let is_same = origin.as_ref().is_some_and(|(origin, own)| {
            Some(*own) == first.message.callback.as_deref() && origin.of == first.id.to_string()
        });
        if !is_same || message.message.request["template"] != first.message.request["template"] {
            verdict.changed.push(format!("{phone}: {}", message.message.request));
        }
        if let Some((origin, _)) = origin {
            calls.entry(origin.call).or_default().push(message);
        }
        verdict.lost += u64::from(!message.is_answered);
    }
    let template = verdict.templates.entry(first.message.template_name().unwrap_or_default().to_owned()).or_default();
    template.0 += 1;
    template.1 += calls.len() as u64;
    calls.values().for_each(|messages| judge_call(verdict, phone, messages));

    let delivered = chain.iter().filter_map(|message| message.when(is_delivered)).min();
    let allowed = allowed(chain);
    let says = || format!("{phone}: {} further tries, {allowed} by the rule; {}", calls.len(), seen(chain));
    if calls.len() > allowed {
        verdict.too_often.push(says());
    }
    if calls.len() < allowed {
        match delivered {
            Some(_) => verdict.overtaken += 1,
            None => verdict.forgotten.push(says()),
        }
    }
    let Some(delivered) = delivered else { return };
    for message in further.iter().filter(|message| message.at > delivered) {
        if message.at > delivered + UNDER_WAY {
            verdict.after_delivered.push(format!("{phone}: {}", seen(chain)));
        } else {
            verdict.under_way += 1;
        }
    }
}

fn is_delivered(status: &Status) -> bool {
    matches!(status, Status::Delivered | Status::Read)
}

/// How many further tries the rule allows for what the chain failed with. A message that was delivered before it was
/// said to have failed has not failed.
fn allowed(chain: &[&Taken]) -> usize {
    let failed = chain.iter().filter_map(|message| {
        let at = message.when(|status| status.failure().is_some())?;
        let code = message.told.iter().find_map(|told| told.status.failure())?.0;
        message.when(is_delivered).is_none_or(|delivered| at < delivered).then_some((at, code))
    });
    let mut failed: Vec<(Instant, &str)> = failed.collect();
    failed.sort();
    let (mut all, mut by_code) = (0, BTreeMap::new());
    for (_, code) in failed {
        let times = CODES.iter().find(|(known, _)| *known == code).map_or(0, |(_, times)| *times);
        let so_far: &mut usize = by_code.entry(code).or_default();
        if *so_far < times && all < MAX_ATTEMPTS {
            *so_far += 1;
            all += 1;
        }
    }
    all
}

/// The messages of one call: more than one only where nothing confirmed those before in time.
fn judge_call(verdict: &mut Verdict, phone: &str, messages: &[&Taken]) {
    for pair in messages.windows(2) {
        let [before, again] = pair else { continue };
        let confirmed = messages.iter().take_while(|one| one.at < again.at).filter_map(|one| one.when(|_| true)).min();
        let is_confirmed = confirmed.is_some_and(|at| at + UNDER_WAY < again.at);
        if is_confirmed || again.at + UNDER_WAY < before.at + CONFIRM {
            verdict.repeated.push(format!("{phone}: {}", seen(messages)));
        } else {
            verdict.unconfirmed += 1;
        }
    }
}

/// What happened, in seconds since the first of these messages.
fn seen(chain: &[&Taken]) -> String {
    let Some(began) = chain.first().map(|first| first.at) else { return String::new() };
    let since = |at: Instant| format!("{:.2}", at.saturating_duration_since(began).as_secs_f64());
    let messages = chain.iter().map(|message| {
        let told = message.told.iter().map(|told| format!(" {} {}", told.status.name(), since(told.at)));
        format!("[{}{}{}]", since(message.at), if message.is_answered { "" } else { " lost" }, told.collect::<String>())
    });
    messages.collect()
}
