//! Makes a table of the measured cells: percentiles, medians, ratios to the bare servers. Pure.

use std::fmt;
use std::time::Duration;

use crate::contestant::Recipe;

/// One measurement.
pub struct Cell {
    pub server: String,
    pub connections: u16,
    /// Requests a second that were asked for; none: as many as go.
    pub rate: Option<u32>,
    pub round: u32,
    pub per_second: f64,
    pub p99: Duration,
    pub cpu_per_request: Duration,
    /// Memory that was resident when the load ended, in bytes.
    pub resident: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} connections  {:<10} {:>8.0} requests/s   p99 {:>7.2} ms   CPU {:>6.1} µs/request   {:>4.0} MB",
            self.connections,
            self.server,
            self.per_second,
            millis(self.p99),
            micros(self.cpu_per_request),
            megabytes(self.resident)
        )
    }
}

/// One figure of a cell.
type Figure = fn(&Cell) -> f64;

const PER_SECOND: Figure = |cell| cell.per_second;
const P99: Figure = |cell| millis(cell.p99);
const CPU: Figure = |cell| micros(cell.cpu_per_request);
const RESIDENT: Figure = |cell| megabytes(cell.resident);

/// The table: for each number of connections one row per server. Requests/s stand beside those of each of the two bare
/// servers, which come first; other figures beside those of the first one. A ratio is that of two medians; in brackets
/// stands the range of the ratios of the single rounds.
pub fn table(cells: &[Cell], recipes: &[Recipe], connections: &[u16]) -> String {
    let mut out = "| connections | server | requests/s | of bare (range) | of durable (range) | p99 ms | of bare \
                   | CPU µs/request | of bare | MB resident |\n\
                   | ---: | --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let [bare, durable, ..] = recipes else { return out };
    for &at in connections {
        let of = |name: &str| {
            let is_of = |c: &&Cell| c.connections == at && c.rate.is_none() && c.server == name;
            cells.iter().filter(is_of).collect::<Vec<_>>()
        };
        let (bare, durable) = (of(&bare.name), of(&durable.name));
        for recipe in recipes {
            let own = of(&recipe.name);
            let ratio = |figure: Figure| median(&own, figure) / median(&bare, figure);
            out += &format!(
                "| {at} | {} | {:.0} | {} | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} |\n",
                recipe.name,
                median(&own, PER_SECOND),
                share(&own, &bare),
                share(&own, &durable),
                median(&own, P99),
                ratio(P99),
                median(&own, CPU),
                ratio(CPU),
                median(&own, RESIDENT),
            );
        }
    }
    out
}

/// The table of steady rates: for each rate one row per server, the healthy daemon second. Its p99 and processor time,
/// and what they are of those of the server that each is compared with.
pub fn everyday(cells: &[Cell], recipes: &[Recipe], rates: &[u32]) -> String {
    let mut out = "| requests/s | server | p99 ms | of relay | CPU µs/request | of bare | MB resident |\n\
                   | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let [bare, healthy, ..] = recipes else { return out };
    for &rate in rates {
        let of = |name: &str| {
            let is_of = |c: &&Cell| c.rate == Some(rate) && c.server == name;
            cells.iter().filter(is_of).collect::<Vec<_>>()
        };
        let (bare, healthy) = (of(&bare.name), of(&healthy.name));
        for recipe in recipes {
            let own = of(&recipe.name);
            out += &format!(
                "| {rate} | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} |\n",
                recipe.name,
                median(&own, P99),
                median(&own, P99) / median(&healthy, P99),
                median(&own, CPU),
                median(&own, CPU) / median(&bare, CPU),
                median(&own, RESIDENT),
            );
        }
    }
    out
}

/// Requests/s beside those of another server.
fn share(own: &[&Cell], base: &[&Cell]) -> String {
    let (low, high) = range_of_ratios(own, base);
    format!("{:.2} ({low:.2}–{high:.2})", median(own, PER_SECOND) / median(base, PER_SECOND))
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

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
