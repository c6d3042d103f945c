//! Bounds on what processes may take of the processors: control groups of Linux, of either version. They can be had by
//! root alone, where the system has them mounted.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where the groups of version 1 and of version 2 stand that count processor time.
const V1: &str = "/sys/fs/cgroup/cpu";
const V2: &str = "/sys/fs/cgroup";
/// A share is given anew so often.
const PERIOD: Duration = Duration::from_millis(100);

/// A process, and all that it starts, is held to a share of one processor until this is dropped, which is to be when it
/// has ended.
pub struct Quota(PathBuf);

impl Quota {
    /// Holds a process to that share.
    ///
    /// # Errors
    /// Where no control group can be had.
    pub fn of(pid: u32, share: f64) -> Result<Self, Box<dyn Error>> {
        let (period, quota) = (PERIOD.as_micros(), (PERIOD.as_micros() as f64 * share) as u64);
        let is_v1 = fs::exists(format!("{V1}/cpu.cfs_quota_us")).unwrap_or_default() || !fs::exists(V2)?;
        let folder = PathBuf::from(if is_v1 { V1 } else { V2 }).join(format!("hookrelay-bench-{pid}"));
        fs::create_dir(&folder).map_err(|error| format!("no control group at {}: {error}", folder.display()))?;
        let group = Self(folder);
        if is_v1 {
            group.set("cpu.cfs_period_us", &period.to_string())?;
            group.set("cpu.cfs_quota_us", &quota.to_string())?;
        } else {
            group.set("cpu.max", &format!("{quota} {period}"))?;
        }
        group.set("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }

    fn set(&self, key: &str, value: &str) -> Result<(), Box<dyn Error>> {
        let file = self.0.join(key);
        fs::write(&file, value).map_err(|error| format!("{}: {error}", file.display()).into())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A group can be taken away once it is empty, which a process that has just ended makes it a moment later.
        let _ = crate::proc::wait_until(|| Ok(fs::remove_dir(&self.0).ok()), String::new);
    }
}
