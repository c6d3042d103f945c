//! `hookrelay replay --dry-run`: shows what a span of the journal comes to by the rules in force, or how other rules
//! would change that. It delivers nothing and needs no daemon; the rules are asked by the same code that delivers.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use sink_api::Timestamp;

use super::replay::ReplayArgs;
use super::{Failure, count, progress, runtime, span};
use crate::admin::explain::{Change, Example, Traffic};
use crate::config;
use crate::event;
use crate::journal::{Record, Scanned, scan};
use crate::registry::KINDS;
use crate::route;
use crate::times::Zone;
use crate::trial::Trial;
use crate::trial::traffic::Comparison;

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
    let [since, until] = span(args.since.as_deref(), args.until.as_deref(), zone)?;
    let span = (micros(since, i64::MIN), micros(until, i64::MAX));
    let dir = old.journal.folder(&old.data_dir).map_err(|error| Failure::Refused(error.to_string()))?;
    let bar = progress::bar_of_bytes();
    let (mut before, mut after) = (Trial::new(&old), new.as_ref().map(Trial::new));
    let runtime = runtime()?;
    let mut compared = Comparison::default();
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
                Some(after) => compared.note(&was, &runtime.block_on(after.explain(&event))?, &args.sinks),
                None => compared.note(&was, &was, &args.sinks),
            }
        }
        Ok(())
    })?;
    let report = Traffic { damaged: scanned.damaged, complete: true, ..compared.0 };
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

/// Prints what the rules in force make of the span.
fn print_alone(report: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{} of this span", count(report.events, "event"))?;
    print_damage(report, out)?;
    for (kind, sinks) in &report.changes {
        for (sink, change) in sinks {
            writeln!(out, "{} -> {sink}: {}", kind.escape_default(), count(change.before, "delivery"))?;
        }
    }
    Ok(())
}

fn print_damage(report: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
    match report.damaged {
        0 => Ok(()),
        damaged => writeln!(out, "{damaged} damaged stretches of the journal were passed over"),
    }
}

fn print(report: &Traffic, out: &mut impl Write) -> std::io::Result<()> {
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
