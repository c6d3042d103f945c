//! Has a sink's worker try at once, for the admin listener, and waits for what comes of it.

use std::time::Duration;

use crate::admin::Refusal;
use crate::admin::sink::ProbeDone;
use crate::deliver::{Book, Condition, Probed};

/// What comes of a try is waited for no longer: the admin listener gives up after 30 s.
const PROBE: Duration = Duration::from_secs(25);

/// Has the sink of that book try at once, and says what came of it.
///
/// # Errors
/// The sink has no worker, or too many wait for it already.
pub(super) async fn probe(sink: &str, book: &Book) -> Result<ProbeDone, Refusal> {
    match book.vitals().condition() {
        Condition::Paused => return Err(Refusal::Question(format!("`{sink}` is paused; `sink resume` lets it go"))),
        Condition::Disabled => return Err(Refusal::Question(format!("`{sink}` has `enabled = false`"))),
        Condition::Starting | Condition::Running | Condition::Down => {}
    }
    let Some(answer) = book.probes.ask() else {
        return Err(Refusal::Unable(format!("too many wait for `{sink}` to try; try again")));
    };
    let done = |outcome: &str, [code, detail]: [Option<String>; 2]| {
        let (sink, outcome) = (sink.to_owned(), outcome.to_owned());
        Ok(ProbeDone { sink, outcome, code, detail })
    };
    match tokio::time::timeout(PROBE, answer).await {
        Ok(Ok(Probed::Delivered)) => done("delivered", [None, None]),
        Ok(Ok(Probed::Opens)) => done("opens", [None, None]),
        Ok(Ok(Probed::Failed(why))) => done("failed", [Some(why.code.to_owned()), Some(why.detail)]),
        Ok(Err(_)) | Err(_) => done("waits", [None, None]),
    }
}
