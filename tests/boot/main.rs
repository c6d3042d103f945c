//! A real boot: a clean Debian, made with debootstrap and booted with systemd-nspawn, on which the package is used
//! as an operator would. Runs as root, where the tools are (tests/services/tools); elsewhere it is skipped, with
//! the reason.
//!
//! One machine for the story of an operator, one scenario after the other:
//!
//! 1. `install`: apt puts the package on, socket and service are enabled, a first webhook is taken
//! 2. `reload`: a good one, a bad one, a restart with the bad file
//! 3. `secrets`: a secret is rotated
//! 4. `restart`: restarts and an upgrade
//! 5. `watchdog`: a wedged daemon is killed and started again
//! 6. `power_off`: everything is killed at once, and booted again
//! 7. `purge`: removed, installed again, purged
//!
//! And on a machine of its own: `guide`, the commands of docs/operating.md, from install to uninstall.
//!
//! Beneath them: `story` (what they share), `machine` (a booted Debian, and how to work in it), `debian` (a clean
//! one on disk), `cgroup`, `names`, `package`, `load` (senders, and the record of what was answered 200).
//!
//! HOOKRELAY_TEST_BOOT_DEBIAN=trixie takes another Debian than this machine's, HOOKRELAY_TEST_BOOT_REQUESTS=1000000
//! makes the restarts go on for longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[allow(dead_code)]
#[path = "../it/bodies.rs"]
mod bodies;
mod cgroup;
mod debian;
mod guide;
mod install;
mod load;
mod machine;
mod names;
mod package;
mod power_off;
mod purge;
mod reload;
mod restart;
mod secrets;
#[allow(dead_code)]
#[path = "../soak/shim.rs"]
mod shim;
mod story;
mod watchdog;

use std::panic::AssertUnwindSafe;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use sink_testkit::skip;

use debian::Debian;
use load::Record;
use machine::Machine;
use story::Story;

/// Programs that all of this needs.
const TOOLS: &[&str] = &["debootstrap", "systemd-nspawn", "nsenter", "setpriv", "timeout"];

/// A scenario's name, and what it does.
type Scenario = (&'static str, fn(&mut Story));

const SCENARIOS: &[Scenario] = &[
    ("install", install::the_package_installs_and_takes_a_first_webhook),
    ("reload", reload::a_good_reload_is_in_force_and_a_bad_one_fails_aloud_and_changes_nothing),
    ("secrets", secrets::a_secret_is_rotated_by_reloads),
    ("restart", restart::restarts_and_an_upgrade_under_load_fail_no_request),
    ("watchdog", watchdog::a_wedged_daemon_is_killed_by_its_watchdog_and_started_again),
    ("power_off", power_off::a_power_off_under_load_loses_nothing_that_was_answered),
    ("purge", purge::a_removal_leaves_config_and_data_and_a_purge_the_data),
];

/// A test's name, and what it does on a machine of its own.
type Test = (&'static str, fn(Machine));

const TESTS: &[Test] = &[("operator", operator), ("guide", guide::the_commands_of_the_guide_do_what_it_says)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test` may ask for the list of tests, or name some of them.
    let names = arguments.iter().filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    let is_wanted = |test: &str| names.is_empty() || names.iter().any(|name| format!("boot::{test}").contains(*name));
    let wanted: Vec<_> = TESTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        wanted.iter().for_each(|(name, _)| println!("boot::{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (mut debian, mut has_booted, mut all_well) = (None, false, true);
    for (name, test) in wanted {
        let began = Instant::now();
        let booted = is_possible().and_then(|()| package::can_be_made()).and_then(|()| {
            let debian = debian.get_or_insert_with(Debian::make).as_ref().map_err(Clone::clone)?;
            Machine::boot(debian, name)
        });
        match booted {
            Ok(machine) => {
                has_booted = true;
                // What panicked is printed; the machine goes down, and the next test has its turn.
                all_well &= std::panic::catch_unwind(AssertUnwindSafe(|| test(machine))).is_ok();
            }
            Err(why) => {
                skip(&format!("boot::{name}"), &why);
                // Where one boots, all do.
                all_well &= !has_booted;
            }
        }
        println!("boot::{name}: {} s", began.elapsed().as_secs());
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether it can be tried at all.
fn is_possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("a machine can be booted by root alone".to_owned());
    }
    let is_there = |tool: &&&str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    match TOOLS.iter().find(|tool| !is_there(tool)) {
        Some(tool) => Err(format!("{tool} is not installed")),
        None => Ok(()),
    }
}

/// The story of an operator.
fn operator(machine: Machine) {
    let packages = ["1", "2"].map(|revision| {
        let package = package::make(&format!("{}-{revision}", env!("CARGO_PKG_VERSION")));
        machine.put(&package, "/root");
        package.file_name().unwrap().to_string_lossy().into_owned()
    });
    let mut story = Story { machine, record: Arc::<Record>::default(), secret: String::new(), packages };
    for (name, scenario) in SCENARIOS {
        let began = Instant::now();
        scenario(&mut story);
        println!("boot: {name}: fine, {:.1} s", began.elapsed().as_secs_f64());
    }
}
