//! A booted Debian: systemd as its first process, in namespaces of its own, with a network of its own that holds
//! nothing but a loopback. It is taken down, and everything of it removed, when it is dropped, also by a test that
//! fails.
//!
//! ```ignore
//! let debian = Debian::make()?;                       // a clean one; made once, then kept in target/boot/
//! let mut machine = Machine::boot(&debian, "mine")?;  // a copy of it, running
//! machine.put(&package, "/root");                     // a file of this machine, into a folder of that one
//! machine.must("apt install -y ./hookrelay_*.deb");   // bash, as root, in /root; panics where a command fails
//! let said = machine.sh("systemctl reload hookrelay"); // the same; the caller looks at `said.code`
//! machine.until("it is up", "hookrelay status");      // until the commands succeed, for a minute at most
//! machine.path("/etc/hookrelay/.env");                // the same file, seen from here
//! machine.journal();                                  // `journalctl` of this boot
//! machine.in_its_network(async { … });                // a client on the machine's loopback
//! machine.power_off_hard();                           // every process is killed at once
//! machine.power_on();                                 // and the same disk boots again
//! ```
//!
//! How it is done where there is no systemd outside: `systemd-nspawn --register=no --keep-unit` asks nobody for a
//! unit, and takes the control group that it is started in, so it is started in one of its own (`cgroup`). Inside,
//! the tree of control groups is of the second version, whatever it is outside, as Debian 13 wants it. Without a
//! registration there is no `machinectl shell`: commands go in by `nsenter`. nspawn tells the number of the
//! machine's first process, and that all is up, as a service tells its manager.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cgroup::Cgroup;
use crate::debian::Debian;
use crate::names;

/// Longest that a boot, a condition or an end is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest that commands may take, in seconds.
const MAX_COMMANDS: &str = "180";
/// Joins a control group and becomes the command: `sh -c THIS sh DOORS… -- COMMAND…`.
const IN_CGROUP: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1" || exit; shift; done; shift; exec "$@""#;
/// Waits until its input ends, which it does with the process that holds it, and kills: `sh -c THIS sh PROCESS`.
const GUARD: &str = r#"trap "" INT TERM HUP; read -r _; kill -KILL "$1""#;
/// Where nspawn leaves a folder for each machine.
const PROPAGATE: &str = "/run/systemd/nspawn/propagate";

/// A machine, which runs but for the time between [`Machine::power_off_hard`] and [`Machine::power_on`].
pub struct Machine {
    /// Its name, which no other test has.
    name: String,
    /// Its root folder, seen from here.
    root: PathBuf,
    running: Option<Running>,
}

/// What there is only while it runs.
struct Running {
    nspawn: Child,
    /// Kills the first process where this one cannot any more.
    guard: Child,
    /// Its first process. With it all the others die.
    leader: (i32, OwnedFd),
    /// Removed after the processes in it have gone.
    _cgroup: Cgroup,
}

/// What commands have said, and how they ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code of the first that failed, or 0; 124 where the time ran out.
    pub code: i32,
    /// Their standard output.
    pub stdout: String,
    /// Their standard error.
    pub stderr: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

impl Machine {
    /// Boots a fresh copy, and waits until systemd calls it running. Where it does not boot, says why.
    pub fn boot(debian: &Debian, name: &str) -> Result<Self, String> {
        let name = names::unique(name);
        let root = debian.copy(&name);
        let mut machine = Self { name, root, running: None };
        machine.try_power_on()?;
        Ok(machine)
    }

    /// Boots it again, after a power-off.
    pub fn power_on(&mut self) {
        self.try_power_on().unwrap_or_else(|why| panic!("it does not boot again: {why}"));
    }

    fn try_power_on(&mut self) -> Result<(), String> {
        assert!(self.running.is_none(), "it runs");
        let cgroup = Cgroup::make(&self.name)?;
        // Short, as the path of a socket has to be.
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (manager, console) = (folder.path().join("notify"), folder.path().join("console"));
        let socket = UnixDatagram::bind(&manager).map_err(|error| error.to_string())?;
        let output = File::create(&console).map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        // Should this process be killed, nspawn dies with it, and the guard sees to the machine.
        command.args(["--pdeathsig", "KILL", "sh", "-c", IN_CGROUP, "sh"]).args(cgroup.doors()).arg("--");
        command.args(["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--private-network"]);
        command.args(["--notify-ready=yes", "--link-journal=no", "--resolv-conf=off", "--console=pipe", "--machine"]);
        command.arg(&self.name).arg("--directory").arg(&self.root);
        command.env("NOTIFY_SOCKET", &manager).env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(|error| error.to_string())?).stderr(output);
        let mut nspawn = command.spawn().map_err(|error| format!("setpriv: {error}"))?;
        let up = wait_for_boot(&socket, &mut nspawn);
        match up.and_then(|leader| Some((leader, pidfd_open(Pid::from_raw(leader)?, PidfdFlags::empty()).ok()?))) {
            Some(leader) => {
                let mut guard = Command::new("sh");
                guard.args(["-c", GUARD, "sh", &leader.0.to_string()]).stdin(Stdio::piped());
                let guard = guard.spawn().map_err(|error| format!("sh: {error}"))?;
                self.running = Some(Running { nspawn, guard, leader, _cgroup: cgroup });
            }
            None => {
                // It takes its children along.
                let _ = nspawn.kill();
                let _ = nspawn.wait();
                let said = fs::read_to_string(&console).unwrap_or_default();
                return Err(format!("systemd-nspawn does not boot here: {}", said.trim().replace('\n', "; ")));
            }
        }
        // Degraded is what a machine is in which something has failed; the tests look at what is theirs.
        self.until("systemd has started everything", "systemctl is-system-running | grep -E 'running|degraded'");
        Ok(())
    }

    /// Runs commands in it, by bash and as root, in `/root`; ends at the first that fails.
    pub fn sh(&self, commands: &str) -> Said {
        let leader = self.running().leader.0.to_string();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", MAX_COMMANDS, "nsenter", "--target", &leader]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/root"]);
        command.args(["env", "-i", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER="]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["bash", "-e", "-o", "pipefail", "-c", commands]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Said { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs commands that must succeed; gives their standard output.
    pub fn must(&self, commands: &str) -> String {
        let said = self.sh(commands);
        assert!(said.code == 0, "`{commands}`: {said}\n\nthe journal's end:\n{}", self.end_of_journal());
        said.stdout
    }

    /// Runs commands again and again until they succeed; gives their standard output.
    pub fn until(&self, what: &str, commands: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.sh(commands);
            if said.code == 0 {
                return said.stdout;
            }
            assert!(Instant::now() < end, "never: {what}: `{commands}`: {said}\n{}", self.end_of_journal());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A path in the machine, seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Copies a file of this machine into a folder of that one.
    pub fn put(&self, file: &Path, folder: &str) {
        let to = self.path(folder).join(file.file_name().unwrap());
        fs::copy(file, &to).unwrap_or_else(|error| panic!("{} to {}: {error}", file.display(), to.display()));
    }

    /// What its journal holds of this boot.
    pub fn journal(&self) -> String {
        self.must("journalctl --boot --no-pager --output=short-monotonic")
    }

    fn end_of_journal(&self) -> String {
        self.sh("systemctl --failed --no-pager; journalctl --no-pager --lines=40").to_string()
    }

    /// Kills all its processes at once, as a power-off would: the kernel does that where the first one dies.
    pub fn power_off_hard(&mut self) {
        // Dropped.
        self.running = None;
    }

    /// Runs something in a thread whose sockets are the machine's.
    pub fn in_its_network<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.running().leader.0)).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).unwrap();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
        })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is switched off")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.running = None;
        let _ = fs::remove_dir_all(&self.root);
        let lock = format!(".#{}.lck", self.root.file_name().unwrap_or_default().to_string_lossy());
        let _ = fs::remove_file(self.root.with_file_name(lock));
        // Where /run is no file system of its own, nspawn leaves it.
        let _ = fs::remove_dir(Path::new(PROPAGATE).join(&self.name));
        for old in names::left_over_in(Path::new(PROPAGATE)) {
            let _ = fs::remove_dir(old);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = pidfd_send_signal(&self.leader.1, Signal::KILL);
        let end = Instant::now() + PATIENCE;
        while matches!(self.nspawn.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It has ended, but for the worst.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

/// Waits until systemd inside says that it is up; gives the number of the first process. `None` where nspawn ends, or
/// the time runs out.
fn wait_for_boot(socket: &UnixDatagram, nspawn: &mut Child) -> Option<i32> {
    socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
    let end = Instant::now() + PATIENCE;
    let mut leader = None;
    while Instant::now() < end && matches!(nspawn.try_wait(), Ok(None)) {
        let mut bytes = [0; 4096];
        // A time-out, mostly.
        let Ok(length) = socket.recv(&mut bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes[..length]);
        let told = text.lines().find_map(|line| line.strip_prefix("X_NSPAWN_LEADER_PID="));
        leader = told.and_then(|number| number.parse().ok()).or(leader);
        if leader.is_some() && text.lines().any(|line| line == "READY=1") {
            return leader;
        }
    }
    None
}
