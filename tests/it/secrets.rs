//! Secrets stay hidden: the event's values in messages of rules that fail, the config's values in what verbs print,
//! passwords in faults. And files with secrets that others may read are warned of.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{ARCHIVE, House, post_all, wait_until};

const MARKER: &str = "do-not-tell-9876543210";

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rule_that_fails_tells_a_value_of_the_event() {
    let programs =
        [".data.note | tonumber", ".data.note | fromjson", ".data.note | todate", ".data.all | tostring | tonumber"];
    let routes =
        programs.map(|program| format!("[[routes]]\nmatch = \"*\"\ntransform = '{program}'\nto = \"archive\"\n"));
    let house = House::new(&format!("{}{}", ARCHIVE.split("[[routes]]").next().unwrap(), routes.concat()));
    let mut command = house.command(&["run"]);
    command.env("RUST_LOG", "trace");
    let daemon = House::start_as(command);
    let body = format!(r#"{{"type":"t","data":{{"note":"{MARKER} [{{","all":["{MARKER}",{{"{MARKER}":1}}]}}}}"#);
    post_all(&daemon.url(), [body.clone().into_bytes()]).await;
    let dead = wait_until("a dead letter of each", || {
        let list = house.command(&["dead", "list", "--json"]).output().unwrap();
        let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
        (list.len() == programs.len()).then_some(list)
    });
    for letter in dead.await {
        let detail = letter["reason"]["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains("do-not-tell"), "{detail}");
    }
    let log = daemon.log.text();
    assert_eq!(daemon.terminate(), 0);
    assert!(!log.contains("do-not-tell"), "{log}");
    let file = house.path("event.json");
    std::fs::write(&file, body).unwrap();
    let explained = house.command(&["explain", "--json"]).arg(&file).output().unwrap();
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    for route in explained["routes"].as_array().unwrap() {
        let why = route["why"].as_str().unwrap();
        assert!(why.contains("dead letter at sink") && !why.contains("do-not-tell"), "{why}");
    }
}

#[test]
fn explain_shows_no_value_of_the_config_and_steers_no_terminal() {
    let house = House::new(
        r#"
[sinks.crm]
kind = "http"
url = "https://crm.example/${IN_PATH}?token=literal-secret&kind={type}"
key = "{.k}"
headers = { x-api-key = "literal-header-{type}" }
[sinks.out]
kind = "file"
path = "out/all.jsonl"
[[routes]]
match = "*"
to = "out"
[[routes]]
name = "named ${TOK}"
match = "*"
transform = '{a: "${TOK}", ("${TOK}"): [1, "x ${TOK} y", ("${TOK}" | @base64)], n: -0, raw: .}'
where = '.k != "${TOK}"'
to = ["crm", "out"]
"#,
    );
    let secret = "hünter\\u0022\\n2 long enough";
    let file = house.path("event.json");
    std::fs::write(&file, "{\"type\":\"t\",\"k\":\"k\\u001b[2J\u{9b}\u{7f}\",\"zero\":-0}").unwrap();
    for args in [&["explain"][..], &["explain", "--json"]] {
        let output = house.command(args).arg(&file).env("TOK", secret).env("IN_PATH", "part-of-path").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let shown = text(&output);
        for piece in
            ["hünter", "h%C3%BCnter", "2 long", "part-of-path", "literal-secret", "literal-header", "aMO8bnRlcg"]
        {
            assert!(!shown.contains(piece), "{piece} in {shown}");
        }
        let controls: Vec<char> = shown.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(controls.is_empty(), "{controls:?} in {shown}");
        for piece in ["\"${TOK}\"", "x ${TOK} y", "token=***&kind=t", "-0"] {
            assert!(shown.contains(piece), "no {piece} in {shown}");
        }
    }
    let output = house
        .command(&["explain", "--json"])
        .arg(&file)
        .env("TOK", secret)
        .env("IN_PATH", "part-of-path")
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["deliveries"][0]["key"], "k\u{1b}[2J\u{9b}\u{7f}", "what is escaped reads as it was");
    assert!(text(&output).contains("\"zero\":-0"), "{}", text(&output));
}

fn chmod(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_with_secrets_that_others_may_read_is_a_warning() {
    let house = House::new(ARCHIVE);
    let (beside, key) = (house.path(".env"), house.path("key"));
    let check = || text(&house.command(&["check"]).output().unwrap());
    chmod(&house.config(), 0o644);
    assert!(!check().contains("others may read"), "nothing is written out in it: {}", check());

    std::fs::write(&beside, "UNUSED=hush-hush\n").unwrap();
    chmod(&beside, 0o644);
    let printed = check();
    assert!(
        printed.contains(".env:1:1: warning:") && printed.contains("chmod 600") && !printed.contains("hush"),
        "{printed}"
    );
    let json = house.command(&["check", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["ok"] == true && json["warnings"][0]["message"].as_str().unwrap().contains("mode 644"), "{json}");
    let daemon = house.start();
    assert!(daemon.log.wait_for(|line| line.contains("others may read")).is_some());
    assert_eq!(daemon.terminate(), 0);
    chmod(&beside, 0o600);
    assert!(!check().contains("others may read"), "{}", check());

    std::fs::write(&key, "hush-hush\n").unwrap();
    let source =
        |secret: &str| format!("{ARCHIVE}[sources.more]\nkind = \"github\"\npath = \"/more\"\nsecret = \"{secret}\"\n");
    house.configure(&source("${file:key}"));
    chmod(&key, 0o604);
    assert!(check().contains("key:1:1: warning:"), "{}", check());
    chmod(&key, 0o600);
    assert!(!check().contains("others may read"), "{}", check());

    house.configure(&source("hush-hush"));
    let printed = check();
    assert!(
        printed.contains("config.toml:") && printed.contains("a secret is written out here, and others"),
        "{printed}"
    );
    assert!(!printed.contains("hush"), "{printed}");
    chmod(&house.config(), 0o600);
    assert!(!check().contains("others may read"), "{}", check());
}

#[test]
fn a_password_that_breaks_its_url_is_shown_in_no_part() {
    let pg = |url: &str| {
        format!(
            "[sinks.pg]\nkind = \"postgres\"\nurl = \"{url}\"\ntable = \"t\"\n[[routes]]\nmatch = \"*\"\nto = \"pg\"\n"
        )
    };
    let http =
        |url: &str| format!("[sinks.h]\nkind = \"http\"\nurl = \"{url}\"\n[[routes]]\nmatch = \"*\"\nto = \"h\"\n");
    for sign in ['@', ':', '/'] {
        let password = format!("hunt{sign}erer{sign}2x");
        let (database, callback) = (format!("postgres://u:{password}@db/x"), format!("https://u:{password}@h/x"));
        for tables in [pg("${URL}"), pg(&database), http(&callback), http("${CALLBACK}")] {
            let house = House::new(&tables);
            let mut check = house.command(&["check"]);
            let output = check.env("URL", &database).env("CALLBACK", &callback).output().unwrap();
            // The name of the test's own folder is made by chance: it may hold any two letters.
            let printed = text(&output).replace(&*house.folder.path().to_string_lossy(), "");
            assert_eq!(output.status.code(), Some(78), "{printed}");
            assert!(printed.contains("percent-encode"), "{printed}");
            assert!(!["hunt", "erer", "2x"].iter().any(|part| printed.contains(part)), "{password}: {printed}");
        }
    }
    let house = House::new(&pg("postgres://u:hunt%40erer%2F2x@db/x"));
    assert_eq!(house.command(&["check"]).output().unwrap().status.code(), Some(0));
    let sent = house.command(&["send", "--url", "http://u:hunt/erer@h/x"]).output().unwrap();
    assert!(text(&sent).contains("percent-encode") && !text(&sent).contains("hunt"), "{}", text(&sent));
}

#[test]
fn a_rule_cannot_import_what_lies_elsewhere() {
    for import in ["include \"x\";", "import \"/etc/passwd\" as $x;", "import \"a\" as $event;", "import \"a\" as a;"] {
        let house =
            House::new(&format!("{ARCHIVE}[[routes]]\nmatch = \"*\"\nwhere = '{import} true'\nto = \"archive\"\n"));
        let output = house.command(&["check"]).output().unwrap();
        let printed = text(&output);
        assert!(output.status.code() == Some(78) && printed.contains("modules cannot be"), "{import}: {printed}");
    }
}
