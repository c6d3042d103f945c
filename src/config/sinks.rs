//! Reads `[sinks.*]`: the core takes its own keys out of each table, and the sink's kind reads the rest. Knows no kind
//! by name.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sink_api::fault::nearest;
use sink_api::{At, Defaults, Fault, Settings, SinkConfig, SinkKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::digest::digest;
use super::faults::Report;
use super::{limits, slips};
use crate::deliver::config::DeliveryKeys;
use crate::outbox::{FOLLOWER, follower};

/// One sink: its kind, the core's keys and its own config.
#[derive(Clone, Debug)]
pub struct SinkEntry {
    /// Its name in the config.
    pub name: String,
    /// Its kind.
    pub kind: SinkKind,
    /// The core's keys, as written.
    pub keys: DeliveryKeys,
    /// Batching and concurrency, with the kind's defaults filled in.
    pub limits: Defaults,
    /// The kind's own part of the table.
    pub config: Arc<dyn SinkConfig>,
    /// SHA-256 over the table after `${…}` was filled in. A reload leaves a sink with the same digest as it is.
    pub digest: [u8; 32],
    /// Whether it is the daemon's own and stands in no file.
    pub implicit: bool,
}

/// The table of the daemon's own sink, by which it hears of statuses, as if it stood in the file. It
/// gives up no status while its own file cannot be written, however long that takes.
const FOLLOWER_TABLE: &str = "kind = \"outbox\"\nordering = \"none\"\nretry = { max = \"10s\", deadline = \"365d\" }\n";

/// The daemon's own sink, by which it hears of statuses.
pub(super) fn follower(report: &mut Report<'_>) -> Option<SinkEntry> {
    let table = DeTable::parse(FOLLOWER_TABLE).ok()?;
    let entry = read(FOLLOWER, table, 0..0, &[follower::KIND], report)?;
    Some(SinkEntry { implicit: true, ..entry })
}

/// Reads one `[sinks.NAME]`. `None` where it has faults; they are in the report.
pub(super) fn read(
    name: &str,
    table: Spanned<DeTable<'_>>,
    header: Range<usize>,
    kinds: &[SinkKind],
    report: &mut Report<'_>,
) -> Option<SinkEntry> {
    let path = format!("sinks.{name}");
    let kept = table.get_ref().clone();
    let mut settings = Settings::new(table);
    let kind = kind(&mut settings, kinds, &kept);
    let own = take_keys(&mut settings, &header);
    let keys = own.read::<DeliveryKeys>();
    let rest = settings.table().clone();
    let known = kind.as_ref().ok().copied();
    // Without a kind it is unknown what the other keys mean.
    let config = kind.and_then(|kind| (kind.read)(settings).map(|config| (kind, config)));
    let mut faults = Vec::new();
    if let Err(own) = &keys {
        faults.extend(own.iter().cloned());
    }
    match &config {
        Err(own) => {
            let further = known.map(|kind| further(kind, &rest, own, &header)).unwrap_or_default();
            faults.extend(own.iter().cloned().map(|fault| suggest(fault, &kept, known)).chain(further));
        }
        Ok((_, config)) => faults.extend(config.check().err().into_iter().flatten()),
    }
    let entry = match (keys, config) {
        (Ok(keys), Ok((kind, config))) => {
            let limits = keys.limits(&kind.defaults);
            faults.extend(limits::delivery(&keys, &limits));
            let (name, config, digest) = (name.to_owned(), config.into(), digest(&kept));
            Some(SinkEntry { name, kind, keys, limits, config, digest, implicit: false })
        }
        (Ok(keys), Err(_)) => {
            faults.extend(limits::delivery(&keys, &keys.limits(&FALLBACK)));
            None
        }
        (Err(_), _) => None,
    };
    let is_fine = faults.is_empty();
    report.faults(&path, faults, &kept, &header);
    entry.filter(|_| is_fine)
}

/// What is wrong with a table beside the keys that could not be read: one bad key does not hide further faults.
fn further(kind: SinkKind, table: &DeTable<'_>, faults: &[Fault], header: &Range<usize>) -> Vec<Fault> {
    let (mended, left_out) = slips::mended(table, faults);
    let config = (kind.read)(Settings::new(Spanned::new(header.clone(), mended)));
    let further = config.ok().and_then(|config| config.check().err()).unwrap_or_default();
    // A fault that speaks of a key that was left out may follow from that.
    let follows = |fault: &Fault| left_out.iter().any(|key| fault.message.contains(key.as_str()));
    further.into_iter().filter(|fault| !follows(fault)).collect()
}

/// Stands in for a kind's defaults where there is no kind.
const FALLBACK: Defaults =
    Defaults { max_events: 1, max_bytes: 1, linger: std::time::Duration::ZERO, concurrency: 1, rate: None };

fn kind(settings: &mut Settings<'_>, kinds: &[SinkKind], kept: &DeTable<'_>) -> Result<SinkKind, Vec<Fault>> {
    let list = || kinds.iter().map(|k| format!("`{}`", k.name)).collect::<Vec<_>>().join(", ");
    let Some(value) = settings.take("kind") else {
        let typo = kept.keys().map(|key| key.get_ref().as_ref()).find(|key| nearest(key, ["kind"]).is_some());
        let fault =
            Fault { at: At::Table, message: format!("missing key `kind`, expected one of {}", list()), help: None };
        return Err(vec![match typo {
            Some(typo) => fault.help(format!("`{typo}` is there: did you mean `kind`?")),
            None => fault,
        }]);
    };
    let Some(name) = value.get_ref().as_str() else {
        let message = format!("`kind` is {}, expected one of {}", with_article(value.get_ref()), list());
        return Err(vec![Fault::at_span(value.span(), message)]);
    };
    kinds.iter().find(|kind| kind.name == name).copied().ok_or_else(|| {
        let fault = Fault::at_span(value.span(), format!("unknown kind `{name}`, expected one of {}", list()));
        // A name that other tools give to a kind of ours comes before one that is spelt alike.
        let called = kinds.iter().find(|kind| kind.also.contains(&name)).map(|kind| kind.name);
        vec![match called.or_else(|| nearest(name, kinds.iter().map(|k| k.name))) {
            Some(name) => fault.help(format!("did you mean `{name}`?")),
            None => fault,
        }]
    })
}

/// Takes the core's keys out of the settings, into a table of their own.
fn take_keys<'i>(settings: &mut Settings<'i>, header: &Range<usize>) -> Settings<'i> {
    let names: Vec<_> = settings.table().keys().cloned().collect();
    let mut own = DeTable::new();
    for key in names {
        if DeliveryKeys::NAMES.contains(&key.get_ref().as_ref())
            && let Some(value) = settings.take(key.get_ref())
        {
            own.insert(key, value);
        }
    }
    Settings::new(Spanned::new(header.clone(), own))
}

/// Adds to a missing key's fault how the kind's example has it; to an unknown key's the nearest key of both kind and
/// core: the kind, which found it, knows its own alone.
fn suggest(fault: Fault, kept: &DeTable<'_>, kind: Option<SinkKind>) -> Fault {
    if let (None, Some(("", key))) = (&fault.help, slips::missing(&fault.message)) {
        let example = kind.and_then(|kind| example_of(kind.example, key));
        return Fault { help: example.map(|value| format!("such as {key} = {value}")), ..fault };
    }
    let Some((typo, rest)) = fault.message.strip_prefix("unknown key `").and_then(|rest| rest.split_once('`')) else {
        return fault;
    };
    let At::Span(span) = &fault.at else { return fault };
    if !kept.keys().any(|key| key.span() == *span && key.get_ref().as_ref() == typo) {
        return fault;
    }
    let names = rest.split('`').skip(1).step_by(2).chain(DeliveryKeys::NAMES.iter().copied()).chain(["kind"]);
    let help = match nearest(typo, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("keys that every sink has: {}", DeliveryKeys::NAMES.join(", ")),
    };
    fault.help(help)
}

/// The value that a key has in an example of a sink's table, as it is written there.
fn example_of<'e>(example: &'e str, key: &str) -> Option<&'e str> {
    let table = DeTable::parse(example).ok()?.into_inner();
    let sink = table.get("sinks")?.get_ref().as_table()?.values().next()?.get_ref().as_table()?;
    example.get(sink.get(key)?.span())
}

/// Reports sinks that claim the same thing for themselves alone, such as the same file under two names.
pub(super) fn claim_faults(sinks: &[(SinkEntry, Range<usize>)], base_dir: &Path, report: &mut Report<'_>) {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for (sink, header) in sinks {
        for claim in sink.config.claims() {
            let thing = match claim.strip_prefix("file:") {
                Some(path) => format!("file:{}", lexical(&base_dir.join(path)).display()),
                None => claim.clone(),
            };
            if let Some(owner) = owners.get(&thing) {
                let what = claim.split_once(':').map_or(claim.as_str(), |(_, which)| which);
                let message = format!("[sinks.{owner}] and [sinks.{}] both want `{what}`, and only one may", sink.name);
                report.error(&format!("sinks.{}", sink.name), header.clone(), message, None);
            } else {
                owners.insert(thing, &sink.name);
            }
        }
    }
}

/// The path without `.` and `..`. Links are not followed, as the file system is not looked at.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // Above `/` is `/`.
            Component::ParentDir => _ = out.pop(),
            plain => out.push(plain),
        }
    }
    out
}

/// A value's type with its article: `a string`, `an integer`.
pub(super) fn with_article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
