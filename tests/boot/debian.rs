//! A clean Debian on disk: made once by debootstrap from the mirror that this machine's own apt uses, kept in
//! `target/boot/`, and copied for each machine. What apt may be asked for in a machine is downloaded beforehand, for
//! machines have no network but their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::names;

/// Which Debian, where it is not the machine's own: `bookworm`, `trixie`.
const SUITE: &str = "HOOKRELAY_TEST_BOOT_DEBIAN";
/// What a small installation has, beyond debootstrap's `minbase`.
const INSTALLED: &str = "systemd,systemd-sysv,dbus";
/// What `apt install` finds in its cache, with what these need. The guide installs some of them.
const DOWNLOADED: &[&str] = &["ca-certificates", "curl", "nginx-light", "caddy", "sqlite3", "rsync"];
/// Longest that debootstrap, or apt's download, may take, in seconds.
const MAX_MAKING: &str = "900";

/// A clean Debian, not to be booted itself.
pub struct Debian {
    /// Its root folder.
    root: PathBuf,
    /// Where machines' folders lie.
    machines: PathBuf,
}

impl Debian {
    /// Makes it, where it is not there already; or says why that cannot be done here.
    pub fn make() -> Result<Self, String> {
        let home = target().join("boot");
        let suite = suite()?;
        let debian = Self { root: home.join(&suite), machines: home.join("machines") };
        let failed = |error: std::io::Error| format!("{}: {error}", home.display());
        fs::create_dir_all(&debian.machines).map_err(failed)?;
        // One makes it, and others wait.
        let lock = fs::File::create(home.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        for old in names::left_over_in(&debian.machines) {
            let _ = fs::remove_file(&old).or_else(|_| fs::remove_dir_all(&old));
        }
        let (recipe, log) = (home.join(format!("{suite}.recipe")), home.join(format!("{suite}.log")));
        let wanted = format!("{INSTALLED}\n{DOWNLOADED:?}\n");
        if debian.root.is_dir() && fs::read_to_string(&recipe).is_ok_and(|made| made == wanted) {
            return Ok(debian);
        }
        let partial = home.join(format!("{suite}.partial"));
        for old in [&debian.root, &partial] {
            let _ = fs::remove_dir_all(old);
        }
        let mirror = mirror()?;
        println!("boot: making a clean Debian {suite}, a minute or two ({})", log.display());
        let mut debootstrap = bounded("debootstrap");
        debootstrap.args(["--variant=minbase", "--include", INSTALLED, &suite]).arg(&partial).arg(&mirror);
        logged(&mut debootstrap, &log)?;
        download(&partial, DOWNLOADED, &log)?;
        // What debootstrap has copied from this machine.
        fs::write(partial.join("etc/hostname"), "debian\n").map_err(failed)?;
        let _ = fs::remove_file(partial.join("etc/resolv.conf"));
        fs::rename(&partial, &debian.root).map_err(failed)?;
        fs::write(recipe, wanted).map_err(failed)?;
        Ok(debian)
    }

    /// Copies it into a folder of this name; gives its path.
    pub fn copy(&self, name: &str) -> PathBuf {
        let root = self.machines.join(name);
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&self.root).arg(&root).status();
        assert!(copied.is_ok_and(|status| status.success()), "{} cannot be copied", self.root.display());
        root
    }
}

/// Downloads packages, and what they need, into the apt cache of a Debian that is not running.
fn download(root: &Path, packages: &[&str], log: &Path) -> Result<(), String> {
    let apt = |arguments: &[&str]| {
        let mut command = bounded("chroot");
        command.arg(root).args(["apt-get", "-q", "-y"]).args(arguments);
        logged(&mut command, log)
    };
    apt(&["update"])?;
    apt(&[&["install", "--download-only"], packages].concat())
}

/// Cargo's target folder.
fn target() -> PathBuf {
    // The test's program lies in target/PROFILE/deps.
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

/// The name of the Debian that is made: this machine's own, as what is built here runs there.
fn suite() -> Result<String, String> {
    if let Ok(suite) = std::env::var(SUITE) {
        return Ok(suite);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match (field("ID"), field("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite.to_owned()),
        _ => Err("this machine is no Debian".to_owned()),
    }
}

/// The mirror that this machine's own apt has Debian from.
fn mirror() -> Result<String, String> {
    let ask = || {
        let mut apt = Command::new("apt-get");
        apt.args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Label: Debian",
            "Component: main",
        ]);
        let output = apt.stdin(Stdio::null()).output().map_err(|error| format!("apt-get: {error}"))?;
        let first = String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
        first.ok_or_else(|| "this machine's apt sources name no Debian mirror".to_owned())
    };
    ask().or_else(|_| {
        // Without its lists apt does not know what is Debian's.
        let _ = bounded("apt-get").args(["update", "-qq"]).status();
        ask()
    })
}

/// A command that ends in any case.
fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", MAX_MAKING, program]).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command.stdin(Stdio::null());
    command
}

/// Runs a command, adds what it says to the log, and gives its last line where it fails.
fn logged(command: &mut Command, log: &Path) -> Result<(), String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let mut file = fs::OpenOptions::new().create(true).append(true).open(log).map_err(|error| error.to_string())?;
    std::io::Write::write_all(&mut file, said.as_bytes()).map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let program = command.get_args().nth(2).unwrap_or_default().to_string_lossy().into_owned();
    Err(format!("{program} failed ({status}): {}", said.lines().last().unwrap_or_default()))
}
