//! The admin API over TCP, as a browser and its attackers use it: the session, other sites, guesses, the config without
//! its secrets, what other rules would change.

use std::net::TcpListener;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::bodies::numbered;
use crate::harness::{Daemon, House, ask_admin, post_all, wait_until};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "hunter2hunter2";

/// A daemon whose admin listener is on TCP.
pub struct Admin {
    pub house: House,
    pub daemon: Daemon,
    /// `127.0.0.1:PORT`.
    pub at: String,
    client: Client,
}

impl Admin {
    /// `keys` are further ones of `[admin]`.
    pub fn start(keys: &str, tables: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = format!("127.0.0.1:{port}");
        let house = House::new(&format!("[admin]\nlisten = \"{at}\"\ntoken = \"${{ADMIN}}\"\n{keys}\n{tables}"));
        Self::run(house, at)
    }

    /// Starts the daemon of a house.
    fn run(house: House, at: String) -> Self {
        let mut command = house.command(&["run"]);
        command.env("ADMIN", TOKEN).env("CRM_PASSWORD", PASSWORD);
        let daemon = House::start_as(command);
        daemon.log.wait_for(|line| line.contains("\"admin listener\"")).expect("the admin listener");
        Self { house, daemon, at, client: Client::new() }
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.at))
    }

    /// Our own origin.
    fn origin(&self) -> String {
        format!("http://{}", self.at)
    }

    async fn log_in(&self, token: &str) -> Response {
        self.ask(Method::POST, "/api/login").body(json!({ "token": token }).to_string()).send().await.unwrap()
    }

    /// The cookie of a new session.
    async fn session(&self) -> String {
        let answer = self.log_in(TOKEN).await;
        assert_eq!(answer.status(), 204);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    }

    /// What a program with the token is answered.
    pub async fn told(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.ask(method, path).bearer_auth(TOKEN);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        // The bodies have half of a surrogate pair, which is JSON, and which no Rust string holds.
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap().replace("\\ud83d", "");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

const SINK: &str = "[sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\n\
                    [[routes]]\nname = \"all\"\nmatch = \"*\"\nto = \"archive\"\n";

#[tokio::test]
async fn a_browser_logs_in_asks_changes_and_logs_out_and_no_other_site_does() {
    let admin = Admin::start("", SINK);
    let page = admin.ask(Method::GET, "/").send().await.unwrap();
    assert_eq!(page.status(), 200, "the page has the login");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(admin.log_in("wrong").await.status(), 401);
    let (cookie, own) = (admin.session().await, admin.origin());
    let get = admin.ask(Method::GET, "/api/status").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(
        (get.status(), &get.headers()["cache-control"]),
        (reqwest::StatusCode::OK, &"no-store".parse().unwrap())
    );
    let pause = || admin.ask(Method::POST, "/api/sinks/archive/pause").header("cookie", &cookie);
    assert_eq!(status(pause()).await, 403, "a POST with the cookie says where it comes from");
    assert_eq!(status(pause().header("origin", "http://evil.test")).await, 403);
    assert_eq!(status(pause().header("origin", &own).header("sec-fetch-site", "cross-site")).await, 403);
    assert_eq!(status(pause().header("origin", &own).header("sec-fetch-site", "same-origin")).await, 200);
    let resume = admin.ask(Method::POST, "/api/sinks/archive/resume").bearer_auth(TOKEN);
    assert_eq!(status(resume.header("origin", "http://evil.test")).await, 200, "a program says what it likes");
    let log_out = || admin.ask(Method::POST, "/api/logout").header("cookie", &cookie);
    assert_eq!(status(log_out().header("origin", "http://evil.test")).await, 403);
    let out = log_out().header("origin", &own).send().await.unwrap();
    assert!(out.status() == 204 && out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(status(admin.ask(Method::GET, "/api/status").header("cookie", &cookie)).await, 401);
    let form = admin.ask(Method::POST, "/api/login").header("x-forwarded-proto", "https");
    let form = form.header("content-type", "application/x-www-form-urlencoded").body(format!("token={TOKEN}"));
    let answer = form.send().await.unwrap();
    assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("; Secure"), "behind TLS");
    let lines = admin.daemon.log.text();
    assert!(!lines.contains(TOKEN) && !lines.contains(&cookie), "{lines}");
}

#[tokio::test]
async fn who_guesses_is_answered_429_and_a_session_elsewhere_goes_on() {
    let admin = Admin::start("", SINK);
    let cookie = admin.session().await;
    let guess = |from: &'static str, token: &'static str| {
        let request = admin.ask(Method::POST, "/api/login").header("x-forwarded-for", from);
        status(request.body(json!({ "token": token }).to_string()))
    };
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(guess("198.51.100.7", "guess").await);
    }
    assert_eq!((answers.first(), answers.last()), (Some(&401), Some(&429)));
    assert_eq!(guess("198.51.100.7", TOKEN).await, 429, "even the right one tells nothing now");
    assert_eq!(guess("203.0.113.4", TOKEN).await, 204, "others are let in");
    assert_eq!(status(admin.ask(Method::GET, "/api/status").header("cookie", &cookie)).await, 200);
    assert_eq!(admin.told(Method::GET, "/api/status", Value::Null).await.0, 200);
}

#[tokio::test]
async fn what_is_read_only_changes_nothing_and_says_so() {
    let admin = Admin::start("read_only = true", SINK);
    for path in ["/api/sinks/archive/pause", "/api/reload", "/api/dead/drop", "/api/replay", "/api/log-level"] {
        let (status, why) = admin.told(Method::POST, path, json!({})).await;
        assert!(status == 403 && why["error"].as_str().unwrap().contains("read_only"), "{path}: {status} {why}");
    }
    let (status, config) = admin.told(Method::GET, "/api/config", Value::Null).await;
    assert_eq!((status, &config["read_only"]), (200, &json!(true)));
    assert_eq!(admin.told(Method::POST, "/api/explain", json!({ "body": {"type": "x"} })).await.0, 200);
}

#[tokio::test]
async fn the_config_is_shown_without_its_secrets_in_force_and_on_disk() {
    let tables = format!(
        "{SINK}# token = \"commented-{PASSWORD}\"\n[sinks.crm]\nkind = \"http\"\n\
         url = \"http://127.0.0.1:1/x?key=query-{PASSWORD}\"\n\
         basic = {{ user = \"me\", password = \"${{CRM_PASSWORD}}\" }}\n\
         [sinks.table]\nkind = \"postgres\"\ntable = \"t\"\n\
         url = \"postgres://me:url-{PASSWORD}@127.0.0.1:1/db\"\n"
    );
    let admin = Admin::start("", &tables);
    let shown = async || admin.told(Method::GET, "/api/config", Value::Null).await.1;
    let config = shown().await;
    let running = config["running"].as_str().unwrap();
    assert!(
        running.contains("${ADMIN}") && running.contains("${CRM_PASSWORD}") && running.contains("***"),
        "{running}"
    );
    assert_eq!(
        (&config["state"], &config["on_disk"], &config["read_only"]),
        (&json!("same"), &Value::Null, &json!(false))
    );
    let text = std::fs::read_to_string(admin.house.config()).unwrap();
    std::fs::write(admin.house.config(), format!("{text}\n[sinks.more]\nkind = \"http\"\nbearer = \"{PASSWORD}\"\n"))
        .unwrap();
    let changed = shown().await;
    assert!(changed["on_disk"].as_str().unwrap().contains("[sinks.more]"), "{changed}");
    std::fs::write(admin.house.config(), format!("{text}\nbearer = \"{PASSWORD}")).unwrap();
    let broken = shown().await;
    assert!(broken["on_disk"].is_string(), "{broken}");
    for view in [config, changed, broken] {
        let view = view.to_string();
        assert!(!view.contains("hunter2") && !view.contains(TOKEN) && !view.contains("test-secret"), "{view}");
    }
}

#[tokio::test]
async fn other_rules_are_tried_on_a_body_on_an_event_and_on_the_traffic() {
    let admin = Admin::start("", SINK);
    let ids = post_all(&admin.daemon.url(), (0..21).map(numbered)).await;
    let rules =
        "[[routes]]\nname = \"sent\"\nmatch = \"message_api_sent\"\nto = \"archive\"\nwhere = '.type != null'\n";
    let explain = async |ask: Value| admin.told(Method::POST, "/api/explain", ask).await;
    let (status, view) = explain(json!({ "body": {"type": "message_received"}, "rules": rules })).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(
        (view["now"]["deliveries"][0]["sink"].as_str(), view["other"]["deliveries"].as_array().map(Vec::len)),
        (Some("archive"), Some(0)),
        "{view}"
    );
    let (_, view) = explain(json!({ "event": ids[0], "since": "1h", "rules": rules })).await;
    assert_eq!(
        (&view["now"]["event"]["id"], &view["other"]["routes"][0]["matched"]),
        (&json!(ids[0]), &json!(true)),
        "{view}"
    );
    let traffic = &view["traffic"];
    assert_eq!(
        (&traffic["events"], &traffic["differing"], &traffic["complete"]),
        (&json!(21), &json!(14), &json!(true))
    );
    assert_eq!(traffic["changes"]["message_api_read"]["archive"]["lost"], 7, "{traffic}");
    for (ask, status, why) in [
        (json!({}), 400, "nothing is to be explained"),
        (json!({ "body": {}, "rules": "[[routes]]\nmatch = \"*\"\nto = \"b\"\n" }), 422, "rules:3:"),
        (json!({ "event": "0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e" }), 404, "no event"),
        (json!({ "event": "x" }), 400, "is no id"),
        (json!({ "bodi": {} }), 400, "bodi"),
    ] {
        let (is, told) = explain(ask.clone()).await;
        assert!(is == status && told["error"].as_str().unwrap().contains(why), "{ask}: {is} {told}");
    }
}

#[tokio::test]
async fn personal_data_is_masked_and_ids_times_and_lists_are_the_same_everywhere() {
    let admin = Admin::start("", SINK);
    let ids = post_all(&admin.daemon.url(), (0..3).map(numbered)).await;
    let end = &ids[1][28..];
    let explain = async |ask: Value| admin.told(Method::POST, "/api/explain", ask).await.1;
    let person = json!({ "type": "message_received", "data": { "text": "call +919876543210" } });
    let masked = explain(json!({ "body": person })).await.to_string();
    let shown = explain(json!({ "body": person, "clear": true })).await.to_string();
    assert!(!masked.contains("98765") && shown.contains("919876543210"), "{masked}\n{shown}");
    for id in [end.to_owned(), format!("{end}-archive"), format!("{}-archive", ids[1])] {
        let explained = explain(json!({ "event": id })).await;
        assert_eq!(explained["now"]["event"]["id"], json!(ids[1]), "{id}: {explained}");
        let traced = admin.told(Method::GET, &format!("/api/messages/{id}"), Value::Null).await.1;
        assert_eq!(traced["events"][0]["id"], json!(ids[1]), "{id}: {traced}");
    }
    for path in ["/api/dead?since=today", "/api/pending?until=1h", "/api/dead/counts?since=yesterday", "/api/replay"] {
        let (status, list) = admin.told(Method::GET, path, Value::Null).await;
        assert_eq!((status, list), (200, json!({ "items": [], "next": null })), "{path}");
    }
    for (path, ask) in [
        ("/api/replay/plan", json!({ "since": "today" })),
        ("/api/replay", json!({ "since": "1h", "until": "30m" })),
        ("/api/sinks/archive/skip", json!({ "to": "yesterday" })),
    ] {
        let (status, done) = admin.told(Method::POST, path, ask).await;
        assert_eq!(status, 200, "{path}: {done}");
    }
    for verb in [&["journal", "dump", "--json", "--id", end][..], &["explain", "--json", "--id", end]] {
        let out = admin.house.command(verb).env("ADMIN", TOKEN).output().unwrap();
        assert!(String::from_utf8_lossy(&out.stdout).contains(&ids[1]), "{verb:?}: {out:?}");
    }
}

#[tokio::test]
async fn bad_queries_are_named_and_the_history_goes_on_after_a_restart() {
    let admin = Admin::start("", SINK);
    for (path, named) in [("/api/history?spam=hour", "spam"), ("/api/history?span=week", "week")] {
        let (status, why) = admin.told(Method::GET, path, Value::Null).await;
        assert!(status == 400 && why.to_string().contains(named), "{path}: {status} {why}");
    }
    post_all(&admin.daemon.url(), [numbered(1)]).await;
    let samples = async || {
        let (_, view) = admin.told(Method::GET, "/api/history?span=hour", Value::Null).await;
        assert_eq!(view["step_s"], 10);
        view["samples"].as_array().unwrap().clone()
    };
    let mut seen = vec![];
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !seen.iter().any(|sample: &Value| sample["accepted"] == 1) {
        assert!(std::time::Instant::now() < end, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = samples().await;
    }
    let taken = seen.iter().find(|sample| sample["accepted"] == 1).unwrap();
    assert!(taken["answer_p99"].as_f64().unwrap() > 0.0, "{taken}");
    let file = admin.house.path("data/history.json");
    wait_until("the history is written", || file.is_file().then_some(())).await;
    let Admin { house, daemon, at, .. } = admin;
    daemon.kill();
    let again = Admin::run(house, at);
    let (_, view) = again.told(Method::GET, "/api/history", Value::Null).await;
    assert!(view["samples"].as_array().unwrap().contains(taken), "{taken}: {view}");
}

#[tokio::test]
async fn slow_readers_and_streams_keep_nobody_from_the_figures() {
    use tokio::io::AsyncWriteExt as _;
    let house = House::new(SINK);
    let daemon = house.start();
    daemon.log.wait_for(|line| line.contains("\"admin listener\"")).expect("the admin listener");
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::UnixStream::connect(house.path("data/admin.sock")).await.unwrap();
        // More answers than fit into the socket, none of which is read.
        for _ in 0..200 {
            if tokio::time::timeout(
                Duration::from_millis(20),
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"),
            )
            .await
            .is_err()
            {
                break;
            }
        }
        slow.push(stream);
    }
    let status = tokio::time::timeout(Duration::from_secs(20), ask_admin(&house, "/api/status")).await;
    assert_eq!(status.expect("slow readers are cut")["ready"], true);
    drop((slow, daemon));
}
