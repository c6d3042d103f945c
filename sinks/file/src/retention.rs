//! Which files are deleted: those whose last line is older than `keep`, and the oldest ones beyond `max_total`. Only
//! files of the manifest, and never one that the batch at hand was written to.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use sink_api::Timestamp;

use crate::manifest::Change;
use crate::open::remove;
use crate::store::Store;

/// Shortest time between two looks, unless a file was rotated.
const EVERY: Duration = Duration::from_secs(60);

/// A file as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    /// Its path.
    pub(crate) path: String,
    /// When its last line was written.
    pub(crate) written: SystemTime,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Whether the batch at hand was written to it.
    pub(crate) busy: bool,
}

/// The files to delete, oldest first. Pure.
pub(crate) fn doomed(mut files: Vec<Aged>, now: SystemTime, keep: Option<Duration>, max: Option<u64>) -> Vec<Aged> {
    files.sort_by(|a, b| (a.written, &a.path).cmp(&(b.written, &b.path)));
    let mut total: u64 = files.iter().map(|f| f.size).sum();
    let mut doomed = Vec::new();
    for file in files.into_iter().filter(|f| !f.busy) {
        let age = now.duration_since(file.written).unwrap_or_default();
        if keep.is_some_and(|keep| age > keep) || max.is_some_and(|max| total > max) {
            total -= file.size;
            doomed.push(file);
        }
    }
    doomed
}

fn system_time(t: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(t.as_millisecond()).unwrap_or(0))
}

impl Store {
    /// Deletes the files that are due, where it is time for a look.
    pub(crate) fn sweep(&mut self, busy: &HashSet<String>) {
        let (keep, max) = (self.config.keep.map(|p| p.0), self.config.max_total.map(|s| s.0));
        let now = self.env.now();
        let rested = self.swept.is_some_and(|t| now.duration_since(t).unsigned_abs() < EVERY);
        if (keep.is_none() && max.is_none()) || (rested && !self.rotated) {
            return;
        }
        (self.swept, self.rotated) = (Some(now), false);
        let (mut files, mut gone) = self.look(busy);
        if files.is_empty() {
            // Nothing at all is there: more likely a disk that is not mounted than files deleted behind our back.
            gone.clear();
        }
        files = doomed(files, system_time(now), keep, max);
        for file in files {
            self.open.pop(&file.path);
            match remove(&self.full(&file.path)) {
                Ok(()) => {
                    self.remove_empty_folders(&file.path);
                    gone.push((file.path, None));
                }
                Err(error) => tracing::warn!(sink = self.packer.sink, %error, "an old file could not be deleted"),
            }
        }
        if let Err(error) = self.packer.manifest().record(&gone) {
            // Nothing is lost: a file that is listed and not there is taken off the list at the next look.
            tracing::warn!(sink = self.packer.sink, %error, "the manifest could not be written");
        }
    }

    /// Our files as they are, and those that are not there any more.
    fn look(&self, busy: &HashSet<String>) -> (Vec<Aged>, Vec<Change>) {
        let listed: Vec<String> = self.packer.manifest().entries().map(|(path, _)| path.to_owned()).collect();
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for path in listed {
            match self.full(&path).metadata() {
                Ok(meta) => {
                    let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push(Aged { written, size: meta.len(), busy: busy.contains(&path), path });
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => missing.push((path, None)),
                // The file cannot be seen now; perhaps at the next look.
                Err(_) => {}
            }
        }
        (files, missing)
    }

    fn remove_empty_folders(&self, path: &str) {
        let full = self.full(path);
        let below =
            full.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root) && **folder != self.root);
        for folder in below {
            if std::fs::remove_dir(folder).is_err() {
                // Not empty.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, day: u64, size: u64, busy: bool) -> Aged {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        Aged { path: path.to_owned(), written, size, busy }
    }

    fn names(files: Vec<Aged>, keep_days: Option<u64>, max: Option<u64>) -> Vec<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400);
        let keep = keep_days.map(|d| Duration::from_secs(d * 86_400));
        doomed(files, now, keep, max).into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn files_older_than_keep_go_but_not_one_being_written() {
        let files = vec![file("new", 99, 1, false), file("old", 60, 1, false), file("busy", 60, 1, true)];
        assert_eq!(names(files, Some(30), None), ["old"]);
    }

    #[test]
    fn beyond_max_total_the_oldest_go_first_and_no_more_than_needed() {
        let files =
            vec![file("c", 3, 10, false), file("a", 1, 10, false), file("w", 0, 10, true), file("b", 2, 10, false)];
        assert_eq!(names(files.clone(), None, Some(25)), ["a", "b"]);
        assert_eq!(names(files.clone(), None, Some(40)), Vec::<String>::new());
        assert_eq!(names(files, None, Some(1)), ["a", "b", "c"]);
    }
}
