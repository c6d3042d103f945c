//! Runs `where` and `transform` as jq programs (the `jaq` crates), behind the seam of [`eval`](super::eval).
//!
//! Rooms: `program` compiles a text, or finds its fault and where that is; `question` recognises conditions that are
//! the same for all events; `failure` words the message of a program that fails, without values; `value` converts JSON;
//! `frame` is the protocol between the two processes; `child` is the worker process, which runs programs and watches
//! itself; `asker` is the daemon's side, which starts the worker process, asks it, and finds out whose fault a death
//! was.
//!
//! Programs run in a process of their own because nothing else can stop them: a jq program cannot be interrupted, and
//! one that eats memory takes its process along. Each sink has one process, `hookrelay jq-worker`, started from
//! `/proc/self/exe` when the first event needs it. It has no files and no environment (but for a word to its
//! allocator); `env`, `input`, `debug`, `stderr` and `halt` are not in its library, and `now` is the event's time.
//!
//! What reads, runs and drops a program calls itself once a level. So operators and brackets are bounded (4,000), and
//! both sides use threads with a stack for that many; a glob's braces are bounded, too.
//!
//! The worker process watches itself: a second thread ends it when one event takes more than [`CPU`], or the process
//! more than [`MEMORY`]. Resource limits alone would not do, as they count CPU time over a process's life, in whole
//! seconds. The payloads of one event have bounds in number and bytes.

pub mod asker;
pub mod child;
mod failure;
pub mod frame;
mod program;
mod question;
#[cfg(test)]
mod tests;
mod value;

use std::time::Duration;

use bytes::Bytes;
use sink_api::fault::nearest;
use sink_api::{Event, Fault, Reason};

pub use asker::{Ask, AskError, Asker, Said};
pub use question::{NoQuestion, no_question};

use super::builtin::{self, BUILTINS};
use super::eval::{Answers, BuiltinEval, Eval, Program};

/// The hidden verb by which the daemon starts itself as a worker process.
pub const VERB: &str = "jq-worker";

/// CPU time that all programs may take for one event at one sink.
pub const CPU: Duration = Duration::from_secs(1);
/// Memory of the worker process.
pub const MEMORY: u64 = 256 << 20;
/// Most bytes of payloads made of one event for one sink.
pub const MAX_OUTPUT: usize = 4 << 20;
/// Most payloads of one program for one event.
pub const MAX_PAYLOADS: usize = 1_000;
/// Deepest nesting of a body that programs are given, and of a payload they may make.
pub const MAX_DEPTH: usize = 1_000;

/// Reads jq programs and the names of built-in transforms. Answers for built-ins only; jq's answers come from an
/// [`Asker`].
#[derive(Clone, Copy, Debug, Default)]
pub struct JqEval;

/// Reads a program that stands in no config. `option` is what its text was given by.
///
/// # Errors
/// A fault at that key, or inside its value.
pub fn read(option: &str, text: &str) -> Result<Program, Fault> {
    program::check(option, text).map(|()| Program::new(text))
}

impl Eval for JqEval {
    fn read_condition(&self, text: &str) -> Result<Program, Fault> {
        program::check("where", text).map(|()| Program::new(text))
    }

    fn read_transform(&self, text: &str) -> Result<Program, Fault> {
        if builtin::find(text).is_some() {
            return Ok(Program::new(text));
        }
        match program::check("transform", text) {
            Ok(()) => Ok(Program::new(text)),
            Err(fault) => Err(match nearest(text.trim(), BUILTINS.iter().map(|b| b.name)) {
                Some(name) => fault.help(format!("did you mean `{name}`?")),
                None => fault,
            }),
        }
    }
}

impl Answers for JqEval {
    fn condition(&self, program: &Program, event: &Event) -> Result<bool, Reason> {
        BuiltinEval.condition(program, event)
    }

    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason> {
        BuiltinEval.transform(program, event)
    }
}
