//! The files under `systemd/`, checked by systemd's own tools. Where a tool is not installed the test says so and
//! stops; it touches nothing outside a temporary folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// Straight to the terminal, as the harness swallows what the print macros write, and into the report of `make test`.
fn say(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(report) = std::env::var_os("HOOKRELAY_TEST_REPORT") {
        let mut report = fs::OpenOptions::new().create(true).append(true).open(report).unwrap();
        report.write_all(line.as_bytes()).unwrap();
    }
}

/// Runs a tool; `None`, said aloud, where it is not installed.
fn run(test: &str, command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let tool = command.get_program().to_string_lossy();
            say(&format!("skipped: {test}: {tool} is not installed\n"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `systemd-analyze verify` has to say about the service and its socket, whose program is not installed: the
/// program alone is swapped.
fn verify(test: &str, service: &str, socket: &str) -> Option<Vec<String>> {
    assert!(service.contains("ExecStart=/usr/bin/hookrelay run "), "the program is not started as the guide says");
    let folder = tempfile::tempdir().unwrap();
    let paths = ["hookrelay.service", "hookrelay.socket"].map(|name| folder.path().join(name));
    fs::write(&paths[0], service.replace("/usr/bin/hookrelay", "/bin/true")).unwrap();
    fs::write(&paths[1], socket).unwrap();
    let mut command = Command::new("systemd-analyze");
    let output = run(test, command.args(["verify", "--man=no", "--recursive-errors=no"]).args(&paths))?;
    let mut faults: Vec<String> =
        said(&output).lines().filter(|l| l.contains("hookrelay")).map(str::to_owned).collect();
    if !output.status.success() && faults.is_empty() {
        faults.push(format!("{}: {}", output.status, said(&output)));
    }
    Some(faults)
}

fn text(name: &str) -> String {
    fs::read_to_string(ours(name)).unwrap()
}

#[test]
fn the_units_pass_verify() {
    let Some(faults) = verify("the_units_pass_verify", &text("hookrelay.service"), &text("hookrelay.socket")) else {
        return;
    };
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn verify_finds_a_misspelt_key_in_either_unit() {
    let test = "verify_finds_a_misspelt_key_in_either_unit";
    let (service, socket) = (text("hookrelay.service"), text("hookrelay.socket"));
    let (bad_service, bad_socket) =
        (service.replace("ProtectHome=", "ProtectHomes="), socket.replace("Backlog=", "Backlogs="));
    for (service, socket, key) in [(&bad_service, &socket, "ProtectHomes"), (&service, &bad_socket, "Backlogs")] {
        let Some(faults) = verify(test, service, socket) else { return };
        assert!(faults.len() == 1 && faults[0].contains(key), "{faults:?}");
    }
}

#[test]
fn the_unit_is_exposed_as_little_as_it_claims() {
    let mut command = Command::new("systemd-analyze");
    // In percent: 1.5 of 10.
    command.args(["security", "--offline=true", "--threshold=15", "--no-pager"]).arg(ours("hookrelay.service"));
    let Some(output) = run("the_unit_is_exposed_as_little_as_it_claims", &mut command) else { return };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_socket_is_the_one_that_the_example_config_listens_on_and_never_gives_up() {
    let example = fs::read_to_string(ours("../config.example.toml")).unwrap();
    let listen = example.lines().find_map(|line| line.strip_prefix("listen = \"")).unwrap();
    let (address, _) = listen.split_once('"').unwrap();
    let socket = text("hookrelay.socket");
    assert!(socket.contains(&format!("\nListenStream={address}\n")), "{address}: {socket}");
    assert!(socket.contains("\nTriggerLimitIntervalSec=0\n"));
}

#[test]
fn the_service_is_watched_tells_when_it_is_ready_and_reloads_by_the_verb_that_says_how_it_went() {
    let service = text("hookrelay.service");
    let reload = "ExecReload=/usr/bin/hookrelay reload --config /etc/hookrelay/config.toml";
    for line in ["Type=notify", "WatchdogSec=30s", reload, "StateDirectory=hookrelay", "RuntimeDirectory=hookrelay"] {
        assert!(service.lines().any(|own| own == line), "{line}");
    }
}

#[test]
fn the_user_and_the_config_folder_are_made_as_the_unit_needs_them() {
    let test = "the_user_and_the_config_folder_are_made_as_the_unit_needs_them";
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let at = format!("--root={}", root.path().display());

    let mut sysusers = Command::new("systemd-sysusers");
    let Some(output) = run(test, sysusers.arg(&at).arg(ours("hookrelay.sysusers"))) else { return };
    assert!(output.status.success(), "{}", said(&output));
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("hookrelay:") && passwd.contains(":/var/lib/hookrelay:"), "{passwd}");
    let unit = fs::read_to_string(ours("hookrelay.service")).unwrap();
    assert!(unit.contains("\nUser=hookrelay\n") && unit.contains("\nStateDirectory=hookrelay\n"));

    if !rustix::process::geteuid().is_root() {
        say(&format!("skipped: {test}: the folder's owner can be set by root alone\n"));
        return;
    }
    let mut tmpfiles = Command::new("systemd-tmpfiles");
    let Some(output) = run(test, tmpfiles.arg(&at).arg("--create").arg(ours("hookrelay.tmpfiles"))) else { return };
    assert!(output.status.success(), "{}", said(&output));
    assert!(root.path().join("etc/hookrelay").is_dir());
}
