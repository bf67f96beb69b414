//! TLS, with a certificate that can be changed under the listeners, and client certificates where an application asks for
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
        let acceptor = acceptor(&certificate, Arc::new(NoClientAuth))?;
        Ok(Self {
            certificate,
            acceptor,
        })
    }

    /// TLS for one listener: it asks for client certificates if an application there does.
    pub fn listener(&self, served: &Served) -> ListenerTls {
        let mut applications = served.applications.iter();
        let authorities =
            applications.find_map(|application| Arc::clone(application).client_authorities());
        ListenerTls {
            certificate: Arc::clone(&self.certificate),
            acceptor: self.acceptor.clone(),
            asking: authorities.map(|authorities| Asking {
                authorities,
                current: Mutex::new(None),
            }),
        }
    }

    /// Uses another certificate for handshakes from now on.
    pub fn set(&self, certificate: CertifiedKey) {
        self.certificate.set(certificate);
    }

    /// The SHA-256 fingerprint of the server's own certificate, as OpenSSL prints it.
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

/// Whose client certificates an application wants.
pub trait ClientAuthorities: Send + Sync + 'static {
    /// The names of the CAs as they are now, for a client to choose among its certificates; none if any will do. Asked
    /// before each handshake; the same `Arc` as long as they are the same.
    fn names(self: Arc<Self>) -> BoxFuture<AuthorityNames>;
}

/// TLS on one listener.
pub struct ListenerTls {
    certificate: Arc<CurrentCertificate>,
    /// Where nobody asks for client certificates.
    acceptor: TlsAcceptor,
    asking: Option<Asking>,
}

struct Asking {
    authorities: Arc<dyn ClientAuthorities>,
    /// The latest names, and what asks for them.
    current: Mutex<Option<(AuthorityNames, TlsAcceptor)>>,
}

impl ListenerTls {
    /// What the next handshake is taken with.
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

/// The certificate that a client has shown in its handshake, and whose key it has: nothing else is known of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate {
    sha256: [u8; 32],
}

impl ClientCertificate {
    /// Of a connection whose handshake is done.
    pub(crate) fn of(session: &ServerConnection) -> Option<Self> {
        let certificate = session.peer_certificates()?.first()?;
        Some(Self {
            sha256: Sha256::digest(certificate).into(),
        })
    }

    /// The SHA-256 over its DER.
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Asks for a client certificate, and takes any whose key the client shows to have in the handshake: whether it stands for
/// anybody is for the application to say, request by request.
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
