//! Trust, distrust, HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use sink_api::Outcome;
use sink_testkit::{batch, event};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::kit::{build_in, config, open, retry};
use sink_testkit::http::{HttpServer, Reply, Then};

/// An authority of one's own.
struct Authority {
    root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec![]).unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        Self { root, issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self, name: &str, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(tls))
    }
}

/// An HTTPS server that takes everything and notes version and body.
struct Https {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<(Version, Bytes)>>>,
    task: AbortHandle,
}

impl Https {
    async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<(Version, Bytes)>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let noted = Arc::clone(&noted);
                        async move {
                            let version = request.version();
                            let body = request.into_body().collect().await?.to_bytes();
                            noted.lock().unwrap().push((version, body));
                            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
                        }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, seen, task: task.abort_handle() }
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of one delivery to this server by a sink that trusts this authority.
async fn delivered_to(addr: SocketAddr, trusted: &Authority) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), trusted.root.pem()).unwrap();
    deliver_from(addr, dir.path()).await
}

async fn deliver_from(addr: SocketAddr, dir: &Path) -> Outcome {
    let config = config(&format!("url = \"https://{addr}/hook\"\ntls_ca = \"ca.pem\""));
    let sink = build_in(config.as_ref(), dir).await.unwrap();
    let delivery = event("t").body(&b"\xff\x00 body"[..]).delivery_for(config.as_ref()).unwrap();
    sink.deliver(&batch([delivery])).await.into_slots().remove(0).unwrap()
}

#[tokio::test]
async fn an_own_root_certificate_is_trusted_and_http_2_agreed_on() {
    let authority = Authority::new();
    for (alpn, version) in [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)] {
        let server = Https::start(authority.acceptor("127.0.0.1", alpn)).await;
        assert_eq!(delivered_to(server.addr, &authority).await, Outcome::Delivered);
        assert_eq!(*server.seen.lock().unwrap(), [(version, Bytes::from_static(b"\xff\x00 body"))]);
    }
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_a_tls_failure() {
    let server = Https::start(Authority::new().acceptor("127.0.0.1", &[])).await;
    assert_eq!(retry(&delivered_to(server.addr, &Authority::new()).await), "tls");
    assert!(server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_tls_failure() {
    let authority = Authority::new();
    let server = Https::start(authority.acceptor("crm.example", &[])).await;
    assert_eq!(retry(&delivered_to(server.addr, &authority).await), "tls");
    assert!(server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_tls_failure() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = plain.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    assert_eq!(retry(&delivered_to(addr, &Authority::new()).await), "tls");
    task.abort();
}

#[tokio::test]
async fn a_redirect_from_http_to_https_is_not_followed() {
    let authority = Authority::new();
    let secure = Https::start(authority.acceptor("127.0.0.1", &[])).await;
    let to = format!("HTTP/1.1 308 X\r\nlocation: https://{}/\r\ncontent-length: 0\r\n\r\n", secure.addr);
    let server = HttpServer::always(Reply::Bytes(to.into_bytes(), Then::Close)).await;
    let sink = open(&format!("url = \"{}\"", server.url("/"))).await;
    assert_eq!(retry(&sink.one(event("t")).await), "redirect");
    assert!(secure.seen.lock().unwrap().is_empty());
}
