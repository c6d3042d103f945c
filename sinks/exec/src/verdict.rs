//! A line the program wrote → an outcome. Pure. Knows nothing of batches.

use std::time::Duration;

use sink_api::json::Text;
use sink_api::report::{MAX_ANSWER, MAX_DETAIL};
use sink_api::{Outcome, Reason, code};

use crate::mask::Mask;

/// The program wants the delivery again later, for a reason of its own.
pub const EXEC_RETRY: &str = "exec_retry";
/// The program will never take the delivery, for a reason of its own.
pub const EXEC_REJECT: &str = "exec_reject";
/// The program ended, or closed its output, before it answered.
pub const EXEC_DIED: &str = "exec_died";
/// What the program answered is no verdict.
pub const EXEC_PROTOCOL: &str = "exec_protocol";

/// Codes a program may give with `retry` that become the reason's own code: a metric has few labels. Those of
/// [`code::SINK_DOWN`] open the breaker at once.
const RETRY_CODES: &[&str] =
    &[code::CONNECT, code::DNS, code::TLS, code::AUTH, code::DISK_FULL, code::IO, code::TIMEOUT];
/// The same for `reject`.
const REJECT_CODES: &[&str] = &[code::BAD_PAYLOAD];
/// Longest code of a program's own that is shown, in bytes.
const MAX_CODE: usize = 64;

#[derive(serde::Deserialize)]
struct Line {
    id: Text,
    outcome: Word,
    after: Option<f64>,
    code: Option<Text>,
    detail: Option<Text>,
    answer: Option<Text>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Delivered,
    Retry,
    Reject,
}

/// Reads a line: the id it is about, and the outcome. Unknown members are ignored.
///
/// # Errors
/// Why the line is no verdict, without repeating any of it.
pub fn read(line: &[u8], mask: &Mask) -> Result<(String, Outcome), String> {
    let line: Line = serde_json::from_slice(line).map_err(|e| describe(&e))?;
    let after = line.after.map(Duration::try_from_secs_f64).transpose();
    let after = after.map_err(|_| "`after` is no number of seconds from 0 on".to_owned())?;
    let why = |known: &[&'static str], own| {
        let text = |text: &Option<Text>, max| text.as_ref().map(|Text(t)| mask.clean(t, max)).unwrap_or_default();
        let why = reason(known, own, &text(&line.code, MAX_CODE), text(&line.detail, MAX_DETAIL));
        why.answered(text(&line.answer, MAX_ANSWER).as_bytes())
    };
    let outcome = match line.outcome {
        Word::Delivered => Outcome::Delivered,
        Word::Retry => Outcome::Retry { after, why: why(RETRY_CODES, EXEC_RETRY) },
        Word::Reject => Outcome::Reject { why: why(REJECT_CODES, EXEC_REJECT) },
    };
    Ok((line.id.0, outcome))
}

/// The program's code becomes our label where we know it; else it stands before the detail.
fn reason(known: &[&'static str], own: &'static str, code: &str, detail: String) -> Reason {
    match known.iter().find(|known| **known == code) {
        Some(known) => Reason::new(known, detail),
        None if code.is_empty() => Reason::new(own, detail),
        None if detail.is_empty() => Reason::new(own, code),
        None => Reason::new(own, format!("{code}: {detail}")),
    }
}

/// Category and position of an error: the error's own text may repeat a value.
fn describe(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Data => "`id` or `outcome` is missing, or a member is not what it should be",
        Category::Syntax | Category::Io => "not JSON",
        Category::Eof => "not a whole JSON object",
    };
    format!("{what}, at character {}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Result<Outcome, String> {
        read(line.as_bytes(), &Mask::new(["hush-hush"].into_iter())).map(|(id, outcome)| {
            assert_eq!(id, "e-1");
            outcome
        })
    }

    fn rest(members: &str) -> Result<Outcome, String> {
        outcome(&format!(r#"{{"id":"e-1",{members}}}"#))
    }

    #[test]
    fn each_outcome_is_read_with_its_reason() {
        let retry = |after, code, detail: &str| Outcome::Retry { after, why: Reason::new(code, detail) };
        let two = Some(Duration::from_secs(2));
        for (members, expected) in [
            (r#""outcome":"delivered""#, Outcome::Delivered),
            (r#""outcome":"delivered","after":null,"code":null,"new":{"a":[1]}"#, Outcome::Delivered),
            (r#""outcome":"retry""#, retry(None, EXEC_RETRY, "")),
            (r#""outcome":"retry","after":2,"code":"busy""#, retry(two, EXEC_RETRY, "busy")),
            (r#""outcome":"retry","after":2.0,"code":"connect","detail":"refused""#, retry(two, "connect", "refused")),
            (r#""outcome":"reject","code":"connect","detail":"x""#, Outcome::reject(EXEC_REJECT, "connect: x")),
            (r#""outcome":"reject","code":"bad_payload","detail":"x""#, Outcome::reject("bad_payload", "x")),
            (r#""outcome":"reject","detail":"no hush-hush\nplease""#, Outcome::reject(EXEC_REJECT, "no *** please")),
        ] {
            assert_eq!(rest(members), Ok(expected), "{members}");
        }
    }

    #[test]
    fn what_the_programs_target_said_goes_beside_the_reason_without_secrets() {
        let outcome = rest(r#""outcome":"reject","detail":"x","answer":"no hush-hush, Asha""#).unwrap();
        assert_eq!(outcome, Outcome::reject(EXEC_REJECT, "x").answered(b"no ***, Asha"));
        assert!(!format!("{outcome:?}").contains("Asha"), "{outcome:?}");
    }

    #[test]
    fn a_lone_surrogate_in_a_detail_is_no_reason_to_end_a_program() {
        let Ok(Outcome::Reject { why }) = rest(r#""outcome":"reject","detail":"cut \ud83d""#) else {
            panic!("no verdict")
        };
        assert!(why.detail.starts_with("cut \u{fffd}"), "{why}");
    }

    #[test]
    fn what_is_no_verdict_is_told_without_being_shown() {
        for (line, says) in [
            ("", "not a whole JSON object"),
            ("processing secret-body", "not JSON"),
            (r#"{"id":"e-1","#, "not a whole JSON object"),
            (r#"{"id":"e-1","outcome":"secret-body"}"#, "a member is not"),
            (r#"{"id":"secret-body"}"#, "`outcome` is missing"),
            (r#"{"id":1,"outcome":"delivered"}"#, "a member is not"),
            (r#"{"id":"e-1","outcome":"retry","after":"secret-body"}"#, "a member is not"),
            (r#"{"id":"e-1","outcome":"retry","after":-1}"#, "`after`"),
            (r#"{"id":"e-1","outcome":"retry","after":1e300}"#, "`after`"),
            (r#"{"id":"e-1","outcome":"delivered"} {}"#, "not JSON"),
            (r#"[{"id":"e-1","outcome":"delivered"}]"#, "a member is not"),
        ] {
            let said = outcome(line).unwrap_err();
            assert!(said.contains(says) && !said.contains("secret-body"), "{line}: {said}");
        }
    }
}
