//! What the operating system accounts for a process, from `/proc`; the bounds it sets, and where threads may run; and
//! waiting for a condition, which is always bounded.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Longest time that a server may take to start, to stop, or to bring its sink up to date.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at while waiting for it.
pub const LOOK: Duration = Duration::from_millis(10);
/// `statfs` says this of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// Processor time a process has used, in user and kernel mode, all threads together.
pub fn cpu_time(pid: u32) -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th fields behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("/proc/PID/stat has another form")?;
    Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Time that all processors of the machine have had nothing to do, summed.
pub fn idle_time() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let idle = stat.lines().find_map(|line| line.strip_prefix("cpu ")?.split_whitespace().nth(3)?.parse::<u64>().ok());
    let ticks = idle.ok_or("/proc/stat has another form")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Memory of a process that is resident now, and the most that ever was, in bytes.
pub fn resident(pid: u32) -> Result<(u64, u64), Box<dyn Error>> {
    let kib = |name| number_in(&format!("/proc/{pid}/status"), name);
    Ok((kib("VmRSS:")? << 10, kib("VmHWM:")? << 10))
}

/// Bytes that the threads of a process whose names begin like that have handed to the system to be written. (What the
/// system says of the disk itself, `write_bytes`, counts large pieces of its cache as a whole.)
pub fn written(pid: u32, threads: &str) -> Result<u64, Box<dyn Error>> {
    let mut written = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.starts_with(threads) {
            written += number_in(&task.join("io").display().to_string(), "wchar:")?;
        }
    }
    Ok(written)
}

/// The first number behind a name in such a file.
fn number_in(path: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path} has no {name}").into())
}

/// Deletes a folder, where there is one.
pub fn remove(folder: &Path) -> Result<(), Box<dyn Error>> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// From now on this process and all that it starts may open as many files as the system lets them.
pub fn raise_open_files() -> Result<u64, Box<dyn Error>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// The processors that this thread may run on.
pub fn processors() -> Result<Vec<usize>, Box<dyn Error>> {
    let all = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|at| all.is_set(*at)).collect())
}

/// Does something with this thread, and all threads and processes that it starts meanwhile, bound to one processor.
pub fn on_processor<T>(processor: usize, work: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
    let before = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set(processor);
    sched_setaffinity(None, &one)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Looks at a condition until it holds.
pub fn wait_until<T>(
    mut look: impl FnMut() -> Result<Option<T>, Box<dyn Error>>,
    complaint: impl Fn() -> String,
) -> Result<T, Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(complaint().into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Warns if the folder's data is kept in memory, where a flush costs nothing.
pub fn warn_where_a_flush_costs_nothing(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    if rustix::fs::statfs(folder)?.f_type == TMPFS {
        eprintln!("bench: {} lies in memory: a flush costs nothing there, the ratios flatter", folder.display());
    }
    Ok(())
}
