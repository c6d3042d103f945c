//! `tls` of `[server]`: from the files it names to what connections are given. The files are read when the config is,
//! so a reload reads them again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use sink_api::{Fault, Timestamp};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::ingress::throttle::Throttle;

/// How long before its end a certificate is warned of: most are renewed 30 days before theirs.
const SOON_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// The protocols that are spoken over TLS, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsKeys {
    /// The server's certificate, followed by those that lead to its authority; PEM.
    pub cert: PathBuf,
    /// The certificate's private key; PEM.
    pub key: PathBuf,
    /// Authorities, PEM. Where there are some, a client has to show a certificate of one of them.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl TlsKeys {
    /// The table with absolute paths.
    #[must_use]
    pub fn resolved(&self, base_dir: &Path) -> Self {
        let absolute = |path: &PathBuf| base_dir.join(path);
        let client_ca = self.client_ca.as_ref().map(absolute);
        Self { cert: absolute(&self.cert), key: absolute(&self.key), client_ca }
    }
}

/// What handshakes need; shared by all connections.
#[derive(Clone, Debug)]
pub struct Tls(pub(super) Arc<ServerConfig>);

/// What handshakes need now, and its log lines.
#[derive(Default)]
pub(in crate::ingress) struct TlsState {
    now: RwLock<Option<Tls>>,
    /// Failed handshakes.
    pub failed: Throttle,
    /// Connections without TLS.
    pub plain: Throttle,
}

impl TlsState {
    /// From now on handshakes need this.
    pub fn set(&self, tls: Option<Tls>) {
        // Valid whoever panicked: it is replaced whole.
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// What a handshake needs.
    pub fn now(&self) -> Option<Arc<ServerConfig>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|tls| Arc::clone(&tls.0))
    }
}

/// Makes that of the files, with warnings about them. `read` gives the text of a file, and is told whether the file is
/// secret.
///
/// # Errors
/// Every fault, at the keys of `[server]`.
pub fn load(
    keys: &TlsKeys,
    read: impl Fn(&Path, bool) -> io::Result<String>,
    now: Timestamp,
) -> Result<(Tls, Vec<Fault>), Vec<Fault>> {
    let chain = certificates("tls.cert", &keys.cert, &read).and_then(|chain| whole(&keys.cert, chain));
    let key = private_key(&keys.key, &read);
    let roots = keys.client_ca.as_ref().map(|path| roots(path, &read)).transpose();
    let (chain, key, roots) = match (chain, key, roots) {
        (Ok(chain), Ok(key), Ok(roots)) => (chain, key, roots),
        (chain, key, roots) => return Err([chain.err(), key.err(), roots.err()].into_iter().flatten().collect()),
    };
    let doubts = chain.first().and_then(|leaf| doubt(&keys.cert, leaf, now)).into_iter().collect();
    let tls = assemble(keys, chain, key, roots).map_err(|fault| vec![fault])?;
    Ok((Tls(Arc::new(tls)), doubts))
}

/// A chain of which each part is a certificate; rustls looks at the first one alone.
fn whole(path: &Path, chain: Vec<CertificateDer<'static>>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    match chain.iter().position(|one| Certificate::from_der(one).is_err()) {
        None => Ok(chain),
        Some(at) => Err(Fault::at_key(
            "tls.cert",
            format!("{}: number {} in it is no certificate, though it says so", path.display(), at + 1),
        )),
    }
}

fn assemble(
    keys: &TlsKeys,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<RootCertStore>,
) -> Result<ServerConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |error: rustls::Error| Fault::at_key("tls", format!("TLS cannot be set up: {error}"));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(broken)?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let bad = |error: VerifierBuilderError| {
                let message = format!("`client_ca` cannot be used: {error}");
                Fault::at_key("tls.client_ca", message)
            };
            builder.with_client_cert_verifier(verifier.map_err(bad)?)
        }
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let message =
                format!("{} is not the key of the first certificate in {}", keys.key.display(), keys.cert.display());
            Fault::at_key("tls.key", message)
                .help("the server's own certificate comes first in `cert`, before its authority's")
        }
        other => Fault::at_key("tls.cert", format!("{} cannot be used: {other}", keys.cert.display())).help(
            "an X.509 certificate of version 3 is needed: `openssl req -x509 …` makes one, `openssl x509 -req` may not",
        ),
    })?;
    tls.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // A sender that comes back saves us the signature; the state lies with the sender.
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(broken)?;
    tls.send_tls13_tickets = 1;
    Ok(tls)
}

fn text(
    key: &str,
    path: &Path,
    is_secret: bool,
    read: impl Fn(&Path, bool) -> io::Result<String>,
) -> Result<String, Fault> {
    if path.to_string_lossy().contains("-----BEGIN") {
        return Err(Fault::at_key(key, "is the path of a file, and what would stand in that file stands here"));
    }
    read(path, is_secret).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Fault::at_key(key, message)
            .help("the daemon's user has to be able to read it; a relative path starts at the config")
    })
}

fn certificates(
    key: &str,
    path: &Path,
    read: impl Fn(&Path, bool) -> io::Result<String>,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let text = text(key, path, false, read)?;
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let why = match all {
        Ok(all) if !all.is_empty() => return Ok(all),
        Ok(_) => "holds no certificate".to_owned(),
        Err(error) => format!("is not PEM: {error}"),
    };
    let message = format!("{} {why}, expected -----BEGIN CERTIFICATE-----", path.display());
    Err(Fault::at_key(key, message).help("DER is turned into PEM by `openssl x509 -inform der -in FILE -out FILE.pem`"))
}

fn private_key(path: &Path, read: impl Fn(&Path, bool) -> io::Result<String>) -> Result<PrivateKeyDer<'static>, Fault> {
    let text = text("tls.key", path, true, read)?;
    // The parser's words could hold a line of the file.
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        let is_locked = text.contains("ENCRYPTED");
        let (what, help) = if is_locked {
            ("holds a key that a password protects", "take the password off: `openssl pkey -in FILE -out FILE.new`")
        } else {
            (
                "holds no private key, expected -----BEGIN PRIVATE KEY-----",
                "`key` is the file that was made with the certificate request",
            )
        };
        Fault::at_key("tls.key", format!("{} {what}", path.display())).help(help)
    })
}

fn roots(path: &Path, read: impl Fn(&Path, bool) -> io::Result<String>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", path, read)? {
        roots.add(certificate).map_err(|error| {
            Fault::at_key(
                "tls.client_ca",
                format!("{} holds a certificate that cannot be used: {error}", path.display()),
            )
        })?;
    }
    Ok(roots)
}

/// What is to be said about the times between which a certificate is good.
fn doubt(path: &Path, leaf: &CertificateDer<'_>, now: Timestamp) -> Option<Fault> {
    let validity = Certificate::from_der(leaf).ok()?.tbs_certificate.validity;
    let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let (from, until, now) = (seconds(validity.not_before), seconds(validity.not_after), now.as_second());
    let left = until.saturating_sub(now);
    let why = if left <= 0 {
        format!("has expired at {}: senders refuse it", validity.not_after)
    } else if left < SOON_DAYS * DAY_SECONDS {
        format!("expires at {}, in {} days", validity.not_after, left / DAY_SECONDS)
    } else if from > now {
        format!("is not good before {}: senders refuse it", validity.not_before)
    } else {
        return None;
    };
    let message = format!("the certificate in {} {why}", path.display());
    Some(Fault::at_key("tls.cert", message).help("renew it, and reload: `hookrelay reload` reads it again"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn keys() -> TlsKeys {
        TlsKeys { cert: "cert.pem".into(), key: "key.pem".into(), client_ca: None }
    }

    /// A certificate that is good from one of these years' beginning to the other's, and its key.
    fn pair(from: i32, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["hooks.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn loaded(cert: &str, key: &str, now: &str) -> Result<Vec<String>, Vec<String>> {
        let read = |path: &Path, is_secret| {
            assert_eq!(is_secret, path.ends_with("key.pem"));
            Ok(if is_secret { key } else { cert }.to_owned())
        };
        let texts =
            |faults: Vec<Fault>| faults.into_iter().map(|fault| format!("{:?} {}", fault.at, fault.message)).collect();
        load(&keys(), read, now.parse().unwrap()).map(|(_, doubts)| texts(doubts)).map_err(texts)
    }

    #[test]
    fn a_certificate_that_ends_soon_has_ended_or_has_not_begun_is_doubtful() {
        let (cert, key) = pair(2030, 2031);
        for (now, expected) in [
            ("2030-06-01T00:00:00Z", None),
            ("2030-12-17T00:00:00Z", None),
            ("2030-12-20T00:00:00Z", Some("expires at 2031-01-01T00:00:00Z, in 12 days")),
            ("2031-01-01T00:00:00Z", Some("has expired")),
            ("2029-12-31T00:00:00Z", Some("is not good before 2030-01-01")),
        ] {
            let doubts = loaded(&cert, &key, now).unwrap();
            match expected {
                None => assert_eq!(doubts, Vec::<String>::new(), "{now}"),
                Some(part) => assert!(doubts.len() == 1 && doubts[0].contains(part), "{now}: {doubts:?}"),
            }
        }
    }

    #[test]
    fn files_that_are_not_what_they_should_be_are_told_with_their_key() {
        let ((cert, key), (_, other)) = (pair(2020, 2090), pair(2020, 2090));
        let half = format!("{cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        for (cert, key, parts) in [
            ("", &*key, &["tls.cert", "no certificate"][..]),
            (&*half, &key, &["tls.cert", "number 2", "no certificate"]),
            (&key, &cert, &["tls.cert", "no certificate"]),
            (&cert, "", &["tls.key", "no private key"]),
            (&cert, &other, &["tls.key", "not the key of the first certificate"]),
            (&cert, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----", &["password"]),
        ] {
            let faults = loaded(cert, key, "2026-01-01T00:00:00Z").unwrap_err().join("\n");
            for part in parts {
                assert!(faults.contains(part), "{part}: {faults}");
            }
            assert!(!faults.contains("PRIVATE KEY-----\n"), "{faults}");
        }
        let missing = |_: &Path, _| Err(io::ErrorKind::NotFound.into());
        assert_eq!(load(&keys(), missing, Timestamp::now()).unwrap_err().len(), 2, "both at once");
    }
}
