//! One answer to `/metrics`: families of figures, written in the format that the reader asks for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The labels of a figure, by name.
pub type Labels = Vec<(&'static str, String)>;

/// Labels by their names.
pub fn labels<const N: usize>(named: [(&'static str, &str); N]) -> Labels {
    named.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// A figure that is one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// Any other.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Self {
        Self::Whole(u64::from(holds))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

#[derive(Debug)]
enum Figure {
    Number(Number),
    Histogram(Histogram),
    /// The labels are the figure.
    Info,
}

#[derive(Debug)]
struct Family {
    /// As it is shown, with `_total`, `_info` and the unit.
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    rows: Vec<(Labels, Figure)>,
}

/// What a scrape gets. Names are given as they are shown: a counter's ends in `_total`, and what ends in `_seconds` or
/// `_bytes` before that has this unit.
#[derive(Debug, Default)]
pub struct Page(Vec<Family>);

impl Page {
    /// Numbers that only rise, from 0 at each start.
    pub fn counter<N: Into<Number>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels, N)>,
    ) {
        self.numbers(name, help, MetricType::Counter, rows);
    }

    /// Numbers as they are now.
    pub fn gauge<N: Into<Number>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels, N)>,
    ) {
        self.numbers(name, help, MetricType::Gauge, rows);
    }

    fn numbers<N: Into<Number>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels, N)>,
    ) {
        let rows = rows.into_iter().map(|(labels, number)| (labels, Figure::Number(number.into())));
        self.0.push(Family { name, help, kind, rows: rows.collect() });
    }

    /// How values spread.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels, Histogram)>,
    ) {
        let rows = rows.into_iter().map(|(labels, histogram)| (labels, Figure::Histogram(histogram)));
        self.0.push(Family { name, help, kind: MetricType::Histogram, rows: rows.collect() });
    }

    /// Facts that stand in labels; the name ends in `_info`.
    pub fn info(&mut self, name: &'static str, help: &'static str, facts: Labels) {
        self.0.push(Family { name, help, kind: MetricType::Info, rows: vec![(facts, Figure::Info)] });
    }

    /// The page in that format. A family without figures is left out.
    pub fn write(self: &std::sync::Arc<Self>, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(std::sync::Arc::clone(self)));
        let mut page = String::new();
        // Writing into a text does not fail.
        let _ = match format {
            Format::Text => prometheus_text::encode(&mut page, &registry),
            Format::OpenMetrics => text::encode(&mut page, &registry),
        };
        page
    }
}

impl Family {
    /// The name without what the formats add by themselves, and the unit.
    fn stem(&self) -> (&'static str, Option<Unit>) {
        let added = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        let name = self.name.strip_suffix(added).unwrap_or(self.name);
        for unit in [Unit::Seconds, Unit::Bytes] {
            if let Some(stem) = name.strip_suffix(unit.as_str()).and_then(|stem| stem.strip_suffix('_')) {
                return (stem, Some(unit));
            }
        }
        (name, None)
    }

    fn encode(&self, labels: &Labels, figure: &Figure, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (self.kind, figure) {
            (_, Figure::Info) => encoder.encode_info(labels),
            (_, Figure::Histogram(histogram)) => histogram.encode(encoder.encode_family(labels)?),
            (MetricType::Counter, Figure::Number(Number::Whole(n))) => {
                encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(n, None)
            }
            (MetricType::Counter, Figure::Number(Number::Real(n))) => {
                encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(n, None)
            }
            (_, Figure::Number(Number::Whole(n))) => encoder.encode_family(labels)?.encode_gauge(n),
            (_, Figure::Number(Number::Real(n))) => encoder.encode_family(labels)?.encode_gauge(n),
        }
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.rows.is_empty()) {
            let (name, unit) = family.stem();
            let mut metric = encoder.encode_descriptor(name, family.help, unit.as_ref(), family.kind)?;
            for (labels, figure) in &family.rows {
                family.encode(labels, figure, &mut metric)?;
            }
        }
        Ok(())
    }
}

/// A format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// The format that an `Accept` header asks for: OpenMetrics where it is named, and liked no less than plain text.
    pub fn of(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let weight = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some(OPEN_METRICS) => &mut open,
                Some("text/plain" | "text/*" | "*/*") => &mut plain,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
            *weight = weight.max(quality.unwrap_or(0.0));
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_page_has_the_same_names_in_both_formats_and_leaves_out_what_it_has_no_figures_of() {
        let mut page = Page::default();
        page.counter("x_taken_total", "Taken", [(labels([("source", "a\"b")]), 3)]);
        page.counter("x_cpu_seconds_total", "Used", [(vec![], 1.5)]);
        page.gauge("x_size_bytes", "Size", [(vec![], 7)]);
        page.gauge::<u64>("x_nothing", "None", []);
        page.info("x_build_info", "Build", labels([("version", "1")]));
        let histogram = Histogram::new([1.0]);
        histogram.observe(0.5);
        page.histogram("x_wait_seconds", "Wait", [(labels([("sink", "s")]), histogram)]);
        let page = Arc::new(page);
        let samples = [
            "x_taken_total{source=\"a\\\"b\"} 3\n",
            "x_cpu_seconds_total 1.5\n",
            "x_size_bytes 7\n",
            "x_build_info{version=\"1\"} 1\n",
            "x_wait_seconds_count{sink=\"s\"} 1\n",
        ];
        for format in [Format::Text, Format::OpenMetrics] {
            let text = page.write(format);
            for sample in samples {
                assert!(text.contains(sample), "{format:?}: {sample} in {text}");
            }
            assert!(!text.contains("x_nothing"), "{text}");
        }
        assert!(page.write(Format::OpenMetrics).ends_with("# EOF\n"));
        assert!(page.write(Format::OpenMetrics).contains("# UNIT x_cpu_seconds seconds\n"));
        assert!(page.write(Format::Text).contains("# TYPE x_taken_total counter\n"));
    }

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [prometheus, "application/openmetrics-text", "Application/OpenMetrics-Text; q=0.5, text/html"] {
            assert_eq!(Format::of(accept), Format::OpenMetrics, "{accept}");
        }
        let plain = "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;version=1.0.0;q=0.5";
        for accept in ["", "*/*", "text/html", plain, "application/openmetrics-text;q=0", "nonsense;;,q="] {
            assert_eq!(Format::of(accept), Format::Text, "{accept}");
        }
    }
}
