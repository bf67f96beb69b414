//! `keyproof demo`: uses each contract once, over real HTTP against the real server.
//!
//! There is one file per contract, with its domain's name. A walk prints what it does and what that proves. The first step that
//! fails ends the demo.

mod accounts;
mod certificates;
mod client;
mod device_identity;
mod otp_devices;
mod software_tpm;
mod stage;
mod stay;

use std::{fmt::Display, time::Duration};

use http::StatusCode;
use keyproof_auth::operator::OperatorScopes;
use keyproof_otp::OtpError;
use keyproof_service::{Service, access::NewOperatorToken};
use keyproof_tpm::TpmError;
use qrcode::types::QrError;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{http_client::ClientError, interruption::Interruption};
use stage::{Stage, StageError};

/// The demo's results.
#[derive(Serialize)]
pub struct Findings {
    steps: Vec<Step>,
    passed: bool,
}

/// One step of a walk.
#[derive(Serialize)]
struct Step {
    name: &'static str,
    passed: bool,
    detail: String,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// The demo's own CA could not be created.
    #[error("no CA: {0}")]
    Ca(#[from] rcgen::Error),
    /// The demo's own leaf could not be created.
    #[error("no leaf: {0}")]
    Leaf(#[from] keyproof_x509::X509Error),
    /// The request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// SIGINT or SIGTERM came before the end of the walks.
    #[error("a signal ended the demo before its last step")]
    Interrupted,
    /// One of the demo's own keys or amounts is wrong.
    #[error(transparent)]
    Otp(#[from] OtpError),
    /// A value differs from the expected one.
    #[error("{what}: expected {expected}, found {found}")]
    Otherwise {
        what: &'static str,
        expected: String,
        found: String,
    },
    /// A text does not fit a QR code.
    #[error("no QR code: {0}")]
    Qr(#[from] QrError),
    /// The server or its store failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Data of the software TPM or of the server is not a valid TPM structure.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

/// A step has failed and was reported.
struct Stopped;

/// The steps so far, each printed when it is done.
struct Walk<'a> {
    steps: Vec<Step>,
    tell: &'a mut dyn FnMut(&str),
}

impl Walk<'_> {
    /// Begins a part of the walk.
    fn part(&mut self, title: &str) {
        (self.tell)(&format!("\n{title}"));
    }

    /// Prints a detail of the previous step. It is not in the JSON.
    fn show(&mut self, drawing: &str) {
        (self.tell)(drawing);
    }

    /// Runs a step, which returns a sentence about what it proves.
    async fn step(
        &mut self,
        name: &'static str,
        doing: impl Future<Output = Result<String, StepError>>,
    ) -> Result<(), Stopped> {
        let (passed, detail) = match doing.await {
            Ok(proven) => (true, proven),
            Err(error) => (false, error.to_string()),
        };
        let mark = if passed { "ok    " } else { "FAILED" };
        (self.tell)(&format!("  {mark}  {name}: {detail}"));
        self.steps.push(Step {
            name,
            passed,
            detail,
        });
        if passed { Ok(()) } else { Err(Stopped) }
    }
}

/// Runs all walks, printing each step when it is done; with `stay`, keeps the server running afterwards.
pub async fn run(tell: &mut dyn FnMut(&str), stay: bool) -> Findings {
    let mut walk = Walk {
        steps: Vec::new(),
        tell,
    };
    let outcome = walk_through(&mut walk, stay).await;
    Findings {
        passed: outcome.is_ok(),
        steps: walk.steps,
    }
}

async fn walk_through(walk: &mut Walk<'_>, stay: bool) -> Result<(), Stopped> {
    let (mut stage, mut interruption) = (None, None);
    walk.part("keyproof serve, on a store in a temporary folder");
    walk.step("serve", async {
        interruption = Some(Interruption::listen().map_err(StageError::Signals)?);
        let set = Stage::set().await?;
        let url = set.url();
        stage = Some(set);
        Ok(format!("listening on {url}"))
    })
    .await?;
    let (mut stage, mut interruption) = stage.zip(interruption).ok_or(Stopped)?;
    let mut outcome = tokio::select! {
        outcome = walks(walk, &mut stage) => outcome,
        _ = interruption.comes() => {
            walk.step("interruption", async { Err(StepError::Interrupted) }).await
        }
    };
    if stay && outcome.is_ok() {
        outcome = stay::stay(walk, &stage, &mut interruption).await;
    }
    // In any case, everything is removed.
    stage.clear().await;
    outcome
}

async fn walks(walk: &mut Walk<'_>, stage: &mut Stage) -> Result<(), Stopped> {
    otp_devices::walk(walk, stage).await?;
    certificates::walk(walk, stage).await?;
    device_identity::walk(walk, stage).await?;
    accounts::walk(walk, stage).await
}

impl Findings {
    /// Whether every step passed.
    pub fn passed(&self) -> bool {
        self.passed
    }
}

/// Does what `keyproof token create` does, and returns the token.
async fn token(
    service: &Service,
    scope: &str,
    lifetime: Option<Duration>,
) -> Result<Zeroizing<String>, StepError> {
    let new = NewOperatorToken {
        subject: "demo".to_owned(),
        scopes: OperatorScopes::parse([scope]).map_err(otherwise("the scope"))?,
        lifetime,
    };
    let issued = service.access.create(new, &Stage::command_line()).await;
    Ok(issued.map_err(otherwise("the token"))?.text)
}

/// Creates the error for a missing or invalid value.
fn otherwise<E: Display>(what: &'static str) -> impl FnOnce(E) -> StepError {
    move |error| StepError::Otherwise {
        what,
        expected: "one".to_owned(),
        found: error.to_string(),
    }
}

/// Fails unless the value is the expected one.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), StepError> {
    if expected == found {
        return Ok(());
    }
    Err(StepError::Otherwise {
        what,
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}

/// Fails unless the status is the expected one.
fn expect(what: &'static str, expected: StatusCode, found: u16) -> Result<(), StepError> {
    same(what, &expected.as_u16(), &found)
}

/// Returns a member of a response, or null.
fn member<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// Returns a text member of a response, or an empty text.
fn text(object: &Value, name: &str) -> String {
    member(object, name).as_str().unwrap_or_default().to_owned()
}
