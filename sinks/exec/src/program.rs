//! One running program: its process group, its three pipes, and how it ends.
//!
//! The leader of the group is never reaped before the group was killed: until then the leader's number cannot become
//! another process's.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sink_api::{Reason, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::errors;
use crate::exchange::{Broken, Exchange};
use crate::exit::Exit;
use crate::spec::Spec;
use crate::verdict::{EXEC_DIED, EXEC_PROTOCOL};

/// Longest verdict line, in bytes.
const MAX_VERDICT: usize = 64 << 10;
/// Read at once, in bytes.
const CHUNK: usize = 8 << 10;
/// How long a program may take to end after its input was closed, and then after SIGTERM. Together less than the core
/// gives a sink to close.
const AFTER_INPUT: Duration = Duration::from_millis(1000);
const AFTER_TERM: Duration = Duration::from_millis(500);

/// A running program. Dropped, its process group is killed.
pub struct Program {
    spec: Arc<Spec>,
    child: Child,
    /// Its process group, until the group was killed.
    group: Option<Pid>,
    /// Its end, until it is known to be dead.
    exit: Option<Exit>,
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What was read from its output and not taken yet.
    read: Vec<u8>,
    errors: JoinHandle<()>,
}

/// Why a program is not handed a further batch.
pub enum Unfit {
    /// It has ended.
    Ended,
    /// It wrote something that nobody asked for.
    Talking,
}

impl Program {
    /// Starts a program, once every killed run before it is dead.
    ///
    /// # Errors
    /// The system's, of the kind it is, or `TimedOut` where an earlier run does not die before the deadline.
    pub async fn start(spec: &Arc<Spec>, deadline: Instant) -> io::Result<Self> {
        wait_for_killed(spec, deadline).await?;
        let mut command = Command::new(&spec.program);
        command.args(&spec.arguments).current_dir(&spec.dir).env_clear();
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let gone = || io::Error::other("it has no pipes");
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).ok_or_else(gone)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else { return Err(gone()) };
        let exit = Some(Exit::of(pid)?);
        let errors = tokio::spawn(errors::copy(errors, Arc::clone(spec)));
        let (spec, read) = (Arc::clone(spec), Vec::new());
        Ok(Self { spec, child, group: Some(pid), exit, input: Some(input), output, read, errors })
    }

    /// Whether it may be handed a batch: it lives, and has written nothing since the last one.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn is_fit(&self) -> Result<(), Unfit> {
        let waiting = rustix::io::ioctl_fionread(&self.output).unwrap_or(0);
        if !self.read.is_empty() || waiting > 0 {
            return Err(Unfit::Talking);
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = self.group.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)));
        if ended { Err(Unfit::Ended) } else { Ok(()) }
    }

    /// Writes what the exchange hands out and takes what the program answers, both at once, until no answer is waited
    /// for.
    ///
    /// # Errors
    /// The program ended or broke the protocol. (The caller minds the time: this may be dropped at any await.)
    pub async fn converse(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Broken> {
        let (Some(input), Some(exit)) = (self.input.as_mut(), self.exit.as_ref()) else {
            return Err(Broken::silent(EXEC_DIED, "the program has ended"));
        };
        let mut listens = true;
        while !exchange.is_done() {
            self.read.reserve(CHUNK);
            // An answer counts, even where the program has ended since.
            tokio::select! {
                biased;
                read = self.output.read_buf(&mut self.read) => match read {
                    Ok(0) | Err(_) => return Err(Broken::silent(EXEC_DIED, "the program closed its standard output")),
                    Ok(_) => take_lines(&mut self.read, exchange, &self.spec)?,
                },
                wrote = input.write(exchange.unsent()), if listens && !exchange.unsent().is_empty() => match wrote {
                    Ok(n) => exchange.sent(n),
                    Err(_) => listens = false,
                },
                () = exit.wait() => return Err(Broken::silent(EXEC_DIED, "the program ended")),
                () = tokio::task::yield_now(), if !listens => {
                    return Err(Broken::silent(EXEC_PROTOCOL, "the program closed its standard input"));
                }
            }
        }
        Ok(())
    }

    /// Kills the program and everything in its process group, and waits for its death. Gives its status, where that
    /// came in time.
    pub async fn end(mut self, deadline: Instant) -> Option<ExitStatus> {
        self.kill();
        let status = timeout_at(deadline, self.child.wait()).await.ok()?.ok();
        self.exit = None;
        let _ = timeout_at(deadline, &mut self.errors).await; // its last words
        status
    }

    /// Ends programs in good order, side by side: their input is closed; those that do not end get SIGTERM; then what
    /// is left of their process groups is killed.
    pub async fn close(mut programs: Vec<Self>) {
        programs.iter_mut().for_each(Self::close_input);
        if !all_ended(&programs, AFTER_INPUT).await {
            for program in &programs {
                program.signal(Signal::TERM);
            }
            all_ended(&programs, AFTER_TERM).await;
        }
        programs.iter_mut().for_each(Self::kill);
        for program in programs {
            program.end(Instant::now() + AFTER_TERM).await;
        }
    }

    /// Closes the program's input: a program that keeps to the protocol ends then.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        if let Some(exit) = &self.exit {
            exit.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails where no process is left in the group.
            let _ = kill_process_group(group, signal);
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        self.errors.abort();
        if let Some(exit) = self.exit.take() {
            self.spec.killed.lock().unwrap_or_else(PoisonError::into_inner).push(exit);
        }
    }
}

/// Waits until every killed run is dead.
///
/// # Errors
/// `TimedOut`.
pub async fn wait_for_killed(spec: &Spec, deadline: Instant) -> io::Result<()> {
    let killed = || spec.killed.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(exit) = killed().pop() else { return Ok(()) };
        if timeout_at(deadline, exit.wait()).await.is_err() {
            killed().push(exit);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "an earlier run was killed and does not die"));
        }
    }
}

/// Why a program could not be started, as a reason. An earlier run that does not die is no failure to start.
pub fn reason(spec: &Spec, error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::TimedOut => Reason::new(code::TIMEOUT, error.to_string()),
        _ => spec.not_started(error),
    }
}

async fn all_ended(programs: &[Program], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    let mut all = true;
    for program in programs {
        all &= timeout_at(deadline, program.ended()).await.is_ok();
    }
    all
}

/// Takes the whole lines out of `read`, as long as an answer is waited for.
fn take_lines(read: &mut Vec<u8>, exchange: &mut Exchange<'_>, spec: &Spec) -> Result<(), Broken> {
    let mut start = 0;
    let result = loop {
        let rest = read.get(start..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n');
        if end.unwrap_or(rest.len()) > MAX_VERDICT {
            break Err(Broken::silent(EXEC_PROTOCOL, "the program wrote a line longer than a verdict may be (64 KiB)"));
        }
        let Some((end, false)) = end.map(|end| (end, exchange.is_done())) else { break Ok(()) };
        if let Err(broken) = exchange.take(rest.get(..end).unwrap_or_default(), &spec.mask) {
            break Err(broken);
        }
        start += end + 1;
    };
    read.drain(..start);
    result
}
