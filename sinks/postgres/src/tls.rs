//! Whom to trust: a rustls configuration with libpq's meaning of `sslmode`. Reads the file of roots, or the system's.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sink_api::files::{self, Patience};

use crate::url::Trust;

/// Most bytes of `sslrootcert`: every root that systems trust takes a fifth of it.
const MAX_ROOTS: u64 = 1 << 20;

/// Makes the configuration. Blocks for as long as reading the roots takes.
///
/// # Errors
/// Says which file is no good.
pub fn client(trust: Trust, roots: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    if trust == Trust::Name {
        return Ok(builder.with_root_certificates(read(roots)?).with_no_client_auth());
    }
    let inner = match trust {
        Trust::Any => None,
        Trust::Root | Trust::Name => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(read(roots)?), Arc::clone(&provider));
            Some(verifier.build().map_err(|e| e.to_string())?)
        }
    };
    let lenient = Arc::new(Lenient { inner, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(lenient).with_no_client_auth())
}

fn read(roots: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(path) = roots else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let none = "the system has no trusted certificates; name a file: sslrootcert=…";
        return if store.is_empty() { Err(none.to_owned()) } else { Ok(store) };
    };
    let fault = |what: String| format!("sslrootcert {}: {what}", path.display());
    let pem = files::read(path, MAX_ROOTS, &Patience::new()).map_err(|e| fault(e.to_string()))?;
    for one in CertificateDer::pem_slice_iter(&pem) {
        let one = one.map_err(|e| fault(e.to_string()))?;
        store.add(one).map_err(|e| fault(e.to_string()))?;
    }
    if store.is_empty() { Err(fault("holds no certificate".to_owned())) } else { Ok(store) }
}

/// Trusts any certificate, or any that a root has signed, whatever name it is made out to.
#[derive(Debug)]
struct Lenient {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
