//! What is wanted of the daemon, each figure with how it is computed from the cells of this run. A figure whose part
//! was not run, or whose server was not there, is not met and not missed: it says so.

use crate::backlog;
use crate::everyday;
use crate::figures::{Cells, Figure, connections_of};
use crate::front::{CONNECTIONS, MANY_SINKS};
use crate::options::Part;
use crate::several;

/// A bound on a figure.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// It is only told.
    Stated,
}
use Wanted::{AtLeast, AtMost, Stated};

struct Target {
    figure: String,
    /// How it is computed.
    how: &'static str,
    wanted: Wanted,
    now: Option<f64>,
    digits: usize,
}

fn target(figure: impl Into<String>, how: &'static str, wanted: Wanted, now: Option<f64>, digits: usize) -> Target {
    Target { figure: figure.into(), how, wanted, now, digits }
}

/// The list.
fn targets(cells: &Cells, waiting: u64) -> Vec<Target> {
    let mut all = of_front(cells);
    all.extend(of_everyday(cells));
    all.extend(of_sinks(cells));
    all.extend(of_backlog(cells, waiting));
    all.extend(of_several(cells));
    all
}

fn of_front(cells: &Cells) -> Vec<Target> {
    let front = |at: u16, pair, figure| cells.ratio(Part::Front, &connections_of(at), pair, figure);
    let pinned = |pair, figure| cells.ratio(Part::Pinned, &connections_of(CONNECTIONS), pair, figure);
    let mut all: Vec<Target> = [16, 64, 256, 1024]
        .into_iter()
        .map(|at| {
            let figure = format!("requests/s of bare durable, {at} connections");
            target(
                figure,
                "front: relay / durable",
                AtLeast(1.2),
                front(at, ("relay", "durable"), Figure::PerSecond),
                2,
            )
        })
        .collect();
    let cpu = front(CONNECTIONS, ("relay", "bare"), Figure::Cpu);
    all.push(target("CPU a request of bare hyper, 64 connections", "front: relay / bare", AtMost(1.7), cpu, 2));
    let cpu = pinned(("relay", "bare"), Figure::Cpu);
    all.push(target("the same, a processor each", "pinned: relay / bare", Stated, cpu, 2));
    let durable = pinned(("relay", "durable"), Figure::PerSecond);
    all.push(target("requests/s of bare durable, a processor each", "pinned: relay / durable", Stated, durable, 2));
    let many = format!("{MANY_SINKS} sinks");
    let at = connections_of(CONNECTIONS);
    let share = cells.ratio(Part::Sinks, &at, (&many, "1 sink"), Figure::PerSecond);
    all.push(target("requests/s with 16 file sinks, of one", "sinks: 16 sinks / 1 sink", AtLeast(0.85), share, 2));
    let peak = |server: &str| cells.median(Part::Sinks, &at, server, Figure::Peak);
    all.push(target("MB with 16 file sinks, at most", "sinks: VmHWM, 16 sinks", AtMost(160.0), peak(&many), 0));
    all.push(target("MB with one file sink, at most", "sinks: VmHWM, 1 sink", AtMost(100.0), peak("1 sink"), 0));
    all
}

fn of_everyday(cells: &Cells) -> Vec<Target> {
    let own = |rate, figure| cells.median(Part::Everyday, &everyday::at(rate), "relay", figure);
    let [few, many] = everyday::RATES;
    let sick = cells.ratio(Part::Everyday, &everyday::at(many), ("sick", "relay"), Figure::P99);
    vec![
        target("CPU µs an event at 200/s", "everyday: relay", AtMost(350.0), own(few, Figure::Cpu), 0),
        target("CPU µs an event at 2,000/s", "everyday: relay", AtMost(120.0), own(many, Figure::Cpu), 0),
        target("p99 ms at 2,000/s", "everyday: relay", AtMost(3.0), own(many, Figure::P99), 2),
        target("p99 with three sick sinks, of healthy", "everyday: sick / relay", AtMost(1.2), sick, 2),
    ]
}

fn of_sinks(cells: &Cells) -> Vec<Target> {
    let of = |row: &str, server: &str| cells.median(Part::CatchUp, row, server, Figure::Leaving);
    let twin = |row: &str| Some(of(row, "relay")? / of(row, "twin")?);
    let hot = || Some(of("kafka_one_key", "relay")? / of("kafka", "relay")?);
    let how = "catch-up: relay / twin";
    vec![
        target("Kafka, one key, of many keys", "catch-up: relay of kafka_one_key / of kafka", AtLeast(0.5), hot(), 2),
        target("Kafka, many keys, of plain librdkafka", how, AtLeast(0.7), twin("kafka"), 2),
        target("postgres of an insert by hand", how, AtLeast(0.8), twin("postgres"), 2),
        target("sqlite of a statement by hand", how, AtLeast(0.8), twin("sqlite"), 2),
        target("http of a bare client", how, AtLeast(0.8), twin("http"), 2),
        target("file of a write by hand", how, Stated, twin("file"), 2),
    ]
}

fn of_backlog(cells: &Cells, waiting: u64) -> Vec<Target> {
    let at = backlog::at(waiting);
    let own = |figure| cells.median(Part::Backlog, &at, "waiting", figure);
    let share = cells.ratio(Part::Backlog, &at, ("waiting", "empty"), Figure::PerSecond);
    let written = cells.median(Part::Backlog, &at, "filling", Figure::Written);
    let with = |what: &str| format!("{what}, {waiting} events waiting");
    vec![
        target(with("requests/s of empty"), "backlog: waiting / empty", AtLeast(0.95), share, 2),
        target(with("MB at most"), "backlog: VmHWM, waiting", AtMost(100.0), own(Figure::Peak), 0),
        target(with("s until ready"), "backlog: waiting", AtMost(1.0), own(Figure::Ready), 3),
        target(
            "bytes written by the journal, of what it holds",
            "backlog: written/payload, filling",
            AtMost(1.1),
            written,
            2,
        ),
    ]
}

fn of_several(cells: &Cells) -> Vec<Target> {
    let rows = [several::BY_PROCESSOR, several::BY_TARGET].into_iter().flat_map(|at| [(at, 2), (at, 3)]);
    let of = |(at, number): (&str, usize)| {
        let figure = format!("what daemon {number} adds of one daemon's events/s, {at}");
        let how = "several: (so many − one less) / 1 daemon";
        target(figure, how, AtLeast(0.85), several::added(cells, at, number), 2)
    };
    rows.map(of).collect()
}

/// The table of all of them.
pub fn table(cells: &Cells, waiting: u64) -> String {
    let mut out = "| figure | how | wanted | now | met? |\n| --- | --- | ---: | ---: | --- |\n".to_owned();
    for Target { figure, how, wanted, now, digits } in targets(cells, waiting) {
        let (bound, is_met) = match wanted {
            AtLeast(bound) => (format!("≥ {bound}"), now.map(|now| now >= bound)),
            AtMost(bound) => (format!("≤ {bound}"), now.map(|now| now <= bound)),
            Stated => ("stated".to_owned(), None),
        };
        let met = match (now, is_met) {
            (None, _) => "not run",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "no",
            (_, None) => "–",
        };
        let now = now.map_or_else(|| "–".to_owned(), |now| format!("{now:.digits$}"));
        out += &format!("| {figure} | {how} | {bound} | {now} | {met} |\n");
    }
    out
}
