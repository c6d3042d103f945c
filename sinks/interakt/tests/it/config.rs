//! What is refused, with which words, and what is never shown.

use sink_api::{At, Fault, SinkKind};
use sink_testkit::{read_example, read_table};

use crate::kit::{KEY, config};

fn faults(table: &str) -> Vec<Fault> {
    read_table(&sink_interakt::KIND, table).map(|config| panic!("{table}: {config:?}")).unwrap_err()
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

/// A fault at this key, of a table that is fine but for this line.
fn refused(line: &str, at: &str, words: &str) {
    let table = if line.starts_with("api_key") { line.to_owned() } else { format!("api_key = \"{KEY}\"\n{line}") };
    let (key, said) = fault(&table);
    assert!(key == at && said.contains(words), "{line}: {key}: {said}");
}

#[test]
fn the_example_is_a_complete_table_that_loads() {
    let filled = sink_interakt::KIND
        .example
        .replace("${INTERAKT_API_URL:-https://api.interakt.ai/v1}", "https://api.interakt.ai/v1")
        .replace("${INTERAKT_API_KEY}", KEY)
        .replace("${INTERAKT_SENDER:-}", "");
    assert!(!filled.contains("${"), "{filled}");
    read_example(&SinkKind { example: filled.leak(), ..sink_interakt::KIND }).unwrap();
}

#[test]
fn a_key_alone_is_enough() {
    let shown = format!("{:?}", config(&format!("api_key = \"{KEY}\"")));
    for part in ["https://api.interakt.ai/", "max_attempts: 3", "max_age: 604800s", "confirm: 120s"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(faults("")[0].message.contains("missing key `api_key`"));
}

#[test]
fn a_key_is_one_word_of_base64_as_the_dashboard_shows_it() {
    for (key, words) in [
        ("", "`api_key` is empty (the dashboard has it"),
        ("  \\n", "`api_key` is empty"),
        ("Basic a2V5", "has a scheme before the key (leave that word and the blank off"),
        ("basic a2V5", "has a scheme before the key"),
        ("a2V5 a2V5", "has a blank or a line break in it"),
        ("a2V5\\na2V5", "has a blank or a line break in it"),
        ("org:secret-word", "is not base64"),
        ("a=b", "is not base64"),
        ("====", "is not base64"),
        ("a2V5===", "is not base64"),
        ("schlüssel", "is not base64"),
    ] {
        refused(&format!("api_key = \"{key}\""), "api_key", words);
        let said = fault(&format!("api_key = \"{key}\"")).1;
        assert!(!said.contains("secret-word") && !said.contains("schl"), "{said}");
    }
    for key in [KEY, " a2V5\\n", "a2V5", "a-b_c", "\\uFEFFa2V5"] {
        config(&format!("api_key = \"{key}\""));
    }
}

#[test]
fn a_url_is_that_of_the_api_and_holds_no_more() {
    for (url, words) in [
        ("", "`url` is empty (leave it out"),
        ("api.interakt.ai/v1", "does not begin with http:// or https://"),
        ("ftp://api.example/v1", "does not begin with http:// or https://"),
        ("https://", "does not begin with http:// or https://"),
        ("http:///v1", "has no host"),
        ("https://me:hunter2@api.example/v1", "holds a user or a password"),
        ("https://api.example/v1?key=hunter2", "has a query or a `#`"),
        ("https://api.example/v1#x", "has a query or a `#`"),
        ("https://api.example/v 1", "has a space"),
        ("https://api.example/v1/public/message/", "leave /public/message/ off"),
        ("https://api.example/v1/public/message", "leave /public/message/ off"),
        ("https://api.example:99999/v1", "is not a URL"),
    ] {
        refused(&format!("url = \"{url}\""), "url", words);
        assert!(!fault(&format!("api_key = \"{KEY}\"\nurl = \"{url}\"")).1.contains("hunter2"));
    }
    refused(&format!("url = \"https://api.example/{}\"", "x".repeat(2000)), "url", "longer than 2000 bytes");
    for url in ["http://127.0.0.1:9/v1", "HTTPS://API.example", "https://[::1]:8443/a/b//"] {
        config(&format!("api_key = \"{KEY}\"\nurl = \"{url}\""));
    }
}

#[test]
fn bounds_are_bounded_themselves() {
    for (line, at, words) in [
        ("confirm = \"0s\"", "confirm", "at most \"1h\""),
        ("confirm = \"61m\"", "confirm", "at most \"1h\""),
        ("max_age = \"8d\"", "max_age", "at most \"7days\""),
        ("max_age = \"0s\"", "max_age", "more than nothing"),
        ("max_attempts = 101", "max_attempts", "at most 100"),
        ("connect_timeout = \"2h\"", "connect_timeout", "at most \"1h\""),
        ("sender = \"a\\nb\"", "sender", "a number or a name"),
        ("url = \"http://127.0.0.1/v1\"\ntls_ca = \"ca.pem\"", "tls_ca", "no use with an http:// URL"),
    ] {
        refused(line, at, words);
    }
    refused(&format!("sender = \"{}\"", "x".repeat(65)), "sender", "longer than 64 characters");
    assert_eq!(faults(&format!("api_key = \"{KEY}\"\nmax_attempts = -1")).len(), 1);
    assert!(fault(&format!("api_key = \"{KEY}\"\nbogus = 1")).1.contains("unknown key `bogus`"));
    assert_eq!(faults("api_key = \"\"\nurl = \"\"\nconfirm = \"2h\"").len(), 3, "all at once");
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{0:?} {0:#?}", config(&format!("api_key = \"{KEY}\"\nsender = \"+911234567890\"")));
    assert!(!shown.contains(KEY) && !shown.contains("1234567890"), "{shown}");
}
