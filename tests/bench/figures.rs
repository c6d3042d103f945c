//! Makes a table of the measured cells: percentiles, medians, ratios to the bare server. Pure.

use std::fmt;
use std::time::Duration;

use crate::contestant::Recipe;

/// One measurement.
pub struct Cell {
    pub server: String,
    pub connections: u16,
    pub round: u32,
    pub per_second: f64,
    pub p99: Duration,
    pub cpu_per_request: Duration,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} connections  {:<10} {:>8.0} requests/s   p99 {:>7.2} ms   CPU {:>6.1} µs/request",
            self.connections,
            self.server,
            self.per_second,
            millis(self.p99),
            micros(self.cpu_per_request)
        )
    }
}

/// One figure of a cell.
type Figure = fn(&Cell) -> f64;

const PER_SECOND: Figure = |cell| cell.per_second;
const P99: Figure = |cell| millis(cell.p99);
const CPU: Figure = |cell| micros(cell.cpu_per_request);

/// The table: for each number of connections one row per server, with ratios to the first server. A ratio is that of
/// two medians; behind requests/s stands the range of the ratios of the single rounds.
pub fn table(cells: &[Cell], recipes: &[Recipe], connections: &[u16]) -> String {
    let mut out = "| connections | server | requests/s | ratio (range) | p99 ms | ratio | CPU µs/request | ratio |\n\
                   | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let Some(base) = recipes.first() else { return out };
    for &at in connections {
        let of = |name: &str| cells.iter().filter(|c| c.connections == at && c.server == name).collect::<Vec<_>>();
        let base = of(&base.name);
        for recipe in recipes {
            let own = of(&recipe.name);
            let ratio = |figure: Figure| median(&own, figure) / median(&base, figure);
            let (low, high) = range_of_ratios(&own, &base);
            out += &format!(
                "| {at} | {} | {:.0} | {:.2} ({low:.2}–{high:.2}) | {:.2} | {:.2} | {:.1} | {:.2} |\n",
                recipe.name,
                median(&own, PER_SECOND),
                ratio(PER_SECOND),
                median(&own, P99),
                ratio(P99),
                median(&own, CPU),
                ratio(CPU),
            );
        }
    }
    out
}

/// The value below which `percent` of all values lie.
pub fn percentile(mut values: Vec<Duration>, percent: f64) -> Duration {
    values.sort_unstable();
    let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn median(cells: &[&Cell], figure: Figure) -> f64 {
    let mut values: Vec<f64> = cells.iter().map(|cell| figure(cell)).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn range_of_ratios(own: &[&Cell], base: &[&Cell]) -> (f64, f64) {
    let ratios = own.iter().filter_map(|cell| {
        let other = base.iter().find(|other| other.round == cell.round)?;
        Some(cell.per_second / other.per_second)
    });
    ratios.fold((f64::INFINITY, 0.0), |(low, high), ratio| (ratio.min(low), ratio.max(high)))
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
