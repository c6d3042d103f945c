//! Which event is meant by an id: the event's own or a delivery's, whole or shortened.

use std::time::Duration;

use sink_api::Uuid;

use super::found_reading::{Backwards, deadline, is_over};
use super::refusals::unable;
use crate::admin::Refusal;
use crate::ids;
use crate::journal::{Entry, Find, Journal, Within};

/// How long is looked for the end of an id.
const LOOK_SHORT: Duration = Duration::from_secs(2);

/// The event that is meant; none where it is gone.
///
/// # Errors
/// The text is no id, or stands for several; the journal cannot be read.
pub(super) async fn meant(journal: &dyn Journal, text: &str) -> Result<Option<Entry>, Refusal> {
    match (ids::event(text), ids::end(text)) {
        (Some(id), _) => by_id(journal, id).await,
        (None, Some(_)) => by_short(journal, text).await,
        (None, None) => {
            let what = "expected the id of an event or of a delivery, or the last 8 characters of an event's";
            Err(Refusal::Question(format!("`{text}` is no id, {what}")))
        }
    }
}

/// The event of that id.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn by_id(journal: &dyn Journal, id: Uuid) -> Result<Option<Entry>, Refusal> {
    let found = journal.find(Find::Event(*id.as_bytes()), Within::newest(1)).await.map_err(unable)?;
    Ok(found.entries.into_iter().next_back())
}

/// The event that a shortened id is of, among the newest: as far back as can be read in a short time.
///
/// # Errors
/// There are several; the journal cannot be read.
pub(super) async fn by_short(journal: &dyn Journal, text: &str) -> Result<Option<Entry>, Refusal> {
    let Some(end) = ids::end(text) else { return Ok(None) };
    let mut back = Backwards::new(journal, None, None, 1_000).await?;
    let (deadline, mut found) = (deadline(LOOK_SHORT), Vec::<Entry>::new());
    while !back.is_done() && !is_over(deadline) {
        found.extend(back.window(deadline, |record| record.id.ends_with(&end)).await?);
    }
    match found.as_slice() {
        [one, other, ..] => {
            let [one, other] = [one, other].map(|entry| Uuid::from_bytes(entry.record.id));
            Err(Refusal::Question(format!("`{text}` is the end of several ids, among them {one} and {other}")))
        }
        _ => Ok(found.into_iter().next()),
    }
}

/// That there is no such event.
pub(super) fn gone(id: &str) -> Refusal {
    let why = "retention may have deleted it; of short ids only those of recent events are found";
    Refusal::Missing(format!("there is no event `{id}` in the journal: {why}"))
}
