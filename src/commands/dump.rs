//! `hookrelay journal dump`: prints events of the journal, or counts them by what a jq program says of each. Programs
//! run in a worker process and see what those of rules see.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use globset::GlobMatcher;
use serde_json::{Value, json};
use sink_api::{At, Event, Fault, Timestamp, Uuid};
use tokio::runtime::Runtime;

use super::journal::{moment, printable};
use super::{Failure, count, progress, runtime, span};
use crate::event;
use crate::ids;
use crate::journal::{self, Find, Record, Scanned};
use crate::route::doubts::asks_nothing;
use crate::route::jq::{self, Ask, Asker, Said};
use crate::route::{self, Answers, PayloadView, Program, Question};
use crate::times::{self, Zone};

/// Most events, and most bytes of them, that jq is asked about at once.
const AT_ONCE: (usize, usize) = (256, 1 << 20);
/// Most keys that are counted apart, and the longest of them, bytes; what else there is counts together.
const MAX_KEYS: usize = 10_000;
const MAX_KEY: usize = 1_024;
/// The name of that row.
const OTHERS: &str = "(others)";

/// `journal dump`.
#[derive(Debug, Default, Args)]
pub struct DumpArgs {
    /// Of this type; may hold `*` and `?`
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Of this source
    #[arg(long)]
    pub source: Option<String>,
    /// The event of this id; that of a delivery will do, or the last 8 characters
    #[arg(long)]
    pub id: Option<String>,
    /// About this (a message's id)
    #[arg(long)]
    pub subject: Option<String>,
    /// Accepted since: `2h` ago, `today`, `2026-01-31 09:00` …
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// For which this program holds, as in `where` of a route: the body is its input, `$event` the rest
    #[arg(long = "where", value_name = "JQ")]
    pub condition: Option<String>,
    /// Prints no events: counts what this program yields for each
    #[arg(long, value_name = "JQ")]
    pub count_by: Option<String>,
    /// Whole events, a JSON object a line; with --count-by one list
    #[arg(long)]
    pub json: bool,
}

/// Prints or counts what is asked for.
///
/// # Errors
/// Arguments that cannot be meant, a journal that cannot be read, no worker process.
pub(super) fn run(folder: &Path, args: &DumpArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let meant = Meant::of(folder, args, zone)?;
    let mut dump = Dump { zone, json: args.json, jq: Jq::of(args)?, counts: Counts::default(), left_out: None, out };
    let bar = progress::bar_of_bytes();
    remark_on(args.condition.as_deref());
    let damaged = match &meant.find {
        Some(what) => {
            let mut found = false;
            let each = |record: Record| {
                found = true;
                if meant.is(&record) { dump.take(record) } else { Ok(()) }
            };
            journal::find_each(folder, what, event::subject_of, each)?;
            if let Some(id) = args.id.as_ref().filter(|_| !found) {
                let why = format!("there is no event `{id}` in the journal: retention may have deleted it");
                return Err(Failure::Refused(why));
            }
            0
        }
        None => {
            let each = |record: Record, at: Scanned| -> Result<(), Failure> {
                if args.count_by.is_some() {
                    bar.set_length(at.bytes.1);
                    bar.set_position(at.bytes.0);
                }
                if meant.is(&record) { dump.take(record) } else { Ok(()) }
            };
            journal::scan(folder, meant.span, each)?.damaged
        }
    };
    bar.finish_and_clear();
    dump.finish(args.count_by.is_some())?;
    // These are remarks: if standard error is gone, they are lost.
    if damaged > 0 {
        let _ = writeln!(io::stderr(), "{damaged} stretches could not be read: see `journal verify`");
    }
    if let Some((events, why)) = dump.left_out {
        let why = printable(&why);
        let _ = writeln!(io::stderr(), "{} left out; of the first: {why}", count(events, "event"));
    }
    Ok(())
}

/// Which records are meant, as far as that needs no program.
struct Meant {
    kind: Option<GlobMatcher>,
    source: Option<String>,
    find: Option<Find>,
    /// Of these, where an event is looked for by its id.
    subject: Option<String>,
    /// Microseconds.
    span: (i64, i64),
}

impl Meant {
    fn of(dir: &Path, args: &DumpArgs, zone: &Zone) -> Result<Self, Failure> {
        let kind = args.kind.as_deref().map(route::glob::read).transpose();
        let kind = kind.map_err(Failure::Usage)?.map(|glob| glob.compile_matcher());
        let micros = |time: Option<Timestamp>, other: i64| time.map_or(other, Timestamp::as_microsecond);
        let [since, until] = span(args.since.as_deref(), args.until.as_deref(), zone)?;
        let event = args.id.as_deref().map(|id| event_id(dir, id)).transpose()?;
        let subject = || args.subject.as_deref().map(|subject| Find::Subject(subject.into()));
        let find = event.map(|id| Find::Event(*id.as_bytes())).or_else(subject);
        let span = (micros(since, i64::MIN), micros(until, i64::MAX));
        Ok(Self { kind, source: args.source.clone(), find, subject: args.subject.clone(), span })
    }

    fn is(&self, record: &Record) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind.is_match(&*record.kind))
            && self.source.as_ref().is_none_or(|source| **source == *record.source)
            && (self.span.0..self.span.1).contains(&record.time)
            && self.subject.as_ref().is_none_or(|own| event::subject_of(&record.payload) == Some(own))
    }
}

/// The event that is meant by an id, its own or a delivery's. A short one is looked for in all of the journal.
pub(super) fn event_id(dir: &Path, text: &str) -> Result<Uuid, Failure> {
    if let Some(id) = ids::event(text) {
        return Ok(id);
    }
    let no_id = "expected the id a webhook was answered with, or its last 8 characters";
    let end = ids::end(text).ok_or_else(|| Failure::Usage(format!("--id `{text}` is no id, {no_id}")))?;
    let mut found = BTreeSet::new();
    journal::scan(dir, (i64::MIN, i64::MAX), |record, _| -> Result<(), Failure> {
        if record.id.ends_with(&end) && found.len() < 2 {
            found.insert(Uuid::from_bytes(record.id));
        }
        Ok(())
    })?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => {
            Err(Failure::Refused(format!("`{text}` is the end of several ids, among them {one} and {other}")))
        }
        _ => Err(Failure::Refused(format!("there is no event `{text}` in the journal; retention may have deleted it"))),
    }
}

/// The programs, and the process that runs them.
struct Jq {
    runtime: Runtime,
    asker: Asker,
    question: Question,
    /// What is yet to be asked about, and its bytes.
    waiting: Vec<(Record, Arc<Event>)>,
    bytes: usize,
}

impl Jq {
    fn of(args: &DumpArgs) -> Result<Option<Self>, Failure> {
        let read = |option, text: &Option<String>| text.as_deref().map(|text| program(option, text)).transpose();
        let condition = read("--where", &args.condition)?;
        let transform = read("--count-by", &args.count_by)?;
        let Some(asker) = Asker::of(condition.iter().chain(&transform)) else { return Ok(None) };
        let question = Question { condition, transform, is_final: false };
        Ok(Some(Self { runtime: runtime()?, asker, question, waiting: vec![], bytes: 0 }))
    }

    fn ask(&mut self) -> Result<Vec<(Record, Arc<Event>, Said)>, Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let ask = |(_, event): &(Record, Arc<Event>)| {
            let questions = vec![self.question.clone()];
            Ask { event: Arc::clone(event), questions, show: false }
        };
        let asks: Vec<Ask> = waiting.iter().map(ask).collect();
        let said = self.runtime.block_on(self.asker.ask(&asks));
        let said = said.map_err(|error| Failure::Refused(error.to_string()))?;
        Ok(waiting.into_iter().zip(said).map(|((record, event), said)| (record, event, said)).collect())
    }
}

/// The program of an option.
pub(super) fn program(option: &str, text: &str) -> Result<Program, Failure> {
    jq::read(option, text).map_err(|fault| Failure::Usage(pointed(option, text, &fault)))
}

/// Says on standard error where a `--where` asks nothing of an event, as `check` does of a route's `where`.
pub(super) fn remark_on(condition: Option<&str>) {
    if let Some((what, help)) = condition.and_then(asks_nothing) {
        // If standard error is gone, it is lost.
        let _ = writeln!(io::stderr(), "remark: --where {what}\n  help: {help}");
    }
}

/// A fault in a program, with the line it is in and a mark below.
fn pointed(option: &str, text: &str, fault: &Fault) -> String {
    let message = fault.message.strip_prefix(&format!("key `{option}`: ")).unwrap_or(&fault.message);
    let mut told = format!("{option}: {message}");
    if let At::Inside(_, offset) = fault.at {
        let before = text.get(..offset).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(start..).unwrap_or_default().chars().count();
        told.push_str(&format!("\n  {}\n  {}^", printable(line), " ".repeat(column)));
    }
    if let Some(help) = &fault.help {
        told.push_str(&format!("\n  help: {help}"));
    }
    told
}

/// What is done with the records that are meant.
struct Dump<'d, W> {
    zone: &'d Zone,
    json: bool,
    jq: Option<Jq>,
    counts: Counts,
    /// How many events programs could not be run on, and why not on the first.
    left_out: Option<(u64, String)>,
    out: &'d mut W,
}

impl<W: Write> Dump<'_, W> {
    fn take(&mut self, record: Record) -> Result<(), Failure> {
        let Some(jq) = &mut self.jq else {
            return Ok(writeln!(self.out, "{}", line(&record, self.json, self.zone))?);
        };
        match event::decode(&record) {
            Ok(event) => {
                jq.bytes += record.payload.len();
                jq.waiting.push((record, Arc::new(event)));
                if jq.waiting.len() >= AT_ONCE.0 || jq.bytes >= AT_ONCE.1 { self.ask() } else { Ok(()) }
            }
            Err(error) => {
                self.leave_out(error.to_string());
                Ok(())
            }
        }
    }

    fn ask(&mut self) -> Result<(), Failure> {
        let Some(jq) = &mut self.jq else { return Ok(()) };
        let Question { condition, transform, .. } = jq.question.clone();
        for (record, event, said) in jq.ask()? {
            match condition.as_ref().map_or(Ok(true), |condition| said.condition(condition, &event)) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(reason) => {
                    self.leave_out(format!("--where: {}", reason.detail));
                    continue;
                }
            }
            match transform.as_ref().map(|transform| said.transform(transform, &event)) {
                None => writeln!(self.out, "{}", line(&record, self.json, self.zone))?,
                Some(Ok(keys)) => keys.iter().for_each(|key| self.counts.add(&String::from_utf8_lossy(key))),
                Some(Err(reason)) => self.leave_out(format!("--count-by: {}", reason.detail)),
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, why: String) {
        self.left_out.get_or_insert((0, why)).0 += 1;
    }

    fn finish(&mut self, counts: bool) -> Result<(), Failure> {
        self.ask()?;
        let printed = match (counts, self.json) {
            (false, _) => return Ok(()),
            (true, true) => format!("{}\n", self.counts.json()),
            (true, false) => self.counts.table(),
        };
        Ok(self.out.write_all(printed.as_bytes())?)
    }
}

/// How often each key came, by its JSON.
#[derive(Default)]
struct Counts {
    keys: HashMap<String, u64>,
    others: u64,
}

impl Counts {
    fn add(&mut self, key: &str) {
        let has_room = self.keys.len() < MAX_KEYS && key.len() <= MAX_KEY;
        match self.keys.get_mut(key) {
            Some(events) => *events += 1,
            None if has_room => _ = self.keys.insert(key.to_owned(), 1),
            None => self.others += 1,
        }
    }

    /// The largest first.
    fn rows(&self) -> Vec<(&str, u64)> {
        let mut rows: Vec<(&str, u64)> = self.keys.iter().map(|(key, events)| (key.as_str(), *events)).collect();
        rows.sort_unstable_by(|(key, events), (other, others)| others.cmp(events).then_with(|| key.cmp(other)));
        rows
    }

    fn json(&self) -> String {
        // The keys are JSON as the worker process made it.
        let row = |(key, events): (&str, u64)| format!("{{\"key\":{key},\"count\":{events}}}");
        let mut rows: Vec<String> = self.rows().into_iter().map(row).collect();
        if self.others > 0 {
            rows.push(format!("{{\"key\":\"{OTHERS}\",\"count\":{},\"others\":true}}", self.others));
        }
        route::printable_json(&format!("[{}]", rows.join(",")))
    }

    /// Texts without their quotes.
    fn table(&self) -> String {
        let rows = self.rows();
        let shown = |key: &str| serde_json::from_str::<String>(key).unwrap_or_else(|_| key.to_owned());
        let width = rows.iter().map(|(_, events)| *events).chain([self.others]).max().unwrap_or(0).to_string().len();
        let mut table: String =
            rows.iter().map(|(key, events)| format!("{events:>width$} {}\n", printable(&shown(key)))).collect();
        if self.others > 0 {
            let what = format!("more than {MAX_KEYS} keys, or longer than {MAX_KEY} bytes");
            table.push_str(&format!("{:>width$} {OTHERS}: {what}\n", self.others));
        }
        table
    }
}

fn line(record: &Record, whole: bool, zone: &Zone) -> String {
    let id = Uuid::from_bytes(record.id);
    let time = moment(record.time, |time| times::shown_exactly(time, zone));
    match event::decode(record) {
        Err(error) => format!("{time} {id} {} {}: {error}", printable(&record.source), printable(&record.kind)),
        Ok(event) if whole => object(&event),
        Ok(event) => {
            let Event { source, kind, key, body, .. } = &event;
            format!("{time} {id} {} {} {} {} bytes", printable(source), printable(kind), printable(key), body.len())
        }
    }
}

fn object(event: &Event) -> String {
    let headers: serde_json::Map<String, Value> =
        event.headers.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect();
    let head = json!({
        "id": event.id.to_string(), "source": &*event.source, "type": &*event.kind, "subject": &*event.subject,
        "key": &*event.key, "time": event.time.to_string(), "method": &*event.method, "path": &*event.path,
        "remote": &*event.remote, "headers": headers,
    });
    // The body is texts, or JSON as it came, so that serialising it cannot fail.
    let body = serde_json::to_string(&PayloadView::of(&event.body)).unwrap_or_default();
    let head = head.to_string();
    format!("{},\"body\":{body}}}", head.strip_suffix('}').unwrap_or(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_count_comes_first_and_what_has_no_room_is_counted_together() {
        let mut counts = Counts::default();
        ["\"131049\"", "null", "\"131049\"", "7"].iter().for_each(|key| counts.add(key));
        assert_eq!(counts.table(), "2 131049\n1 7\n1 null\n");
        assert_eq!(counts.json(), r#"[{"key":"131049","count":2},{"key":7,"count":1},{"key":null,"count":1}]"#);
        counts.add(&format!("\"{}\"", "x".repeat(MAX_KEY)));
        (0..MAX_KEYS).for_each(|n| counts.add(&format!("{n}")));
        assert_eq!((counts.keys.len(), counts.others), (MAX_KEYS, 3), "of the numbers one was there");
        assert!(counts.table().ends_with("3 (others): more than 10000 keys, or longer than 1024 bytes\n"));
        assert!(counts.json().ends_with(r#"{"key":"(others)","count":3,"others":true}]"#), "{}", counts.json());
    }

    #[test]
    fn a_fault_in_a_program_is_marked_in_its_text() {
        let told = |text: &str| program("--where", text).unwrap_err().to_string();
        let fault = told(".a and\n  .b | ascii_downcas");
        assert!(fault.starts_with("--where: there is no") && fault.contains("`ascii_downcase`"), "{fault}");
        let lines: Vec<&str> = fault.lines().collect();
        assert_eq!((lines[1], lines[2]), ("    .b | ascii_downcas", "         ^"));
        assert!(told(".a |").contains("not a jq program"));
        assert!(program("--where", ".a == 1").is_ok());
    }

    #[test]
    fn a_delivery_is_looked_for_by_its_event() {
        let id = "0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e";
        let dir = Path::new("nowhere");
        assert_eq!(event_id(dir, &format!("{id}-crm-2")).unwrap(), event_id(dir, id).unwrap());
        for none in ["m-1", &format!("{id}x")] {
            assert!(event_id(dir, none).unwrap_err().to_string().contains(&format!("--id `{none}`")));
        }
    }
}
