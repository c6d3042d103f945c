//! Webhooks over TLS that the daemon speaks itself.

use std::net::SocketAddr;

use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::Authority;
use crate::harness::{ARCHIVE, Daemon, House, sign};

const KEYS: &str =
    "listen = [\"tls://127.0.0.1:0\", \"127.0.0.1:0\"]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
const WITH_CLIENTS: &str =
    "listen = \"tls://127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"clients.pem\" }\n";

fn write(house: &House, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(house.path(name), text).unwrap();
    std::fs::set_permissions(house.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Gives the daemon a certificate of this authority.
fn certify(house: &House, authority: &Authority, until: i32) {
    let (cert, key) = authority.leaf("localhost", until);
    write(house, "cert.pem", &cert);
    write(house, "key.pem", &key);
}

fn house(keys: &str, authority: &Authority) -> House {
    let house = House::new("");
    house.serve(keys, ARCHIVE);
    certify(&house, authority, 2090);
    house
}

fn trusting(authority: &Authority) -> ClientBuilder {
    Client::builder().tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
}

/// Posts a signed body, and gives the status and the version that was spoken.
async fn post(client: ClientBuilder, at: SocketAddr, body: &str) -> reqwest::Result<(u16, Version)> {
    let url = format!("https://localhost:{}/webhooks/interakt", at.port());
    let request = client.build().unwrap().post(url).header("interakt-signature", sign(body.as_bytes()));
    let answer = request.body(body.to_owned()).send().await?;
    Ok((answer.status().as_u16(), answer.version()))
}

fn stderr(out: &std::process::Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_comes_over_tls_by_http1_and_http2_and_beside_it_without_tls() {
    let authority = Authority::new();
    let house = house(KEYS, &authority);
    let daemon = house.start();
    let at = daemon.address;
    assert_eq!(post(trusting(&authority), at, "{}").await.unwrap(), (200, Version::HTTP_2));
    let old = trusting(&authority).http1_only();
    assert_eq!(post(old, at, "{\"a\":1}").await.unwrap(), (200, Version::HTTP_11));
    let old = trusting(&authority).tls_version_max(reqwest::tls::Version::TLS_1_2);
    assert_eq!(post(old, at, "{\"a\":2}").await.unwrap(), (200, Version::HTTP_2));
    assert!(post(trusting(&Authority::new()), at, "{}").await.is_err(), "of an authority that it does not know");
    // A body that does not fit one record, nor one read.
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(500_000));
    assert_eq!(post(trusting(&authority), at, &long).await.unwrap().0, 200);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_nothing_is_answered_there_and_the_log_says_so() {
    let house = house(KEYS, &Authority::new());
    let daemon = house.start();
    for words in ["POST /webhooks/interakt HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0"] {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed with bytes that nobody read, the connection may be reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "{words}");
    }
    let line = daemon.log.wait_for(|line| line.contains("does not speak TLS")).unwrap();
    for part in ["WARN", "https://", "127.0.0.1", "\"count\":1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_client_certificates_are_asked_for_no_webhook_comes_without_one() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let house = house(WITH_CLIENTS, &servers);
    write(&house, "clients.pem", &clients.pem());
    let daemon = house.start();
    let identity = |authority: &Authority| {
        let (cert, key) = authority.leaf("interakt", 2090);
        Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap()
    };
    assert!(post(trusting(&servers), daemon.address, "{}").await.is_err());
    assert!(daemon.log.wait_for(|line| line.contains("a TLS handshake has failed")).is_some());
    assert!(post(trusting(&servers).identity(identity(&servers)), daemon.address, "{}").await.is_err());
    assert_eq!(post(trusting(&servers).identity(identity(&clients)), daemon.address, "{}").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_reads_certificates_again_and_a_bad_one_leaves_the_old_in_force() {
    let (old, new) = (Authority::new(), Authority::new());
    let house = house(KEYS, &old);
    let daemon: Daemon = house.start();
    let kept = trusting(&old).build().unwrap();
    let url = format!("https://localhost:{}/webhooks/interakt", daemon.address.port());
    let ask = || async { kept.get(&url).send().await.unwrap().status().as_u16() };
    assert_eq!(ask().await, 200);
    let reload = || house.command(&["reload"]).output().unwrap();
    certify(&house, &new, 2090);
    assert!(reload().status.success());
    assert_eq!(post(trusting(&new), daemon.address, "{}").await.unwrap().0, 200);
    assert!(post(trusting(&old), daemon.address, "{}").await.is_err());
    assert_eq!(ask().await, 200, "connections go on");
    // The new key does not belong to the certificate.
    write(&house, "key.pem", &old.leaf("localhost", 2090).1);
    let refused = reload();
    assert_eq!(refused.status.code(), Some(78));
    assert!(stderr(&refused).contains("is not the key of the first certificate"), "{}", stderr(&refused));
    assert_eq!(post(trusting(&new), daemon.address, "{\"a\":1}").await.unwrap().0, 200);
    std::fs::remove_file(house.path("key.pem")).unwrap();
    assert_eq!(reload().status.code(), Some(78));
    assert_eq!(post(trusting(&new), daemon.address, "{\"a\":2}").await.unwrap().0, 200);
}

#[test]
fn a_certificate_that_has_expired_is_a_warning_of_check_start_and_reload() {
    let authority = Authority::new();
    let house = house(KEYS, &authority);
    certify(&house, &authority, 2021);
    let checked = house.command(&["check"]).output().unwrap();
    assert!(checked.status.success());
    let text = format!("{}{}", String::from_utf8_lossy(&checked.stdout), stderr(&checked));
    for part in ["config.toml:4:16: warning: [server]", "has expired at 2021-12-31", "help: renew it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let daemon = house.start();
    assert!(daemon.log.wait_for(|line| line.contains("has expired at 2021-12-31")).is_some());
    let reloaded = house.command(&["reload"]).output().unwrap();
    assert!(reloaded.status.success() && stderr(&reloaded).contains("has expired"), "{}", stderr(&reloaded));
}
