//! Secrets change on reload: what stands in `.env`, `env_file` and secret files is read again, what the process's own
//! environment holds is told; and what is still signed with the previous secret is counted.

use std::fs;
use std::process::Command;

use hookrelay::verify::Hmac;

use crate::bodies::numbered;
use crate::harness::{ARCHIVE, Daemon, House, SECRET};
use crate::verbs::{json, json_without_secret, verb, verb_without_secret};

/// A daemon without the secret in its environment.
fn start(house: &House) -> Daemon {
    let mut command = house.command(&["run"]);
    command.env_remove("INTERAKT_WEBHOOK_SECRET");
    House::start_as(command)
}

/// The status that a webhook signed with this secret is answered with.
async fn answered(url: &str, secret: &str, n: u64) -> u16 {
    let signature = Hmac::new(secret.as_bytes(), None).unwrap().sign(&numbered(n));
    let request = reqwest::Client::new().post(url).header("Interakt-Signature", signature);
    request.body(numbered(n)).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_by_an_edit_and_a_reload_wherever_it_stands() {
    for (key, file, secret) in [
        ("", ".env", "${INTERAKT_WEBHOOK_SECRET}"),
        ("env_file = \"secrets/env\"\n", "secrets/env", "${INTERAKT_WEBHOOK_SECRET}"),
        ("", "key", "${file:key}"),
    ] {
        let house = House::new(ARCHIVE);
        let text = fs::read_to_string(house.config()).unwrap();
        fs::write(house.config(), format!("{key}{}", text.replace("${INTERAKT_WEBHOOK_SECRET}", secret))).unwrap();
        fs::create_dir(house.path("secrets")).unwrap();
        let write = |secret: &str| {
            // As an editor of another system leaves it.
            let line = format!("\u{feff}INTERAKT_WEBHOOK_SECRET='{secret}'\r\n");
            fs::write(house.path(file), if file == "key" { secret } else { &line }).unwrap();
        };
        write("first");
        let daemon = start(&house);
        let url = daemon.url();
        assert_eq!((answered(&url, "first", 1).await, answered(&url, "second", 2).await), (200, 401), "{file}");
        write("second");
        assert_eq!(answered(&url, "first", 3).await, 200, "{file}: nobody has asked for it yet");
        let said = verb_without_secret(&house, 0, &["reload"]);
        assert!(!said.contains("unchanged until a restart"), "{said}");
        assert_eq!((answered(&url, "first", 4).await, answered(&url, "second", 5).await), (401, 200), "{file}");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn env_file_wins_over_dot_env_and_one_that_is_missing_is_a_fault() {
    let house = House::new(ARCHIVE);
    let text = fs::read_to_string(house.config()).unwrap();
    fs::write(house.config(), format!("env_file = \"more\"\n{text}")).unwrap();
    fs::write(house.path(".env"), "INTERAKT_WEBHOOK_SECRET=beside\n").unwrap();
    let said = verb_without_secret(&house, 78, &["check"]);
    assert!(said.contains("config.toml:1:12: error: `env_file`:") && said.contains("cannot be read"), "{said}");
    fs::write(house.path("more"), "INTERAKT_WEBHOOK_SECRET=named\nno assignment\n").unwrap();
    assert!(verb_without_secret(&house, 78, &["check"]).contains("more:2:1: error: not an assignment"));
    fs::write(house.path("more"), "INTERAKT_WEBHOOK_SECRET=named\n").unwrap();
    let daemon = start(&house);
    assert_eq!((answered(&daemon.url(), "named", 1).await, answered(&daemon.url(), "beside", 2).await), (200, 401));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_the_keys_that_the_environment_of_the_daemon_holds() {
    let house = House::new(ARCHIVE);
    let daemon = house.start();
    fs::write(house.path(".env"), "INTERAKT_WEBHOOK_SECRET=another\n").unwrap();
    let said = verb(&house, 0, &["reload"]);
    assert!(said.contains("unchanged until a restart") && said.contains("sources.interakt.secret"), "{said}");
    assert!(said.contains("INTERAKT_WEBHOOK_SECRET has another value in") && !said.contains("another\n"), "{said}");
    let fixed = json(&house, &["reload"])["fixed"].clone();
    let expected = serde_json::json!([{"key": "sources.interakt.secret", "variable": "INTERAKT_WEBHOOK_SECRET"}]);
    assert_eq!(fixed, expected);
    let log = daemon.log.wait_for(|line| line.contains("is in force")).unwrap();
    assert!(log.contains("sources.interakt.secret"), "{log}");
    assert_eq!((answered(&daemon.url(), SECRET, 1).await, answered(&daemon.url(), "another", 2).await), (200, 401));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_signed_with_the_previous_secret_is_counted_and_dated() {
    let house = House::new(ARCHIVE);
    let text = fs::read_to_string(house.config()).unwrap();
    let secret = |secret: &str, previous: &str| {
        let keys = format!("secret = \"{secret}\"\nprevious_secret = \"{previous}\"");
        fs::write(house.config(), text.replace("secret = \"${INTERAKT_WEBHOOK_SECRET}\"", &keys)).unwrap();
    };
    let counted = || json_without_secret(&house, &["status"])["sources"]["interakt"]["previous_secret"].clone();
    let none = serde_json::json!({"count": 0, "last": null});
    let daemon = house.start();
    assert_eq!(counted(), none, "there is no previous secret");
    secret("new", SECRET);
    verb(&house, 0, &["reload"]);
    assert_eq!((answered(&daemon.url(), "new", 1).await, counted()), (200, none.clone()));
    for n in 2..5 {
        assert_eq!(answered(&daemon.url(), SECRET, n).await, 200);
    }
    let now = counted();
    assert!(now["count"] == 3 && now["last"].as_str().unwrap().starts_with("20"), "{now}");
    let status = verb_without_secret(&house, 0, &["status"]);
    assert!(status.contains("interakt: 3 still signed with previous_secret, the last "), "{status}");
    let line = daemon.log.wait_for(|line| line.contains("still signed with the previous secret")).unwrap();
    assert!(line.contains("\"source\":\"interakt\"") && line.contains("\"count\":1"), "{line}");
    verb(&house, 0, &["reload"]);
    assert_eq!(counted(), now, "a reload counts on");
    secret("newer", "new");
    verb(&house, 0, &["reload"]);
    assert_eq!(counted(), none, "another secret is the previous one");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn what_looks_like_a_secret_that_was_never_filled_in_is_told_by_check_and_at_the_start() {
    let house = House::new(ARCHIVE);
    for value in ["…", "${HUSH}", "'hush-hush'", "your-secret-here"] {
        let mut check = house.command(&["check"]);
        let printed = check.env("INTERAKT_WEBHOOK_SECRET", value).output().unwrap();
        let printed = String::from_utf8_lossy(&printed.stderr).into_owned();
        assert!(printed.contains("warning: [sources.interakt] `secret`: what"), "{value}: {printed}");
        assert!(!printed.to_lowercase().contains("hush"), "{printed}");
    }
    let mut run: Command = house.command(&["run"]);
    run.env("INTERAKT_WEBHOOK_SECRET", "'hush-hush'");
    let daemon = House::start_as(run);
    assert!(daemon.log.wait_for(|line| line.contains("still carries quotes")).is_some());
    assert_eq!(daemon.terminate(), 0);
}
