//! `hookrelay message`: sends one message through a sink of the running daemon, and shows what became of a message.

mod args;
mod words;

use std::io::{IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use sink_api::files::{self, Patience};
use sink_api::{Timestamp, Uuid};

use super::{Failure, block_on, trace};
use crate::admin::AdminConfig;
use crate::admin::client::{self, AskError};
use crate::admin::found::{MessageView, NotAgainView, TraceAsk, TraceView, TracedEvent};
use crate::admin::sending::{NOT_UNDERSTOOD, ResendView, SendAsk, SendDone, SendState, WAIT_S};
use crate::config;
use crate::mask::HIDDEN;
use crate::outbox::FOLLOWER;
use crate::route::{printable, printable_json};
use crate::times::Zone;
pub use args::{MessageVerb, SendArgs, ShowArgs, WaitFor};

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`.

Examples:
  hookrelay message send --to +919876543210 --template order_sent --language en --value Asha --value 77
  hookrelay message show 7f00602d-4c9c-4346-9d4d-a24d478c9926

`hookrelay message send --help` and `hookrelay message show --help` tell more.";

/// Largest message that is read, bytes: more than the daemon takes, which then says so.
const MAX_FILE: u64 = 128 << 10;
/// How long one answer waits for what comes of a message, where more than one is waited for.
const ONE_WAIT: Duration = Duration::from_secs(20);
/// How often is asked for a status.
const LOOK: Duration = Duration::from_secs(1);

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or what was waited for did not come about.
pub fn run(file: &Path, verb: &MessageVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    match verb {
        MessageVerb::Send(args) => send(file, args, out),
        MessageVerb::Show(args) => show(file, args, zone, out),
    }
}

/// What came of a message, for `--json`.
#[derive(Serialize)]
struct Outcome<'d> {
    #[serde(flatten)]
    done: &'d SendDone,
    /// The status that was waited for, or the one that ended the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// What is, or was, sent in its place, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    resend: Option<ResendView>,
    /// Why nothing is sent in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_again: Option<NotAgainView>,
}

/// How far a message has come that was sent.
#[derive(Clone, Default)]
struct Followed {
    /// The highest status that came.
    status: Option<String>,
    failure: Option<String>,
    resend: Option<ResendView>,
    not_again: Option<NotAgainView>,
    /// Whether the daemon's own sink has heard of all that was found: then it is known whether it is sent again.
    is_heard: bool,
}

fn send(file: &Path, args: &SendArgs, out: &mut impl Write) -> Result<(), Failure> {
    let body = body(args)?;
    let admin = config::read_admin(file)?;
    // Under a key the question may be asked once more, over a restart of the daemon, too.
    let key = args.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let end = Instant::now() + args.timeout;
    let done = ask(&admin, args, &key, &body, end)?;
    let is_off = matches!(done.state, SendState::Refused | SendState::Skipped);
    if !args.json && !is_off {
        // At once: whoever waits for more may be stopped. A provider that gave no id leaves the event's.
        writeln!(out, "{}", printable(done.message.as_ref().unwrap_or(&done.event)))?;
        out.flush()?;
    }
    let followed = match (args.wait, &done.message, done.state) {
        (Some(WaitFor::Delivered | WaitFor::Read), Some(message), SendState::Sent) => {
            follow(&admin, message, args.wait, end)?
        }
        _ => Followed::default(),
    };
    if args.json {
        let Followed { status, failure, resend, not_again, .. } = followed.clone();
        let outcome = Outcome { done: &done, status, failure, resend, not_again };
        let json = serde_json::to_string(&outcome).map_err(std::io::Error::from)?;
        writeln!(out, "{}", printable_json(&json))?;
    }
    let remark = ended(args, &done, &followed)?;
    if let Some(remark) = remark {
        // A remark: if standard error is gone, it is lost.
        let _ = writeln!(std::io::stderr(), "remark: {}", printable(&remark));
    }
    Ok(())
}

/// Whether it came to what was asked for; what is worth a remark where it did.
fn ended(args: &SendArgs, done: &SendDone, followed: &Followed) -> Result<Option<String>, Failure> {
    let waits = |done: &SendDone| match (&done.code, &done.detail) {
        (Some(code), Some(detail)) => format!("it is not sent yet ({code}: {detail})"),
        (Some(only), None) | (None, Some(only)) => format!("it is not sent yet ({only})"),
        (None, None) => "it is not sent yet".to_owned(),
    };
    let status = followed.status.as_deref();
    if matches!(done.state, SendState::Refused | SendState::Skipped) {
        let why = done.error.clone().unwrap_or_else(|| "it is not sent".to_owned());
        return Err(refused(&why, &format!("`hookrelay trace {}` has its way", done.event)));
    }
    if let Some(why) = &followed.failure {
        let why = format!("it failed: {why}");
        let id = done.message.as_ref().unwrap_or(&done.event);
        let again = match (&followed.resend, &followed.not_again) {
            (Some(resend), _) => words::again(resend, Timestamp::now()),
            (None, Some(not)) => {
                return Err(Failure::Refused(printable(&format!("{why}; [resend.{}]: {}", not.rule, not.why))));
            }
            (None, None) if followed.is_heard => return Err(Failure::Refused(printable(&why))),
            (None, None) => {
                let why = format!("{why}; whether a rule has it sent again is not known: statuses wait to be read");
                let help = format!("see the sink `{FOLLOWER}` in `hookrelay status`; do not send it again before that");
                return Err(refused(&why, &help));
            }
        };
        let help = format!("do not send it again; `hookrelay message show {id}` follows it");
        return Err(refused(&format!("{why}; {again}"), &help));
    }
    match args.wait {
        None if done.state == SendState::Sent => Ok(None),
        None => {
            let help =
                format!("it is on disk, and goes out when the sink can; `message show {}` follows it", done.event);
            Ok(Some(format!("{}: {help}", waits(done))))
        }
        Some(WaitFor::Sent) if done.state == SendState::Sent => Ok(None),
        Some(wanted) if status.is_some_and(|status| wanted.is_met(status)) => Ok(None),
        Some(wanted) => {
            let far = match status {
                _ if done.state != SendState::Sent => waits(done),
                Some(status) => format!("it is {}", status.to_lowercase()),
                None => "it was sent, and no status of it has come".to_owned(),
            };
            let id = done.message.as_ref().unwrap_or(&done.event);
            let wanted = wanted.word();
            let help = format!("it may still be: `hookrelay message show {id}` follows it; do not send it again");
            Err(refused(&format!("it was not {wanted} in time: {far}"), &help))
        }
    }
}

/// Why it is not as it should be, and what can be done: a line each, on which nothing steers a terminal.
fn refused(why: &str, help: &str) -> Failure {
    Failure::Refused(format!("{}\n  help: {}", printable(why), printable(help)))
}

/// The body of the message: as it is in a file, or made of the arguments.
fn body(args: &SendArgs) -> Result<Vec<u8>, Failure> {
    match &args.file {
        None => args.body().map_err(Failure::Usage),
        Some(path) if path.as_os_str() == "-" => {
            let mut body = Vec::new();
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                // A remark: if standard error is gone, it is lost.
                let _ = writeln!(std::io::stderr(), "remark: the message is read from the terminal, until Ctrl-D");
            }
            stdin.lock().take(MAX_FILE + 1).read_to_end(&mut body)?;
            Ok(body)
        }
        Some(path) => {
            let read = files::read(path, MAX_FILE, &Patience::default());
            read.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
        }
    }
}

/// Has it sent, and waits until the provider has taken it, if that is asked for. Asked again under its key it is the
/// same message.
fn ask(admin: &AdminConfig, args: &SendArgs, key: &str, body: &[u8], end: Instant) -> Result<SendDone, Failure> {
    let mut is_first = true;
    loop {
        let wait = match args.wait {
            None => WAIT_S,
            Some(_) => end.saturating_duration_since(Instant::now()).min(ONE_WAIT).as_secs(),
        };
        let question = SendAsk { sink: args.sink.clone(), wait_s: Some(wait) };
        let answer = block_on(async { Ok(client::send_message(admin, &question, Some(key), body.to_vec()).await) })?;
        let is_over = args.wait.is_none() || Instant::now() + LOOK >= end;
        match answer {
            Ok(done) if is_over || done.state != SendState::Waiting => {
                return Ok(SendDone { repeated: done.repeated && is_first, ..done });
            }
            Ok(_) => is_first = false,
            // The daemon may be starting anew. Before it has taken the message, whoever asks is told at once.
            Err(AskError::NoDaemon { .. }) if !is_first && !is_over => std::thread::sleep(LOOK),
            Err(AskError::Refused { status: 400, why, .. }) => return Err(Failure::Usage(in_words(args, &why))),
            Err(AskError::Refused { at, status, why }) => {
                return Err(AskError::Refused { at, status, why: in_words(args, &why) }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the daemon refuses, in words of the command line: the file that it is about, and our own flags.
fn in_words(args: &SendArgs, why: &str) -> String {
    let why = printable(&why.replace("`Idempotency-Key`", "--key").replace("by `sink`", "by --sink"));
    let file = args.file.as_ref().filter(|_| why.starts_with(NOT_UNDERSTOOD));
    let name =
        file.map(|file| if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() });
    name.map_or_else(|| why.clone(), |name| format!("{}: {why}", printable(&name)))
}

/// Waits for a status: gives the highest that came, and why it failed, if that is what it did, with what is sent in its
/// place.
fn follow(admin: &AdminConfig, message: &str, wait: Option<WaitFor>, end: Instant) -> Result<Followed, Failure> {
    let question = TraceAsk { id: message.to_owned(), clear: true, ..TraceAsk::default() };
    loop {
        let found = match block_on(async { Ok(trace::ask_once(admin, &question).await) })? {
            Ok(found) => Some(found),
            // A daemon that starts anew may be asked again.
            Err(AskError::NoDaemon { .. }) if Instant::now() < end => None,
            Err(AskError::Refused { status: 404, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let told = found.as_ref().and_then(|found| found.message.as_ref());
        let status = told.and_then(|told| told.status.clone());
        let is_over = Instant::now() >= end;
        if status.as_deref().is_some_and(|status| wait.is_some_and(|wait| wait.is_met(status))) {
            return Ok(Followed { status, ..Followed::default() });
        }
        // Whether it is sent again is known once the daemon's own sink has heard of it.
        let is_heard = found.as_ref().is_some_and(is_heard);
        if let Some(told) = told.filter(|told| told.status.as_deref() == Some(WaitFor::FAILED) && (is_heard || is_over))
        {
            let resend = told.resends.iter().find(|resend| resend.failed == message).cloned();
            let not_again = told.not_again.iter().find(|not| not.failed == message).cloned();
            return Ok(Followed { status, failure: Some(words::failure(told)), resend, not_again, is_heard });
        }
        if is_over {
            return Ok(Followed { status, ..Followed::default() });
        }
        std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
    }
}

/// Whether the daemon's own sink has taken in all events that were found.
fn is_heard(found: &TraceView) -> bool {
    let mut all = found.events.iter().flat_map(|event| &event.deliveries);
    all.all(|delivery| delivery.sink != FOLLOWER || !matches!(delivery.fate.as_str(), "pending" | "parked"))
}

/// A message with the events that are about it: what `message show --json` prints.
#[derive(Serialize)]
struct Shown<'v> {
    #[serde(flatten)]
    message: &'v MessageView,
    events: Vec<&'v TracedEvent>,
    masked: bool,
}

impl<'v> Shown<'v> {
    fn of(message: &'v MessageView, found: &'v TraceView) -> Self {
        let asked: Vec<&str> = asked_by(message).collect();
        let is_about = |event: &&TracedEvent| event.subject == message.id || asked.contains(&event.id.as_str());
        Self { message, events: found.events.iter().filter(is_about).collect(), masked: found.masked }
    }
}

/// The ids of the events that asked for a message or for others of its chain, or will.
fn asked_by(message: &MessageView) -> impl Iterator<Item = &str> {
    let resends = message.resends.iter().map(|resend| resend.id.as_str());
    resends.chain(message.sent.as_ref().and_then(|sent| sent.event.as_deref()))
}

/// The events that ask for a message which is known by them alone: it waits to be sent, or never will be.
fn unsent<'v>(all: &[&MessageView], found: &'v TraceView, is_phone: bool) -> Vec<&'v TracedEvent> {
    let commands = found.events.iter().filter(|event| words::is_command(event));
    let known = |id: &str| all.iter().any(|message| asked_by(message).any(|asked| asked == id));
    commands.filter(|event| !(known(&event.id) || is_phone && words::is_sent(event))).collect()
}

fn show(file: &Path, args: &ShowArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let look = |id: &str| trace::found(file, id, &args.look, zone);
    let mut found = look(&args.id)?;
    // An event alone has only its own way; its message has all of them.
    let of_event = found.message.as_ref().filter(|_| found.query.contains_key("event"));
    if let Some(id) = of_event.map(|message| message.id.clone()).filter(|id| !id.contains(HIDDEN)) {
        found = look(&id)?;
    }
    let is_phone = found.query.contains_key("phone");
    let all: Vec<&MessageView> = found.message.iter().chain(&found.messages).collect();
    let now = Timestamp::now();
    let unsent = if is_phone || all.is_empty() { unsent(&all, &found, is_phone) } else { vec![] };
    if all.is_empty() && unsent.is_empty() {
        let why = "that is about no message\n  help: `hookrelay trace` shows events of every kind";
        return Err(Failure::Refused(why.into()));
    }
    let alone = |event: &TracedEvent| serde_json::json!({ "id": null, "events": [event], "masked": found.masked });
    match (args.json, is_phone) {
        (true, true) => {
            let shown = all.iter().map(|message| serde_json::to_value(Shown::of(message, &found)));
            let mut shown = shown.collect::<Result<Vec<_>, _>>().map_err(std::io::Error::from)?;
            shown.extend(unsent.into_iter().map(alone));
            super::dead::json(&shown, out)
        }
        (true, false) => match (all.first(), unsent.first()) {
            (Some(message), _) => super::dead::json(&Shown::of(message, &found), out),
            (None, Some(event)) => super::dead::json(&alone(event), out),
            (None, None) => Ok(()),
        },
        (false, _) => {
            for message in all {
                writeln!(out, "{}", words::timeline(message, zone, now))?;
            }
            for event in unsent {
                writeln!(out, "{}", words::unsent(event, zone, now))?;
            }
            for note in &found.notes {
                writeln!(out, "{}", printable(&format!("note: {note}")))?;
            }
            if found.masked {
                writeln!(out, "Personal data is masked; --clear shows it.")?;
            }
            Ok(())
        }
    }
}
