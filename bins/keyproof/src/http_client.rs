//! An HTTP client for commands, the demo and traces: one connection per request, with or without TLS.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// The longest response that is read, in bytes.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Enough for every request except one with an event log. The body then never moves in memory, so that wiping it leaves
/// no copy.
const USUAL_BODY: usize = 64 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The response is too long, or incomplete.
    #[error("the response: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    /// The server cannot be reached, or its certificate is not accepted.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The server does not speak HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// There was no response in time.
    #[error("no answer within {} seconds", .0.as_secs())]
    Overdue(Duration),
    /// The request is invalid.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// The body cannot be serialised.
    #[error("the request cannot be written: {0}")]
    Body(#[from] serde_json::Error),
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The raw body.
    pub(crate) body: Bytes,
}

/// A server's URL: `https://host`, optionally with a port and a base path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl {
    is_tls: bool,
    /// The value of the requests' `Host`.
    authority: String,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    /// The prefix of each path: empty, or with a leading and without a trailing slash.
    base: String,
}

/// The text is not a server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not http:// or https:// and a host, without user, query and fragment")]
pub struct ServerUrlError;

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let url: Uri = text.parse().map_err(|_| ServerUrlError)?;
        let is_tls = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(ServerUrlError),
        };
        let authority = url.authority().ok_or(ServerUrlError)?.as_str();
        let host = url.host().unwrap_or_default();
        // `Uri` reports no port for `host:` and for numbers above 65535.
        let port = match authority.strip_prefix(host) {
            Some("") if is_tls => 443,
            Some("") => 80,
            Some(rest) => {
                let digits = rest.strip_prefix(':').ok_or(ServerUrlError)?;
                // Rust accepts a sign in numbers.
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(ServerUrlError);
                }
                digits.parse().map_err(|_| ServerUrlError)?
            }
            None => return Err(ServerUrlError),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || text.contains(['@', '?', '#']) {
            return Err(ServerUrlError);
        }
        Ok(Self {
            is_tls,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            base: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = ServerUrlError;

    fn try_from(text: String) -> Result<Self, ServerUrlError> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        let scheme = if url.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", url.authority, url.base)
    }
}

impl ServerUrl {
    /// Whether others on the network can read what is sent there: plain HTTP, and not to this machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let is_loopback = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.is_loopback(),
            Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        };
        !self.is_tls && !is_loopback
    }
}

/// A client of one server.
pub(crate) struct HttpClient {
    url: ServerUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The time limit for a request, from connecting to the end of the response.
    limit: Duration,
}

/// Why a TLS client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The host is not a name that a certificate could have.
    #[error("the server's name: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// There is no trusted CA.
    #[error("the system trusts no CA: install ca-certificates, or set SSL_CERT_FILE")]
    NoRoots,
    /// One of the trusted certificates is invalid.
    #[error("the trusted certificates: {0}")]
    Root(#[source] rustls::Error),
    /// The TLS library rejects the configuration.
    #[error("TLS: {0}")]
    Setup(#[from] rustls::Error),
}

impl HttpClient {
    /// Creates a client of the server at `url`. Its certificate must chain to one of `roots` (DER) or, without them, to
    /// a root of the operating system. `own` is the client's certificate.
    pub(crate) fn new(
        url: ServerUrl,
        roots: Option<&[Vec<u8>]>,
        own: Option<CertifiedKey>,
        limit: Duration,
    ) -> Result<Self, TlsSetupError> {
        let tls = if url.is_tls {
            let name = ServerName::try_from(url.host.clone())?;
            let config = tls_config(&trusted(roots)?, own)?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { url, tls, limit })
    }

    /// Posts JSON to a path.
    pub(crate) async fn post(
        &self,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: &impl Serialize,
    ) -> Result<Answer, ClientError> {
        let mut json = Zeroizing::new(Vec::with_capacity(USUAL_BODY));
        serde_json::to_writer(&mut *json, body)?;
        let kind = HeaderValue::from_static("application/json");
        let json = Bytes::from_owner(json);
        let mut fields = HeaderMap::new();
        fields.extend(authorization.map(|value| (header::AUTHORIZATION, value.clone())));
        self.post_bytes(path, &fields, kind, json).await
    }

    /// Posts bytes with this media type and additional headers to a path.
    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        fields: &HeaderMap,
        kind: HeaderValue,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.url.base))
            .header(header::HOST, &*self.url.authority)
            .header(header::CONTENT_TYPE, kind);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let answer = timeout(self.limit, self.send(request)).await;
        answer.map_err(|_| ClientError::Overdue(self.limit))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        let socket = TcpStream::connect((&*self.url.host, self.url.port)).await?;
        match &self.tls {
            None => exchange(socket, request).await,
            Some((tls, name)) => {
                let socket = tls.connect(name.clone(), socket).await;
                exchange(socket.map_err(in_words)?, request).await
            }
        }
    }
}

/// Explains the error for which the TLS library has only a name, and which `openssl req -x509` leads to by default.
fn in_words(error: io::Error) -> io::Error {
    if !error.to_string().contains("CaUsedAsEndEntity") {
        return error;
    }
    let words = "invalid peer certificate: it says CA:TRUE, and a server's own must not (make it with CA:FALSE)";
    io::Error::new(error.kind(), words)
}

/// Returns the trusted roots: the operating system's, unless others are given. An operator adds their own CA there,
/// once for all programs.
fn trusted(roots: Option<&[Vec<u8>]>) -> Result<RootCertStore, TlsSetupError> {
    let mut store = RootCertStore::empty();
    match roots {
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsSetupError::NoRoots);
            }
        }
        Some(roots) => {
            for root in roots {
                let root = CertificateDer::from(root.as_slice());
                store.add(root).map_err(TlsSetupError::Root)?;
            }
        }
    }
    Ok(store)
}

fn tls_config(
    roots: &RootCertStore,
    own: Option<CertifiedKey>,
) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone());
    Ok(match own {
        None => config.with_no_client_auth(),
        Some(own) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
    })
}

/// Sends a request on its own connection, and reads the response.
pub(crate) async fn exchange<S>(
    socket: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Aborted with this set, also when the request is given up: a server that does not read would keep it for ever.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER);
    let body = body.collect().await.map_err(ClientError::Answer)?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::{io::ReadBuf, task::yield_now};

    use super::*;

    /// A connection to a server that neither reads nor answers.
    struct Stalled {
        _held: Arc<()>,
    }

    impl AsyncRead for Stalled {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Stalled {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_leaves_no_connection_behind() {
        let held = Arc::new(());
        let socket = Stalled {
            _held: Arc::clone(&held),
        };
        let exchanged = exchange(socket, Request::new(Full::new(Bytes::new())));
        let given_up = timeout(Duration::from_millis(10), exchanged).await;
        assert!(given_up.is_err());
        let closed = async {
            while Arc::strong_count(&held) > 1 {
                yield_now().await;
            }
        };
        let closed = timeout(Duration::from_secs(10), closed).await;
        assert!(closed.is_ok(), "the connection is still open");
    }

    #[test]
    fn a_url_says_where_the_server_is_and_whether_others_can_read_along() {
        for (text, host, port, base, exposed) in [
            ("https://tpm.example.com", "tpm.example.com", 443, "", false),
            (
                "https://[2001:db8::1]:8443/",
                "2001:db8::1",
                8443,
                "",
                false,
            ),
            (
                "http://127.0.0.1:8080/a/b/",
                "127.0.0.1",
                8080,
                "/a/b",
                false,
            ),
            ("http://[::1]", "::1", 80, "", false),
            ("http://LocalHost:81", "LocalHost", 81, "", false),
            (
                "http://localhost.example.com",
                "localhost.example.com",
                80,
                "",
                true,
            ),
            (
                "http://127.0.0.1.example.com",
                "127.0.0.1.example.com",
                80,
                "",
                true,
            ),
            ("http://10.0.0.1", "10.0.0.1", 80, "", true),
            ("HTTP://tpm", "tpm", 80, "", true),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(
                (&*url.host, url.port, &*url.base),
                (host, port, base),
                "{text}"
            );
            assert_eq!(url.is_exposed(), exposed, "{text}");
        }
        for text in [
            "",
            "tpm.example.com",
            "/api",
            "ftp://tpm.example.com",
            "https://",
            "https://:443",
            "https://ada@tpm.example.com",
            "https://tpm.example.com/?a=b",
            "https://tpm.example.com/#a",
            "https://tpm.example.com:",
            "https://tpm.example.com:65536",
            "https://tpm.example.com:+443",
            "https://tpm example.com",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
