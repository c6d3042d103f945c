//! The sink's table in `config.toml`: its keys, and what is wrong with their values. Pure.

use serde::Deserialize;
use sink_api::line::Format;
use sink_api::settings::some_table;
use sink_api::{Fault, Period, Settings, SinkConfig, Size, Template};

/// Name of the target's only part.
pub(crate) const PATH: &str = "path";
/// Most files `max_open` may ask for.
const MAX_OPEN_LIMIT: usize = 4096;

/// `[sinks.NAME]` with `kind = "file"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file a line goes to. No value leads out of the folder before the first attribute.
    pub path: Template,
    /// What a line is.
    #[serde(default)]
    pub format: Format,
    /// How long after its last line a file is kept; absent: for ever.
    pub keep: Option<Period>,
    /// Most bytes of all files together; absent: no bound.
    pub max_total: Option<Size>,
    /// When a file is put aside and a new one begun; absent: never.
    #[serde(default, deserialize_with = "some_table")]
    pub rotate: Option<Rotate>,
    /// What delivered means.
    #[serde(default)]
    pub sync: Sync,
    /// Most files open at once.
    #[serde(default = "default_max_open")]
    pub max_open: usize,
}

/// When a file is put aside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { size = \"100MiB\", every = \"1d\", compress = \"zstd\" }")]
pub struct Rotate {
    /// Before it would grow beyond this.
    pub size: Option<Size>,
    /// When a span of this length, counted from 1970-01-01T00:00Z, is over.
    pub every: Option<Period>,
    /// What becomes of it then.
    #[serde(default)]
    pub compress: Compress,
}

/// What becomes of a rotated file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// It stays as it is.
    #[default]
    None,
    /// It becomes `….zst`.
    Zstd,
}

/// What delivered means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// On disk (`fdatasync`).
    #[default]
    Always,
    /// Handed to the operating system: a power cut may lose it.
    None,
}

fn default_max_open() -> usize {
    64
}

/// Reads the table.
///
/// # Errors
/// Every fault of shape: unknown and missing keys, wrong types.
pub(crate) fn read(settings: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(settings.read::<FileConfig>()?))
}

impl FileConfig {
    /// The constant folder, with its last `/`; empty where the template begins with an attribute or a file name.
    pub(crate) fn root(&self) -> &str {
        root_of(self.path.literal_prefix())
    }

    /// What is wrong with the values.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.check_path().into_iter().collect();
        faults.extend(self.rotate.as_ref().and_then(Self::check_rotate));
        faults.extend(self.check_bounds());
        faults
    }

    fn check_path(&self) -> Option<Fault> {
        let source = self.path.source();
        let below = source.get(root_of(source.split('{').next().unwrap_or_default()).len()..).unwrap_or_default();
        let message = if source.chars().any(char::is_control) {
            "`path` has a control character, expected a path on one line"
        } else if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            "`path` has an empty part, `.` or `..` behind its constant folder, expected `folder/…/name`"
        } else {
            return None;
        };
        Some(Fault::at_key("path", message))
    }

    fn check_rotate(rotate: &Rotate) -> Option<Fault> {
        if rotate.size.is_none() && rotate.every.is_none() {
            return Some(Fault::at_key("rotate", "`rotate` says neither `size` nor `every`, expected at least one"));
        }
        if rotate.size.is_some_and(|size| size.0 == 0) {
            return Some(Fault::at_key("rotate.size", "`rotate.size` is 0, expected a size such as \"100MiB\""));
        }
        rotate.every.and_then(|every| every.fault("rotate.every", Period::secs(1)..=Period::MOST))
    }

    fn check_bounds(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.keep.is_some_and(|keep| keep.0.is_zero()) {
            faults.push(Fault::at_key("keep", "`keep` is 0, expected a time span such as \"30d\""));
        }
        let size = self.rotate.as_ref().and_then(|r| r.size).map_or(0, |s| s.0);
        if self.max_total.is_some_and(|total| total.0 <= size) {
            let message =
                "`max_total` must be more than `rotate.size` (and than 0): the file being written is never deleted";
            faults.push(Fault::at_key("max_total", message));
        }
        if !(1..=MAX_OPEN_LIMIT).contains(&self.max_open) {
            faults
                .push(Fault::at_key("max_open", format!("`max_open` is out of range, expected 1 to {MAX_OPEN_LIMIT}")));
        }
        faults
    }
}

fn root_of(literal: &str) -> &str {
    literal.rfind('/').and_then(|slash| literal.get(..=slash)).unwrap_or_default()
}
