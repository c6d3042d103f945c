//! Explains why an event goes where it goes: calls [`RuleSet::route`] for every sink with an observer that takes notes.
//! There is no second matcher.
//!
//! [`Explanation`] serialises to the shape of `explain --json`; its `Display` is the text for people.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sink_api::{Delivery, Event, Target, json};

use super::doubts::named;
use super::eval::Answers;
use super::jq::Said;
use super::router::{Destination, Observer, Step};
use super::rules::{Fit, INTERNAL_SOURCE, RuleSet};

/// Most of a payload shown in the text form, in bytes.
const MAX_SHOWN: usize = 4_000;
/// Fewest digits of a number that is changed by [`PayloadView::map`]. Shorter ones are in too many payloads to be
/// anybody's secret.
const MIN_DIGITS: usize = 4;

/// Most globs of a route for which an explanation says which known types they match.
const MOST_GLOBS: usize = 16;

/// What became of an event under a rule set.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The event.
    pub event: EventView,
    /// Every route, in file order.
    pub routes: Vec<RouteView>,
    /// Every delivery: sinks in the order given, a sink's deliveries in the order they are owed.
    pub deliveries: Vec<DeliveryView>,
}

/// An event's attributes.
#[derive(Debug, Serialize)]
pub struct EventView {
    /// Its id.
    pub id: String,
    /// Name of its source.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about; may be empty.
    pub subject: String,
    /// Its own ordering key.
    pub key: String,
    /// Notes about what was not taken of the webhook, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What became of a route.
#[derive(Debug, Serialize)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Whether it applies to the event.
    pub matched: bool,
    /// Why, or why not, and what went wrong.
    pub why: String,
}

/// One delivery.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    /// Name of the sink.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// Its ordering key.
    pub key: String,
    /// What is delivered.
    pub payload: PayloadView,
    /// Where to, inside the sink.
    pub target: Target,
}

/// A payload to be shown. JSON is shown as the value itself, without insignificant whitespace, its digits and escapes
/// as they came; anything else as `{"base64":"…"}`.
pub enum PayloadView {
    /// A JSON value.
    Json(Box<RawValue>),
    /// Anything else, in base64.
    Base64(String),
}

impl PayloadView {
    /// A view of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        json::compact(bytes)
            .and_then(|compact| RawValue::from_string(String::from_utf8(compact).ok()?).ok())
            .map_or_else(|| Self::Base64(BASE64.encode(bytes)), Self::Json)
    }
}

impl PayloadView {
    /// The payload with each of its texts changed. In JSON these are strings and names, with their escapes resolved,
    /// and the digits of numbers; a number that changes becomes a string. Anything else is one text.
    #[must_use]
    pub fn map(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Json(raw) => {
                let changed = map_json(raw.get(), &change);
                // The result is JSON still, as only whole tokens were replaced.
                if changed == raw.get() { Self::Json(raw) } else { Self::of(changed.as_bytes()) }
            }
            Self::Base64(text) => {
                let plain = BASE64.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                match plain.map(|plain| (change(&plain), plain)) {
                    Some((changed, plain)) if changed != plain => Self::Base64(BASE64.encode(changed)),
                    _ => Self::Base64(text),
                }
            }
        }
    }
}

fn map_json(json: &str, change: &impl Fn(&str) -> String) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest.find(|c| !is_digit(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let text = match first {
            // A Rust string cannot hold a lone surrogate: a JSON string with one is taken as it is written.
            '"' => Some(serde_json::from_str(token).unwrap_or_else(|_| token.trim_matches('"').to_owned())),
            _ => (length >= MIN_DIGITS).then(|| token.to_owned()),
        };
        match text.map(|text| (change(&text), text)) {
            Some((changed, text)) if changed != text => out.push_str(&quoted(&changed)),
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// The length in bytes of the JSON string that a text begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Says what it is without showing it.
impl fmt::Debug for PayloadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(raw) => write!(f, "Json({} bytes)", raw.get().len()),
            Self::Base64(text) => write!(f, "Base64({} bytes)", text.len()),
        }
    }
}

impl Serialize for PayloadView {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(raw) => raw.serialize(out),
            Self::Base64(text) => BTreeMap::from([("base64", text)]).serialize(out),
        }
    }
}

/// Routes the event for each of these sinks and explains the result. This is for rules without jq; for others see
/// [`explain_by`].
pub fn explain(rules: &RuleSet, sinks: &[Destination], event: &Arc<Event>) -> Explanation {
    explain_by(rules, sinks, event, &[])
}

/// Does what [`explain`] does, with jq's answers about the event for each of the sinks, in their order.
pub fn explain_by(rules: &RuleSet, sinks: &[Destination], event: &Arc<Event>, said: &[Said]) -> Explanation {
    let mut notes = Notes { rules, said: &*rules.eval, sink: "", routes: BTreeMap::new() };
    let mut deliveries = Vec::new();
    for (index, sink) in sinks.iter().enumerate() {
        notes.sink = &sink.name;
        notes.said = said.get(index).map_or(&*rules.eval as &dyn Answers, |said| said);
        let routed = rules.route_by(notes.said, sink, event, &mut notes);
        deliveries.extend(routed.deliveries.into_iter().map(|delivery| view(&sink.name, delivery)));
    }
    let fits = rules.fits(&event.source, &event.kind);
    // One that stands in no file is named only where it gives one of these sinks something.
    let gives = |index: &usize| notes.routes.get(index).is_some_and(|note| !note.refused);
    let is_shown = |index: usize| !rules.is_implicit(index) || gives(&index);
    let named: Vec<_> = rules.all_names().zip(fits).enumerate().filter(|(index, _)| is_shown(*index)).collect();
    let routes = named.into_iter().map(|(index, (name, fit))| {
        let note = notes.routes.remove(&index).unwrap_or_default();
        RouteView { name: name.to_owned(), matched: note.matched(&fit), why: note.why(rules, index, &fit, event) }
    });
    Explanation {
        routes: routes.collect(),
        event: EventView {
            id: event.id.to_string(),
            source: event.source.to_string(),
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            key: event.key.to_string(),
            notes: vec![],
        },
        deliveries,
    }
}

fn view(sink: &str, delivery: Delivery) -> DeliveryView {
    let payload = PayloadView::of(delivery.bytes());
    DeliveryView {
        sink: sink.to_owned(),
        id: delivery.id,
        key: delivery.key.to_string(),
        payload,
        target: delivery.target,
    }
}

/// What was seen of each route, over all sinks.
struct Notes<'n> {
    rules: &'n RuleSet,
    said: &'n dyn Answers,
    sink: &'n str,
    routes: BTreeMap<usize, Note>,
}

/// What was seen of one route.
#[derive(Default)]
struct Note {
    /// Whether the route did not apply although its glob matched.
    refused: bool,
    /// The remarks, each once, in the order in which they were first made.
    remarks: Vec<String>,
}

impl Observer for Notes<'_> {
    fn saw(&mut self, route: usize, step: Step<'_>) {
        let value = self.rules.condition(route).and_then(|program| self.said.value(program));
        let note = self.routes.entry(route).or_default();
        let remark = match step {
            Step::Applies => match value {
                Some(value) => format!("its `where` is {value}"),
                None => return,
            },
            Step::False => {
                note.refused = true;
                format!("its `where` is {}", value.unwrap_or("false"))
            }
            Step::ConditionFailed(reason) => {
                note.refused = true;
                format!("its `where` failed: {reason}")
            }
            Step::AfterFinal(last) => {
                note.refused = true;
                after_final(self.rules, last)
            }
            Step::Nothing { outputs: 0 } => format!("nothing for sink {:?}: its `transform` yields nothing", self.sink),
            Step::Nothing { .. } => format!("nothing new for sink {:?}: an earlier route yields the same", self.sink),
            Step::Failed(reason) => format!("dead letter at sink {:?}: {reason}", self.sink),
        };
        if !note.remarks.contains(&remark) {
            note.remarks.push(remark);
        }
    }
}

impl Note {
    fn matched(&self, fit: &Fit<'_>) -> bool {
        matches!(fit, Fit::Glob(_)) && !self.refused
    }

    fn why(self, rules: &RuleSet, route: usize, fit: &Fit<'_>, event: &Event) -> String {
        let by_globs = match fit {
            Fit::Glob(glob) => format!("glob {glob:?} matches type {:?}", event.kind),
            Fit::NoGlob => {
                format!("no glob matches type {:?}{}", event.kind, what_they_match(rules, route, &event.source))
            }
            Fit::Source(Some(wanted)) => format!("source is {:?}, route wants {wanted:?}", event.source),
            Fit::Source(None) => format!("internal events match only routes with source = {INTERNAL_SOURCE:?}"),
            Fit::AfterFinal(last) => after_final(rules, *last),
        };
        std::iter::once(by_globs).chain(self.remarks).collect::<Vec<_>>().join("; ")
    }
}

/// Says which known types a route's globs match; nothing where the types of the source are not known.
fn what_they_match(rules: &RuleSet, route: usize, source: &str) -> String {
    let globs = rules.known_of(route, source);
    let texts = globs.iter().take(MOST_GLOBS).map(|(glob, types)| match types.as_slice() {
        [] => format!("; {glob:?} matches no known type"),
        types => format!("; {glob:?} matches {}", named(types)),
    });
    texts.collect()
}

fn after_final(rules: &RuleSet, last: usize) -> String {
    format!("after final route {:?}", rules.all_names().nth(last).unwrap_or_default())
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = &self.event;
        writeln!(f, "event {}", event.id)?;
        writeln!(
            f,
            "  source {:?}, type {:?}, subject {:?}, key {:?}",
            event.source, event.kind, event.subject, event.key
        )?;
        for note in &event.notes {
            writeln!(f, "  {note}")?;
        }
        writeln!(f, "\nroutes")?;
        let width = self.routes.iter().map(|r| r.name.chars().count()).max().unwrap_or_default();
        for route in &self.routes {
            let mark = if route.matched { "yes" } else { "no " };
            writeln!(f, "  {mark}  {:width$}  {}", printable(&route.name), printable(&route.why))?;
        }
        writeln!(f, "\ndeliveries")?;
        if self.deliveries.is_empty() {
            writeln!(f, "  none")?;
        }
        for delivery in &self.deliveries {
            writeln!(f, "  {}", delivery.sink)?;
            writeln!(f, "    id      {}", printable(&delivery.id))?;
            writeln!(f, "    key     {}", printable(&delivery.key))?;
            for (name, value) in delivery.target.parts() {
                writeln!(f, "    {name:7} {}", printable(value))?;
            }
            writeln!(f, "    payload {}", shown(&delivery.payload))?;
        }
        Ok(())
    }
}

/// Whether a character steers a terminal: control characters, those that turn the direction of writing, and the line
/// breaks of Unicode (UAX #9, *Explicit Directional Embeddings, Overrides and Isolates*).
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text with what steers a terminal escaped, so that no webhook can.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// JSON with those of these characters escaped that JSON permits in strings: DEL and the ones beyond ASCII.
pub fn printable_json(json: &str) -> String {
    if !json.contains(steers) {
        return json.to_owned();
    }
    // Only strings can hold such characters, so that JSON's escapes are right for all of them.
    let escaped = |c: char| if steers(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escaped).collect()
}

/// A payload as text for people: JSON with line breaks and indentation, anything else in base64; cut if it is long.
fn shown(payload: &PayloadView) -> String {
    let (mut text, size) = match payload {
        PayloadView::Json(raw) => (indented(raw.get(), MAX_SHOWN), raw.get().len()),
        PayloadView::Base64(text) if text.is_empty() => return "(empty)".to_owned(),
        PayloadView::Base64(text) => (format!("(not JSON) base64 {text}"), text.len()),
    };
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push_str(&format!("\n    … cut here; {size} bytes in all"));
    }
    // JSON need not escape control characters beyond ASCII. The line breaks added above stay.
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Compact JSON with line breaks and indentation added, up to about `enough` bytes. Strings are left as they are,
/// because they may hold lone surrogates, which no parser would give back.
fn indented(compact: &str, enough: usize) -> String {
    let mut out = String::new();
    let (mut in_string, mut escaped) = (false, false);
    let mut depth = 2_usize;
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > enough {
            break;
        }
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' if !matches!(chars.peek(), Some('}' | ']')) => {
                depth += 1;
                out.push(c);
                line(&mut out, depth);
            }
            '{' | '[' => {
                out.push(c);
                out.extend(chars.next());
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_indents_json_and_leaves_strings_alone() {
        let got = indented(r#"{"a":[1,{}],"s":"{,:\"\\","u":"\ud83d"}"#, 1_000);
        let want = r#"{
      "a": [
        1,
        {}
      ],
      "s": "{,:\"\\",
      "u": "\ud83d"
    }"#;
        assert_eq!(got, want);
    }

    #[test]
    fn the_text_form_cuts_long_payloads_and_deep_ones_alike() {
        for long in [format!("[{}1]", "1,".repeat(100_000)), "[".repeat(50_000) + &"]".repeat(50_000)] {
            assert!(indented(&long, MAX_SHOWN).len() < 2 * MAX_SHOWN);
            let text = shown(&PayloadView::of(long.as_bytes()));
            assert!(text.len() < 3 * MAX_SHOWN, "{}", text.len());
            assert!(text.ends_with(&format!("cut here; {} bytes in all", long.len())), "{}", text.len());
        }
        let binary = shown(&PayloadView::of(&[0xff; 100_000]));
        assert!(binary.len() < 2 * MAX_SHOWN && binary.contains("… cut here"), "{}", binary.len());
        assert_eq!(shown(&PayloadView::of(b"")), "(empty)");
        assert_eq!(shown(&PayloadView::of(b"\xff")), "(not JSON) base64 /w==");
    }

    #[test]
    fn the_texts_of_a_payload_can_be_changed_and_it_stays_what_it_is() {
        let change = |text: &str| text.replace("pa\"ss", "${A}").replace("4711", "${B}");
        let json = |text: &str| match PayloadView::of(text.as_bytes()).map(change) {
            PayloadView::Json(raw) => raw.get().to_owned(),
            PayloadView::Base64(text) => text,
        };
        assert_eq!(
            json(r#"{"a":"x pa\"ss","pa\u0022ss":[4711,1.0,"4711"]}"#),
            r#"{"a":"x ${A}","${A}":["${B}",1.0,"${B}"]}"#
        );
        for same in [r#"{"a":"\ud83d\u0041","b":1.10}"#, r#""é\/""#, "[]", "[true,null,-0]"] {
            assert_eq!(json(same), same);
        }
        assert_eq!(json("not json pa\"ss"), BASE64.encode("not json ${A}"));
        assert_eq!(json(r#""\ud83d 4711""#), r#""\\ud83d ${B}""#);
    }

    #[test]
    fn the_text_form_escapes_what_would_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n☕"), "a\\u{1b}[2J\\n☕");
        assert_eq!(shown(&PayloadView::of("\"\u{9b}2J\"".as_bytes())), "\"\\u{9b}2J\"");
        assert_eq!(printable_json("{\"a\":\"\u{9b}2J\u{7f}☕\"}"), r#"{"a":"\u009b2J\u007f☕"}"#);
    }
}
