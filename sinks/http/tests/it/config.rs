//! What is refused, with which words, and what is never shown.

use sink_api::{At, Fault};
use sink_testkit::{event, read_example, read_table};

use crate::kit::{SIGNING_SECRET, build_in, config};

const URL: &str = "url = \"http://127.0.0.1:9/hook\"";

/// The faults of a table, wherever they are found.
fn faults(table: &str) -> Vec<Fault> {
    read_table(&sink_http::KIND, table).unwrap_err()
}

/// The one fault of a table: its key and its words.
fn fault(table: &str) -> (String, String) {
    let mut all = faults(table);
    assert_eq!(all.len(), 1, "{table}: {all:?}");
    let fault = all.remove(0);
    let key = match fault.at {
        At::Key(key) => key,
        other => format!("{other:?}"),
    };
    (key, format!("{} ({})", fault.message, fault.help.unwrap_or_default()))
}

#[test]
fn the_example_is_a_complete_table_that_loads() {
    read_example(&sink_http::KIND).unwrap();
}

#[test]
fn a_url_must_say_where_to_go_and_only_there() {
    for (url, expected) in [
        ("crm.example/x", "does not begin with http:// or https://"),
        ("ftp://crm.example/x", "does not begin with http:// or https://"),
        ("{type}://crm.example/", "does not begin with http:// or https://"),
        ("http://", "has no host"),
        ("http:///crm.example/", "has no host"),
        ("https://{source}.example/x", "has a template in its host or port"),
        ("https://crm.example{type}", "has a template in its host or port"),
        ("https://crm.example:{hour}/", "has a template in its host or port"),
        ("https://me:pw@crm.example/", "use `basic = {"),
        ("https://{source}@crm.example/", "use `basic = {"),
        ("https://me:hunter/2@crm.example/", "percent-encode"),
        ("https://me:hunter@2@crm.example/", "percent-encode"),
        ("https://crm.example:99999/", "invalid port number"),
        ("https://[::1/", "is not a URL"),
        ("https://crm.example\\\\{type}/", "a backslash"),
        ("https://crm.example/a b", "has a space"),
        ("https://crm.example/a\\tb", "a control character"),
        ("https://crm.example/#{type}", "or a `#`"),
        ("https://crm.example/../{type}", "`..` segment"),
        ("https://crm.example/%2e/{type}", "`..` segment"),
        ("https://crm.example/{tpe}", "did you mean `{type}`?"),
        ("https://crm.example/{type", "unmatched brace"),
    ] {
        let (key, words) = fault(&format!("url = \"{url}\""));
        assert_eq!(key, "url");
        assert!(words.contains(expected), "{url}: {words}");
        assert!(!words.contains("pw") && !words.contains("example/"), "{url} is shown: {words}");
    }
    let long = format!("https://crm.example/{}", "x".repeat(8000));
    assert!(fault(&format!("url = \"{long}\"")).1.contains("longer than 8000 bytes"));
    for url in ["https://crm.example", "HTTPS://CRM.example:8443?x={type}", "http://[::1]:80/{type}@{subject}"] {
        config(&format!("url = \"{url}\""));
    }
}

#[test]
fn headers_the_sink_owns_are_refused() {
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection", "CE-Id", "webhook-signature"] {
        let (key, words) = fault(&format!("{URL}\nheaders = {{ {name} = \"x\" }}"));
        assert_eq!(key, format!("headers.{name}"));
        assert!(words.contains("set by the sink itself"), "{words}");
    }
    let structured = format!("{URL}\nformat = \"cloudevents\"\nheaders = {{ Content-Type = \"x\" }}");
    assert!(fault(&structured).1.contains("cloudevents"));
    assert!(fault(&format!("{URL}\nheaders = {{ \"a b\" = \"x\" }}")).1.contains("not a header's name"));
    assert!(fault(&format!("{URL}\nheaders = {{ a = \"x\\ny\" }}")).1.contains("character that headers cannot carry"));
    assert!(fault(&format!("{URL}\nheaders = {{ X-A = \"x\", x-a = \"y\" }}")).1.contains("twice"));
}

#[test]
fn credentials_that_cannot_be_meant_are_refused() {
    let basic = "basic = { user = \"u\", password = \"p\" }";
    assert_eq!(fault(&format!("{URL}\nbearer = \"t\"\n{basic}")).0, "bearer");
    assert_eq!(fault(&format!("{URL}\nbearer = \"\\n\"")).1, "`bearer` is empty ()");
    assert_eq!(fault(&format!("{URL}\nbearer = \"a\\u0001\"")).0, "bearer");
    assert_eq!(fault(&format!("{URL}\nbasic = {{ user = \"a:b\", password = \"p\" }}")).0, "basic.user");
    assert_eq!(fault(&format!("{URL}\nbasic = {{ user = \"\", password = \"p\" }}")).0, "basic.user");
    assert!(fault(&format!("{URL}\n{basic}\nheaders = {{ authorization = \"x\" }}")).1.contains("keep one"));
    for secret in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%", "c2hvcnQ="] {
        let (key, words) = fault(&format!("{URL}\nsign = {{ standard_webhooks = \"{secret}\" }}"));
        assert_eq!(key, "sign.standard_webhooks");
        assert!(words.contains("openssl rand") && !words.contains("c2hvcnQ"), "{words}");
    }
}

#[test]
fn all_faults_are_reported_at_once() {
    let table = "url = \"x\"\nbearer = \"\"\nconnect_timeout = \"0s\"\nheaders = { Host = \"x\" }\n\
                 sign = { standard_webhooks = \"x\" }";
    assert_eq!(faults(table).len(), 5, "{:?}", faults(table));
    assert_eq!(fault(&format!("{URL}\ntls_ca = \"ca.pem\"")).0, "tls_ca");
}

#[test]
fn unknown_keys_are_faults_in_every_table() {
    for table in [
        format!("{URL}\nbogus = 1"),
        format!("{URL}\nbasic = {{ user = \"u\", password = \"p\", bogus = 1 }}"),
        format!("{URL}\nsign = {{ standard_webhooks = \"{SIGNING_SECRET}\", bogus = 1 }}"),
    ] {
        assert!(fault(&table).1.contains("unknown key `bogus`"), "{table}");
    }
    assert!(fault(&format!("{URL}\nmethod = \"GET\"")).1.contains("unknown value `GET`"));
    assert_eq!(faults("method = \"PUT\"")[0].message, "missing key `url`");
}

#[test]
fn a_target_is_the_whole_url_and_leaves_the_path_for_no_event() {
    let config = config("url = \"https://crm.example/h/{subject}?t={type}\"");
    let target = |subject: &str| config.target(&event("a b").subject(subject).build());
    assert_eq!(target("m-1").unwrap().get("url"), Some("https://crm.example/h/m-1?t=a%20b"));
    assert_eq!(target("@evil.example/").unwrap().get("url"), Some("https://crm.example/h/%40evil.example%2F?t=a%20b"));
    for bad in [".", "..", &"x".repeat(8001)] {
        let why = target(bad).unwrap_err();
        assert_eq!(why.code, "bad_payload");
        assert!(!why.detail.contains("crm.example"), "{why}");
    }
}

#[test]
fn a_url_and_headers_take_fields_of_the_body_made_safe_and_none_that_is_missing() {
    let config = config(
        "url = \"https://crm.example/{.data.id}?p={.data.phone:-none}\"\n\
         headers = { X-Text = \"a {.data.text}\", X-Braces = \"{{x}}\" }",
    );
    let target = |body: &str| config.target(&event("t").body(body.to_owned()).build());
    let made = target(r#"{"data":{"id":"../x","text":"é\r\nx-evil: 1"}}"#).unwrap();
    assert_eq!(made.get("url"), Some("https://crm.example/..%2Fx?p=none"));
    assert_eq!(made.get("header x-text"), Some("a %C3%A9%0D%0Ax-evil: 1"));
    assert_eq!(made.get("header x-braces"), None, "the same for every event: not the delivery's");
    for body in [r#"{"data":{"text":"t"}}"#, r#"{"data":{"id":{},"text":"t"}}"#, r#"{"data":{"id":1}}"#, "oops"] {
        assert_eq!(target(body).unwrap_err().code, "rule_error", "{body}");
    }
    for bad in ["{tpe}", "{", "a}", "{.a.}"] {
        let (key, words) = fault(&format!("{URL}\nheaders = {{ X-A = \"secret{bad}\" }}"));
        assert!(key == "headers.X-A" && words.contains("brace") && !words.contains("secret"), "{words}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:#?}",
        config(&format!(
            "url = \"https://crm.example/PATHTOKEN?t=QUERYTOKEN\"\nheaders = {{ X-A = \"HEADERTOKEN\" }}\n\
             basic = {{ user = \"USERNAME\", password = \"PASSWORD\" }}\n\
             sign = {{ standard_webhooks = \"{SIGNING_SECRET}\" }}"
        ))
    );
    assert!(shown.contains("https://crm.example/") && shown.contains("x-a"), "{shown}");
    for secret in ["TOKEN", "USERNAME", "PASSWORD", "C2FVsBQI", "VVNFUk5BTUU"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_root_certificate_that_cannot_be_read_is_refused_at_build() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.pem"), "nothing\n").unwrap();
    for file in ["missing.pem", "empty.pem"] {
        let config = config(&format!("url = \"https://127.0.0.1:9/\"\ntls_ca = \"{file}\""));
        let error = build_in(config.as_ref(), dir.path()).await.err().expect("a refusal").to_string();
        assert!(error.starts_with("tls_ca ") && error.contains(file), "{error}");
    }
}
