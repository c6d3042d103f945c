//! `hookrelay dead`: lists dead letters, shows them, has them delivered again, or forgets them.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use sink_api::Timestamp;

use super::columns::{BAD, Cell, colours, columns, counts, print};
use super::{Failure, block_on, count, human, progress, short, span};
use crate::admin::AdminConfig;
use crate::admin::client;
use crate::admin::dead::{Count, DeadAsk, DeadBy, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use crate::admin::list::List;
use crate::config;
use crate::route::{printable, printable_json};
use crate::times::Zone;

/// `dead`.
#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// A table, or with --by counts
    List(ListArgs),
    /// Everything about dead letters: reason, what the target answered, event, payload, target
    Show(DeadArgs),
    /// Delivers them again, from now on, by the rules in force or as they were
    Retry(RetryArgs),
    /// Forgets them; they count as dropped
    Drop(DropArgs),
}

/// Which deliveries.
#[derive(Clone, Debug, Default, Args)]
pub struct DeadArgs {
    /// Delivery ids, or their last 8 characters
    pub ids: Vec<String>,
    /// Of this sink
    #[arg(long)]
    pub sink: Option<String>,
    /// Of this type; may hold `*` and `?`
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// With this code of the last failure
    #[arg(long)]
    pub code: Option<String>,
    /// Accepted since: `2h` ago, `today`, `2026-01-31 09:00` …
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `dead list`, `pending list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which deliveries.
    #[command(flatten)]
    pub which: DeadArgs,
    /// No more than so many
    #[arg(long, value_name = "N", value_parser = limit)]
    pub limit: Option<NonZeroUsize>,
    /// How many there are of each, the most first
    #[arg(long, value_name = "KEY")]
    pub by: Option<DeadBy>,
}

impl ListArgs {
    /// Most rows.
    pub(super) fn limit(&self) -> usize {
        self.limit.map_or(usize::MAX, NonZeroUsize::get)
    }
}

/// `dead drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Which dead letters.
    #[command(flatten)]
    pub which: DeadArgs,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `dead retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which dead letters.
    #[command(flatten)]
    pub which: DropArgs,
    /// Payload, target and id as they were, instead of by the rules in force
    #[arg(long)]
    pub as_was: bool,
    /// Waits for what becomes of them, and says it of each
    #[arg(long)]
    pub wait: bool,
    /// Waits no longer
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "wait", value_parser = timeout)]
    pub timeout: Duration,
}

/// A number of rows.
///
/// # Errors
/// It is none, or 0.
pub(super) fn limit(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a number, 1 or more")
}

fn timeout(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

/// How often is asked what became of what was retried.
const LOOK: Duration = Duration::from_millis(200);
/// What the daemon says of a delivery that is yet to be made.
const PENDING: &str = "pending";
/// Most letters that `show` shows whole.
const MOST_WHOLE: usize = 500;
/// What is said of an id that no dead letter has.
const NO_LETTER: &str = "there is no dead letter";
const HAS_IDS: &str = "`dead list` has the ids";
/// After so many is asked at once.
const AT_ONCE: usize = 500;

/// For `--help`.
pub const HELP: &str = "\
Asks the daemon that runs with the same config, at `[admin] listen`. Filters narrow together; retry and
drop want at least one, or --all. What is retried counts as pending again; with --wait a line says of each
what became of it: `delivered`, `dead CODE`, or `pending CODE` and the next try where the time is up. An id
that stands at several sinks means all of them, unless --sink says which; the answer counts by sink.

Examples:
  hookrelay dead list --sink crm --since 2h
  hookrelay dead list --by code
  hookrelay dead show 456789ab
  hookrelay dead retry --sink crm --code http_4xx --wait
  hookrelay dead drop --all

Exit codes: 0 done, 1 refused, no such id, or (--wait) not all were delivered, 2 nothing was said of which,
69 no daemon answers, 78 the config has faults, or there is none.";

impl DeadArgs {
    /// The question of these filters.
    pub(super) fn ask(&self, zone: &Zone) -> Result<DeadAsk, Failure> {
        let [since, until] = span(self.since.as_deref(), self.until.as_deref(), zone)?;
        Ok(DeadAsk {
            ids: self.ids.clone(),
            sink: self.sink.clone(),
            kind: self.kind.clone(),
            code: self.code.clone(),
            since: since.map(|time| time.to_string()),
            until: until.map(|time| time.to_string()),
            ..DeadAsk::default()
        })
    }
}

/// Asks, and prints the answer.
///
/// # Errors
/// No daemon answers, it refuses, or the config does not say where it is.
pub fn run(file: &Path, verb: &DeadVerb, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let admin = config::read_admin(file)?;
    match verb {
        DeadVerb::List(args) => list(&admin, args, zone, out),
        DeadVerb::Show(args) => show(&admin, args, zone, out),
        DeadVerb::Retry(args) => {
            let ask = DeadAsk { as_was: args.as_was, ..args.which.which.ask(zone)? };
            let letters = meant(&admin, &args.which, zone, args.wait)?;
            let changed = change(&admin, ask, "/api/dead/retry")?;
            if args.wait {
                return wait(&admin, args, &letters, changed, out);
            }
            told(&changed, "to be delivered again", args.which.which.json, out)
        }
        DeadVerb::Drop(args) => {
            meant(&admin, args, zone, false)?;
            told(&change(&admin, args.which.ask(zone)?, "/api/dead/drop")?, "forgotten", args.which.json, out)
        }
    }
}

/// All rows that match, asked for page by page.
pub(super) fn rows(admin: &AdminConfig, path: &str, mut ask: DeadAsk, limit: usize) -> Result<Vec<DeadView>, Failure> {
    let mut rows: Vec<DeadView> = Vec::new();
    // Whoever is on this machine as the daemon's user sees everything.
    ask.clear = true;
    loop {
        ask.limit = Some(limit.saturating_sub(rows.len()));
        let page: List<DeadView> = block_on(async { Ok(client::ask(admin, http::Method::GET, path, &ask).await?) })?;
        super::say_unanswered(&page.unanswered);
        rows.extend(page.items);
        ask.after = page.next;
        if ask.after.is_none() || rows.len() >= limit {
            return Ok(rows);
        }
    }
}

/// Prints counts where they are wanted, and says whether they are.
pub(super) fn counted(
    admin: &AdminConfig,
    path: &str,
    args: &ListArgs,
    zone: &Zone,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    if args.by.is_none() {
        return Ok(false);
    }
    let ask = DeadAsk { by: args.by, ..args.which.ask(zone)? };
    if !ask.ids.is_empty() {
        let rows = rows(admin, path.trim_end_matches("/counts"), DeadAsk { by: None, ..ask.clone() }, usize::MAX)?;
        all_there(&args.which.ids, &rows, "there is no row with the id", "the list without --by has the ids")?;
    }
    let list: List<Count> = block_on(async { Ok(client::ask(admin, http::Method::GET, path, &ask).await?) })?;
    super::say_unanswered(&list.unanswered);
    let rows: Vec<Count> = list.items.into_iter().take(args.limit()).collect();
    if args.which.json {
        json(&rows, out)?;
    } else {
        write!(out, "{}", counts(rows.iter().map(|row| (row.key.as_str(), row.count))))?;
    }
    Ok(true)
}

fn list(admin: &AdminConfig, args: &ListArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    if counted(admin, "/api/dead/counts", args, zone, out)? {
        return Ok(());
    }
    let letters = rows(admin, "/api/dead", args.which.ask(zone)?, args.limit())?;
    if letters.len() < args.limit() {
        all_there(&args.which.ids, &letters, NO_LETTER, HAS_IDS)?;
    }
    if args.which.json {
        return json(&letters, out);
    }
    if letters.is_empty() {
        writeln!(out, "{}", none())?;
        return Ok(());
    }
    let heads = ["SINK", "ID", "TYPE", "SUBJECT", "CAME", "DIED", "TRIES", "WHY"];
    Ok(print(&columns(&heads, letters.iter().map(|letter| cells(letter, zone)).collect()), colours(), out)?)
}

/// That there are none, or may be none.
fn none() -> &'static str {
    if super::is_partial() { "no dead letters that are known of now" } else { "no dead letters" }
}

fn cells(letter: &DeadView, zone: &Zone) -> Vec<Cell> {
    let DeadView { sink, id, kind, subject, time, last_try, attempts, reason, .. } = letter;
    vec![
        Cell::plain(printable(sink)),
        Cell::plain(printable(short(id))),
        Cell::plain(printable(kind)),
        Cell::plain(printable(subject)),
        Cell::plain(human::clock(time, zone)),
        Cell::plain(human::clock(last_try, zone)),
        Cell::right(human::number(u64::from(*attempts))),
        Cell::styled(printable(&format!("{}: {}", reason.code, reason.detail)), BAD),
    ]
}

fn show(admin: &AdminConfig, args: &DeadArgs, zone: &Zone, out: &mut impl Write) -> Result<(), Failure> {
    let ask = args.ask(zone)?;
    if ask == DeadAsk::default() {
        let why =
            "say which: `dead show ID…`, or by --sink, --type, --code, --since or --until; `dead list` has the ids";
        return Err(Failure::Usage(why.into()));
    }
    let mut letters = rows(admin, "/api/dead", DeadAsk { whole: true, ..ask }, MOST_WHOLE + 1)?;
    all_there(&args.ids, &letters, NO_LETTER, HAS_IDS)?;
    if letters.len() > MOST_WHOLE {
        letters.truncate(MOST_WHOLE);
        // A remark: if standard error is gone, it is lost.
        let _ =
            writeln!(std::io::stderr(), "remark: the first {MOST_WHOLE} that match are shown; narrow it for others");
    }
    if letters.is_empty() && !args.json {
        writeln!(out, "{}", none())?;
        return Ok(());
    }
    if args.json {
        return json(&letters, out);
    }
    for letter in &letters {
        let text = serde_json::to_string_pretty(letter).map_err(std::io::Error::from)?;
        writeln!(out, "{}", text.split('\n').map(printable).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}

/// Sees that there is a row for each of these ids, which may be short; `none` and `help` say that there is not.
pub(super) fn all_there(ids: &[String], letters: &[DeadView], none: &str, help: &str) -> Result<(), Failure> {
    match ids.iter().find(|id| !letters.iter().any(|letter| letter.id.ends_with(id.as_str()))) {
        None => Ok(()),
        Some(id) => Err(Failure::Refused(format!("{none} `{id}`; {help}"))),
    }
}

/// Sees that it was said which letters are meant, and that those are there; gives them where ids or `all` ask for it.
fn meant(admin: &AdminConfig, args: &DropArgs, zone: &Zone, all: bool) -> Result<Vec<DeadView>, Failure> {
    let which = args.which.ask(zone)?;
    if args.all == (which != DeadAsk::default()) {
        let text =
            "say which dead letters: by id, --sink, --type, --code, --since, --until, or --all and none of these";
        return Err(Failure::Usage(text.into()));
    }
    if !all && which.ids.is_empty() {
        return Ok(vec![]);
    }
    let letters = rows(admin, "/api/dead", which, usize::MAX)?;
    all_there(&args.which.ids, &letters, NO_LETTER, HAS_IDS)?;
    Ok(letters)
}

/// Changes all letters that match; says how many there were of each sink.
fn change(admin: &AdminConfig, mut ask: DeadAsk, path: &str) -> Result<Changed, Failure> {
    let mut changed = Changed::default();
    loop {
        let done: DeadDone = block_on(async { Ok(client::ask(admin, http::Method::POST, path, &ask).await?) })?;
        super::say_unanswered(&done.unanswered);
        changed.letters += done.letters;
        done.sinks.into_iter().for_each(|(sink, n)| *changed.sinks.entry(sink).or_default() += n);
        ask.after = done.next;
        if ask.after.is_none() {
            return Ok(changed);
        }
    }
}

/// How many letters were changed, and how many of each sink.
#[derive(Debug, Default, serde::Serialize)]
struct Changed {
    letters: u64,
    sinks: BTreeMap<String, u64>,
}

/// `2 dead letters forgotten: crm 1, multi 1`.
fn told(changed: &Changed, what: &str, is_json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if is_json {
        return json(changed, out);
    }
    let each: Vec<String> = changed.sinks.iter().map(|(sink, n)| printable(&format!("{sink} {n}"))).collect();
    let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
    writeln!(out, "{} {what}{each}", count(changed.letters, "dead letter"))?;
    Ok(())
}

/// Waits for what becomes of letters that were retried, and prints it.
fn wait(
    admin: &AdminConfig,
    args: &RetryArgs,
    letters: &[DeadView],
    changed: Changed,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let outcomes = outcomes(admin, letters, args.timeout)?;
    if args.which.which.json {
        json(&serde_json::json!({ "letters": changed.letters, "sinks": changed.sinks, "outcomes": outcomes }), out)?;
    } else {
        let left = outcomes.iter().any(|outcome| outcome.outcome == PENDING);
        let waits = if left { waiting(admin, &outcomes)? } else { BTreeMap::new() };
        for OutcomeView { sink, id, outcome, code } in &outcomes {
            let code = code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
            let next = waits.get(&(sink.as_str(), id.as_str())).map(|next| format!(", {next}")).unwrap_or_default();
            writeln!(out, "{}", printable(&format!("{sink} {} {outcome}{code}{next}", short(id))))?;
        }
    }
    if outcomes.iter().all(|outcome| outcome.outcome == "delivered") { Ok(()) } else { Err(Failure::Checked(1)) }
}

/// When each of those that are pending still is tried next, or why it is not.
fn waiting<'o>(
    admin: &AdminConfig,
    outcomes: &'o [OutcomeView],
) -> Result<BTreeMap<(&'o str, &'o str), String>, Failure> {
    let sinks = super::pending::parked_and_status(admin)?;
    let left: Vec<&OutcomeView> = outcomes.iter().filter(|outcome| outcome.outcome == PENDING).collect();
    let mut waits = BTreeMap::new();
    for part in left.chunks(AT_ONCE) {
        let ids = part.iter().map(|outcome| outcome.id.clone()).collect();
        let found = rows(admin, "/api/pending", DeadAsk { ids, ..DeadAsk::default() }, usize::MAX)?;
        for OutcomeView { sink, id, .. } in part {
            let row = found.iter().find(|row| row.sink == *sink && row.id == *id);
            let next =
                super::pending::next(sinks.get(sink), row.and_then(|row| row.next_try.as_deref()), Timestamp::now());
            waits.insert(
                (sink.as_str(), id.as_str()),
                match next.split_once(' ') {
                    Some(("in", _)) => format!("next try {next}"),
                    _ => next,
                },
            );
        }
    }
    Ok(waits)
}

/// What is said of a delivery of which nothing more is known.
fn pending(letter: &DeadView) -> OutcomeView {
    let DeadView { sink, id, .. } = letter.clone();
    OutcomeView { sink, id, outcome: PENDING.to_owned(), code: None }
}

/// What became of each of these, as far as it is known when the time is up.
fn outcomes(admin: &AdminConfig, letters: &[DeadView], timeout: Duration) -> Result<Vec<OutcomeView>, Failure> {
    let bar = progress::bar(letters.len() as u64, "retry {bar:40} {pos} of {len} ({elapsed})");
    let end = Instant::now() + timeout;
    let mut known: Vec<OutcomeView> = letters.iter().map(pending).collect();
    for (part, known) in letters.chunks(AT_ONCE).zip(known.chunks_mut(AT_ONCE)) {
        loop {
            let left = part.iter().zip(known.iter()).filter(|(_, known)| known.outcome == PENDING);
            let of: Vec<_> = left.map(|(one, _)| (one.sink.clone(), one.id.clone(), one.at.clone())).collect();
            if of.is_empty() {
                break;
            }
            let (is_late, ask) = (Instant::now() >= end, OutcomesAsk { of });
            let list: List<OutcomeView> =
                block_on(async { Ok(client::ask(admin, http::Method::POST, "/api/dead/outcomes", &ask).await?) })?;
            super::say_unanswered(&list.unanswered);
            let ended = list.items.iter().filter(|outcome| outcome.outcome != PENDING).count();
            let left = known.iter_mut().filter(|known| known.outcome == PENDING);
            left.zip(list.items).for_each(|(known, outcome)| *known = outcome);
            bar.inc(ended as u64);
            if is_late {
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
    bar.finish_and_clear();
    Ok(known)
}

pub(super) fn json(value: &impl serde::Serialize, out: &mut impl Write) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(std::io::Error::from)?;
    Ok(writeln!(out, "{}", printable_json(&json))?)
}
