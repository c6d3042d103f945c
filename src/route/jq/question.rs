//! Recognises conditions that are valid programs but ask nothing about the event: an assignment, which yields the
//! changed input and so always holds, and a constant. It looks at the parsed term, never at the text. Pure.
//!
//! Nothing is run. A condition that holds for some input and not for another is a question, however odd it is.

use jaq_core::load;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};

use super::program::STACK;

/// Why a condition asks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuestion {
    /// The condition is an assignment: `.code = "131026"`.
    Assignment,
    /// The condition is the same for every event: `true`, `"131026"`.
    Constant,
    /// One side of its `or` always holds, or one side of its `and` never holds: `.code == "1" or "2"`.
    Side,
}

/// Why a condition, which was read without a fault, asks nothing; `None` if it asks something. The work is done on a
/// thread with as large a stack as reading needs.
pub fn no_question(text: &str) -> Option<NoQuestion> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("jq-question".to_owned()).stack_size(STACK);
        let reader = reader.spawn_scoped(scope, || {
            let term = load::parse(text, |parser| parser.term())?;
            of(&term)
        });
        // If there is no thread, there is no warning: the condition is valid in any case.
        reader.ok()?.join().unwrap_or_default()
    })
}

fn of(term: &Term<&str>) -> Option<NoQuestion> {
    if is_constant(term) {
        return Some(NoQuestion::Constant);
    }
    match term {
        Term::Def(_, body) => of(body),
        Term::BinOp(left, op, right) => match op {
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                Some(NoQuestion::Assignment)
            }
            // Whether the left side yields anything may be the question: `select(…) | true`.
            BinaryOp::Pipe(_) if is_constant(right) => matches!(**left, Term::Id).then_some(NoQuestion::Constant),
            BinaryOp::Pipe(_) => of(right),
            BinaryOp::Or => side(left, right, true),
            BinaryOp::And => side(left, right, false),
            _ => None,
        },
        _ => None,
    }
}

/// Whether one constant side decides an `or`, by always holding, or an `and`, by never holding.
fn side(left: &Term<&str>, right: &Term<&str>, decisive: bool) -> Option<NoQuestion> {
    [left, right].into_iter().find_map(|side| match of(side) {
        Some(NoQuestion::Constant) => (truth(side) == Some(decisive)).then_some(NoQuestion::Side),
        found => found,
    })
}

/// Whether a term has the same result for every input.
fn is_constant(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) | Term::Arr(None) => true,
        Term::Str(_, parts) => !parts.iter().any(|part| matches!(part, StrPart::Term(_))),
        Term::Arr(Some(inner)) | Term::Neg(inner) => is_constant(inner),
        Term::Obj(members) => {
            members.iter().all(|(key, value)| is_constant(key) && value.as_ref().is_some_and(is_constant))
        }
        Term::BinOp(left, op, right) => {
            let computes = matches!(
                op,
                BinaryOp::Math(_) | BinaryOp::Cmp(_) | BinaryOp::And | BinaryOp::Or | BinaryOp::Alt | BinaryOp::Comma
            );
            computes && is_constant(left) && is_constant(right)
        }
        Term::Call(name, arguments) => arguments.is_empty() && matches!(*name, "true" | "false" | "null"),
        _ => false,
    }
}

/// Whether a constant holds; `None` where that is not easily known.
fn truth(term: &Term<&str>) -> Option<bool> {
    match term {
        Term::Num(_) | Term::Str(..) | Term::Arr(_) | Term::Obj(_) | Term::Call("true", _) => Some(true),
        Term::Call("false" | "null", _) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_wherever_it_decides_is_no_question() {
        for text in [
            r#".code = "131026""#,
            ".data.n |= 1",
            ".n += 1",
            ".n //= 1",
            r#".data | .code = "x""#,
            r#". as $all | $all.code = "x""#,
            "def f: .a; f = 1",
            r#".a == 1 and (.code = "x")"#,
            r#"(.code = "x") or .b"#,
        ] {
            assert_eq!(no_question(text), Some(NoQuestion::Assignment), "{text}");
        }
    }

    #[test]
    fn a_constant_and_a_side_that_decides_alone_are_no_questions() {
        for text in
            ["true", "false", "null", "1", "-1", r#""131026""#, "[]", r#"{"a": 1}"#, "1 == 1", ". | true", "(true)"]
        {
            assert_eq!(no_question(text), Some(NoQuestion::Constant), "{text}");
        }
        for text in [r#".code == "1" or "2""#, ".a or true", "false and .a", r#".a == 1 or (.b == 2 or "x")"#] {
            assert_eq!(no_question(text), Some(NoQuestion::Side), "{text}");
        }
    }

    #[test]
    fn what_may_hold_or_not_is_a_question() {
        for text in [
            ".a",
            ".",
            r#".code == "131026""#,
            r#".code | tostring | IN("1013", "131026")"#,
            "select(.a) | true",
            ".items[] | true",
            ".a // false",
            ".a and true",
            ".a or false",
            "if .a then true else false end",
            r#""\(.a)" == "x""#,
            "$event.type",
            "now > 1",
            "(.a = 1) == .b",
            r#"[.a == "x", .b] | any"#,
            r#".message | test("a = b")"#,
            r#"any(.a[]; .b == "=")"#,
            "not",
            "{a}",
            "try error(\"x\") catch false",
        ] {
            assert_eq!(no_question(text), None, "{text}");
        }
    }

    #[test]
    fn the_deepest_program_there_may_be_is_looked_at() {
        let deep = format!("{}.a = 1", ". | ".repeat(3_900));
        assert_eq!(no_question(&deep), Some(NoQuestion::Assignment));
        assert_eq!(no_question(&format!("{}.a{}", "(".repeat(1_900), ")".repeat(1_900))), None);
    }
}
