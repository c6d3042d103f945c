//! What the verbs print and how they exit.

use crate::bodies::fixtures;
use crate::harness::{House, lines_under, wait_until};

const KEEP: &str = r#"
[sinks.out]
kind = "file"
path = "out/{type}.jsonl"
[[routes]]
name = "failures"
match = "message_api_failed"
to = "out"
"#;

fn run(house: &House, args: &[&str]) -> (i32, String, String) {
    let out = house.command(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn check_exits_0_on_a_good_file_and_78_with_every_fault_and_its_place_on_a_bad_one() {
    let house = House::new(KEEP);
    assert_eq!(run(&house, &["check"]).0, 0);
    assert_eq!(run(&house, &["check", "--connect"]).0, 0);
    house.configure("[sinks.out]\nkind = \"fiel\"\npath = 3\n[[routes]]\nmatch = \"*\"\nto = \"uot\"\n");
    for verb in ["check", "run"] {
        let (code, _, printed) = run(&house, &[verb]);
        assert_eq!(code, 78, "{printed}");
        let config = house.config().display().to_string();
        assert!(printed.contains(&format!("{config}:11:8: error:")), "{printed}");
        assert!(printed.contains(&format!("{config}:15:6: error:")), "{printed}");
        assert!(printed.contains("did you mean `file`?"), "{printed}");
    }
}

#[test]
fn an_unset_secret_is_a_fault_and_a_set_one_is_never_shown() {
    let house = House::new(KEEP);
    let out = house.command(&["check"]).env_remove("INTERAKT_WEBHOOK_SECRET").output().unwrap();
    assert_eq!(out.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&out.stderr).contains("INTERAKT_WEBHOOK_SECRET"));
    let out = house.command(&["check"]).env("INTERAKT_WEBHOOK_SECRET", " ").output().unwrap();
    assert_eq!(out.status.code(), Some(78), "an empty secret must not start");
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("kind = \"file\"", "kind = \"${INTERAKT_WEBHOOK_SECRET}\"")).unwrap();
    let out = house.command(&["check"]).env("INTERAKT_WEBHOOK_SECRET", "hunter2hunter2").output().unwrap();
    assert!(!String::from_utf8_lossy(&out.stderr).contains("hunter2"), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn explain_says_which_routes_match_and_what_each_sink_would_get() {
    let house = House::new(KEEP);
    let fixture = |name: &str| format!("{}/tests/fixtures/interakt/{name}", env!("CARGO_MANIFEST_DIR"));
    let (code, out, err) = run(&house, &["explain", &fixture("message_api_failed.json"), "--json"]);
    assert_eq!(code, 0, "{err}");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["event"]["type"], "message_api_failed");
    assert_eq!(shown["routes"][0]["matched"], true);
    assert_eq!(shown["deliveries"][0]["sink"], "out");
    assert_eq!(shown["deliveries"][0]["target"]["path"], "out/message_api_failed.jsonl");
    assert_eq!(shown["deliveries"][0]["payload"]["data"]["message"]["channel_error_code"], "1013");
    let (_, out, _) = run(&house, &["explain", &fixture("message_api_read.json"), "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (shown["routes"][0]["matched"].as_bool(), shown["deliveries"].as_array().unwrap().len()),
        (Some(false), 0)
    );
    let (_, text, _) = run(&house, &["explain", &fixture("message_api_failed.json")]);
    assert!(text.contains("failures"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_posts_a_sample_of_each_of_the_18_types_and_files_byte_for_byte() {
    let house = House::new(
        "[sinks.out]\nkind = \"file\"\npath = \"out/{type}.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"out\"\n",
    );
    let daemon = house.start();
    let url = daemon.url();
    let (code, out, err) = run(&house, &["send", "--url", &url]);
    assert_eq!(code, 0, "{out}{err}");
    wait_until("18 files", || {
        let types = std::fs::read_dir(house.path("out")).map(Iterator::count).unwrap_or(0);
        (types == 18).then_some(())
    })
    .await;
    let file = format!("{}/tests/fixtures/interakt/unknown_type.json", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(run(&house, &["send", "--url", &url, &file]).0, 0);
    let line =
        wait_until("the file's event", || lines_under(&house.path("out"), "message_session_sent.jsonl").pop()).await;
    let body = fixtures().into_iter().find(|(name, _)| name == "unknown_type.json").unwrap().1;
    let compact = String::from_utf8(sink_api::json::compact(&body).unwrap()).unwrap();
    assert!(line.contains(&compact));
    let (code, _, _) = run(&house, &["send", "--url", &url, "--type", "message_received", "--count", "7"]);
    assert_eq!(code, 0);
    wait_until("seven more", || (lines_under(&house.path("out"), "message_received.jsonl").len() == 8).then_some(()))
        .await;
    let (code, _, err) = run(&house, &["send", "--url", "http://127.0.0.1:1/webhooks/interakt"]);
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("hookrelay run"), "it says how to start the daemon: {err}");
}

#[test]
fn the_verbs_reach_the_daemon_on_a_machine_without_root_certificates() {
    let house = House::new(KEEP);
    let daemon = house.start();
    for args in [&["status"][..], &["reload"], &["send", "--type", "message_api_failed", "--url", &daemon.url()]] {
        let mut command = house.command(args);
        let out = command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent").output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn kinds_and_help_and_version_teach() {
    let house = House::new(KEEP);
    let (code, out, _) = run(&house, &["kinds", "--json"]);
    assert_eq!(code, 0);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    let text = shown.to_string();
    for name in ["file", "http", "sqlite", "stdout", "interakt", "interakt.message_status", "api_log"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is not in {text}");
    }
    let (code, out, _) = run(&house, &["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("78") && out.contains("explain"), "{out}");
    assert!(run(&house, &["--version"]).1.starts_with("hookrelay "));
    assert_eq!(run(&house, &["no-such-verb"]).0, 2);
}
