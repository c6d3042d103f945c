//! Says what a replay would come to. Only reads.

use std::sync::Arc;

use super::refusals::{known_sink, rate, time, type_pattern, unable};
use crate::admin::Refusal;
use crate::admin::replay::{ReplayAsk, ReplayPlan, SinkPlan};
use crate::config::Config;
use crate::deliver;
use crate::journal::{Entry, Find, Journal, Marks, Owed, TypeCount, Within};

/// Most events of one subject that are counted one by one.
const MOST_OF_SUBJECT: usize = 1_000;

/// What a replay would come to, at most: types and routes are looked at, and no event is read.
///
/// # Errors
/// What is asked makes no sense, or the journal cannot be read.
pub(super) async fn plan(config: &Config, journal: &dyn Journal, ask: ReplayAsk) -> Result<ReplayPlan, Refusal> {
    let (names, [from, until]) = (sinks_of(config, &ask)?, span_of(config, journal, &ask).await?);
    let kind = type_pattern(ask.kind.as_deref())?;
    rate(ask.rate.as_deref())?;
    if from.reaches(&until) {
        return Ok(ReplayPlan::default());
    }
    let counted = match ask.subject.as_deref() {
        Some(subject) => of_subject(journal, subject, &from, &until).await?,
        None => None,
    };
    let counted = match counted {
        Some(counted) => counted,
        None => journal.owed(&from, &until).await.map_err(unable)?,
    };
    let is_meant = |count: &TypeCount| kind.as_ref().is_none_or(|kind| kind.is_match(&*count.kind));
    let known: Vec<TypeCount> = counted.known.into_iter().filter(is_meant).collect();
    let sinks = config.sinks.iter().filter(|sink| names.contains(&sink.name)).map(|sink| SinkPlan {
        sink: sink.name.clone(),
        kind: sink.kind.name.to_owned(),
        deliveries: deliver::owed(&config.rules, &sink.name, &known),
        repeats: sink.kind.repeats.word().to_owned(),
    });
    let events = known.iter().map(|count| count.events).sum::<u64>() + counted.unknown;
    Ok(ReplayPlan { events, sinks: sinks.collect() })
}

/// The events of one subject in a span, by the journal's index; `None` where there are too many to look at.
async fn of_subject(
    journal: &dyn Journal,
    subject: &str,
    from: &Marks,
    until: &Marks,
) -> Result<Option<Owed>, Refusal> {
    let within = Within { most: MOST_OF_SUBJECT, bytes: Within::BYTES, before: Some(until.clone()) };
    let found = journal.find(Find::Subject(subject.into()), within).await.map_err(unable)?;
    if found.is_cut {
        return Ok(None);
    }
    let is_meant = |entry: &Entry| !from.is_past(entry.position);
    let one = |entry: Entry| TypeCount {
        source: Arc::clone(&entry.record.source),
        kind: Arc::clone(&entry.record.kind),
        events: 1,
    };
    Ok(Some(Owed { known: found.entries.into_iter().filter(is_meant).map(one).collect(), ..Owed::default() }))
}

/// Where the span begins and ends.
///
/// # Errors
/// A time is none, or the journal cannot be read.
pub(super) async fn span_of(config: &Config, journal: &dyn Journal, ask: &ReplayAsk) -> Result<[Marks; 2], Refusal> {
    let zone = &config.timezone;
    let from = journal.seek(time("since", &ask.since, zone)?).await.map_err(unable)?;
    let until = match &ask.until {
        Some(until) => journal.seek(time("until", until, zone)?).await.map_err(unable)?,
        None => journal.ends().await.map_err(unable)?,
    };
    Ok([from, until])
}

/// The sinks to replay for: those that are named, else all.
///
/// # Errors
/// There is no such sink.
pub(super) fn sinks_of(config: &Config, ask: &ReplayAsk) -> Result<Vec<String>, Refusal> {
    let all = config.sinks.iter().map(|sink| &sink.name);
    ask.sinks.iter().try_for_each(|sink| known_sink(sink, all.clone()))?;
    Ok(if ask.sinks.is_empty() { all.cloned().collect() } else { ask.sinks.clone() })
}
