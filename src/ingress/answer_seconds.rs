//! How long a source's requests waited for their answers, by status. Each status has its histogram from its first
//! answer on, so that an answer costs no look-up in a map and waits for no other status.

use std::sync::OnceLock;
use std::time::Duration;

use crate::metrics::{Histogram, histograms};

/// The statuses that are told apart.
const STATUSES: [u16; 13] = [200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 413, 431, 503];
/// How the others are shown.
const OTHER: &str = "other";

/// One source's answers.
#[derive(Debug, Default)]
pub struct AnswerSeconds {
    by_status: [OnceLock<Histogram>; STATUSES.len()],
    other: OnceLock<Histogram>,
}

impl AnswerSeconds {
    /// A request was answered with that status, so long after its head had come.
    pub(in crate::ingress) fn add(&self, status: u16, after: Duration) {
        let own = STATUSES.iter().position(|known| *known == status).and_then(|at| self.by_status.get(at));
        own.unwrap_or(&self.other).get_or_init(histograms::answer_seconds).observe(after.as_secs_f64());
    }

    /// The histograms of the statuses that were answered with.
    pub fn all(&self) -> Vec<(String, Histogram)> {
        let known = STATUSES.iter().map(ToString::to_string).zip(&self.by_status);
        let all = known.chain([(OTHER.to_owned(), &self.other)]);
        all.filter_map(|(status, histogram)| Some((status, histogram.get()?.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_from_its_first_answer_on_and_odd_ones_together() {
        let answers = AnswerSeconds::default();
        assert_eq!(answers.all().len(), 0);
        for status in [503, 200, 418, 200, 599] {
            answers.add(status, Duration::from_millis(2));
        }
        let shown: Vec<String> = answers.all().into_iter().map(|(status, _)| status).collect();
        assert_eq!(shown, ["200", "503", "other"]);
    }
}
