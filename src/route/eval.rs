//! The seam behind which `where` and `transform` run. The router knows programs by their text only; what is compiled,
//! and where it runs, is the evaluator's own business.
//!
//! This version has one evaluator, [`BuiltinEval`]: built-in transforms, no jq.

use bytes::Bytes;
use sink_api::fault::nearest;
use sink_api::{Event, Fault, Reason, code};

use super::builtin::{self, BUILTINS};

/// A text that an evaluator has read and accepted. Only [`Eval::read_condition`] and [`Eval::read_transform`] make
/// them for the router; an evaluator may keep what it compiled under this text, or send the text to another process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program(Box<str>);

impl Program {
    /// A program of that text. For evaluators.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Reads programs when the rules are compiled, and runs them when events are routed.
pub trait Eval: Send + Sync {
    /// Reads a `where`.
    ///
    /// # Errors
    /// A fault at the key `where`.
    fn read_condition(&self, text: &str) -> Result<Program, Fault>;

    /// Reads a `transform`.
    ///
    /// # Errors
    /// A fault at the key `transform`.
    fn read_transform(&self, text: &str) -> Result<Program, Fault>;

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
}

/// Built-in transforms by name; no conditions.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinEval;

impl Eval for BuiltinEval {
    fn read_condition(&self, _text: &str) -> Result<Program, Fault> {
        let message = "key `where`: jq conditions are not in this version yet";
        Err(Fault::at_key("where", message).help("leave `where` out and choose events by `match` and `source`"))
    }

    fn read_transform(&self, text: &str) -> Result<Program, Fault> {
        if builtin::find(text).is_some() {
            return Ok(Program::new(text));
        }
        let names: Vec<String> = BUILTINS.iter().map(|b| format!("`{}`", b.name)).collect();
        let message = format!(
            "key `transform`: not the name of a built-in transform, expected one of {}; jq programs are not in this \
             version yet",
            names.join(", ")
        );
        let fault = Fault::at_key("transform", message);
        Err(match nearest(text, BUILTINS.iter().map(|b| b.name)) {
            Some(name) => fault.help(format!("did you mean `{name}`?")),
            None => fault,
        })
    }

    fn condition(&self, program: &Program, _event: &Event) -> Result<bool, Reason> {
        Err(unknown(program))
    }

    fn transform(&self, program: &Program, event: &Event) -> Result<Vec<Bytes>, Reason> {
        builtin::find(program.text()).map_or_else(|| Err(unknown(program)), |builtin| (builtin.run)(event))
    }
}

/// A program of some other evaluator: cannot come out of [`RuleSet::compile`](super::RuleSet::compile).
fn unknown(program: &Program) -> Reason {
    Reason::new(code::RULE_ERROR, format!("`{}` is not a built-in transform", program.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_that_is_not_built_in_names_the_key_the_choice_and_the_nearest_name() {
        let fault = BuiltinEval.read_transform("interakt.mesage_status").unwrap_err();
        assert_eq!(fault.at, sink_api::At::Key("transform".into()));
        for part in ["`transform`", "`interakt.message_status`", "`api_log`", "jq programs are not in this version yet"]
        {
            assert!(fault.message.contains(part), "{}", fault.message);
        }
        assert_eq!(fault.help.as_deref(), Some("did you mean `interakt.message_status`?"));
        assert_eq!(BuiltinEval.read_transform("{id: .data.id}").unwrap_err().help, None);
    }

    #[test]
    fn a_condition_is_refused_with_the_way_out() {
        let fault = BuiltinEval.read_condition(".data != null").unwrap_err();
        assert_eq!(fault.at, sink_api::At::Key("where".into()));
        assert!(fault.message.contains("jq conditions are not in this version yet"), "{}", fault.message);
        assert!(fault.help.is_some());
    }
}
