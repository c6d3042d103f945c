//! The daemon's side of a worker process: starts the process when it is first needed, and asks it about a batch of
//! events at once. After a death it asks again, one by one, until it is known which event's fault the death was. Only
//! that event's rules fail.
//!
//! A process says that it is ready before it is asked anything. If it ends before that, it lacked threads, memory or
//! something else, and no event is at fault. A process that is silent for long cannot be busy with an event, as its CPU
//! time is bounded: it is stopped from outside, or gets no processor. It is replaced, and no event is blamed.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use serde::Serialize;
use sink_api::origin::{self, Origin};
use sink_api::{Event, Reason, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::frame::{self, Answer, MAX_FRAME, Request, Step};
use super::{CPU, MEMORY, VERB, child};
use crate::message::Said as Status;
use crate::route::builtin;
use crate::route::eval::{Answers, BuiltinEval, Program};
use crate::route::rules::{Question, RuleSet};

/// Longest time that a worker process may be silent. It is far longer than the CPU time a process may take, for
/// machines that have no processor to spare. After each silence it doubles.
const SILENCE: Duration = Duration::from_secs(30);
/// How often the time doubles at most.
const DOUBLINGS: u32 = 4;

/// What is asked about one event at one sink.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The event.
    pub event: Arc<Event>,
    /// What to ask jq about it, see [`RuleSet::questions`].
    pub questions: Vec<Question>,
    /// Whether the answer is to hold what conditions evaluated to (`explain`).
    pub show: bool,
}

/// What jq answered about one event at one sink.
#[derive(Clone, Debug, Default)]
pub struct Said {
    answers: Vec<(Program, Answer)>,
    /// Why the worker process died, if it died of this event.
    died: Option<Reason>,
}

impl Said {
    /// Bytes of all payloads.
    pub fn size(&self) -> usize {
        let of = |answer: &Answer| match answer {
            Answer::Payloads(all) => all.iter().map(Bytes::len).sum(),
            Answer::Condition(..) | Answer::Failed(..) => 0,
        };
        self.answers.iter().map(|(_, answer)| of(answer)).sum()
    }

    fn of(&self, program: &Program, is_transform: bool) -> Result<&Answer, Reason> {
        let mut all = self.answers.iter().filter(|(known, _)| known == program).map(|(_, answer)| answer);
        let found = all.find(|answer| match answer {
            Answer::Condition(..) => !is_transform,
            Answer::Payloads(_) => is_transform,
            Answer::Failed(of_transform, _) => *of_transform == is_transform,
        });
        match (found, &self.died) {
            (Some(Answer::Failed(_, message)), _) => Err(Reason::new(code::RULE_ERROR, message.as_str())),
            (Some(answer), _) => Ok(answer),
            (None, Some(why)) => Err(why.clone()),
            (None, None) => Err(Reason::new(code::RULE_ERROR, "the rule was not evaluated")),
        }
    }
}

impl Answers for Said {
    fn condition(&self, program: &Program, _event: &Event) -> Result<bool, Reason> {
        self.of(program, false).map(|answer| matches!(answer, Answer::Condition(true, _)))
    }

    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason> {
        if builtin::find(program.text()).is_some() {
            return BuiltinEval.transform(program, event);
        }
        self.of(program, true).map(|answer| match answer {
            Answer::Payloads(all) => all.clone(),
            Answer::Condition(..) | Answer::Failed(..) => vec![],
        })
    }

    fn value(&self, program: &Program) -> Option<&str> {
        match self.of(program, false) {
            Ok(Answer::Condition(_, shown)) if !shown.is_empty() => Some(shown),
            _ => None,
        }
    }
}

/// There is no worker process, or it does not answer. No event is at fault.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No process could be started or talked to.
    #[error("no worker process for jq rules: {0}")]
    Unstarted(#[from] io::Error),
    /// The process ended before it was ready.
    #[error("no worker process for jq rules: it ended before it was ready ({0})")]
    Ended(ExitStatus),
    /// The process was stopped from outside, or got no processor.
    #[error("the worker process for jq rules gave no answer for {} s and is replaced", .0.as_secs_f32())]
    Silent(Duration),
}

/// Asks one worker process, which it starts when there is something to ask.
pub struct Asker {
    executable: PathBuf,
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    running: Option<Running>,
    silence: Duration,
    /// How many silences there were since the last answer.
    silences: u32,
}

struct Running {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Asker {
    /// An asker for the jq programs of these rules; `None` if they have no jq programs. Starts nothing yet.
    pub fn new(rules: &RuleSet) -> Option<Self> {
        // This is the very file that the daemon runs from, even if an upgrade has replaced it since.
        Self::with_executable(rules, Path::new("/proc/self/exe"))
    }

    /// The same for these programs.
    pub fn of<'p>(programs: impl Iterator<Item = &'p Program>) -> Option<Self> {
        Self::started_by(programs, Path::new("/proc/self/exe"))
    }

    /// An asker that starts another binary; for tests.
    pub fn with_executable(rules: &RuleSet, executable: &Path) -> Option<Self> {
        Self::started_by(rules.programs(), executable)
    }

    fn started_by<'p>(programs: impl Iterator<Item = &'p Program>, executable: &Path) -> Option<Self> {
        let texts: Vec<Arc<str>> = programs.map(Program::shared).collect();
        let numbers = texts.iter().cloned().zip(0..).collect();
        let executable = executable.to_owned();
        let asker = Self { executable, texts, numbers, running: None, silence: SILENCE, silences: 0 };
        (!asker.texts.is_empty()).then_some(asker)
    }

    /// Sets another bound on silence; for tests.
    #[must_use]
    pub fn silent_for(self, longest: Duration) -> Self {
        Self { silence: longest, ..self }
    }

    /// What jq answers about each event, in order.
    ///
    /// # Errors
    /// No worker process can be started, or it does not answer. Then there is no answer about any event.
    pub async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<Said>, AskError> {
        let mut said: Vec<Said> = Vec::with_capacity(asks.len());
        let mut alone = false;
        while let Some(rest) = asks.get(said.len()..).filter(|rest| !rest.is_empty()) {
            let share = if alone { rest.get(..1).unwrap_or(rest) } else { rest };
            let is_fresh = self.running.is_none();
            match self.share(share, &mut said).await? {
                None => {}
                // The process was asked about this event only, so its death is this event's fault.
                Some(why) if is_fresh && share.len() == 1 => {
                    said.push(Said { answers: vec![], died: Some(why) });
                    alone = false;
                }
                Some(_) => alone = true,
            }
        }
        Ok(said)
    }

    /// Asks about some events. If the process dies on the way, gives the reason.
    async fn share(&mut self, asks: &[Ask], said: &mut Vec<Said>) -> Result<Option<Reason>, AskError> {
        let patience = self.silence * 2_u32.pow(self.silences.min(DOUBLINGS));
        let silent = |_| AskError::Silent(patience);
        let mut running = match self.running.take() {
            Some(running) => running,
            None => {
                let started = timeout(patience, start(&self.executable, &self.texts)).await;
                started.inspect_err(|_| self.silences += 1).map_err(silent)??
            }
        };
        let requests: Vec<Request> = asks.iter().map(|ask| self.request(ask)).collect();
        let Running { input, output, .. } = &mut running;
        let write = async {
            for request in &requests {
                let mut content = Vec::new();
                frame::request(request, &mut content);
                let mut sealed = Vec::with_capacity(content.len() + 4);
                frame::seal(&content, &mut sealed);
                input.write_all(&sealed).await?;
            }
            input.flush().await
        };
        let read = async {
            for ask in asks {
                let content = timeout(patience, read_frame(output)).await??;
                let answers = frame::read_response(content).ok_or(io::ErrorKind::InvalidData)?;
                said.push(Said { answers: self.named(ask, answers), died: None });
            }
            io::Result::Ok(())
        };
        let done = tokio::select! {
            done = read => done,
            // A failed write needs no handling here: the process is gone, and the reader sees the end of its output.
            () = async { let _ = write.await; std::future::pending().await } => Ok(()),
        };
        match done {
            Ok(()) => {
                self.running = Some(running);
                self.silences = 0;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let status = running.child.wait().await?;
                Ok(Some(death(status)))
            }
            // The process is killed when it is dropped here.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.silences += 1;
                Err(AskError::Silent(patience))
            }
            Err(error) => {
                let detail = format!("the rules were stopped: their process cannot be understood: {error}");
                Ok(Some(Reason::new(code::RULE_ERROR, detail)))
            }
        }
    }

    fn request(&self, ask: &Ask) -> Request {
        let number = |program: &Option<Program>| program.as_ref().and_then(|p| self.numbers.get(p.text())).copied();
        let steps = ask.questions.iter().map(|question| Step {
            condition: number(&question.condition),
            transform: number(&question.transform),
            is_final: question.is_final,
        });
        Request {
            steps: steps.collect(),
            show: ask.show,
            time: ask.event.time.as_microsecond(),
            event: metadata(&ask.event),
            body: ask.event.body.clone(),
        }
    }

    fn named(&self, ask: &Ask, answers: Vec<(u32, Answer)>) -> Vec<(Program, Answer)> {
        let asked = || ask.questions.iter().flat_map(|q| [q.condition.as_ref(), q.transform.as_ref()]).flatten();
        let program = |n: u32| asked().find(|program| self.numbers.get(program.text()) == Some(&n)).cloned();
        answers.into_iter().filter_map(|(n, answer)| Some((program(n)?, answer))).collect()
    }
}

/// Starts a process and waits until it says that it is ready.
async fn start(executable: &Path, texts: &[Arc<str>]) -> Result<Running, AskError> {
    let mut child = Command::new(executable)
        .arg(VERB)
        .env_clear()
        // How much the allocator asks the system for at once. Its default, 1 GiB, is more than the process may have.
        .env("MIMALLOC_ARENA_RESERVE", "64M")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0) // a Ctrl-C is for the daemon alone
        .kill_on_drop(true)
        .spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
    };
    let mut input = BufWriter::with_capacity(1 << 16, input);
    let mut output = BufReader::with_capacity(1 << 16, output);
    let mut first = Vec::new();
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    frame::seal(&serde_json::to_vec(&texts).map_err(io::Error::from)?, &mut first);
    // If this cannot be written, the process has said why, or is dead; its output tells.
    let write = async {
        input.write_all(&first).await?;
        input.flush().await
    };
    let written = write.await;
    match read_frame(&mut output).await {
        Ok(ready) if ready.is_empty() => written?,
        Ok(why) => return Err(io::Error::other(String::from_utf8_lossy(&why).into_owned()).into()),
        Err(_) => return Err(AskError::Ended(child.wait().await?)),
    }
    Ok(Running { child, input, output })
}

async fn read_frame(output: &mut BufReader<ChildStdout>) -> io::Result<Bytes> {
    let length = output.read_u32_le().await? as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = vec![0; length];
    output.read_exact(&mut content).await?;
    Ok(content.into())
}

fn death(status: ExitStatus) -> Reason {
    let detail = match status.code() {
        Some(child::OUT_OF_TIME) => {
            format!("the rules were stopped: more than {} s of CPU time for one event", CPU.as_secs())
        }
        Some(child::OUT_OF_MEMORY) => format!("the rules were stopped: more than {} MiB of memory", MEMORY >> 20),
        // The process ran out of stack, or made too large an allocation.
        None => format!("the rules were stopped: out of stack or memory ({status})"),
        Some(_) => format!("the rules were stopped: their process ended ({status})"),
    };
    Reason::new(code::RULE_ERROR, detail)
}

/// The event's attributes, which programs see as `$event`.
#[derive(Serialize)]
struct Metadata<'e> {
    id: String,
    source: &'e str,
    r#type: &'e str,
    subject: &'e str,
    key: &'e str,
    time: String,
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resend: Option<Resend>,
}

/// Of which message the one is a further try that a status is about.
#[derive(Serialize)]
struct Resend {
    /// The first message's id.
    of: String,
    /// How many-th further try it is.
    attempt: u32,
}

impl Resend {
    /// What the text says that the message is called back with. A body without our mark is not looked into.
    fn of(body: &[u8]) -> Option<Self> {
        memmem::find(body, origin::MARK.as_bytes())?;
        let (Origin { of, attempt, .. }, _) = Origin::read(&Status::read(body)?.callback_data?)?;
        (attempt > 0).then_some(Self { of, attempt })
    }
}

fn metadata(event: &Event) -> Bytes {
    let mut headers = serde_json::Map::new();
    for (name, value) in &event.headers {
        // A header that comes twice has one value, with a comma between, as HTTP says.
        let joined = match headers.get(&**name).and_then(serde_json::Value::as_str) {
            Some(first) => format!("{first}, {value}"),
            None => value.to_string(),
        };
        headers.insert(name.to_string(), joined.into());
    }
    let metadata = Metadata {
        id: event.id.to_string(),
        source: &event.source,
        r#type: &event.kind,
        subject: &event.subject,
        key: &event.key,
        time: format!("{:.6}", event.time),
        headers,
        resend: Resend::of(&event.body),
    };
    // Strings and a map of strings: serialising them cannot fail.
    serde_json::to_vec(&metadata).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resend(callback: &str) -> Option<(String, u32)> {
        let body = include_str!("../../../tests/fixtures/interakt/message_api_failed.json").replace("otp:77", callback);
        Resend::of(body.as_bytes()).map(|resend| (resend.of, resend.attempt))
    }

    #[test]
    fn only_a_status_of_a_further_try_says_of_which_message_it_is_one() {
        let call = "0".repeat(32);
        assert_eq!(resend(&format!("hr1.{call}.2.7.m-1~otp")), Some(("m-1".to_owned(), 2)));
        for none in ["otp:77", "hr1.", &format!("hr1.{call}.0.7.~otp"), &format!("x hr1.{call}.2.7.m-1~")] {
            assert_eq!(resend(none), None, "{none}");
        }
        let elsewhere = format!(r#"{{"data":{{"message":{{"message":"hr1.{call}.2.7.m-1~"}}}}}}"#);
        assert!(Resend::of(elsewhere.as_bytes()).is_none());
    }
}
