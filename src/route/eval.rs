//! The seam behind which `where` and `transform` run. The router knows programs by their text only; how they are
//! compiled, and where they run, is the evaluator's own business.
//!
//! Programs are read once, when the rules are compiled ([`Eval`]); [`Answers`] are about one event. Built-in transforms
//! are pure functions and answer at once ([`BuiltinEval`]). jq runs in a process of its own (`jq`): it is asked about
//! many events at a time before they are routed, and its answers are handed to the router.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sink_api::{Event, Fault, Reason, code};

use super::builtin;

/// The text of a program that an evaluator has read and accepted. The router gets its programs from
/// [`Eval::read_condition`] and [`Eval::read_transform`] only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Program(Arc<str>);

impl Program {
    /// A program of that text. Only evaluators call this.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Reads programs when the rules are compiled. It also gives the [`Answers`] where no program was asked beforehand.
pub trait Eval: Answers {
    /// Reads a `where`.
    ///
    /// # Errors
    /// A fault at the key `where`, or inside its value.
    fn read_condition(&self, text: &str) -> Result<Program, Fault>;

    /// Reads a `transform`.
    ///
    /// # Errors
    /// A fault at the key `transform`, or inside its value.
    fn read_transform(&self, text: &str) -> Result<Program, Fault>;
}

/// What programs answer about one event.
pub trait Answers: Send + Sync {
    /// Whether the condition holds for the event.
    ///
    /// # Errors
    /// A reason of code `rule_error`, which makes dead letters.
    fn condition(&self, program: &Program, event: &Event) -> Result<bool, Reason>;

    /// The payloads made of the event, each one compact JSON value; none at all means there is nothing to deliver.
    ///
    /// # Errors
    /// A reason of code `rule_error`, which makes dead letters.
    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason>;

    /// What a condition evaluated to, in JSON, if that was asked for (`explain`).
    fn value(&self, _program: &Program) -> Option<&str> {
        None
    }
}

/// Answers for built-in transforms only, by their names.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinEval;

impl Answers for BuiltinEval {
    fn condition(&self, program: &Program, _event: &Event) -> Result<bool, Reason> {
        Err(unknown(program))
    }

    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason> {
        builtin::find(program.text()).map_or_else(|| Err(unknown(program)), |builtin| (builtin.run)(event))
    }
}

/// The reason for a jq program that was not asked beforehand, which is a mistake of the caller.
fn unknown(program: &Program) -> Reason {
    Reason::new(code::RULE_ERROR, format!("`{}` is not a built-in transform", program.text()))
}
