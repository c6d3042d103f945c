//! Strangers without a secret who hold on to whatever the public port gives them: connections, heads, bodies. They come
//! back when they are disconnected. Shared with the soak.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// How long a stranger waits before it connects again.
const PAUSE: Duration = Duration::from_millis(500);
const PATH: &str = "/webhooks/interakt";
/// HTTP/2 streams that a stranger opens in a connection, even if it may open fewer.
const STREAMS: u32 = 127;

/// What a stranger does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// The head of a large body, and nothing more.
    NoBody,
    /// Nearly all of a large body.
    HalfBody,
    /// Nearly all of a small body.
    SmallBody,
    /// Half a head.
    HalfHead,
    /// Nothing at all.
    Idle,
    /// HTTP/2 streams whose bodies never come.
    Streams,
    /// HTTP/2 streams likewise, where each head refers to one header 950 times.
    HeavyStreams,
    /// Most of a large first message of TLS. On a port with TLS, as the next ones are.
    HalfHello,
    /// The first message of TLS, whole, and no answer to what the server then computes and sends.
    Hello,
    /// The same, and away with the answer, to come back for another one.
    HelloAgain,
    /// A handshake, and then half a head.
    HalfHeadInTls,
}

/// What a stranger does on a port with TLS.
pub const TLS_SORTS: [Sort; 4] = [Sort::HalfHello, Sort::Hello, Sort::HelloAgain, Sort::HalfHeadInTls];

pub const SORTS: [Sort; 7] =
    [Sort::NoBody, Sort::HalfBody, Sort::SmallBody, Sort::HalfHead, Sort::Idle, Sort::Streams, Sort::HeavyStreams];

impl Sort {
    /// Everything that such a stranger sends.
    fn bytes(self) -> Vec<u8> {
        let head =
            |length: usize| format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        let body = |length: usize, sent: usize| [head(length), vec![b'x'; sent]].concat();
        match self {
            Self::NoBody => body(1_000_000, 0),
            Self::HalfBody => body(1_000_000, 990_000),
            Self::SmallBody => body(60_000, 59_000),
            Self::HalfHead => format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-a: {}", "x".repeat(20_000)).into_bytes(),
            Self::Idle => Vec::new(),
            Self::Streams => streams(0),
            Self::HeavyStreams => streams(950),
            Self::HalfHello => {
                let (hello, rest) = (hello(), vec![7; 15_000]);
                // The beginning of one message of 60,000 bytes, in as many records as it takes.
                let first = [&[1, 0, 0xea, 0x60][..], &hello[9..]].concat();
                let records = std::iter::once(&first[..]).chain(rest.chunks(6_000));
                let record = |part: &[u8]| {
                    let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                    [&[22, 3, 1][..], &length[..], part].concat()
                };
                records.flat_map(record).collect()
            }
            Self::Hello | Self::HelloAgain => hello(),
            Self::HalfHeadInTls => Self::HalfHead.bytes(),
        }
    }
}

/// A client that takes whatever certificate it is shown: strangers do not care.
fn tls_client() -> Arc<ClientConfig> {
    #[derive(Debug)]
    struct Any;
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.dangerous().with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth())
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// The first message of a handshake, in its record.
fn hello() -> Vec<u8> {
    let mut client = ClientConnection::new(tls_client(), server_name()).unwrap();
    let mut out = Vec::new();
    client.write_tls(&mut out).unwrap();
    out
}

/// The preface, settings without any, and HEADERS frames that end their heads but not their streams.
fn streams(references: usize) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for nth in 0..STREAMS {
        // HPACK: method POST, scheme http, and without index path, authority and content-length.
        let mut block = vec![0x83, 0x86, 0x04, u8::try_from(PATH.len()).unwrap()];
        block.extend(PATH.bytes());
        block.extend(b"\x01\x01x\x0f\x0d\x071000000");
        if references > 0 {
            if nth == 0 {
                block.extend(b"\x40\x01a\x01b");
            }
            block.extend(vec![0xbe; references]);
        }
        out.extend(&u32::try_from(block.len()).unwrap().to_be_bytes()[1..]);
        out.extend([1, 4]);
        out.extend((2 * nth + 1).to_be_bytes());
        out.extend(block);
    }
    out
}

/// Strangers at work until this is dropped.
pub struct Crowd {
    /// Runs on a thread of its own, so that it does not slow down what is measured.
    runtime: Option<Runtime>,
    arrived: Arc<AtomicU64>,
    sent_away: Arc<AtomicU64>,
}

impl Crowd {
    /// Starts so many connections, of these sorts in turn.
    pub fn of(sorts: &[Sort], connections: usize, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (arrived, sent_away) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let bytes: Vec<Arc<[u8]>> = sorts.iter().map(|sort| sort.bytes().into()).collect();
        let tls = TlsConnector::from(tls_client());
        for nth in 0..connections {
            let bytes = Arc::clone(&bytes[nth % bytes.len()]);
            let sort = sorts[nth % sorts.len()];
            let tls = (sort == Sort::HalfHeadInTls).then(|| tls.clone());
            // Whose handshake comes first depends on the address.
            let from = [127, 0, 0, if TLS_SORTS.contains(&sort) { 2 } else { 1 }];
            let (arrived, sent_away) = (Arc::clone(&arrived), Arc::clone(&sent_away));
            runtime.spawn(async move {
                let mut is_new = true;
                loop {
                    if let Ok(stream) = connect(from, address).await {
                        let arrived = std::mem::take(&mut is_new).then_some(&*arrived);
                        match &tls {
                            None => hold(stream, &bytes, sort == Sort::HelloAgain, arrived).await,
                            Some(tls) => match tls.connect(server_name(), stream).await {
                                Ok(stream) => hold(stream, &bytes, false, arrived).await,
                                Err(_) => arrived.into_iter().for_each(|arrived| {
                                    arrived.fetch_add(1, SeqCst);
                                }),
                            },
                        }
                        sent_away.fetch_add(1, SeqCst);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { runtime: Some(runtime), arrived, sent_away }
    }

    /// How many strangers have sent everything, or as much as was taken, at least once.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(SeqCst)
    }

    /// How often a stranger was disconnected.
    pub fn sent_away(&self) -> u64 {
        self.sent_away.load(SeqCst)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another one.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn connect(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Sends, and then holds the connection until it is disconnected, or leaves with the first answer. A stranger whose
/// bytes are not taken counts as arrived, too.
async fn hold(stream: impl AsyncRead + AsyncWrite, bytes: &[u8], leaves: bool, mut arrived: Option<&AtomicU64>) {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let write = async {
        let sent = tokio::time::timeout(PAUSE, writing.write_all(bytes)).await;
        if let Some(arrived) = arrived.take() {
            arrived.fetch_add(1, SeqCst);
        }
        if sent.is_err() {
            let _ = writing.write_all(bytes).await;
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut answer = [0; 4096];
        while reading.read(&mut answer).await.is_ok_and(|n| n > 0) && !leaves {}
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    if let Some(arrived) = arrived {
        arrived.fetch_add(1, SeqCst);
    }
}
