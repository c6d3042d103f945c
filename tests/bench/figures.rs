//! Cells and the tables made of them: medians over the rounds, ratios beside the servers compared with. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::options::Part;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Requests a second.
    PerSecond,
    /// Events a second that leave.
    Leaving,
    /// How long 99 of 100 answers took at most, in milliseconds.
    P99,
    /// Processor time of the server a request, its sinks' work included, in microseconds.
    Cpu,
    /// Memory that was resident when the load ended, in megabytes.
    Resident,
    /// The most memory that was ever resident, in megabytes.
    Peak,
    /// From the start of the process until it takes webhooks, in seconds.
    Ready,
    /// Bytes that the journal wrote, of those that its segments hold.
    Written,
    /// The same, of the bodies' bytes.
    WrittenOfBodies,
    /// Processors of the machine that had nothing to do.
    Idle,
}

impl Figure {
    /// The head of its column, and the digits behind the point.
    fn shown(self) -> (&'static str, usize) {
        match self {
            Self::PerSecond => ("requests/s", 0),
            Self::Leaving => ("events/s", 0),
            Self::P99 => ("p99 ms", 2),
            Self::Cpu => ("CPU µs/request", 1),
            Self::Resident => ("MB resident", 0),
            Self::Peak => ("MB at most", 0),
            Self::Ready => ("s until ready", 3),
            Self::Written => ("written/payload", 2),
            Self::WrittenOfBodies => ("written/bodies", 2),
            Self::Idle => ("processors idle", 2),
        }
    }
}

/// The figures of one measurement.
pub type Values = BTreeMap<Figure, f64>;

/// One measurement.
pub struct Cell {
    pub part: Part,
    /// What was varied: `64 connections`.
    pub at: String,
    pub server: String,
    pub round: u32,
    pub values: Values,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<22} {:<10}", self.part.name(), self.at, self.server)?;
        for (figure, value) in &self.values {
            let (name, digits) = figure.shown();
            write!(f, "  {name} {value:.digits$}")?;
        }
        Ok(())
    }
}

/// All measurements of a run.
#[derive(Default)]
pub struct Cells(Vec<Cell>);

impl Cells {
    /// Keeps a measurement, and shows it.
    pub fn push(&mut self, part: Part, at: &str, server: &str, round: u32, values: Values) {
        let cell = Cell { part, at: at.to_owned(), server: server.to_owned(), round, values };
        eprintln!("  {cell}");
        self.0.push(cell);
    }

    fn of(&self, part: Part, at: &str, server: &str) -> Vec<&Cell> {
        self.0.iter().filter(|cell| cell.part == part && cell.at == at && cell.server == server).collect()
    }

    /// The median over the rounds; `None` where it was not measured.
    pub fn median(&self, part: Part, at: &str, server: &str, figure: Figure) -> Option<f64> {
        Some(median(&self.of(part, at, server), figure)).filter(|value| value.is_finite())
    }

    /// That of a server, of that of another one.
    pub fn ratio(&self, part: Part, at: &str, (server, base): (&str, &str), figure: Figure) -> Option<f64> {
        Some(self.median(part, at, server, figure)? / self.median(part, at, base, figure)?)
    }

    /// What was varied in a part, and with which servers, in the order in which it was first measured.
    fn rows(&self, part: Part) -> Vec<(&str, &str)> {
        let mut rows = Vec::new();
        for cell in self.0.iter().filter(|cell| cell.part == part) {
            let row = (cell.at.as_str(), cell.server.as_str());
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        // What belongs together stands together, whatever the order of a round.
        let mut places: Vec<&str> = Vec::new();
        rows.iter().for_each(|(at, _)| {
            if !places.contains(at) {
                places.push(at)
            }
        });
        rows.sort_by_key(|(at, _)| places.iter().position(|place| place == at));
        rows
    }
}

/// The table of `front`: for each number of connections one row per server. Requests/s stand beside those of each of
/// the two bare servers, which come first; other figures beside those of the first one. A ratio is that of two medians;
/// in brackets stands the range of the ratios of the single rounds.
pub fn front(cells: &Cells, servers: &[String], connections: &[u16]) -> String {
    let mut out = "| connections | server | requests/s | of bare (range) | of durable (range) | p99 ms | of bare \
                   | CPU µs/request | of bare | MB resident |\n\
                   | ---: | --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let [bare, durable, ..] = servers else { return out };
    for &at in connections {
        let place = connections_of(at);
        let of = |name: &str| cells.of(Part::Front, &place, name);
        let (bare, durable) = (of(bare), of(durable));
        for server in servers {
            let own = of(server);
            let ratio = |figure: Figure| median(&own, figure) / median(&bare, figure);
            out += &format!(
                "| {at} | {server} | {:.0} | {} | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} |\n",
                median(&own, Figure::PerSecond),
                share(&own, &bare),
                share(&own, &durable),
                median(&own, Figure::P99),
                ratio(Figure::P99),
                median(&own, Figure::Cpu),
                ratio(Figure::Cpu),
                median(&own, Figure::Resident),
            );
        }
    }
    out
}

/// Where a cell of so many connections stands.
pub fn connections_of(connections: u16) -> String {
    format!("{connections} connections")
}

/// The table of any other part: a row per server at each place, with these figures, each beside that of the server
/// compared with, where there is one.
pub fn table(cells: &Cells, part: Part, figures: &[Figure], base: Option<&str>) -> String {
    let mut out = "| at | server |".to_owned();
    let mut line = "| --- | --- |".to_owned();
    for figure in figures {
        out += &format!(" {} |", figure.shown().0);
        line += " ---: |";
        if let Some(base) = base {
            out += &format!(" of {base} |");
            line += " ---: |";
        }
    }
    out += &format!("\n{line}\n");
    for (at, server) in cells.rows(part) {
        out += &format!("| {at} | {server} |");
        for figure in figures {
            let digits = figure.shown().1;
            out += &format!(" {} |", shown(cells.median(part, at, server, *figure), digits));
            if let Some(base) = base {
                out += &format!(" {} |", shown(cells.ratio(part, at, (server, base), *figure), 2));
            }
        }
        out += "\n";
    }
    out
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Requests/s beside those of another server.
fn share(own: &[&Cell], base: &[&Cell]) -> String {
    let (low, high) = range_of_ratios(own, base);
    format!("{:.2} ({low:.2}–{high:.2})", median(own, Figure::PerSecond) / median(base, Figure::PerSecond))
}

/// The value below which `percent` of all values lie.
pub fn percentile(mut values: Vec<Duration>, percent: f64) -> Duration {
    values.sort_unstable();
    let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn median(cells: &[&Cell], figure: Figure) -> f64 {
    let mut values: Vec<f64> = cells.iter().filter_map(|cell| cell.values.get(&figure).copied()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn range_of_ratios(own: &[&Cell], base: &[&Cell]) -> (f64, f64) {
    let of = |cell: &Cell| cell.values.get(&Figure::PerSecond).copied();
    let ratios = own.iter().filter_map(|cell| {
        let other = base.iter().find(|other| other.round == cell.round)?;
        Some(of(cell)? / of(other)?)
    });
    ratios.fold((f64::INFINITY, 0.0), |(low, high), ratio| (ratio.min(low), ratio.max(high)))
}
