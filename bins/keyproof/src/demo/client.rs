//! An HTTP client for the demo: one connection per request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
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

/// A client of one server, with an optional `Authorization` and `If-Match`.
#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    authorization: Option<HeaderValue>,
    if_match: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            authorization: None,
            if_match: None,
        }
    }

    /// Returns the client with this entity tag as `If-Match`.
    pub(super) fn if_match(&self, etag: &str) -> Self {
        Self {
            if_match: HeaderValue::try_from(etag).ok(),
            ..self.clone()
        }
    }

    pub(super) fn authorized(&self, authorization: &str) -> Self {
        let authorization = HeaderValue::try_from(authorization).ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self {
            authorization,
            ..self.clone()
        }
    }

    /// Returns a client of another server with the same `Authorization`.
    pub(super) fn to(self, other: Self) -> Self {
        Self {
            authorization: self.authorization,
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
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(if_match) = &self.if_match {
            request = request.header(header::IF_MATCH, if_match);
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
