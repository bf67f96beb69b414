//! TLS, with a certificate that can be changed under the listeners.

use std::{
    fmt::Write as _,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// The TLS side of all listeners.
pub struct Tls {
    certificate: Arc<CurrentCertificate>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// TLS with this certificate.
    ///
    /// # Errors
    ///
    /// If the TLS library refuses its configuration.
    pub fn new(certificate: CertifiedKey) -> Result<Self, rustls::Error> {
        let certificate = Arc::new(CurrentCertificate(RwLock::new(Arc::new(certificate))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            certificate,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// What a listener takes its handshakes with.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Uses another certificate for handshakes from now on.
    pub fn set(&self, certificate: CertifiedKey) {
        self.certificate.set(certificate);
    }

    /// The SHA-256 fingerprint of the server's own certificate, as OpenSSL prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let current = self.certificate.current();
        let digest = Sha256::digest(current.end_entity_cert().map_or(&[][..], AsRef::as_ref));
        let mut text = String::new();
        for (at, byte) in digest.iter().enumerate() {
            let separator = if at == 0 { "" } else { ":" };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{byte:02X}");
        }
        text
    }
}

/// The certificate in use.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl CurrentCertificate {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, certificate: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
