//! The bodies that tests send: fixtures as they are, and small numbered events.

use std::path::PathBuf;

/// Every fixture: file name and bytes.
pub fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/interakt"));
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    all.sort();
    assert!(all.len() >= 26, "fixtures are missing");
    all
}

/// A status event of message `m-<n>`, of about 300 bytes, with characters that a careless relay would change.
pub fn numbered(n: u64) -> Vec<u8> {
    format!(
        concat!(
            r#"{{"version": "1.0","timestamp":"2026-01-13T10:30:00.000001","type":"message_api_{kind}","data":{{"#,
            r#""customer":{{"channel_phone_number":"919876543210","traits":{{"#,
            r#""name":"Asha \u00e9 \ud83d","big":12345678901234567890.10}}}},"#,
            r#""message":{{"id":"m-{n}","message_status":"Sent","meta_data":{{}}}}}}}}"#,
        ),
        n = n,
        kind = ["sent", "delivered", "read"][usize::try_from(n % 3).unwrap()]
    )
    .into_bytes()
}

/// The `n` of [`numbered`], from any text that holds the message id.
pub fn number_in(text: &str) -> u64 {
    let (_, rest) = text.split_once("m-").expect("a numbered event");
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
