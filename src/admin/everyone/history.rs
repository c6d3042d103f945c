//! The history of several daemons as one: what each took in is summed; what was delivered and is pending each knows for
//! all; of how long answers took the slowest daemon's is shown. Pure.

use std::collections::BTreeMap;

use crate::admin::history::{HistorySample, HistoryView};

/// The histories as one, the first of which is that of the daemon that was asked.
pub(super) fn merged(all: Vec<HistoryView>) -> HistoryView {
    let mut samples: BTreeMap<i64, HistorySample> = BTreeMap::new();
    let mut view = HistoryView::default();
    for (n, history) in all.into_iter().enumerate() {
        if n == 0 {
            view = HistoryView { samples: vec![], ..history.clone() };
        }
        for more in history.samples {
            samples.entry(more.time).and_modify(|sample| add(sample, &more)).or_insert(more);
        }
    }
    view.samples = samples.into_values().collect();
    view
}

fn add(sample: &mut HistorySample, more: &HistorySample) {
    sample.accepted += more.accepted;
    sample.refused += more.refused;
    let slower = |own: Option<f64>, more: Option<f64>| own.into_iter().chain(more).reduce(f64::max);
    sample.answer_p50 = slower(sample.answer_p50, more.answer_p50);
    sample.answer_p99 = slower(sample.answer_p99, more.answer_p99);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::history::Span;

    #[test]
    fn what_came_in_is_summed_and_what_all_know_is_not() {
        let sample = |time, accepted, p99| HistorySample {
            time,
            accepted,
            delivered: 5,
            pending: 7,
            answer_p99: p99,
            ..HistorySample::default()
        };
        let of = |samples: Vec<HistorySample>| HistoryView { span: Span::Day, samples, ..HistoryView::default() };
        let all = merged(vec![
            of(vec![sample(10, 1, Some(0.5)), sample(20, 2, None)]),
            of(vec![sample(20, 3, Some(0.1)), sample(30, 4, Some(0.7))]),
        ]);
        assert_eq!(all.span, Span::Day);
        assert_eq!(all.samples, [sample(10, 1, Some(0.5)), sample(20, 5, Some(0.1)), sample(30, 4, Some(0.7))]);
    }
}
