//! Lists of several daemons as one: in the order in which each has it, every row once, and with a place to go on that
//! leaves nothing out. Pure.

use std::collections::BTreeMap;

use sink_api::Timestamp;

use crate::admin::List;
use crate::admin::dead::{Count, DeadView, OutcomeView};
use crate::admin::sending::ResendView;

/// A row of a list that comes page by page, in an order that all daemons share.
pub(super) trait Row {
    /// Where it stands in the order.
    type Place: Ord;
    fn place(&self) -> Self::Place;
    /// The place that a page's `next` tells.
    fn read(next: &str) -> Option<Self::Place>;
    /// That text of this row: the next page begins behind it.
    fn next(&self) -> String;
}

impl Row for DeadView {
    type Place = (String, String);

    fn place(&self) -> Self::Place {
        (self.sink.clone(), self.id.clone())
    }

    fn read(next: &str) -> Option<Self::Place> {
        next.split_once('/').map(|(sink, id)| (sink.to_owned(), id.to_owned()))
    }

    fn next(&self) -> String {
        format!("{}/{}", self.sink, self.id)
    }
}

impl Row for ResendView {
    type Place = (i64, String);

    fn place(&self) -> Self::Place {
        (self.due.parse().map_or(0, Timestamp::as_microsecond), self.id.clone())
    }

    fn read(next: &str) -> Option<Self::Place> {
        let (due, id) = next.split_once('/')?;
        Some((due.parse().ok()?, id.to_owned()))
    }

    fn next(&self) -> String {
        let (due, id) = self.place();
        format!("{due}/{id}")
    }
}

/// The pages of all daemons as one of at most so many rows. Where one daemon has more behind its page, nothing behind
/// that is shown: rows of it would be missing in between.
pub(super) fn page<T: Row>(pages: Vec<List<T>>, limit: usize) -> List<T> {
    let nexts = pages.iter().filter_map(|page| page.next.as_deref());
    let end =
        nexts.filter_map(|next| Some((T::read(next)?, next.to_owned()))).min_by(|(one, _), (other, _)| one.cmp(other));
    let mut items: Vec<T> = pages.into_iter().flat_map(|page| page.items).collect();
    items.sort_by_key(Row::place);
    // A shard that was just handed over may be on two.
    items.dedup_by(|one, other| one.place() == other.place());
    if let Some((end, _)) = &end {
        items.retain(|item| item.place() <= *end);
    }
    if items.len() <= limit {
        return List::new(items, end.map(|(_, next)| next));
    }
    items.truncate(limit);
    let next = items.last().map(Row::next);
    List::new(items, next)
}

/// The counts of all daemons, the most first.
pub(super) fn counts(all: Vec<List<Count>>) -> List<Count> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for Count { key, count } in all.into_iter().flat_map(|list| list.items) {
        *sums.entry(key).or_default() += count;
    }
    let mut items: Vec<Count> = sums.into_iter().map(|(key, count)| Count { key, count }).collect();
    // Those of one number stay in the order of their keys.
    items.sort_by_key(|count| std::cmp::Reverse(count.count));
    List::new(items, None)
}

/// What became of each delivery, by whoever knows: a daemon that does not own its shard takes it for pending.
pub(super) fn outcomes(all: Vec<List<OutcomeView>>) -> List<OutcomeView> {
    let mut known: Vec<OutcomeView> = Vec::new();
    for list in all {
        for (n, more) in list.items.into_iter().enumerate() {
            match known.get_mut(n) {
                None => known.push(more),
                Some(own) if weight(&more) > weight(own) => *own = more,
                Some(_) => {}
            }
        }
    }
    List::new(known, None)
}

fn weight(outcome: &OutcomeView) -> u8 {
    match (outcome.outcome.as_str(), &outcome.code) {
        ("pending", None) => 0,
        ("pending", Some(_)) => 2,
        ("dead", _) => 3,
        _ => 1,
    }
}

/// Of short ids the first that stands for several of these deliveries, with them.
pub(super) fn ambiguous<'s>(short: &'s [String], items: &[DeadView]) -> Option<(&'s str, Vec<String>)> {
    short.iter().find_map(|id| {
        let mut all: Vec<String> =
            items.iter().filter(|item| item.id.ends_with(id.as_str())).map(|item| item.id.clone()).collect();
        all.sort_unstable();
        all.dedup();
        (all.len() > 1).then_some((id.as_str(), all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resend(second: u8, id: &str) -> ResendView {
        ResendView { id: id.into(), due: format!("2026-12-01T00:00:0{second}Z"), ..ResendView::default() }
    }

    fn pages(a: &[(u8, &str)], a_next: bool, b: &[(u8, &str)], b_next: bool) -> Vec<List<ResendView>> {
        [(a, a_next), (b, b_next)]
            .map(|(rows, has_more)| {
                let rows: Vec<_> = rows.iter().map(|(second, id)| resend(*second, id)).collect();
                let next = rows.last().filter(|_| has_more).map(Row::next);
                List::new(rows, next)
            })
            .into()
    }

    fn ids(list: &List<ResendView>) -> String {
        list.items.iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn pages_are_one_in_order_and_each_row_is_there_once() {
        let list = page(pages(&[(1, "a"), (3, "c")], false, &[(1, "a"), (2, "b"), (3, "d")], false), 10);
        assert_eq!((ids(&list).as_str(), list.next), ("abcd", None));
    }

    #[test]
    fn nothing_is_shown_behind_the_end_of_a_page_that_goes_on() {
        let list = page(pages(&[(1, "a"), (3, "c")], true, &[(2, "b"), (4, "d")], false), 10);
        assert_eq!(ids(&list), "abc");
        assert_eq!(list.next, Some(resend(3, "c").next()), "behind it `d` comes again");
        let list = page(pages(&[(1, "a"), (3, "c")], true, &[(2, "b"), (4, "d")], true), 2);
        assert_eq!((ids(&list), list.next), ("ab".into(), Some(resend(2, "b").next())));
        let list = page(pages(&[(1, "a")], false, &[(2, "b"), (3, "c")], false), 2);
        assert_eq!((ids(&list), list.next), ("ab".into(), Some(resend(2, "b").next())));
    }

    #[test]
    fn a_letters_place_is_its_sink_and_its_id() {
        assert_eq!(DeadView::read("crm/a-b/c"), Some(("crm".into(), "a-b/c".into())));
        assert_eq!(ResendView::read("7/x"), Some((7, "x".into())));
        assert_eq!((DeadView::read("crm"), ResendView::read("x/7")), (None, None));
    }

    #[test]
    fn counts_are_summed_and_the_most_come_first() {
        let of = |all: &[(&str, u64)]| {
            List::new(all.iter().map(|(key, count)| Count { key: (*key).into(), count: *count }).collect(), None)
        };
        let all = counts(vec![of(&[("x", 3), ("b", 1)]), of(&[("c", 4), ("a", 1), ("b", 2)])]);
        let all: Vec<_> = all.items.into_iter().map(|count| (count.key, count.count)).collect();
        assert_eq!(all, [("c".to_owned(), 4), ("b".into(), 3), ("x".into(), 3), ("a".into(), 1)]);
    }

    #[test]
    fn of_what_became_of_a_delivery_the_one_who_knows_is_believed() {
        let of = |outcome: &str, code: Option<&str>| {
            let (sink, id) = ("crm".to_owned(), "1".to_owned());
            List::new(vec![OutcomeView { sink, id, outcome: outcome.into(), code: code.map(Into::into) }], None)
        };
        for (knows, code) in [("delivered", None), ("dead", Some("x")), ("dropped", None), ("pending", Some("x"))] {
            for lists in [vec![of("pending", None), of(knows, code)], vec![of(knows, code), of("pending", None)]] {
                let said = outcomes(lists).items.remove(0);
                assert_eq!((said.outcome.as_str(), said.code.as_deref()), (knows, code));
            }
        }
    }
}
