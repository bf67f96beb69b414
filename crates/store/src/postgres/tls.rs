//! Which certificates are accepted from a server.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_tokio_postgres::{MakeRustlsConnect, config_no_verify};

use crate::{EngineError, file};

/// The maximum size of a file of root certificates, in bytes: several times the size of a system's.
const LONGEST_BUNDLE: usize = 4 * 1024 * 1024;

/// How a connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Disabled,
    /// TLS if the server offers it; the certificate is not verified.
    Preferred,
    /// Always TLS; the certificate is not verified.
    Unverified,
    /// The certificate's issuer is verified, but not its name.
    AnyName(Roots),
    Verified(Roots),
}

/// The trusted issuers of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    System,
    File(PathBuf),
}

impl Tls {
    /// Returns `None` if TLS is disabled.
    pub(super) fn connector(&self) -> Result<Option<MakeRustlsConnect>, EngineError> {
        let config = match self {
            Self::Disabled => return Ok(None),
            Self::Preferred | Self::Unverified => config_no_verify(),
            Self::AnyName(roots) => {
                let provider = Arc::new(ring::default_provider());
                let roots = Arc::new(roots.load()?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(failed)?;
                builder()?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
                    .with_no_client_auth()
            }
            Self::Verified(roots) => builder()?
                .with_root_certificates(roots.load()?)
                .with_no_client_auth(),
        };
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, EngineError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)
}

impl Roots {
    fn load(&self) -> Result<RootCertStore, EngineError> {
        let mut store = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
                if store.is_empty() {
                    return Err(failed("the system has no trusted certificates"));
                }
            }
            Self::File(path) => {
                let failed = |error: &dyn std::fmt::Display| {
                    failed(format!("sslrootcert {}: {error}", path.display()))
                };
                let bundle = file::read(path, LONGEST_BUNDLE).map_err(|error| failed(&error))?;
                for certificate in CertificateDer::pem_slice_iter(&bundle) {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    store.add(certificate).map_err(|error| failed(&error))?;
                }
                if store.is_empty() {
                    return Err(failed(&"no certificate in it"));
                }
            }
        }
        Ok(store)
    }
}

fn failed(error: impl ToString) -> EngineError {
    EngineError::Configuration {
        detail: error.to_string(),
    }
}

/// Trusts the same issuers as the inner verifier, but accepts a certificate for any name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is checked last, once everything else was verified.
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
