//! What programs see and what becomes of their outputs, by the very function that the worker process runs.

use std::sync::Arc;

use bytes::Bytes;
use sink_api::At;

use super::JqEval;
use super::child::{Known, answer};
use super::frame::{Answer, Request, Step};
use super::program;
use crate::route::Eval;

const EVENT: &str = r#"{"id":"e-1","type":"t","headers":{"user-agent":"x"}}"#;

fn asked(programs: &[&str], steps: Vec<Step>, body: &str) -> Vec<(u32, Answer)> {
    let programs: Vec<Known> = programs.iter().map(|text| Known::new((*text).to_owned())).collect();
    let request = Request {
        steps,
        show: true,
        time: 1_768_345_500_500_000,
        event: EVENT.into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    answer(&programs, &request)
}

fn condition(text: &str, body: &str) -> Answer {
    let step = Step { condition: Some(0), transform: None, is_final: false };
    asked(&[text], vec![step], body).remove(0).1
}

fn transform(text: &str, body: &str) -> Answer {
    let step = Step { condition: None, transform: Some(0), is_final: false };
    asked(&[text], vec![step], body).remove(0).1
}

fn payloads(text: &str, body: &str) -> Vec<String> {
    match transform(text, body) {
        Answer::Payloads(all) => all.iter().map(|one| String::from_utf8(one.to_vec()).unwrap()).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

fn failure(text: &str, body: &str) -> String {
    match transform(text, body) {
        Answer::Failed(true, message) => message,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_transform_yields_one_several_or_no_payloads() {
    let body = r#"{"data":{"id":12345678901234567890,"all":[{"a":1},{"a":2}]}}"#;
    assert_eq!(payloads(".data.id", body), ["12345678901234567890"]);
    assert_eq!(payloads("{id: .data.id, n: (.data.all | length)}", body), [r#"{"id":12345678901234567890,"n":2}"#]);
    assert_eq!(payloads(".data.all[]", body), [r#"{"a":1}"#, r#"{"a":2}"#]);
    assert!(payloads("empty", body).is_empty());
    assert!(payloads("select(.data.id == 7)", body).is_empty());
    assert_eq!(payloads(".", "not json"), ["null"]);
}

#[test]
fn the_library_is_there_with_the_event_beside_it() {
    assert_eq!(payloads(r#"[.a | test("st.p"; "i")]"#, r#"{"a":"STOP"}"#), ["[true]"]);
    assert_eq!(payloads(r#".a | gsub("[0-9]"; "*")"#, r#"{"a":"+91 98"}"#), [r#""+** **""#]);
    assert_eq!(payloads("[now, (now | todate)]", "{}"), [r#"[1768345500.5,"2026-01-13T23:05:00.5Z"]"#]);
    assert_eq!(payloads(r#"[$event.id, $event.headers["user-agent"]]"#, "{}"), [r#"["e-1","x"]"#]);
    assert_eq!(
        payloads(r#"[(.a | IN("x", "y")), IN(.a, "q"; "q"), ("z" | IN("x"))]"#, r#"{"a":"y"}"#),
        ["[true,true,false]"]
    );
    assert_eq!(
        payloads("INDEX(.id), (1 | toarray), [leaf_paths]", r#"[{"id":7}]"#),
        [r#"{"7":{"id":7}}"#, "[1]", r#"[[0,"id"]]"#]
    );
    assert_eq!(payloads(r#"[to_entries[] | .key] + (.b | fromjson)"#, r#"{"b":"[1]"}"#), [r#"["b",1]"#]);
}

#[test]
fn a_condition_holds_where_any_output_is_neither_false_nor_null() {
    let body = r#"{"s":"Failed","n":null,"all":[false,0,true]}"#;
    let yes = |shown: &str| Answer::Condition(true, shown.into());
    let no = |shown: &str| Answer::Condition(false, shown.into());
    assert_eq!(condition(".s", body), yes(r#""Failed""#));
    assert_eq!(condition(r#".s == "Sent""#, body), no("false"));
    assert_eq!(condition(".n", body), no("null"));
    assert_eq!(condition("empty", body), no("nothing"));
    assert_eq!(condition(".all[]", body), yes("0"));
    assert_eq!(condition("true, last(repeat(1))", body), yes("true"));
    assert!(matches!(condition(".s.x", body), Answer::Failed(false, message) if message.contains("cannot index")));
}

#[test]
fn run_time_errors_carry_the_program_s_message() {
    assert_eq!(failure(r#"error("no number: \(.a)")"#, r#"{"a":[1]}"#), "no number: [1]");
    // The message of a failure of jq itself holds nothing of the body.
    assert_eq!(failure(".a.b", r#"{"a":1}"#), "cannot index a number with \"b\"");
    assert_eq!(failure(".a.b", r#"{"a":["+91 {98",{"x":"]"}]}"#), "cannot index an array with \"b\"");
    assert_eq!(failure(".a[.b]", r#"{"a":1,"b":"+91"}"#), "cannot index a number with a string");
    assert_eq!(failure(".a - 1", r#"{"a":"+91 98"}"#), "cannot calculate a string - a number");
    assert_eq!(failure(".a | tonumber", r#"{"a":"+91 x98"}"#), "cannot parse a string as JSON");
    assert_eq!(failure(".a | fromjson", r#"{"a":"{\"b"}"#), "cannot parse a string as JSON");
    assert_eq!(failure(".a | todate", r#"{"a":"+91 98"}"#), "cannot use a string as number");
    assert_eq!(failure(".a | try tonumber catch error(.)", r#"{"a":"x91"}"#), "cannot parse a string as JSON");
    assert!(failure(".a | fromdate", r#"{"a":"+91 98"}"#).starts_with("jq failed on an object; "));
    assert!(failure("[limit(5000000; repeat(1))] | .[]", "{}").contains("more than 1000 payloads"));
    assert!(failure("\"x\" * 5000000", "{}").contains("more than 4 MiB"));
    assert!(failure(".", &format!("{}{}", "[".repeat(1500), "]".repeat(1500))).contains("deeper"));
}

/// Functions that take no end, or no end of memory, for some of the values below.
const ENDLESS: &[&str] = &["until", "combinations", "error", "error_empty"];
/// What no message may show, as a text and as a number.
const MARKERS: [&str; 2] = ["mrk", "86753"];

/// Programs that call everything there is in the library, and every operator.
fn calls() -> Vec<String> {
    let mut calls = Vec::new();
    let names = program::names().into_iter().filter(|(name, _)| !ENDLESS.contains(&name.as_str()));
    for (name, arity) in names {
        let with = |argument: &str| match arity {
            0 => name.clone(),
            _ => format!("{name}({})", vec![argument; arity].join("; ")),
        };
        let arguments: &[&str] = if arity == 0 { &["."] } else { &[".", ".[0]", "\"x\"", "(1, .)", "{}"] };
        calls.extend(arguments.iter().map(|argument| with(argument)));
        // Where a string or a number is wanted first.
        calls.extend(["tostring", "length"].map(|first| format!("{first} | {}", with("$in"))));
    }
    for operator in ["+", "-", "*", "/", "%"] {
        calls.extend([format!(". {operator} 1"), format!("[] {operator} ."), format!(". {operator} {{}}")]);
    }
    let more = [
        "-.",
        ".[]",
        ".[.]",
        ".x",
        ".[0]",
        ".[\"x\"]",
        ".[\"x\":]",
        ".[.:.]",
        ".[{}]",
        "{(.): 1}",
        "path(1 | .)",
        ".[99] = 1",
        ".x = 1",
        ".[0] |= .",
        ". as [$a] | $a",
        ". as {x: $a} | $a",
        "reduce .[] as [$a] (.; . + $a)",
        "foreach .[] as {a: $a} (0; . + $a)",
        "@base64d",
        "@base64",
        "@csv",
        "@tsv",
        "@sh",
        "@uri",
        "@html",
        "@json",
        "@text",
        "@urid",
        "[.] | implode",
        "$in | fromjson",
        "test(.)",
        "test(\"(\"; .)",
        "try error(.) catch .x.y",
        "first(.[])",
        "limit(1; .[])",
        "label $f | .[] | break $f",
        "input_line_number",
        "[.] | combinations",
        "strptime(\"%Y\")",
        "strftime(.)",
        "getpath([.])",
        "delpaths([[.]])",
        "to_entries | from_entries",
        "ascii",
    ];
    calls.extend(more.map(str::to_owned));
    calls
}

#[test]
fn no_failure_tells_a_value_of_the_event() {
    let bodies = [
        r#""mrk""#,
        r#""mrk [{\"x\": mrk}\" mrk""#,
        r#""é mrk +91 98""#,
        "86753",
        "-86753.5",
        r#"["mrk"]"#,
        r#"[["mrk",86753],{"mrk":"mrk"}]"#,
        r#"{"mrk":"mrk"}"#,
        r#"{"x":"mrk","a":["mrk"],"key":"mrk","value":86753}"#,
        r#"["mrk","(",86753]"#,
        "true",
        "null",
    ];
    let run = move || {
        let (mut failed, mut shapeless) = (0, 0);
        for text in calls() {
            // Not every word of the list above is one of jq's.
            let Ok(program) = program::read("transform", &format!(". as $in | {text}")) else { continue };
            for body in bodies {
                let input = super::value::read(body.as_bytes()).unwrap();
                for said in program.run(input.clone(), input, 0.0).take(5).filter_map(Result::err) {
                    failed += 1;
                    shapeless += usize::from(said.starts_with("jq failed"));
                    assert!(!MARKERS.iter().any(|marker| said.contains(marker)), "{text} of {body}: {said}");
                }
            }
        }
        assert!(failed > 1_000 && shapeless * 10 < failed, "{failed} failures, {shapeless} of them without a shape");
    };
    std::thread::Builder::new().stack_size(program::STACK).spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_stands_behind_a_false_condition_or_a_final_route_is_not_asked() {
    let step = |condition, transform, is_final| Step { condition, transform, is_final };
    let programs = ["true", "false", "error(\"asked\")", "1"];
    let steps = vec![step(Some(1), Some(2), true), step(Some(0), Some(3), true), step(None, Some(2), false)];
    let numbers: Vec<u32> = asked(&programs, steps, "{}").iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, [1, 0, 3]);
    let twice = vec![step(Some(0), Some(3), false), step(Some(0), Some(3), false)];
    assert_eq!(asked(&programs, twice, "{}").len(), 2);
}

#[test]
fn a_program_that_is_none_is_a_fault_with_its_place() {
    for (text, at, part) in [
        (".a ==", 5, "expected term, found the end"),
        (".a | (1", 7, "closing parenthesis"),
        (".a | selct(.b)", 5, "there is no filter `selct` in jq"),
        ("$evnt.id", 0, "there is no variable `$evnt`"),
        (".a |\n  \"x", 9, "closing quote"),
        ("include \"x\"; .", 9, "modules cannot be included"),
        ("import \"x\" as x; .", 8, "or imported"),
        ("import \"/etc/passwd\" as $x; .", 8, "or imported"),
        ("import \"x\" as $event; $event.id", 8, "or imported"),
    ] {
        let fault = JqEval.read_condition(text).unwrap_err();
        assert_eq!(fault.at, At::Inside("where".into(), at), "{text}: {}", fault.message);
        assert!(fault.message.contains(part), "{text}: {}", fault.message);
    }
    let help = |text: &str| JqEval.read_transform(text).unwrap_err().help.unwrap_or_default();
    assert_eq!(help(".a | selct(.b)"), "did you mean `select`?");
    assert_eq!(help("$evnt"), "did you mean `$event`?");
    assert_eq!(help("map"), "`map` takes another number of arguments");
    assert_eq!(help("interakt.mesage_status"), "did you mean `interakt.message_status`?");
}

#[test]
fn what_tells_more_than_the_event_is_off() {
    for text in ["env", "$ENV", "$ENV.PATH", "input", "inputs", "debug", "stderr", "halt", "halt_error", "debug(1)"] {
        let fault = JqEval.read_condition(text).unwrap_err();
        assert!(fault.message.contains("is off in rules"), "{text}: {}", fault.message);
    }
}

#[test]
fn a_compiled_program_can_be_asked_again() {
    let program = program::read("where", ".a").unwrap();
    let _kept: Arc<str> = "x".into();
    for n in 0..3_usize {
        let got: Vec<_> = program.run(jaq_json::Val::from(n), jaq_json::Val::Null, 0.0).collect();
        assert!(got[0].is_err());
    }
}

/// Programs `n` operators and brackets deep: in brackets, in chains, and in strings.
fn deep(n: usize) -> Vec<String> {
    let nested = |open: &str, core: &str, close: &str| open.repeat(n) + core + &close.repeat(n);
    let mut all = vec![
        nested("(", "1", ")"),
        nested("[", "1", "]"),
        nested("-", "1", ""),
        nested("try ", "1", ""),
        nested("\"\\(", "1", ")\""),
        "{a:".repeat(n / 2) + "1" + &"}".repeat(n / 2),
        ".a == 1 or ".repeat(n / 3) + "true",
        "if . then 1 else ".repeat(n / 2) + "1" + &" end".repeat(n / 2),
    ];
    all.extend(
        ["|", ",", "+", "//", "and"].map(|operator| format!("1 {operator} ").repeat(n / operator.len().min(2)) + "1"),
    );
    all
}

#[test]
fn the_deepest_programs_there_may_be_are_read_and_run_on_the_stack_set_aside_for_them() {
    for text in deep(4_000) {
        let start = text.get(..20).unwrap_or_default().to_owned();
        JqEval.read_condition(&text).unwrap_or_else(|fault| panic!("{start}: {}", fault.message));
        let run = std::thread::Builder::new().stack_size(program::STACK).spawn(move || condition(&text, "{\"a\":2}"));
        let said = run.unwrap().join().unwrap();
        assert!(matches!(said, Answer::Condition(..) | Answer::Failed(..)), "{start}: {said:?}");
    }
}

#[test]
fn programs_that_are_deeper_are_refused_with_a_way_out() {
    for text in deep(12_000) {
        let fault = JqEval.read_condition(&text).unwrap_err();
        let start = text.get(..20).unwrap_or_default();
        let is_short = text.len() <= 64 << 10;
        assert!(!is_short || fault.message.contains("operators and brackets"), "{start}: {}", fault.message);
        assert!(!is_short || fault.help.is_some_and(|help| help.contains("test(")), "{start}");
    }
    // jaq takes the line behind such a comment for a comment, too: the quote begins no string.
    for (comment, fits) in [("# \\\n\"\n", 3_900), ("# \\\\\n", 3_900), ("# \\\r\n\"\n", 3_900)] {
        for (n, taken) in [(fits, true), (30_000, false)] {
            let text = format!("1 {comment}| {}1{}", "(".repeat(n), ")".repeat(n));
            assert_eq!(JqEval.read_condition(&text).is_ok(), taken, "{comment:?}, {n}");
        }
    }
    // A table of texts, and a list of conditions, as people write them.
    let table: String = (0..3_000).map(|n| format!("\"k{n}\":\"v\",")).collect();
    JqEval.read_transform(&format!("{{{table}}}[.a]")).unwrap();
    JqEval.read_condition(&(".a == \"x\" or ".repeat(1_900) + "false")).unwrap();
    // What stands in strings and comments nests nothing.
    let many = (0..3_600).map(|n| format!("{n}|()")).collect::<String>();
    JqEval.read_condition(&format!(". == \"{many}\" # {many}")).unwrap();
}
