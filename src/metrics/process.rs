//! What the system says of this process, under the names that Prometheus' own clients use. Linux's `/proc` has it; what
//! cannot be read there is left out.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::Page;

/// Fields of `/proc/self/stat`, counted from the one behind the process's name.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Adds the process's figures to a page.
pub fn add_process(page: &mut Page) {
    let one = |number: Option<u64>| number.map(|number| (vec![], number));
    let stat = Stat::read();
    let stat = stat.as_ref();
    page.counter(
        "process_cpu_seconds_total",
        "Processor time used by the process.",
        stat.and_then(Stat::cpu_seconds).map(|seconds| (vec![], seconds)),
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in use and not swapped out.",
        one(stat.and_then(|stat| stat.field(RESIDENT_PAGES)).map(|pages| pages * page_size() as u64)),
    );
    page.gauge(
        "process_virtual_memory_bytes",
        "Address space of the process.",
        one(stat.and_then(|stat| stat.field(VIRTUAL_BYTES))),
    );
    page.gauge("process_open_fds", "Open file descriptors.", one(open_descriptors()));
    page.gauge("process_max_fds", "Most open file descriptors.", one(getrlimit(Resource::Nofile).current));
    page.gauge(
        "process_start_time_seconds",
        "When the process started, seconds since 1970.",
        stat.and_then(Stat::start_seconds).map(|seconds| (vec![], seconds)),
    );
}

/// The fields of `/proc/self/stat` behind the process's name.
struct Stat(Vec<String>);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        Self::of(&text)
    }

    /// The name stands in brackets and may hold anything, brackets included.
    fn of(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(") ")?;
        Some(Self(fields.split_ascii_whitespace().map(str::to_owned).collect()))
    }

    fn field(&self, at: usize) -> Option<u64> {
        self.0.get(at)?.parse().ok()
    }

    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / clock_ticks_per_second().max(1) as f64
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some(Self::seconds(self.field(USER_TICKS)? + self.field(SYSTEM_TICKS)?))
    }

    fn start_seconds(&self) -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(booted.trim().parse::<f64>().ok()? + Self::seconds(self.field(START_TICKS)?))
    }
}

/// Since Linux 6.2 the folder's size is the number; before, its entries are counted, of which the folder itself is one.
fn open_descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    let known = fs::metadata(FOLDER).ok()?.len();
    let counted = || Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1));
    if known > 0 { Some(known) } else { counted() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Format;

    #[test]
    fn a_process_with_an_odd_name_is_read_right() {
        let fields = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat = Stat::of(&format!("77 (a) b) {fields}\n")).unwrap();
        assert_eq!((stat.field(USER_TICKS), stat.field(RESIDENT_PAGES), stat.field(99)), (Some(11), Some(21), None));
    }

    #[test]
    fn this_process_has_all_the_usual_figures() {
        let mut page = Page::default();
        add_process(&mut page);
        let text = Arc::new(page).write(Format::Text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
