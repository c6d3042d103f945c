//! Metrics: the instruments that other rooms hold and the page that `/metrics` answers with, in both of Prometheus'
//! text formats (`prometheus-client` writes them).
//!
//! Most of what the page shows is counted for other reasons and read when somebody asks: a [`Page`] is made anew for
//! each scrape, so its labels are those of the config in force. Only what nobody else counts has an instrument here:
//! histograms with the buckets of [`histograms`]. `process` reads what the system says of this process.
//!
//! Knows no other room. What the names mean is in `docs/metrics.md`.

pub mod histograms;
mod page;
mod process;

pub use page::{Format, Labels, Number, Page, labels};
pub use process::add_process;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::histogram::Histogram;
