//! What arrived, what is counted and what was answered, held against what stands in Kafka. Pure.
//!
//! An event that two daemons have taken, because the first one's answer was lost, has two ids: both stand in the
//! journal, and both are owed. And an event may stand there twice under one id, as a copy in an overflow was sent that
//! had arrived before: then its delivery comes twice. So what a sink must have is what the journal has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::plan::{SENDERS, is_refused, key_of, sender_of};

/// What a sink may have settled that was not durable when a daemon or a broker was killed: twice
/// `deliver::settler::EVENTS`, for the step that is gathered and the one that is being written.
const UNSETTLED: u64 = 2 * 1000;

/// An event as it stands in the journal, or arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub n: u64,
    pub id: String,
}

/// An event that was answered 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub n: u64,
    pub id: String,
    /// By which daemon.
    pub node: usize,
}

/// A sink's figures as a daemon says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub accepted: u64,
    pub delivered: u64,
    pub dead: u64,
    pub pending: u64,
    pub filtered: u64,
    pub dropped: u64,
}

/// What a sink got and said.
#[derive(Clone, Debug)]
pub struct Sink {
    /// What it took, in order; a list for each place in which there is an order.
    pub arrivals: Vec<Vec<Arrival>>,
    /// As each daemon says them.
    pub figures: Vec<Figures>,
    /// Most deliveries that are under way at once.
    pub under_way: u64,
    /// Whether it refuses what [`is_refused`].
    pub refuses: bool,
}

/// All that is known when everything is at rest.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// How many events each sender has sent, whether they were answered or not.
    pub sent: Vec<u64>,
    /// In the order of each sender.
    pub answered: Vec<Answered>,
    /// All events in Kafka, in order within a key.
    pub journal: Vec<Arrival>,
    pub sinks: BTreeMap<&'static str, Sink>,
    /// Bodies that are not as they were sent.
    pub changed: Vec<String>,
    /// Kills of daemons and of brokers.
    pub kills: u64,
}

/// One sink's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub missing: u64,
    pub spurious: u64,
    /// Deliveries that came again, but for those that stand in the journal again.
    pub duplicates: u64,
    pub bound: u64,
    /// First appearances that are not in the order of the journal.
    pub misplaced: u64,
    /// What does not add up.
    pub faults: Vec<String>,
}

/// The whole verdict.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub answered: u64,
    /// Events in Kafka, and how many of them stand there again under the same id.
    pub journal: u64,
    pub copies: u64,
    /// Events that two daemons took.
    pub twice: u64,
    /// Answered 200, and not in Kafka.
    pub lost: u64,
    /// In Kafka, and never sent, or with another body.
    pub spurious: u64,
    /// Events of a key, taken by one daemon one after the other, that stand in another order.
    pub misplaced: u64,
    /// The same of two daemons, which is not promised where the first one's waited in its overflow.
    pub crossed: u64,
    pub kills: u64,
    pub sinks: BTreeMap<&'static str, Outcome>,
}

impl Outcome {
    fn is_good(&self) -> bool {
        let wrong = self.missing + self.spurious + self.misplaced;
        wrong == 0 && self.duplicates <= self.bound && self.faults.is_empty()
    }
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        let wrong = self.lost + self.spurious + self.misplaced;
        wrong == 0 && self.answered > 0 && self.sinks.values().all(Outcome::is_good)
    }
}

/// The first place of each id.
fn firsts(of: &[Arrival]) -> HashMap<&str, usize> {
    let mut firsts = HashMap::new();
    of.iter().enumerate().for_each(|(at, arrival)| _ = firsts.entry(arrival.id.as_str()).or_insert(at));
    firsts
}

/// How many of these places are not behind the one before.
fn descents(places: impl Iterator<Item = usize>) -> u64 {
    let mut last = None;
    places.filter(|place| last.replace(*place).is_some_and(|last| last >= *place)).count() as u64
}

/// Compares it all.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { sent, answered, journal, sinks, changed, kills } = evidence;
    let places = firsts(journal);
    let distinct: BTreeSet<u64> = journal.iter().map(|event| event.n).collect();
    let is_sent = |n: u64| n / SENDERS < sent[sender_of(n)];
    let [mut keys, mut nodes] = [(); 2].map(|()| BTreeMap::<(u64, usize), Vec<usize>>::new());
    for event in answered {
        let Some(place) = places.get(event.id.as_str()) else { continue };
        keys.entry((key_of(event.n), 0)).or_default().push(*place);
        nodes.entry((key_of(event.n), event.node)).or_default().push(*place);
    }
    let all = |of: &BTreeMap<_, Vec<usize>>| of.values().map(|places| descents(places.iter().copied())).sum::<u64>();
    let misplaced = all(&nodes);
    let copies = (journal.len() - places.len()) as u64;
    let outcome = |sink: &Sink| outcome(sink, journal, &places, copies, *kills);
    Verdict {
        answered: answered.len() as u64,
        journal: journal.len() as u64,
        copies,
        twice: (places.len() - distinct.len()) as u64,
        lost: answered.iter().filter(|event| !places.contains_key(event.id.as_str())).count() as u64,
        spurious: (journal.iter().filter(|event| !is_sent(event.n)).count() + changed.len()) as u64,
        misplaced,
        crossed: all(&keys),
        kills: *kills,
        sinks: sinks.iter().map(|(name, sink)| (*name, outcome(sink))).collect(),
    }
}

fn outcome(sink: &Sink, journal: &[Arrival], places: &HashMap<&str, usize>, copies: u64, kills: u64) -> Outcome {
    let is_owed = |event: &&Arrival| !(sink.refuses && is_refused(event.n));
    let had: BTreeSet<&str> = sink.arrivals.iter().flatten().map(|arrival| arrival.id.as_str()).collect();
    let came = sink.arrivals.iter().map(Vec::len).sum::<usize>();
    let owed: BTreeSet<&str> = journal.iter().filter(is_owed).map(|event| event.id.as_str()).collect();
    let is_spurious = |arrival: &&Arrival| {
        places.get(arrival.id.as_str()).is_none_or(|place| journal[*place].n != arrival.n) || !is_owed(arrival)
    };
    let misplaced = |arrivals: &Vec<Arrival>| {
        let mut order: Vec<_> = firsts(arrivals).into_iter().collect();
        order.sort_by_key(|(_, at)| *at);
        let mut keys: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (id, at) in order {
            let Some(place) = places.get(id) else { continue };
            keys.entry(key_of(arrivals[at].n)).or_default().push(*place);
        }
        keys.into_values().map(|places| descents(places.into_iter())).sum::<u64>()
    };
    let again = (came - had.len()) as u64;
    Outcome {
        missing: owed.iter().filter(|id| !had.contains(*id)).count() as u64,
        spurious: sink.arrivals.iter().flatten().filter(is_spurious).count() as u64,
        duplicates: again.saturating_sub(copies),
        bound: kills * (2 * sink.under_way + UNSETTLED),
        misplaced: sink.arrivals.iter().map(misplaced).sum(),
        faults: faults(sink, journal.len() as u64, (places.len() - owed.len()) as u64, copies),
    }
}

/// What does not add up, in words. Of two deliveries of one id that are kept, parked or dead, the later one takes the
/// place of the earlier, which counts as dropped: no more of these than there are copies.
fn faults(sink: &Sink, journal: u64, refused: u64, copies: u64) -> Vec<String> {
    let mut faults = vec![];
    for (node, figures) in sink.figures.iter().enumerate() {
        let Figures { accepted, delivered, dead, pending, filtered, dropped } = *figures;
        let mut expect = |what: &str, is_so: bool| {
            if !is_so {
                faults.push(format!("daemon {node}: {what}: {figures:?}"));
            }
        };
        expect("it does not add up", accepted == delivered + dead + pending + filtered + dropped);
        expect(&format!("{journal} were accepted"), accepted == journal);
        expect(&format!("{refused} are dead"), dead == refused);
        expect("nothing is pending or filtered", pending + filtered == 0);
        expect(&format!("at most {copies} are dropped"), dropped <= copies);
    }
    if sink.figures.windows(2).any(|two| two[0] != two[1]) {
        faults.push(format!("daemons do not say the same: {:?}", sink.figures));
    }
    faults
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, journal, copies, twice, lost, spurious, misplaced, crossed, kills, .. } = self;
        writeln!(
            f,
            "{kills} kills of daemons and brokers; {answered} answered 200; {journal} in Kafka, {twice} of them taken \
             by two daemons, {copies} copies"
        )?;
        writeln!(
            f,
            "  journal: {lost} missing, {spurious} spurious, {misplaced} not in order; {crossed} overtook what another \
             daemon took"
        )?;
        for (sink, outcome) in &self.sinks {
            let Outcome { missing, spurious, duplicates, bound, misplaced, faults } = outcome;
            let faults = faults.join("; ");
            writeln!(
                f,
                "  {sink}: {missing} missing, {spurious} spurious, {misplaced} not in order, {duplicates} duplicates \
                 (at most {bound}); {}",
                if faults.is_empty() { "adds up".to_owned() } else { format!("DOES NOT ADD UP: {faults}") }
            )?;
        }
        write!(f, "verdict: {}", if self.is_good() { "good" } else { "BAD" })
    }
}
