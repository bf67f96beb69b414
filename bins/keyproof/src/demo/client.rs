//! An HTTP client for the demo: one connection per request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::http_client::{ClientError, exchange};

/// A response.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The raw body.
    pub(super) body: Bytes,
    /// The body as text.
    pub(super) text: String,
    /// The body as JSON, or null.
    pub(super) json: Value,
}

/// A client of one server, with header fields of its own.
#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    fields: HeaderMap,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            fields: HeaderMap::new(),
        }
    }

    /// Returns the client with this entity tag as `If-Match`.
    pub(super) fn if_match(&self, etag: &str) -> Self {
        self.with(header::IF_MATCH, etag)
    }

    pub(super) fn authorized(&self, authorization: &str) -> Self {
        self.with(header::AUTHORIZATION, authorization)
    }

    fn with(&self, name: HeaderName, value: &str) -> Self {
        let mut client = self.clone();
        if let Ok(value) = HeaderValue::try_from(value) {
            client.fields.insert(name, value);
        }
        client
    }

    /// Returns a client of another server with the same header fields.
    pub(super) fn to(self, other: Self) -> Self {
        Self {
            fields: self.fields,
            ..other
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Sends a POST without a body.
    pub(super) async fn post_nothing(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::POST, path, None).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let socket = TcpStream::connect(self.address).await?;
        let answer = exchange(socket, request.body(Full::new(body))?).await?;
        Ok(Answer {
            status: answer.status.as_u16(),
            text: String::from_utf8_lossy(&answer.body).into_owned(),
            json: serde_json::from_slice(&answer.body).unwrap_or_default(),
            body: answer.body,
        })
    }
}
