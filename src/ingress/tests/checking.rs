//! Faults in `[server]` and `[sources.*]`.

use sink_api::At;

use super::*;

fn keys(faults: &[sink_api::Fault]) -> Vec<&str> {
    let key = |fault: &sink_api::Fault| matches!(fault.at, At::Key(_));
    assert!(faults.iter().all(key), "{faults:?}");
    faults.iter().filter_map(|f| if let At::Key(key) = &f.at { Some(key.as_str()) } else { None }).collect()
}

/// What is wrong with a source's table by itself.
fn check_source(name: &str, table: &SourceConfig) -> Vec<sink_api::Fault> {
    SourcePlan::read(name, table).err().unwrap_or_default()
}

#[test]
fn the_defaults_are_without_fault() {
    assert_eq!(check_server(&ServerConfig::default()), []);
    assert_eq!(check_source("interakt", &source()), []);
}

#[test]
fn addresses_are_host_and_port_or_a_path_and_tls_wants_a_certificate() {
    let check = |address: &str| check_server(&ServerConfig { listen: vec![address.into()], ..server() });
    for good in
        ["127.0.0.1:4000", "[::]:4000", "[::1]:0", "localhost:80", "0.0.0.0:65535", "my-host.example:1", "unix:a"]
    {
        assert_eq!(check(good), [], "{good}");
    }
    for bad in
        ["", "4000", ":4000", "127.0.0.1", "127.0.0.1:", "h:65536", "h:x", "::1:4000", "http://h:80", "a b:1", "[h]:1"]
    {
        assert_eq!(keys(&check(bad)), ["listen"], "{bad}");
    }
    let tls = check("tls://0.0.0.0:4443");
    assert!(tls[0].message.contains("there is no `tls`"), "{tls:?}");
    assert_eq!(keys(&check_server(&ServerConfig { listen: vec![], ..server() })), ["listen"]);
}

#[test]
fn every_limit_has_its_bounds_and_all_faults_are_told_at_once() {
    let nothing = ServerConfig {
        max_body: Size(0),
        header_timeout: Period::millis(0),
        body_timeout: Period::millis(0),
        max_header_bytes: Size(0),
        max_connections: 0,
        dedupe_max: Size(0),
        ..server()
    };
    let expected = ["max_body", "max_header_bytes", "max_connections", "dedupe_max", "header_timeout", "body_timeout"];
    assert_eq!(keys(&check_server(&nothing)), expected);
    assert_eq!(
        keys(&check_server(&ServerConfig { max_body: Size(Size::mib(64).0 + 1), ..server() })),
        ["max_body", "max_inflight_bytes"]
    );
    assert_eq!(check_server(&ServerConfig { max_body: Size::mib(64), ..server() }), []);
    let tight = ServerConfig { max_inflight_bytes: Size(Size::mib(1).0 - 1), ..server() };
    assert_eq!(keys(&check_server(&tight)), ["max_inflight_bytes"]);
}

#[test]
fn an_empty_secret_is_a_fault_however_it_is_empty_and_is_never_shown() {
    for blank in ["", "\n", "  \t\r\n", "\u{feff}"] {
        let faults = check_source("interakt", &SourceConfig { secret: Some(Secret::new(blank)), ..source() });
        assert_eq!(keys(&faults), ["secret"], "{blank:?}");
        assert!(faults[0].message.starts_with("secret is empty"));
        let faults = check_source("i", &SourceConfig { previous_secret: Some(Secret::new(blank)), ..source() });
        assert_eq!(keys(&faults), ["previous_secret"], "{blank:?}");
    }
}

#[test]
fn paths_are_plain_and_belong_to_one_source() {
    let at = |path: &str| SourceConfig { path: path.into(), ..source() };
    for bad in ["", "webhooks", "/a?b", "/a#b", "/a b", "/é", "/a\n"] {
        assert_eq!(keys(&check_source("i", &at(bad))), ["path"], "{bad:?}");
    }
    for good in ["/", "/webhooks/interakt", "/a%20b/~x"] {
        assert_eq!(check_source("i", &at(good)), [], "{good}");
    }
    let sources = vec![("one".to_owned(), at("/a")), ("two".to_owned(), at("/b")), ("three".to_owned(), at("/a"))];
    let faults = check_paths(&sources);
    assert_eq!(
        (faults.len(), faults[0].0.as_str(), &faults[0].1.message[..]),
        (1, "three", "path `/a` is source `one`'s already")
    );
}

#[test]
fn windows_deadlines_and_header_names_are_checked() {
    let bad = SourceConfig {
        dedupe: Some(Window::For(Period::millis(0))),
        ack_deadline: Period::millis(0),
        keep_headers: Some(vec!["ok".into(), "not ok".into()]),
        ..source()
    };
    assert_eq!(keys(&check_source("i", &bad)), ["dedupe", "ack_deadline", "keep_headers"]);
}
