//! A control group of a machine's own, below the test's, in each tree in which systemd keeps its services: so that a
//! machine's groups cannot mix with others, and all of them can be removed after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::names;

/// Longest that the kernel may take until a group whose processes have died counts as empty.
const MAX_EMPTYING: Duration = Duration::from_secs(10);

/// The folders of one group, one in each tree; removed with all below when dropped.
pub struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes it under a name that is unique, or says why that cannot be done here.
    pub fn make(name: &str) -> Result<Self, String> {
        let mut cgroup = Self { folders: vec![] };
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        for (tree, path) in trees(&mounts, &own) {
            let parent = tree.join(path.trim_start_matches('/'));
            for old in names::left_over_in(&parent) {
                kill_all(&old);
                empty(&[old]);
            }
            let folder = parent.join(name);
            fs::create_dir(&folder).map_err(|error| format!("no control group {}: {error}", folder.display()))?;
            cgroup.folders.push(folder);
        }
        if cgroup.folders.is_empty() { Err("there are no control groups".to_owned()) } else { Ok(cgroup) }
    }

    /// The files into which a process writes 0 to get into the group.
    pub fn doors(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        empty(&self.folders);
    }
}

/// Removes groups, once the kernel sees that nobody is in them.
fn empty(folders: &[PathBuf]) {
    let end = Instant::now() + MAX_EMPTYING;
    while folders.iter().any(|folder| remove(folder).is_err()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The trees that systemd uses, of the second version and the one named after it, each with this process's own place.
fn trees(mounts: &str, own: &str) -> Vec<(PathBuf, String)> {
    let mut trees = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let start = match fields[..] {
            [_, _, "cgroup2", ..] => "0::",
            [_, _, "cgroup", options, ..] if options.split(',').any(|option| option == "name=systemd") => {
                "name=systemd:"
            }
            _ => continue,
        };
        let place = |line: &str| line.split_once(start).map(|(_, path)| path.to_owned());
        let is_new = |tree: &Path| trees.iter().all(|(known, _): &(PathBuf, String)| known != tree);
        if let Some(path) = own.lines().find_map(place).filter(|_| is_new(Path::new(fields[1]))) {
            trees.push((PathBuf::from(fields[1]), path));
        }
    }
    trees
}

/// Kills whoever is in a group, or below it.
fn kill_all(folder: &Path) {
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // It may have gone already.
        let _ = kill_process(process, Signal::KILL);
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        kill_all(&entry.path());
    }
}

/// Removes a group and all below it; fails where there are processes in it.
fn remove(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
