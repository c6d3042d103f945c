//! `hookrelay replay --dry-run`: shows what a span of the journal comes to by the rules in force, or how other rules
//! would change that. It delivers nothing and needs no daemon; the rules are asked by the same code that delivers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use sink_api::Timestamp;

use super::replay::ReplayArgs;
use super::trial::Trial;
use super::{Failure, count, progress, runtime, time};
use crate::config;
use crate::event;
use crate::journal::{Record, Scanned, scan};
use crate::registry::KINDS;
use crate::route::{self, Explanation};
use crate::times::Zone;

/// Most examples of each sort.
const MAX_EXAMPLES: usize = 5;
/// Most types that are counted separately; the events of further types are counted together.
const MAX_TYPES: usize = 1000;
/// The name under which events of further types are counted.
const OTHERS: &str = "(other types)";

/// What one sink would get of the events of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Change {
    /// Deliveries by the rules in force.
    before: u64,
    /// Deliveries by the other rules.
    after: u64,
    /// Deliveries that only the other rules make.
    gained: u64,
    /// Deliveries that only the rules in force make.
    lost: u64,
    /// Deliveries that both make, with another payload, key or target.
    changed: u64,
}

/// A delivery that is gained, lost or changed.
#[derive(Debug, Serialize)]
struct Example {
    what: &'static str,
    sink: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Events looked at.
    events: u64,
    /// Events whose deliveries are not the same by both rules.
    differing: u64,
    /// Stretches of damage in the journal.
    damaged: u64,
    /// By type, then sink.
    changes: BTreeMap<String, BTreeMap<String, Change>>,
    examples: Vec<Example>,
}

/// Reads the span and says what it comes to, or what would change.
///
/// # Errors
/// A config with faults, or a journal that cannot be read.
pub fn run(file: &Path, args: &ReplayArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let old = config::read(file, KINDS)?;
    let new = args.rules.as_deref().map(|rules| config::read(rules, KINDS)).transpose()?;
    for sink in &args.sinks {
        if !old.sinks.iter().chain(new.iter().flat_map(|new| &new.sinks)).any(|known| known.name == *sink) {
            return Err(Failure::Usage(format!("no config has a sink `{sink}`")));
        }
    }
    let kind = args.kind.as_deref().map(route::glob::read).transpose();
    let kind = kind.map_err(Failure::Usage)?.map(|glob| glob.compile_matcher());
    let micros = |time: Option<Timestamp>, other: i64| time.map_or(other, Timestamp::as_microsecond);
    let [since, until] = [("--since", &args.since), ("--until", &args.until)];
    let time = |(option, text): (&str, &Option<String>)| time(option, text.as_deref(), zone);
    let span = (micros(time(since)?, i64::MIN), micros(time(until)?, i64::MAX));
    let dir = old.journal.dir.as_deref().unwrap_or(&old.data_dir);
    let bar = progress::bar_of_bytes();
    let (mut before, mut after) = (Trial::new(&old), new.as_ref().map(Trial::new));
    let runtime = runtime()?;
    let mut report = Report::default();
    let scanned = scan(dir, span, |record: Record, at: Scanned| -> Result<(), Failure> {
        bar.set_length(at.bytes.1);
        bar.set_position(at.bytes.0);
        // An event that a later version wrote cannot be read, and so not be routed, by this one.
        let Ok(event) = event::decode(&record) else { return Ok(()) };
        let is_meant = kind.as_ref().is_none_or(|kind| kind.is_match(&*event.kind))
            && args.subject.as_ref().is_none_or(|subject| **subject == *event.subject);
        if is_meant {
            let event = Arc::new(event);
            let was = runtime.block_on(before.explain(&event))?;
            match &mut after {
                Some(after) => report.note(&was, &runtime.block_on(after.explain(&event))?, &args.sinks),
                None => report.note(&was, &was, &args.sinks),
            }
        }
        Ok(())
    })?;
    report.damaged = scanned.damaged;
    bar.finish_and_clear();
    if args.json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    match new {
        Some(_) => print(&report, out)?,
        None => print_alone(&report, out)?,
    }
    Ok(())
}

/// The deliveries by sink and id, each as the text by which it is compared.
fn deliveries(of: &Explanation, sinks: &[String]) -> BTreeMap<(String, String), String> {
    let meant = of.deliveries.iter().filter(|one| sinks.is_empty() || sinks.contains(&one.sink));
    // Serialising cannot fail: `explain --json` serialises the same.
    let one = |one: &crate::route::DeliveryView| {
        ((one.sink.clone(), one.id.clone()), serde_json::to_string(one).unwrap_or_default())
    };
    meant.map(one).collect()
}

impl Report {
    fn note(&mut self, was: &Explanation, is: &Explanation, sinks: &[String]) {
        self.events += 1;
        let (before, after) = (deliveries(was, sinks), deliveries(is, sinks));
        self.differing += u64::from(before != after);
        for ((sink, id), delivery) in &before {
            self.count(was, sink, |change| change.before += 1);
            match after.get(&(sink.clone(), id.clone())) {
                None => self.example("lost", was, sink, id, |change| change.lost += 1),
                Some(other) if other != delivery => {
                    self.example("changed", was, sink, id, |change| change.changed += 1);
                }
                Some(_) => {}
            }
        }
        for (sink, id) in after.keys() {
            self.count(is, sink, |change| change.after += 1);
            if !before.contains_key(&(sink.clone(), id.clone())) {
                self.example("gained", is, sink, id, |change| change.gained += 1);
            }
        }
    }

    fn count(&mut self, of: &Explanation, sink: &str, count: impl FnOnce(&mut Change)) {
        let kind = match self.changes.contains_key(&of.event.kind) || self.changes.len() < MAX_TYPES {
            true => of.event.kind.as_str(),
            false => OTHERS,
        };
        count(self.changes.entry(kind.to_owned()).or_default().entry(sink.to_owned()).or_default());
    }

    fn example(&mut self, what: &'static str, of: &Explanation, sink: &str, id: &str, count: impl FnOnce(&mut Change)) {
        self.count(of, sink, count);
        if self.examples.iter().filter(|example| example.what == what).count() < MAX_EXAMPLES {
            let (kind, subject) = (of.event.kind.clone(), of.event.subject.clone());
            self.examples.push(Example { what, sink: sink.to_owned(), id: id.to_owned(), kind, subject });
        }
    }
}

/// Prints what the rules in force make of the span.
fn print_alone(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{} of this span", count(report.events, "event"))?;
    print_damage(report, out)?;
    for (kind, sinks) in &report.changes {
        for (sink, change) in sinks {
            writeln!(out, "{} -> {sink}: {}", kind.escape_default(), count(change.before, "delivery"))?;
        }
    }
    Ok(())
}

fn print_damage(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    match report.damaged {
        0 => Ok(()),
        damaged => writeln!(out, "{damaged} damaged stretches of the journal were passed over"),
    }
}

fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}, {} of them with other deliveries", count(report.events, "event"), report.differing)?;
    print_damage(report, out)?;
    for (kind, sinks) in &report.changes {
        for (sink, change) in sinks {
            let Change { before, after, gained, lost, changed } = change;
            if gained + lost + changed > 0 {
                writeln!(
                    out,
                    "{} -> {sink}: {before} before, {after} after: {gained} gained, {lost} lost, {changed} changed",
                    kind.escape_default()
                )?;
            }
        }
    }
    for Example { what, sink, id, kind, subject } in &report.examples {
        let line = format!("{what}: {sink} {id} {kind} {subject}");
        writeln!(out, "  {}", line.chars().filter(|c| !c.is_control()).collect::<String>())?;
    }
    if report.differing > 0 {
        writeln!(out, "`hookrelay explain --id ID` says why, with either config")?;
    }
    Ok(())
}
