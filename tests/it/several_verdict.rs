//! The verdict on daemons and brokers that were killed (`several_chaos/verdict.rs`) refuses what is wrong, one fault at
//! a time.

use std::collections::BTreeMap;

use crate::bodies::number_in;
use crate::several_chaos::plan::{KEYS, SENDERS, body, is_refused};
use crate::several_chaos::verdict::{Answered, Arrival, Evidence, Figures, Sink, Verdict, judge};

const EVENTS: u64 = 4 * KEYS;

fn arrival(n: u64) -> Arrival {
    Arrival { n, id: format!("id-{n}") }
}

/// All is well: each event is answered, stands in the journal, and is delivered once or dead.
fn good() -> Evidence {
    let refused = (0..EVENTS).filter(|n| is_refused(*n)).count() as u64;
    let all = || (0..EVENTS).map(arrival);
    let figures = |dead| vec![Figures { accepted: EVENTS, delivered: EVENTS - dead, dead, ..Figures::default() }; 3];
    let crm = Sink {
        arrivals: vec![all().filter(|event| !is_refused(event.n)).collect()],
        figures: figures(refused),
        under_way: 8,
        refuses: true,
    };
    let halves = [all().take(100).collect(), all().skip(100).collect(), vec![]];
    let archive = Sink { arrivals: halves.to_vec(), figures: figures(0), under_way: 200, refuses: false };
    Evidence {
        sent: vec![EVENTS / SENDERS; usize::try_from(SENDERS).unwrap()],
        answered: all().map(|Arrival { n, id }| Answered { n, id, node: usize::try_from(n % 3).unwrap() }).collect(),
        journal: all().collect(),
        sinks: BTreeMap::from([("crm", crm), ("archive", archive)]),
        changed: vec![],
        kills: 0,
    }
}

/// The verdict where this is changed, which must be a bad one.
fn refused(change: impl FnOnce(&mut Evidence)) -> Verdict {
    let mut evidence = good();
    change(&mut evidence);
    let verdict = judge(&evidence);
    assert!(!verdict.is_good(), "{verdict}");
    verdict
}

fn crm(evidence: &mut Evidence) -> &mut Sink {
    evidence.sinks.get_mut("crm").unwrap()
}

#[test]
fn a_body_says_which_event_it_is() {
    (0..EVENTS).for_each(|n| assert_eq!(number_in(&String::from_utf8(body(n)).unwrap()), n));
}

#[test]
fn what_is_right_is_found_good() {
    let verdict = judge(&good());
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.to_string().ends_with("verdict: good"));
}

#[test]
fn an_answered_event_that_is_not_in_the_journal_is_lost() {
    assert_eq!(refused(|evidence| drop(evidence.journal.remove(7))).lost, 1);
}

#[test]
fn what_a_sink_lacks_is_missing_also_where_only_one_of_two_ids_came() {
    assert_eq!(refused(|evidence| drop(crm(evidence).arrivals[0].remove(9))).sinks["crm"].missing, 1);
    let verdict = refused(|evidence| evidence.journal.push(Arrival { n: 9, id: "other".into() }));
    assert_eq!((verdict.twice, verdict.sinks["crm"].missing, verdict.sinks["archive"].missing), (1, 1, 1));
}

#[test]
fn what_was_never_sent_or_has_changed_or_is_not_owed_is_spurious() {
    let mut verdict = refused(|evidence| crm(evidence).arrivals[0].push(arrival(EVENTS + 3)));
    assert_eq!(verdict.sinks["crm"].spurious, 1);
    verdict = refused(|evidence| crm(evidence).arrivals[0].push(arrival(5)));
    assert_eq!(verdict.sinks["crm"].spurious, 1, "it is refused each time");
    verdict = refused(|evidence| crm(evidence).arrivals[0].push(Arrival { n: 1, ..arrival(2) }));
    assert_eq!(verdict.sinks["crm"].spurious, 1, "one event's id and another's body");
    assert_eq!(refused(|evidence| evidence.journal.push(arrival(EVENTS + SENDERS))).spurious, 1);
    assert_eq!(refused(|evidence| evidence.changed.push("{}".into())).spurious, 1);
}

#[test]
fn duplicates_have_a_bound_of_which_copies_in_the_journal_are_no_part() {
    let again = |evidence: &mut Evidence, times| {
        (0..times).for_each(|_| crm(evidence).arrivals[0].push(arrival(0)));
    };
    let verdict = refused(|evidence| again(evidence, 1));
    assert_eq!((verdict.sinks["crm"].duplicates, verdict.sinks["crm"].bound), (1, 0));
    let mut evidence = Evidence { kills: 1, ..good() };
    again(&mut evidence, 2016);
    assert!(judge(&evidence).is_good());
    again(&mut evidence, 1);
    assert!(!judge(&evidence).is_good());
    // It stands twice in the journal, and is delivered twice.
    let mut evidence = good();
    evidence.journal.push(arrival(0));
    for sink in evidence.sinks.values_mut() {
        sink.arrivals[0].push(arrival(0));
        sink.figures.iter_mut().for_each(|figures| {
            figures.accepted += 1;
            figures.delivered += 1;
        });
    }
    let verdict = judge(&evidence);
    assert!(verdict.is_good() && verdict.copies == 1, "{verdict}");
}

#[test]
fn first_appearances_of_a_key_follow_the_journal() {
    let n = usize::try_from(KEYS).unwrap();
    let verdict = refused(|evidence| {
        // Event 0 and the next of its key.
        let arrivals = &mut crm(evidence).arrivals[0];
        let next = arrivals.iter().position(|arrival| arrival.n == KEYS).unwrap();
        arrivals.swap(0, next);
    });
    assert_eq!(verdict.sinks["crm"].misplaced, 1);
    let verdict = refused(|evidence| evidence.journal.swap(0, 3 * n));
    assert_eq!(verdict.misplaced, 1, "one daemon took both");
    // What another daemon took may be overtaken, and a repeat says nothing.
    let mut evidence = good();
    evidence.answered.iter_mut().for_each(|event| event.node = usize::try_from(event.n / KEYS).unwrap() % 3);
    evidence.journal.swap(0, n);
    let Sink { arrivals, .. } = crm(&mut evidence);
    let next = arrivals[0].iter().position(|arrival| arrival.n == KEYS).unwrap();
    arrivals[0].swap(0, next);
    evidence.sinks.get_mut("archive").unwrap().arrivals[0].swap(0, n);
    evidence.kills = 1;
    crm(&mut evidence).arrivals[0].push(arrival(0));
    let verdict = judge(&evidence);
    assert!(verdict.is_good() && verdict.crossed == 1, "{verdict}");
}

#[test]
fn figures_are_exact_and_the_same_whichever_daemon_is_asked() {
    let change = |change: fn(&mut Figures)| {
        let verdict = refused(|evidence| crm(evidence).figures.iter_mut().for_each(change));
        assert_eq!(verdict.sinks["crm"].faults.len(), 3, "{verdict}");
    };
    change(|figures| figures.delivered += 1);
    change(|figures| {
        figures.accepted -= 1;
        figures.delivered -= 1;
    });
    change(|figures| {
        figures.dead -= 1;
        figures.delivered += 1;
    });
    change(|figures| {
        figures.pending += 1;
        figures.delivered -= 1;
    });
    change(|figures| {
        figures.dropped += 1;
        figures.delivered -= 1;
    });
    let verdict = refused(|evidence| {
        crm(evidence).figures[1].accepted += 1;
        crm(evidence).figures[1].delivered += 1;
    });
    assert!(verdict.sinks["crm"].faults.iter().any(|fault| fault.contains("do not say the same")), "{verdict}");
}
