//! The server's certificate: from files that can be reloaded, or self-signed for trials. A client's certificate is read
//! from files in the same way.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use keyproof_store::{Timestamp, file};
use keyproof_x509::{Certificate, Version};
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

/// The longest file that is read, in bytes: enough for hundreds of certificates.
const LONGEST_FILE: usize = 1024 * 1024;

/// The source of the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// `tls.certificate` (a PEM chain, the server's own first) and `tls.key` (PEM: PKCS#8, PKCS#1 or SEC1).
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// `tls.self_signed`: a new key and certificate at each start.
    SelfSigned,
}

/// The names by which errors refer to the files: keys of the configuration, or flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsNames {
    /// The name for the certificate chain.
    pub certificate: &'static str,
    /// The name for its private key.
    pub key: &'static str,
}

impl TlsNames {
    /// The names for the server's files.
    const SERVER: Self = Self {
        certificate: "tls.certificate",
        key: "tls.key",
    };
}

/// The error for an encrypted private key.
pub(crate) const ENCRYPTED_KEY: &str =
    "the key is encrypted: decrypt it first (openssl pkey -in FILE -out FILE)";

/// Whether a private key in PEM is encrypted, by PKCS#8 or by RFC 1421 (section 4.6.1.1).
pub(crate) fn is_encrypted(pem: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    let mut lines = pem.split(|byte| *byte == b'\n');
    lines.any(|line| marks.iter().any(|mark| line.starts_with(mark)))
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files cannot be used.
    #[error("{key}: {}: {problem}", path.display())]
    File {
        /// The key or flag that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: TlsFileError,
    },
    /// The key does not belong to the certificate, or TLS does not support its type.
    #[error(
        "{}: it does not belong to {}, or is of a kind that TLS does not use: {source}",
        names.key,
        names.certificate
    )]
    KeyMismatch {
        /// The names of both files.
        names: TlsNames,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The self-signed certificate cannot be created.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The TLS library rejects the configuration.
    #[error("TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Why a file with a certificate chain or a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// One of the certificates cannot be parsed.
    #[error("certificate {number}: {source}")]
    Certificate {
        /// The position of the certificate; the first is 1.
        number: usize,
        /// What is wrong with it.
        source: keyproof_x509::X509Error,
    },
    /// The key is encrypted, and nobody can be asked for its passphrase.
    #[error("{ENCRYPTED_KEY}")]
    EncryptedKey,
    /// There is no certificate in it.
    #[error("no certificate in it")]
    NoCertificate,
    /// There is no private key in it.
    #[error("no private key in it")]
    NoKey,
    /// The first certificate is of X.509 version 1 or 2, which TLS does not use.
    #[error(
        "it is not of X.509 version 3: make it with extensions, such as subjectAltName (openssl x509 -extfile)"
    )]
    OldVersion,
    /// It is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
}

impl TlsSource {
    /// Loads the certificate. A self-signed one contains the address `listen`.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if it cannot be used.
    pub fn load(&self, listen: IpAddr) -> Result<CertifiedKey, TlsError> {
        match self {
            Self::Files { certificate, key } => from_files(TlsNames::SERVER, certificate, key),
            Self::SelfSigned => self_signed(listen),
        }
    }

    /// Loads the certificate from its files again, if it has files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if it cannot be used.
    pub fn reload(&self) -> Result<Option<CertifiedKey>, TlsError> {
        match self {
            Self::Files { .. } => self.load(Ipv4Addr::LOCALHOST.into()).map(Some),
            Self::SelfSigned => Ok(None),
        }
    }
}

/// Loads a client's certificate from the files that these flags name.
///
/// # Errors
///
/// [`TlsError`] if they cannot be used.
pub(crate) fn of_client(
    names: TlsNames,
    certificate: &Path,
    key: &Path,
) -> Result<CertifiedKey, TlsError> {
    from_files(names, certificate, key)
}

/// Returns why clients refuse a certificate because of its validity period, if they do.
pub(crate) fn untimely(certificate: &CertifiedKey, now: Timestamp) -> Option<&'static str> {
    let own = Certificate::from_der(certificate.cert.first()?).ok()?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = own.validity();
    if now > validity.not_after {
        Some(
            "the certificate has expired: clients refuse it (install another one, and send SIGHUP to a running server)",
        )
    } else if now < validity.not_before {
        Some(
            "the certificate is not valid yet: clients refuse it (check this machine's clock, or install another one)",
        )
    } else {
        None
    }
}

fn from_files(names: TlsNames, certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let refused = |key, path: &Path, problem| TlsError::File {
        key,
        path: path.to_owned(),
        problem,
    };
    let chain = read_chain(certificate)
        .map_err(|problem| refused(names.certificate, certificate, problem))?;
    let private_key = read_key(key).map_err(|problem| refused(names.key, key, problem))?;
    CertifiedKey::from_der(chain, private_key, &ring::default_provider())
        .map_err(|source| TlsError::KeyMismatch { names, source })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = file::read(path, LONGEST_FILE)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(TlsFileError::NoCertificate);
    }
    for (at, der) in chain.iter().enumerate() {
        // Clients receive all of them, but rustls parses only the first.
        let parsed = Certificate::from_der(der).map_err(|source| TlsFileError::Certificate {
            number: at.saturating_add(1),
            source,
        })?;
        if at == 0 && parsed.version() != Version::V3 {
            return Err(TlsFileError::OldVersion);
        }
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let pem = file::read(path, LONGEST_FILE)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => TlsFileError::EncryptedKey,
        pem::Error::NoItemsFound => TlsFileError::NoKey,
        error => error.into(),
    })
}

fn self_signed(listen: IpAddr) -> Result<CertifiedKey, TlsError> {
    let mut names = vec!["localhost".to_owned()];
    let loopback = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    names.extend(loopback.map(|address| address.to_string()));
    if !listen.is_unspecified() && !loopback.contains(&listen) {
        names.push(listen.to_string());
    }
    let made = rcgen::generate_simple_self_signed(names)?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(made.signing_key);
    let provider = ring::default_provider();
    Ok(CertifiedKey::from_der(vec![certificate], key, &provider)?)
}
