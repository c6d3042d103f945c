//! A source of every kind in one daemon: each believes what `send` signs, a token leaves no trace, and a retry that was
//! signed anew is recognised after a kill.

use std::path::Path;

use crate::harness::{House, lines_under, wait_until};

const TOKEN: &str = "hush+hush/very-secret=";
const KINDS: &[&str] =
    &["meta", "github", "stripe", "slack", "shopify", "standard_webhooks", "hmac", "header", "query", "none"];

/// A file sink for everything, and a source of each kind but Interakt, which every house has.
fn tables() -> String {
    let mut text = "[sinks.out]\nkind = \"file\"\npath = \"out/{source}.jsonl\"\nformat = \"cloudevents\"\n\
                    [[routes]]\nmatch = \"*\"\nto = \"out\"\n"
        .to_owned();
    for name in KINDS {
        let kind = if matches!(*name, "header" | "query") { "token" } else { name };
        text.push_str(&format!("[sources.{name}]\nkind = \"{kind}\"\npath = \"/webhooks/{name}\"\n"));
        text.push_str(match *name {
            "none" => "",
            "standard_webhooks" => "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
            _ => "secret = \"${TOKEN}\"\n",
        });
        text.push_str(match *name {
            "meta" => "verify_token = \"v\"\n",
            "hmac" => "header = \"x-sig\"\nalgorithm = \"sha1\"\nprefix = \"sha1=\"\n",
            "header" => "header = \"authorization\"\nprefix = \"Bearer \"\nkeep_headers = [\"authorization\"]\n",
            "query" => "query = \"token\"\nstatus = 202\n",
            "stripe" => "dedupe = \"10m\"\n",
            _ => "",
        });
    }
    text
}

fn send(house: &House, address: &str, args: &[&str]) -> (bool, String) {
    let url = format!("http://{address}");
    let mut command = house.command(&["send", "--json", "--url", &url]);
    let output = command.args(args).env("TOKEN", TOKEN).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains(TOKEN));
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Whether any file below a folder holds the bytes.
fn holds(folder: &Path, needle: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let in_file = || std::fs::read(&path).unwrap_or_default().windows(needle.len()).any(|w| w == needle.as_bytes());
        if path.is_dir() { holds(&path, needle) } else { in_file() }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn send_is_believed_by_a_source_of_every_kind_and_no_token_is_left_behind() {
    let house = House::new(&tables());
    let mut command = house.command(&["run"]);
    command.env("TOKEN", TOKEN).env("RUST_LOG", "trace");
    let daemon = House::start_as(command);
    let address = daemon.address.to_string();
    for name in KINDS {
        let (is_good, text) = send(&house, &address, &["--source", name, "--type", "order.paid"]);
        assert!(is_good, "{name}: {text}");
    }
    let lines = wait_until("one event of each", || {
        Some(lines_under(&house.path("out"), ".jsonl")).filter(|lines| lines.len() == KINDS.len())
    })
    .await;
    for line in lines {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["type"], "order.paid", "{line}");
    }
    let log = daemon.log.text();
    assert_eq!(daemon.terminate(), 0);
    for piece in [TOKEN, "hush%2Bhush", "very-secret"] {
        assert!(!log.contains(piece), "{piece} is in the log");
        assert!(!holds(&house.path("data"), piece) && !holds(&house.path("out"), piece), "{piece} is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_signed_anew_is_known_across_a_kill() {
    let house = House::new(&tables());
    let body = house.path("evt.json");
    std::fs::write(&body, r#"{"id":"evt_1","type":"invoice.paid"}"#).unwrap();
    let args = ["--source", "stripe", body.to_str().unwrap()];
    let run = || {
        let mut command = house.command(&["run"]);
        command.env("TOKEN", TOKEN);
        House::start_as(command)
    };
    let daemon = run();
    let (_, first) = send(&house, &daemon.address.to_string(), &args);
    daemon.kill();
    let daemon = run();
    let (_, again) = send(&house, &daemon.address.to_string(), &args);
    let read = |text: &str| -> serde_json::Value { serde_json::from_str(text.lines().next().unwrap()).unwrap() };
    let (first, again) = (read(&first), read(&again));
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
    assert_eq!(first["id"], again["id"]);
}

/// Posts a body; gives status and answer.
async fn posted(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, serde_json::Value) {
    let mut request = reqwest::Client::new().post(format!("http://{address}{path}")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_standard_webhook_cannot_be_cut_anew_to_pass_as_fresh() {
    let house = House::new(&tables());
    let mut command = house.command(&["run"]);
    command.env("TOKEN", TOKEN);
    let daemon = House::start_as(command);
    let address = daemon.address.to_string();
    let hmac = hookrelay::verify::standard_webhooks::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None, None).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (then, fresh) = ((now - 27 * 3600).to_string(), now.to_string());
    let sign = |id: &str, time: &str, body: &str| {
        let beside = hookrelay::verify::hmac::Beside { id: Some(id.as_bytes()), time: Some(time.as_bytes()) };
        hmac.sign_with(beside, body.as_bytes())
    };
    let signature = sign("msg_1", &then, &format!("x.{now}.{{\"type\":\"forged\"}}"));
    let id = format!("msg_1.{then}.x");
    let headers = [("webhook-id", &*id), ("webhook-timestamp", &fresh), ("webhook-signature", &signature)];
    let (status, answer) = posted(&address, "/webhooks/standard_webhooks", &headers, "{\"type\":\"forged\"}").await;
    assert_eq!(status, 401, "{answer}");
    let signature = sign("msg_1", &fresh, "{}");
    let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &*fresh), ("webhook-signature", &signature)];
    assert_eq!(posted(&address, "/webhooks/standard_webhooks", &headers, "{}").await.0, 200);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_a_delivery_id_of_github_is_another_event() {
    let house = House::new(
        &tables().replace("path = \"/webhooks/github\"\n", "path = \"/webhooks/github\"\ndedupe = \"10m\"\n"),
    );
    let mut command = house.command(&["run"]);
    command.env("TOKEN", TOKEN);
    let daemon = House::start_as(command);
    let address = daemon.address.to_string();
    let hmac = hookrelay::verify::Hmac::new(TOKEN.as_bytes(), None).unwrap();
    for (id, body, is_repeat) in [("1", "{\"n\":1}", false), ("1", "{\"n\":2}", false), ("1", "{\"n\":1}", true)] {
        let signature = hmac.sign(body.as_bytes());
        let headers = [("x-hub-signature-256", &*signature), ("x-github-delivery", id), ("x-github-event", "push")];
        let (status, answer) = posted(&address, "/webhooks/github", &headers, body).await;
        assert_eq!((status, answer["duplicate"] == true), (200, is_repeat), "{body}: {answer}");
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_test_of_the_rules_brings_the_header_its_type_comes_in() {
    let house = House::new(&format!(
        "{}[sinks.pushes]\nkind = \"stdout\"\n[[routes]]\nmatch = \"push\"\nsource = \"github\"\nto = \"pushes\"\n\
         [[tests]]\nname = \"a push\"\nsource = \"github\"\nbody = \"{{}}\"\nsinks = [\"out\", \"pushes\"]\n\
         headers = {{ X-GitHub-Event = \"push\" }}\n",
        tables()
    ));
    let run = || house.command(&["test"]).env("TOKEN", TOKEN).output().unwrap();
    assert!(run().status.success(), "{}", String::from_utf8_lossy(&run().stdout));
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("X-GitHub-Event =", "X-Other =")).unwrap();
    assert!(!run().status.success(), "without it the type is unknown");
}
