//! The pages of `/metrics` of several daemons as one. What is a daemon's own has the label `node`; what every daemon
//! reads from the journal they share stands there once, as the one that was asked says it. Works on the text, in either
//! of Prometheus' formats, in which a family is its lines that begin with `#` and the samples behind them. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// Families that are of the cluster, and not of one daemon.
const SHARED: &[&str] = &[
    "hookrelay_deliveries_total",
    "hookrelay_sink_pending",
    "hookrelay_sink_dead",
    "hookrelay_journal_bytes",
    "hookrelay_journal_owed_bytes",
    "hookrelay_journal_segments",
    "hookrelay_journal_max_bytes",
    "hookrelay_journal_oldest_timestamp_seconds",
];
/// Of these families what only the daemon knows that gave up: it has the label all the same.
const OWN_IN_SHARED: &str = "outcome=\"dead\"";
/// What OpenMetrics ends with.
const EOF: &str = "# EOF";
/// The label.
const NODE: &str = "node";

/// A family as it stands on a page.
struct Family<'p> {
    name: &'p str,
    head: Vec<&'p str>,
    samples: Vec<&'p str>,
}

/// One page of the pages of these daemons, the first of which was asked; none of a daemon that did not answer.
pub(super) fn page(pages: &[(&str, Option<&str>)]) -> String {
    let is_open = pages.iter().any(|(_, page)| page.is_some_and(|page| page.trim_end().ends_with(EOF)));
    let pages: Vec<(usize, &str, Vec<Family<'_>>)> =
        pages.iter().enumerate().map(|(n, (node, page))| (n, *node, families(page.unwrap_or_default()))).collect();
    // By name, so that a page of very many families takes no longer than its length.
    let mut named: Vec<HashMap<&str, Vec<&Family<'_>>>> = Vec::with_capacity(pages.len());
    for (.., families) in &pages {
        let mut of_page: HashMap<&str, Vec<&Family<'_>>> = HashMap::new();
        families.iter().for_each(|family| of_page.entry(family.name).or_default().push(family));
        named.push(of_page);
    }
    let mut out = String::new();
    let mut done: HashSet<&str> = HashSet::new();
    for family in pages.iter().flat_map(|(_, _, families)| families) {
        if !done.insert(family.name) {
            continue;
        }
        family.head.iter().for_each(|line| line_of(&mut out, line));
        for ((n, node, _), of_page) in pages.iter().zip(&named) {
            for same in of_page.get(family.name).into_iter().flatten() {
                same.samples.iter().for_each(|sample| add(&mut out, (*n, node), family.name, sample));
            }
        }
    }
    up(&mut out, &pages.iter().map(|(_, node, families)| (*node, !families.is_empty())).collect::<Vec<_>>());
    if is_open {
        line_of(&mut out, EOF);
    }
    out
}

/// The families of a page, in its order.
fn families(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in page.lines().filter(|line| !line.is_empty() && *line != EOF) {
        match line.strip_prefix("# ") {
            Some(about) => {
                let name = about.split(' ').nth(1).unwrap_or_default();
                match families.last_mut() {
                    Some(last) if last.name == name && last.samples.is_empty() => last.head.push(line),
                    _ => families.push(Family { name, head: vec![line], samples: vec![] }),
                }
            }
            None => families.last_mut().into_iter().for_each(|last| last.samples.push(line)),
        }
    }
    families
}

fn line_of(out: &mut String, line: &str) {
    // Writing into a text does not fail.
    let _ = writeln!(out, "{line}");
}

fn add(out: &mut String, (n, node): (usize, &str), family: &str, sample: &str) {
    // OpenMetrics names a counter's family without its ending.
    let is_shared = SHARED.iter().any(|name| *name == family || name.strip_suffix("_total") == Some(family));
    match is_shared && !sample.contains(OWN_IN_SHARED) {
        true if n == 0 => line_of(out, sample),
        true => {}
        false => line_of(out, &with_node(sample, node)),
    }
}

/// The sample with one label more.
fn with_node(sample: &str, node: &str) -> String {
    let node = escaped(node);
    let end = sample.find(['{', ' ']).unwrap_or(sample.len());
    let (name, rest) = sample.split_at(end);
    match rest.strip_prefix('{') {
        Some(labels) if labels.starts_with('}') => format!("{name}{{{NODE}=\"{node}\"{labels}"),
        Some(labels) => format!("{name}{{{NODE}=\"{node}\",{labels}"),
        None => format!("{name}{{{NODE}=\"{node}\"}}{rest}"),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn up(out: &mut String, nodes: &[(&str, bool)]) {
    line_of(out, "# HELP hookrelay_node_up Whether the daemon answered the one that was asked.");
    line_of(out, "# TYPE hookrelay_node_up gauge");
    for (node, is_up) in nodes {
        line_of(out, &format!("hookrelay_node_up{{{NODE}=\"{}\"}} {}", escaped(node), u8::from(*is_up)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{Format, Page, labels};

    fn scraped(format: Format, n: u64) -> String {
        let mut page = Page::default();
        page.counter("hookrelay_webhooks_accepted_total", "Taken", [(labels([("source", "a} \"b")]), n)]);
        let ended = [("delivered", 10 + n), ("dead", n)];
        let ended = ended.map(|(outcome, n)| (labels([("sink", "crm"), ("outcome", outcome)]), n));
        page.counter("hookrelay_deliveries_total", "Ended", ended);
        page.gauge("hookrelay_connections", "Open", [(vec![], n)]);
        page.gauge("hookrelay_journal_bytes", "Size", [(vec![], 7)]);
        Arc::new(page).write(format)
    }

    #[test]
    fn what_is_a_daemons_own_has_its_name_and_what_is_the_clusters_stands_there_once() {
        for format in [Format::Text, Format::OpenMetrics] {
            let [a, b] = [1, 2].map(|n| scraped(format, n));
            let page = page(&[("a", Some(&a)), ("b", Some(&b)), ("c\"", None)]);
            for line in [
                "hookrelay_webhooks_accepted_total{node=\"a\",source=\"a} \\\"b\"} 1",
                "hookrelay_webhooks_accepted_total{node=\"b\",source=\"a} \\\"b\"} 2",
                "hookrelay_deliveries_total{sink=\"crm\",outcome=\"delivered\"} 11",
                "hookrelay_deliveries_total{node=\"b\",sink=\"crm\",outcome=\"dead\"} 2",
                "hookrelay_connections{node=\"b\"} 2",
                "hookrelay_journal_bytes 7",
                "hookrelay_node_up{node=\"a\"} 1",
                "hookrelay_node_up{node=\"c\\\"\"} 0",
            ] {
                assert_eq!(page.lines().filter(|one| *one == line).count(), 1, "{format:?}: {line}\n{page}");
            }
            assert!(!page.contains("outcome=\"delivered\"} 12"), "{page}");
            let families: Vec<_> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
            assert_eq!(families.len(), 5, "{page}");
            assert_eq!(page.ends_with("# EOF\n"), format == Format::OpenMetrics);
            assert_eq!(page.matches(EOF).count(), usize::from(format == Format::OpenMetrics));
        }
    }

    #[test]
    fn a_family_that_only_another_has_is_there_too() {
        let page = page(&[("a", Some("")), ("b", Some("# HELP x X\n# TYPE x gauge\nx{} 1\n"))]);
        assert!(page.starts_with("# HELP x X\n# TYPE x gauge\nx{node=\"b\"} 1\n"), "{page}");
    }
}
