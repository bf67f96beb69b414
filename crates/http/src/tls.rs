//! TLS with a certificate that can be replaced at run time, and with client certificates where an application requests
//! them.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoClientAuth, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::{BoxFuture, Served};

/// The TLS configuration of all listeners.
pub struct Tls {
    certificate: Arc<CurrentCertificate>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Creates a configuration with this certificate.
    ///
    /// # Errors
    ///
    /// If the TLS library rejects the configuration.
    pub fn new(certificate: CertifiedKey) -> Result<Self, rustls::Error> {
        let certificate = Arc::new(CurrentCertificate(RwLock::new(Arc::new(certificate))));
        let acceptor = acceptor(&certificate, Arc::new(NoClientAuth))?;
        Ok(Self {
            certificate,
            acceptor,
        })
    }

    /// Creates the TLS configuration of one listener. It requests client certificates if one of the listener's applications
    /// does.
    pub fn listener(&self, served: &Served) -> ListenerTls {
        let mut applications = served.applications.iter();
        let authorities =
            applications.find_map(|application| Arc::clone(application).client_authorities());
        ListenerTls {
            certificate: Arc::clone(&self.certificate),
            acceptor: self.acceptor.clone(),
            asking: authorities.map(|authorities| ClientCertificateRequest {
                authorities,
                current: Mutex::new(None),
            }),
        }
    }

    /// Uses another certificate for new handshakes.
    pub fn set(&self, certificate: CertifiedKey) {
        self.certificate.set(certificate);
    }

    /// Returns the SHA-256 fingerprint of the server's own certificate, in OpenSSL's format.
    pub fn fingerprint(&self) -> String {
        let current = self.certificate.current();
        let digest = Sha256::digest(current.end_entity_cert().map_or(&[][..], AsRef::as_ref));
        let mut text = String::new();
        for (at, byte) in digest.iter().enumerate() {
            let separator = if at == 0 { "" } else { ":" };
            // Writing to a string never fails.
            let _ = write!(text, "{separator}{byte:02X}");
        }
        text
    }
}

fn acceptor(
    certificate: &Arc<CurrentCertificate>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The names of CAs, each in DER (RFC 5280, section 4.1.2.4).
pub type AuthorityNames = Arc<[Vec<u8>]>;

/// The CAs whose client certificates an application requests.
pub trait ClientAuthorities: Send + Sync + 'static {
    /// Returns the current names of the CAs, by which a client chooses among its certificates. Empty if any CA is
    /// acceptable. Called before each handshake; must return the same `Arc` while the names are unchanged.
    fn names(self: Arc<Self>) -> BoxFuture<AuthorityNames>;
}

/// The TLS configuration of one listener.
pub struct ListenerTls {
    certificate: Arc<CurrentCertificate>,
    /// The acceptor that requests no client certificate.
    acceptor: TlsAcceptor,
    asking: Option<ClientCertificateRequest>,
}

struct ClientCertificateRequest {
    authorities: Arc<dyn ClientAuthorities>,
    /// The latest names, with the acceptor that sends them.
    current: Mutex<Option<(AuthorityNames, TlsAcceptor)>>,
}

impl ListenerTls {
    /// Returns the acceptor for the next handshake.
    pub(crate) async fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let Some(asking) = &self.asking else {
            return Ok(self.acceptor.clone());
        };
        let names = Arc::clone(&asking.authorities).names().await;
        let mut current = asking
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((known, acceptor)) = &*current
            && Arc::ptr_eq(known, &names)
        {
            return Ok(acceptor.clone());
        }
        let verifier = Arc::new(AnyCertificate::of(&names));
        let acceptor = acceptor(&self.certificate, verifier)?;
        *current = Some((names, acceptor.clone()));
        Ok(acceptor)
    }
}

/// A certificate that a client presented in its handshake. The client has its private key; nothing else is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate {
    sha256: [u8; 32],
}

impl ClientCertificate {
    /// Returns the client's certificate of a connection after its handshake.
    pub(crate) fn of(session: &ServerConnection) -> Option<Self> {
        let certificate = session.peer_certificates()?.first()?;
        Some(Self {
            sha256: Sha256::digest(certificate).into(),
        })
    }

    /// Returns the SHA-256 digest of its DER.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Requests a client certificate, and accepts any whose private key the client proves to have. Applications decide for each
/// request whom it identifies, if anyone.
#[derive(Debug)]
struct AnyCertificate {
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    fn of(names: &[Vec<u8>]) -> Self {
        Self {
            names: names.iter().cloned().map(Into::into).collect(),
            algorithms: ring::default_provider().signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The current certificate.
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
