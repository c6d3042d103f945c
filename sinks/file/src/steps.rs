//! Which lines of a batch go to which file, and in which step. Pure.
//!
//! Within a step every file takes its lines in one write, in the batch's order, and they succeed or fail together.
//! Where order is owed, a key stands in one file per step: a delivery whose key went to another file before waits for
//! the next step, so that it is attempted only when all earlier deliveries of its key have been made. A batch whose
//! keys each keep to one file (the usual case) is one step.

use std::borrow::Cow;
use std::collections::HashMap;

use sink_api::{Batch, Delivery};

/// The lines one file takes in one step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group<'b> {
    /// The file, as the template was rendered.
    pub(crate) path: Cow<'b, str>,
    /// Places in the batch, ascending.
    pub(crate) at: Vec<usize>,
}

/// The steps of a batch, in order.
pub(crate) fn steps<'b>(batch: &'b Batch, path_of: impl Fn(&'b Delivery) -> Cow<'b, str>) -> Vec<Vec<Group<'b>>> {
    let paths: Vec<Cow<'b, str>> = batch.deliveries.iter().map(|delivery| path_of(delivery)).collect();
    if let Some((path, others)) = paths.split_first()
        && others.iter().all(|other| other == path)
    {
        return vec![vec![Group { path: path.clone(), at: (0..paths.len()).collect() }]];
    }
    let mut steps: Vec<Vec<Group<'b>>> = Vec::new();
    let mut group_at: HashMap<(usize, Cow<'b, str>), usize> = HashMap::new();
    // For each key, its last file and the step in which that was.
    let mut last: HashMap<&str, (usize, Cow<'b, str>)> = HashMap::new();
    for ((i, delivery), path) in batch.deliveries.iter().enumerate().zip(paths) {
        let mut step = 0;
        if batch.ordered {
            match last.get_mut(&*delivery.key) {
                Some((before, file)) if *file == path => step = *before,
                Some(entry) => {
                    step = entry.0 + 1;
                    *entry = (step, path.clone());
                }
                None => {
                    last.insert(&delivery.key, (0, path.clone()));
                }
            }
        }
        if steps.len() <= step {
            steps.push(Vec::new());
        }
        let Some(groups) = steps.get_mut(step) else { continue };
        let at = *group_at.entry((step, path.clone())).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.at.push(i),
            None => groups.push(Group { path, at: vec![i] }),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use sink_testkit::{batch, event, unordered};

    use super::*;

    fn plan(batch: &Batch) -> Vec<Vec<(&str, Vec<usize>)>> {
        let by_type = |d: &'_ Delivery| Cow::Owned(d.event.kind.to_string());
        let names = |g: Group<'_>| (["A", "B"][usize::from(g.path == "B")], g.at);
        steps(batch, by_type).into_iter().map(|s| s.into_iter().map(names).collect()).collect()
    }

    #[test]
    fn keys_that_keep_to_one_file_make_one_step() {
        let all = [("A", "k"), ("B", "l"), ("A", "m"), ("A", "k")];
        let owed = batch(all.map(|(kind, key)| event(kind).key(key).delivery()));
        assert_eq!(plan(&owed), [vec![("A", vec![0, 2, 3]), ("B", vec![1])]]);
    }

    #[test]
    fn a_key_that_changes_files_waits_for_the_next_step() {
        let all = [("A", "k"), ("B", "k"), ("B", "l"), ("A", "k")];
        let owed = batch(all.map(|(kind, key)| event(kind).key(key).delivery()));
        assert_eq!(plan(&owed), [vec![("A", vec![0]), ("B", vec![2])], vec![("B", vec![1])], vec![("A", vec![3])]]);
        let free = unordered(all.map(|(kind, key)| event(kind).key(key).delivery()));
        assert_eq!(plan(&free), [vec![("A", vec![0, 3]), ("B", vec![1, 2])]]);
    }
}
