//! `hookrelay journal`: looks at the journal on disk, without a daemon: says what is damaged, prints events, mends
//! damage.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sink_api::Timestamp;

use super::{Failure, count, dump, progress};
use crate::config::{self, Dirs};
use crate::daemon::DaemonError;
use crate::journal::JournalError;
use crate::journal::lock::Lock;
use crate::journal::verify::{self, Finding, JournalCheck, SegmentStat, Sort};
use crate::times::{self, Zone};

/// `journal`.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Looks at every byte and says exactly what is damaged; changes nothing
    Verify(Plain),
    /// Prints events, oldest first, one a line; or counts them
    Dump(dump::DumpArgs),
    /// Segments, events and bytes, by source and type
    Stat(Plain),
    /// Keeps damage aside and makes the rest whole again; the daemon must not run
    Repair(Plain),
}

/// The arguments of a verb that only takes `--json`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Plain {
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// For `--help`.
pub const HELP: &str = "\
Works on the folder that data_dir and [journal] dir of the config name; nothing else of it is read.
verify, dump and stat take no lock: beside a running daemon the end of the newest segment is a moving
one. A torn tail is what a crash leaves of a write that was never acknowledged: a start cuts it off, and
verify says so and is content. Rot is damage to records that had been flushed. repair copies it to
quarantine/, and good records on both sides of it are delivered.

Examples:
  hookrelay journal verify
  hookrelay journal dump --since 1h --type 'message_api_*' --json
  hookrelay journal dump --subject 0b8c3f…                every event of one message
  hookrelay journal dump --since today --type '*_failed' --count-by '.data.message.channel_error_code'
  hookrelay journal stat
  hookrelay journal repair

Exit codes: 0 done, or sound; 1 rot, or no event of that --id; 2 an option that cannot be meant; 75 another
process holds the folder (repair only); 78 the config has faults, or there is none.";

/// Does it.
///
/// # Errors
/// Rot (`verify`), a held lock (`repair`), a folder that cannot be read.
pub fn run(file: &Path, verb: &JournalVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let Dirs { data, journal } = config::read_dirs(file)?;
    let folder = &journal.map_err(failed)?;
    if !folder.is_dir() {
        return Err(Failure::Refused(format!(
            "there is no journal in {}\n  help: the daemon makes it when it starts (`hookrelay run`); is `data_dir` \
             (or `[journal] dir`) of the config the one it uses?",
            folder.display()
        )));
    }
    match verb {
        JournalVerb::Verify(plain) => verify(folder, *plain, out),
        JournalVerb::Dump(args) => dump::run(folder, args, zone, out),
        JournalVerb::Stat(plain) => stat(folder, *plain, zone, out),
        JournalVerb::Repair(plain) => repair(&data, folder, *plain, out),
    }
}

fn failed(error: JournalError) -> Failure {
    match error {
        own @ (JournalError::Locked { .. } | JournalError::Folder(_)) => Failure::Daemon(DaemonError::Journal(own)),
        other => Failure::Refused(other.to_string()),
    }
}

fn verify(folder: &Path, plain: Plain, out: &mut impl Write) -> Result<(), Failure> {
    let bar = progress::bar_of_bytes();
    let verified = verify::verify(folder, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let verified = verified.map_err(failed)?;
    let JournalCheck { segments, records, bytes, findings } = &verified;
    if plain.json {
        let findings: Vec<Value> = findings.iter().map(finding).collect();
        let sound = verified.is_sound();
        let all =
            json!({"sound": sound, "segments": segments, "records": records, "bytes": bytes, "findings": findings});
        writeln!(out, "{all}")?;
    } else {
        for one in findings {
            writeln!(out, "{}", described(one))?;
        }
        let (segments, records) = (count(*segments, "segment"), count(*records, "good record"));
        writeln!(out, "{segments}, {records}, {}", count(*bytes, "byte"))?;
    }
    match findings.iter().filter(|one| one.sort.is_rot()).count() {
        0 => Ok(()),
        n => Err(Failure::Refused(format!(
            "the journal is damaged in {}; good records are delivered all the same, and \
             `hookrelay journal repair` keeps the damage aside",
            count(n, "place")
        ))),
    }
}

fn finding(one: &Finding) -> Value {
    let Finding { file, sort, bytes: (from, to), first, lost } = one;
    json!({"file": file, "what": sort.name(), "from": from, "to": to, "first_position": first, "records_lost": lost})
}

fn described(one: &Finding) -> String {
    let Finding { file, sort, bytes: (from, to), first, lost } = one;
    let what = match sort {
        Sort::Torn => "an unfinished write, never acknowledged: the next start cuts it off".to_owned(),
        Sort::Unfinished => "a segment whose creation was cut short: the next start removes it".to_owned(),
        Sort::GivenUp => "given up for a later segment: the next start moves it aside".to_owned(),
        Sort::Known => format!("known damage: {lost} records from position {first} on, kept in quarantine/"),
        Sort::Index => {
            "an index that is not whole: the daemon makes it anew, and reads the segment until then".to_owned()
        }
        Sort::Footer => "ROT: the footer is not whole; the records are not touched by that".to_owned(),
        Sort::Gone => format!("GONE: the file with {lost} positions from {first} on is not there"),
        Sort::Rot => format!("ROT: {lost} records from position {first} on cannot be read"),
        Sort::Header => "ROT: both copies of the header are damaged, or it is not this file's".to_owned(),
    };
    format!("{file}: bytes {from} to {to}: {what}")
}

fn stat(folder: &Path, plain: Plain, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let all = verify::stat(folder).map_err(failed)?;
    let mut counts: std::collections::BTreeMap<(&str, &str), u64> = Default::default();
    for (source, kind, n) in all.iter().flat_map(|one| &one.counts) {
        *counts.entry((source, kind)).or_default() += n;
    }
    let (events, bytes) =
        (all.iter().map(|one| one.records).sum::<u64>(), all.iter().map(|one| one.bytes).sum::<u64>());
    if plain.json {
        let segment = |one: &SegmentStat| {
            let (first, next) = one.positions;
            json!({"file": one.file, "bytes": one.bytes, "first_position": first, "next_position": next,
                "events": one.records, "oldest": one.times.map(|(oldest, _)| utc(oldest)),
                "newest": one.times.map(|(_, newest)| utc(newest)), "sealed": one.sealed, "index_bytes": one.index})
        };
        let of_type = |((source, kind), n): (&(&str, &str), &u64)| json!({"source": source, "type": kind, "events": n});
        let (segments, counts): (Vec<Value>, Vec<Value>) =
            (all.iter().map(segment).collect(), counts.iter().map(of_type).collect());
        writeln!(out, "{}", json!({"events": events, "bytes": bytes, "segments": segments, "counts": counts}))?;
        return Ok(());
    }
    for one in &all {
        let SegmentStat { file, bytes, records, times, sealed, index, .. } = one;
        let shown = |micros| moment(micros, |time| times::shown(time, zone));
        let span =
            times.map(|(oldest, newest)| format!(", {} to {}", shown(oldest), shown(newest))).unwrap_or_default();
        let state = match (sealed, index) {
            (true, Some(_)) => "",
            (true, None) => ", no index",
            (false, _) => ", not sealed",
        };
        writeln!(out, "{file}: {}, {}{span}{state}", count(*records, "event"), count(*bytes, "byte"))?;
    }
    for ((source, kind), n) in &counts {
        writeln!(out, "{} {}: {}", printable(source), printable(kind), count(*n, "event"))?;
    }
    writeln!(out, "{}, {}, {}", count(all.len(), "segment"), count(events, "event"), count(bytes, "byte"))?;
    Ok(())
}

fn repair(data: &Path, folder: &Path, plain: Plain, out: &mut impl Write) -> Result<(), Failure> {
    let _lock = Lock::take(data).map_err(failed)?;
    let now = Timestamp::now().as_microsecond();
    let (mended, recovered) = verify::repair(folder, now).map_err(failed)?;
    let rot: Vec<_> = recovered.rot.iter().chain(&recovered.torn).collect();
    if plain.json {
        let mended: Vec<Value> = mended.iter().map(finding).collect();
        let more =
            rot.iter().map(|one| json!({"file": one.file, "from": one.from, "to": one.to, "records_lost": one.lost}));
        let more: Vec<Value> = more.collect();
        let (cut, aside) = (recovered.cut_bytes, &recovered.set_aside);
        writeln!(out, "{}", json!({"mended": mended, "kept_aside": more, "cut_bytes": cut, "set_aside": aside}))?;
        return Ok(());
    }
    for one in &mended {
        match one.sort {
            Sort::Index => writeln!(out, "{}: a damaged index, removed: the daemon makes it anew", one.file)?,
            _ => writeln!(out, "{}; kept aside, and noted in the footer", described(one))?,
        }
    }
    for one in rot {
        let (file, from, to, lost) = (&one.file, one.from, one.to, one.lost);
        let copy = one.copy.as_deref().unwrap_or("nowhere: it could not be copied");
        writeln!(out, "{file}: bytes {from} to {to}: {lost} records cannot be read; kept in {copy}")?;
    }
    for name in &recovered.set_aside {
        writeln!(out, "moved aside: {name}")?;
    }
    if recovered.cut_bytes > 0 {
        writeln!(out, "{} of an unfinished write cut off", count(recovered.cut_bytes, "byte"))?;
    }
    writeln!(out, "{} segments are whole", recovered.segments)?;
    Ok(())
}

fn utc(micros: i64) -> String {
    moment(micros, |time| time.to_string())
}

/// A record's time; as the number it is, where no clock can show it.
pub(super) fn moment(micros: i64, shown: impl Fn(Timestamp) -> String) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), shown)
}

/// The text with its control characters escaped, so that what a webhook sent cannot steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
