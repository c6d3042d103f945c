//! A config file that is refused, broken or gone costs no webhook: the daemon starts from the last good config, says so
//! wherever one looks, and a good reload heals it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, Daemon, House, ask_admin, ends, lines_under, post_all, wait_until};
use crate::verbs::{json_without_secret, verb, verb_without_secret};

const BAD: &str = "[sinks.more]\nkind = \"flie\"\npath = \"x\"\n";

/// Makes a config file one that cannot be used.
type Spoil<'s> = &'s dyn Fn(&Path);

fn state(house: &House) -> Value {
    json_without_secret(house, &["status"])["config"].clone()
}

/// A house whose daemon has run once, so that there is a last good config.
fn lived_in() -> House {
    let house = House::new(ARCHIVE);
    assert_eq!(house.start().terminate(), 0);
    house
}

fn edit(house: &House, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(house.config()).unwrap();
    fs::write(house.config(), change(text)).unwrap();
}

/// What a start prints that is refused.
fn refused(command: Command) -> String {
    let out = ends(command);
    let printed = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{printed}");
    printed
}

async fn takes_webhooks(house: &House, daemon: &Daemon, so_far: usize) {
    post_all(&daemon.url(), (so_far..so_far + 3).map(|n| numbered(n as u64))).await;
    let archived = || lines_under(&house.path("out"), "all.jsonl").len() == so_far + 3;
    wait_until("they are archived beside the config", || archived().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_with_a_refused_file_takes_webhooks_and_says_so_until_a_good_reload() {
    let house = lived_in();
    let good = fs::read_to_string(house.config()).unwrap();
    house.configure(&format!("{ARCHIVE}{BAD}"));
    let daemon = house.start();
    let line = daemon.log.wait_for(|line| line.contains("the config file is refused")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let faults = line["faults"].as_str().unwrap();
    assert!(line["level"] == "ERROR" && faults.contains("unknown kind `flie`"), "{line}");
    takes_webhooks(&house, &daemon, 0).await;

    let config = state(&house);
    let fault = config["fault"].as_str().unwrap();
    assert!(config["state"] == "refused" && fault.contains("config.toml:") && fault.contains("flie"), "{config}");
    assert_eq!(config["path"].as_str(), house.config().to_str());
    assert!(config["since"].as_str().unwrap().starts_with("20"), "{config}");
    let ready = ask_admin(&house, "/readyz").await;
    assert_eq!(ready["reasons"], serde_json::json!(["config_refused"]), "{ready}");
    assert!(verb_without_secret(&house, 0, &["status"]).contains("config_refused: the config file was refused"));
    assert!(verb(&house, 78, &["check"]).contains("flie"), "check is as strict as before");
    assert!(verb(&house, 78, &["reload"]).contains("flie"));
    assert_eq!(state(&house)["since"], config["since"], "it is the same trouble");

    let more = format!("{good}[sources.second]\nkind = \"none\"\npath = \"/second\"\n");
    fs::write(house.config(), &more).unwrap();
    verb(&house, 0, &["reload"]);
    let config = state(&house);
    assert!(config["state"] == "same" && config["fault"].is_null(), "{config}");
    assert_eq!(ask_admin(&house, "/readyz").await["reasons"], serde_json::json!([]));
    let kept = fs::read_to_string(house.path("data/last-good.toml")).unwrap();
    assert!(kept.starts_with(&more), "that is the last good one now: {kept}");
    takes_webhooks(&house, &daemon, 3).await;
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn strict_refuses_as_if_there_were_no_last_good_config() {
    let house = lived_in();
    house.configure(&format!("{ARCHIVE}{BAD}"));
    let printed = refused(house.command(&["run", "--strict"]));
    assert!(printed.contains("flie") && !printed.contains("last good"), "{printed}");
    fs::remove_file(house.config()).unwrap();
    assert!(refused(house.command(&["run", "--strict"])).contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_toml_no_text_unreadable_or_gone_is_no_reason_to_stay_down() {
    let house = lived_in();
    let good = fs::read_to_string(house.config()).unwrap();
    let mut so_far = 0;
    let broken: [(&str, Spoil<'_>); 5] = [
        ("config.toml:", &|file| fs::write(file, format!("{good}[[[\nsecret = \"open\n")).unwrap()),
        ("config.toml:", &|file| fs::write(file, "data_dir = \"data\n<<<<<<< HEAD\n").unwrap()),
        ("not UTF-8", &|file| fs::write(file, [good.as_bytes(), b"# caf\xe9\n"].concat()).unwrap()),
        ("cannot be read", &|file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("is not there", &|file| fs::remove_dir(file).unwrap()),
    ];
    for (fault, spoil) in broken {
        spoil(&house.config());
        let daemon = house.start();
        let line = daemon.log.wait_for(|line| line.contains("the config file is refused")).unwrap();
        assert!(line.contains(fault), "{fault}: {line}");
        takes_webhooks(&house, &daemon, so_far).await;
        so_far += 3;
        assert_eq!(ask_admin(&house, "/readyz").await["reasons"], serde_json::json!(["config_refused"]));
        if house.config().is_file() {
            // The verbs find the daemon though the file does not say where it is.
            assert!(state(&house)["fault"].as_str().unwrap().contains(fault));
            assert!(verb(&house, 78, &["reload"]).contains(fault));
        }
        assert_eq!(daemon.terminate(), 0);
    }
    fs::write(house.config(), &good).unwrap();
    let daemon = house.start();
    assert_eq!(state(&house)["state"], "same");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_file_does_not_tell_the_data_folder_it_is_found_by_systemd_or_by_name() {
    let house = House::new(ARCHIVE);
    edit(&house, |text| text.replace("\"data\"", "\"kept/far\""));
    assert_eq!(house.start().terminate(), 0);
    let kept = house.path("kept/far");
    // Another folder than before, and a fault: nothing of the new file holds, and the data stays where it was.
    for text in ["[[[\n", "data_dir = \"new\"\n[server]\nlisten = 1\n"] {
        fs::write(house.config(), text).unwrap();
        let printed = refused(house.command(&["run"]));
        assert!(printed.contains("no last good config") && printed.contains("--data-dir"), "{printed}");
        let mut by_systemd = house.command(&["run"]);
        by_systemd.env("STATE_DIRECTORY", format!("/nowhere:{}", kept.display()));
        let mut by_name = house.command(&["run", "--data-dir"]);
        by_name.arg(&kept);
        for command in [by_systemd, by_name] {
            let daemon = House::start_as(command);
            wait_until("it uses the old folder", || kept.join("admin.sock").exists().then_some(())).await;
            assert!(!house.path("new").exists());
            assert_eq!(daemon.terminate(), 0);
        }
    }
    // The folder was moved: where it is now is where the data is.
    fs::rename(&kept, house.path("moved")).unwrap();
    fs::write(house.config(), "data_dir = \"moved\"\n[server]\nlisten = 1\n").unwrap();
    let daemon = house.start();
    wait_until("it uses the folder", || house.path("moved/admin.sock").exists().then_some(())).await;
    assert!(!kept.exists());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_last_good_config_that_is_refused_as_well_is_told_beside_the_file() {
    let house = lived_in();
    house.configure(&format!("{ARCHIVE}{BAD}"));
    let mut command = house.command(&["run"]);
    command.env_remove("INTERAKT_WEBHOOK_SECRET");
    let printed = refused(command);
    for part in ["config.toml:", "unknown kind `flie`", "is refused as well", "last-good.toml:9:", "INTERAKT_WEB"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    // One of another file is not taken.
    fs::write(house.path("other.toml"), "[[[\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookrelay"));
    command.arg("--config").arg(house.path("other.toml")).arg("run");
    assert!(refused(command).contains("is the last good config of another file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_the_env_file_of_a_variable_that_nobody_needs_keeps_no_daemon_down() {
    let house = lived_in();
    fs::write(house.path(".env"), "no assignment\n").unwrap();
    let daemon = house.start();
    assert!(state(&house)["fault"].as_str().unwrap().contains(".env:1:1"));
    takes_webhooks(&house, &daemon, 0).await;
    fs::remove_file(house.path(".env")).unwrap();
    verb(&house, 0, &["reload"]);
    assert_eq!(state(&house)["state"], "same");
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_the_file_as_written_without_a_value_that_was_filled_in() {
    let house = House::new(ARCHIVE);
    fs::write(house.path("key"), "hush-hush-file").unwrap();
    edit(&house, |text| format!("{text}[sources.b]\nkind = \"github\"\npath = \"/b\"\nsecret = \"${{file:key}}\"\n"));
    let mut command = house.command(&["run"]);
    command.env("INTERAKT_WEBHOOK_SECRET", "hush-hush-variable");
    let daemon = House::start_as(command);
    let kept = fs::read_to_string(house.path("data/last-good.toml")).unwrap();
    assert!(kept.starts_with(&fs::read_to_string(house.config()).unwrap()), "{kept}");
    assert!(!kept.contains("hush-hush") && kept.contains("in force since 20"), "{kept}");
    let mode = fs::metadata(house.path("data/last-good.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is looked after like the rest of the data folder.
    fs::remove_file(house.path("data/last-good.toml")).unwrap();
    wait_until("it is written again", || house.path("data/last-good.toml").is_file().then_some(())).await;
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_always_tells_whether_the_file_is_what_runs() {
    let house = House::new(ARCHIVE);
    let good = fs::read_to_string(house.config()).unwrap();
    let daemon = house.start();
    assert_eq!(state(&house)["state"], "same");
    let becomes = async |state_now: &str| {
        wait_until(state_now, || (state(&house)["state"] == state_now).then_some(())).await;
    };
    fs::write(house.config(), format!("{good}# a remark\n")).unwrap();
    becomes("changed").await;
    assert!(verb_without_secret(&house, 0, &["status"]).contains("is not what runs"));
    assert_eq!(ask_admin(&house, "/readyz").await["reasons"], serde_json::json!([]), "nobody has refused it");
    fs::write(house.config(), &good).unwrap();
    becomes("same").await;
    edit(&house, |text| format!("{text}{BAD}"));
    verb(&house, 78, &["reload"]);
    assert_eq!(state(&house)["state"], "refused");
    assert_eq!(ask_admin(&house, "/readyz").await["reasons"], serde_json::json!(["config_refused"]));
    fs::write(house.config(), &good).unwrap();
    becomes("same").await;
    assert_eq!(daemon.terminate(), 0);
}
