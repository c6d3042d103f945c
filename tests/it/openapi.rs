//! The admin API against its own description: `schemathesis` makes requests that fit it and requests that do not, and
//! holds each answer against it. What is excluded is said beside it.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::Value;
use sink_testkit::skip;

use crate::admin_api::{Admin, TOKEN};
use crate::bodies::numbered;
use crate::harness::post_all;

/// Sinks of which one is sick: there are parked deliveries to be found.
const SINKS: &str = "[sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\n\
                     [sinks.sick]\nkind = \"http\"\nurl = \"http://127.0.0.1:9/\"\n\
                     [[routes]]\nname = \"all\"\nmatch = \"*\"\nto = [\"archive\", \"sick\"]\n";

/// Runs of the same daemon, one after the other: which paths, and what is not looked at.
const RUNS: &[&[&str]] = &[
    // A stream has no end to wait for. Wrong tokens would have the program locked out: that is for the last run.
    // What is a text to the description may be no time, id or pattern to the daemon, which says so: 400.
    &[
        "--exclude-path=/api/tail",
        "--exclude-path=/api/login",
        "--exclude-checks=positive_data_acceptance,ignored_auth",
    ],
    &["--include-path=/api/login", "--exclude-checks=positive_data_acceptance,ignored_auth"],
];

/// Examples for each operation; both runs take less than two minutes.
const EXAMPLES: &str = "--max-examples=25";

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/schemathesis");
    let out = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let [program, said] = [&out.stdout, &out.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    if !out.status.success() {
        skip("openapi::schemathesis_finds_nothing", said.lines().last().unwrap_or("schemathesis is not there"));
        return;
    }
    let admin = Admin::start("", SINKS);
    // Half an emoji, which stays as it came, is more than the program can write again.
    let whole = |n| String::from_utf8(numbered(n)).unwrap().replace(" \\ud83d", "").into_bytes();
    post_all(&admin.daemon.url(), (0..20).map(whole)).await;
    let (status, description) = admin.told(Method::GET, "/openapi.json", Value::Null).await;
    assert_eq!((status, &description["openapi"]), (200, &"3.1.0".into()));
    let file = admin.house.path("openapi.json");
    std::fs::write(&file, description.to_string()).unwrap();
    for run in RUNS {
        let mut command = Command::new(&program);
        command.arg("run").arg(&file).arg("--url").arg(format!("http://{}", admin.at));
        command.args(["--phases=coverage,fuzzing", "--seed=1", "--no-color", EXAMPLES]).args(*run);
        command.arg("-H").arg(format!("Authorization: Bearer {TOKEN}")).current_dir(admin.house.folder.path());
        let out = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{run:?}\n{said}\n{}", String::from_utf8_lossy(&out.stderr));
        // What nobody could ask is not found in order.
        assert!(!said.contains("Authentication failed"), "{said}");
    }
    assert_eq!(admin.told(Method::GET, "/api/status", Value::Null).await.0 / 100, 2, "it is still there");
}
