//! A station's requests to the server.

use data_encoding::BASE64;
use http::{HeaderValue, StatusCode};
use keyproof_tpm::{Name, TpmlPcrSelection};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Device;
use crate::{
    command::{Failure, output::printable},
    http_client::{Answer, ClientError, HttpClient},
};

const PREAUTH: &str = "/api/tpm/tpm/preauth";
const PROVISION: &str = "/api/tpm/tpm/provision";
const ACTIVATE: &str = "/api/tpm/tpm/activate";
const NONCE: &str = "/api/tpm/tpm/attest/nonce";
const ATTEST: &str = "/api/tpm/tpm/attest";

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    /// The response cannot be parsed.
    #[error("{path}: unexpected response: {problem}")]
    Answer { path: &'static str, problem: String },
    /// There is no response.
    #[error("{path}: {source}")]
    Client {
        path: &'static str,
        source: ClientError,
    },
    /// The server refuses the device.
    #[error(
        "the server refuses the device's name, serial, vendor or version; its audit trail has the details"
    )]
    DeviceRefused,
    /// The server refuses the API key.
    #[error("the server refuses the API key")]
    KeyRefused,
    /// The server refuses the request.
    #[error("{path}: {status}: {message}")]
    Refused {
        path: &'static str,
        status: StatusCode,
        message: String,
    },
}

/// The server, and the station's credentials for it.
pub(super) struct Server {
    client: HttpClient,
    authorization: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Preauth<'a> {
    api_key: &'a str,
    device: &'a Device,
}

/// A provision request. Its binary fields are Base64.
#[derive(Serialize)]
pub(super) struct Provision<'a> {
    pub(super) api_key: &'a str,
    pub(super) device: &'a Device,
    pub(super) ek_cert: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ek_chain: Option<String>,
    pub(super) ek_pub_key: String,
    pub(super) ak_pub_key: String,
    /// Sent because the category's template may differ from the key's.
    pub(super) ak_public: String,
    pub(super) csr: String,
}

/// The proof that the TPM has opened its credential.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Activation {
    pub(super) ticket: String,
    /// In Base64.
    pub(super) proof: String,
}

#[derive(Serialize)]
struct NonceRequest<'a> {
    namespace: &'a str,
    category: &'a str,
    ak_name: String,
    pcr_selection: String,
}

#[derive(Deserialize)]
struct NonceAnswer {
    nonce: String,
}

/// An attestation. Its binary fields are Base64.
#[derive(Serialize)]
pub(super) struct Attestation<'a> {
    pub(super) namespace: &'a str,
    pub(super) category: &'a str,
    pub(super) nonce: String,
    pub(super) ak_public: String,
    pub(super) attest: String,
    pub(super) signature: String,
    pub(super) pcr_values: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) activation: Option<Activation>,
}

impl Server {
    /// `token` is an operator's or station's. Without one, the client certificate authenticates the station.
    pub(super) fn new(client: HttpClient, token: Option<&str>) -> Result<Self, Failure> {
        let authorization = token.map(|token| {
            let header = Zeroizing::new(format!("APIToken {token}"));
            let mut value = HeaderValue::try_from(&**header)
                .map_err(|_| Failure::Usage("the token is not one line of ASCII".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, Failure>(value)
        });
        Ok(Self {
            client,
            authorization: authorization.transpose()?,
        })
    }

    /// Asks the server to check the API key and the device.
    pub(super) async fn preauth(&self, api_key: &str, device: &Device) -> Result<(), ServerError> {
        let answer: Value = self.ask(PREAUTH, &Preauth { api_key, device }).await?;
        match answer.get("status").and_then(Value::as_str) {
            Some("PREAUTH_RSP_SUCCESS") => Ok(()),
            Some("PREAUTH_RSP_INVALID_API_KEY") => Err(ServerError::KeyRefused),
            Some("PREAUTH_RSP_INVALID_DEVICE_INFO") => Err(ServerError::DeviceRefused),
            _ => Err(ServerError::Answer {
                path: PREAUTH,
                problem: "unknown status".to_owned(),
            }),
        }
    }

    pub(super) async fn provision<T: for<'de> Deserialize<'de>>(
        &self,
        request: &Provision<'_>,
    ) -> Result<T, ServerError> {
        self.ask(PROVISION, request).await
    }

    pub(super) async fn activate(&self, activation: &Activation) -> Result<(), ServerError> {
        self.send(ACTIVATE, activation).await.map(drop)
    }

    /// Requests a nonce for a quote of these registers by the key with this Name.
    pub(super) async fn nonce(
        &self,
        (namespace, category): (&str, &str),
        ak: &Name,
        selection: &TpmlPcrSelection,
    ) -> Result<Vec<u8>, ServerError> {
        let request = NonceRequest {
            namespace,
            category,
            ak_name: BASE64.encode(ak.as_bytes()),
            pcr_selection: selection.to_string(),
        };
        let NonceAnswer { nonce } = self.ask(NONCE, &request).await?;
        BASE64
            .decode(nonce.as_bytes())
            .map_err(|error| ServerError::Answer {
                path: NONCE,
                problem: format!("nonce: {error}"),
            })
    }

    /// Sends an attestation, and returns the server's report.
    pub(super) async fn attest(&self, attestation: &Attestation<'_>) -> Result<Value, ServerError> {
        self.ask(ATTEST, attestation).await
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<T, ServerError> {
        let answer = self.send(path, body).await?;
        serde_json::from_slice(&answer.body).map_err(|error| ServerError::Answer {
            path,
            problem: error.to_string(),
        })
    }

    async fn send(&self, path: &'static str, body: &impl Serialize) -> Result<Answer, ServerError> {
        let answer = self
            .client
            .post(path, self.authorization.as_ref(), body)
            .await
            .map_err(|source| ServerError::Client { path, source })?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(ServerError::Refused {
            path,
            status: answer.status,
            message: message(&answer.body),
        })
    }
}

/// Returns the message in an error's body, escaped for a terminal.
fn message(body: &[u8]) -> String {
    const LONGEST: usize = 500;
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = json.get("message").and_then(Value::as_str);
    let message = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    printable(&message.chars().take(LONGEST).collect::<String>())
}
