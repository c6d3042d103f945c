//! Batch → a program → report. Programs that wait for work lie in a pool; a call takes one out or starts one, and puts
//! it back when every verdict is in.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sink_api::{
    Batch, BuildError, Event, Fault, Reason, Report, Sink, SinkConfig, SinkContext, Target, async_trait, code,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::ExecConfig;
use crate::exchange::{Broken, Exchange};
use crate::program::{self, Program, Unfit};
use crate::spec::Spec;

/// How long a killed program's end is waited for, beyond the batch's deadline too. The core still takes a report that
/// is so late. Where the program is not dead by then, the next start waits for it.
const KILL_PATIENCE: Duration = Duration::from_millis(100);
/// How long opening waits for an earlier run to die.
const OPENING: Duration = Duration::from_secs(5);
/// How long a probe watches whether a program waits for work: a program that never does ends at once.
const WATCH: Duration = Duration::from_millis(500);
/// How long a probe then waits for the program to end once its input has ended. A program that keeps to the protocol
/// ends at once, one that lacks a module or a file too; on a busy machine both take their time. Within what `check
/// --connect` waits for.
const END_PATIENCE: Duration = Duration::from_secs(10);

#[async_trait]
impl SinkConfig for ExecConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn target(&self, _event: &Event) -> Result<Target, Reason> {
        Ok(Target::default())
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(ExecSink::open(Arc::new(Spec::new(self, cx)?)).await?))
    }
}

/// The sink at work.
pub struct ExecSink {
    spec: Arc<Spec>,
    /// Programs without work: at most as many as there were calls at once, which is `concurrency`.
    idle: Mutex<Vec<Program>>,
}

impl ExecSink {
    /// Starts a first program.
    ///
    /// # Errors
    /// Refused where the program is not there or may not be run, else Unavailable.
    pub async fn open(spec: Arc<Spec>) -> Result<Self, BuildError> {
        let started = Program::start(&spec, Instant::now() + OPENING).await;
        let program = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                BuildError::Refused(spec.not_started(&error).detail)
            }
            _ => BuildError::Unavailable(program::reason(&spec, &error)),
        })?;
        Ok(Self { spec, idle: Mutex::new(vec![program]) })
    }

    fn take_idle(&self) -> Option<Program> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, program: Program) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(program);
    }

    /// A program that is fit for a batch: one that waits, or a new one.
    async fn lease(&self, deadline: Instant) -> Result<Program, Reason> {
        while let Some(program) = self.take_idle() {
            let why = match program.is_fit() {
                Ok(()) => return Ok(program),
                Err(Unfit::Ended) => "the program ended while it had nothing to do",
                Err(Unfit::Talking) => "the program wrote more than one verdict for each delivery",
            };
            let status = program.end(deadline.min(Instant::now() + KILL_PATIENCE)).await;
            self.spec.complain(&with_status(why, status), "");
        }
        let started = Program::start(&self.spec, deadline).await;
        started.map_err(|error| program::reason(&self.spec, &error))
    }

    /// Ends a program that failed, and says how.
    async fn give_up(&self, program: Program, broken: Broken) -> Reason {
        let status = program.end(Instant::now() + KILL_PATIENCE).await;
        let what = with_status(&broken.what, status);
        self.spec.complain(&what, &broken.line);
        Reason::new(broken.code, what)
    }
}

#[async_trait]
impl Sink for ExecSink {
    async fn deliver(&self, batch: &Batch) -> Report {
        let deadline = Instant::from_std(batch.deadline);
        let mut exchange = Exchange::new(batch, self.spec.max_line);
        if exchange.is_done() {
            // None of the deliveries fits on a line.
            return exchange.end(None);
        }
        let mut program = match self.lease(deadline).await {
            Ok(program) => program,
            Err(why) => return exchange.end(Some(&why)),
        };
        let late = || Err(Broken::silent(code::TIMEOUT, "the program did not answer in time; is its output flushed?"));
        match timeout_at(deadline, program.converse(&mut exchange)).await.unwrap_or_else(|_| late()) {
            Ok(()) => {
                self.put_back(program);
                exchange.end(None)
            }
            Err(broken) => {
                let why = self.give_up(program, broken).await;
                exchange.end(Some(&why))
            }
        }
    }

    /// Whether a program can be started, waits for work, and ends well when its input ends without any. Time alone does
    /// not tell a program that has not failed yet from one that waits; how it ends does. One that does not end is
    /// alive.
    async fn probe(&self) -> Result<(), Reason> {
        let mut program = self.lease(Instant::now() + OPENING).await?;
        let waits = timeout(WATCH, program.ended()).await.is_err();
        program.close_input();
        let stays = waits && timeout(END_PATIENCE, program.ended()).await.is_err();
        let status = program.end(Instant::now() + KILL_PATIENCE).await;
        let what = match status {
            _ if stays => return Ok(()),
            _ if !waits => "the program ended without work to do",
            Some(status) if !status.success() => "the program failed on an empty input",
            _ => return Ok(()),
        };
        Err(Reason::new(code::CONNECT, with_status(what, status)))
    }

    async fn close(self: Box<Self>) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        Program::close(idle).await;
        // A program that a dropped call left behind has been killed; this makes sure that it is dead.
        let _ = program::wait_for_killed(&self.spec, Instant::now() + KILL_PATIENCE).await;
    }
}

/// What happened, and how the program ended where it did so by itself.
fn with_status(what: &str, status: Option<ExitStatus>) -> String {
    match status.filter(|status| status.signal() != Some(9)) {
        Some(status) => format!("{what} ({status})"),
        // Killed, most often by us.
        None => what.to_owned(),
    }
}
