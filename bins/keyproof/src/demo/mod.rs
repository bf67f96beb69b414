//! `keyproof demo`: each contract walked through once, over real HTTP against the real server.
//!
//! One file a contract, under its domain's name. A walk prints what it does and what that proves; its first failing step ends the demo.

mod accounts;
mod certificates;
mod client;
mod device_identity;
mod otp_devices;
mod software_tpm;
mod stage;
mod stay;

use http::StatusCode;
use keyproof_otp::OtpError;
use keyproof_tpm::TpmError;
use qrcode::types::QrError;
use serde::Serialize;
use serde_json::Value;

use crate::http_client::ClientError;
use stage::{Stage, StageError};
use stay::Interruption;

/// What the demo found out.
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
    /// A CA of the demo's own was not made.
    #[error("no CA: {0}")]
    Ca(#[from] rcgen::Error),
    /// A leaf of the demo's own was not made.
    #[error("no leaf: {0}")]
    Leaf(#[from] keyproof_x509::X509Error),
    /// The request was not answered as HTTP has it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A key or an amount of the demo's own is wrong.
    #[error(transparent)]
    Otp(#[from] OtpError),
    /// It came otherwise than it must.
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
    /// What the software TPM or the server wrote is not what a TPM writes.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

/// A step has failed, and said so.
struct Stopped;

/// The steps so far, each told as it is done.
struct Walk<'a> {
    steps: Vec<Step>,
    tell: &'a mut dyn FnMut(&str),
}

impl Walk<'_> {
    /// Begins a part of the walk.
    fn part(&mut self, title: &str) {
        (self.tell)(&format!("\n{title}"));
    }

    /// Shows what belongs to the step before, to people alone.
    fn show(&mut self, drawing: &str) {
        (self.tell)(drawing);
    }

    /// Does a step: it passes with a sentence that says what it proves.
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

/// Walks through everything, telling each step as it is done; and leaves the server open to be looked at, if it is to stay.
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
        interruption = Some(Interruption::listen()?);
        let set = Stage::set().await?;
        let url = set.url();
        stage = Some(set);
        Ok(format!("listening on {url}"))
    })
    .await?;
    let (mut stage, mut interruption) = stage.zip(interruption).ok_or(Stopped)?;
    let mut outcome = tokio::select! {
        outcome = walks(walk, &mut stage) => outcome,
        () = interruption.comes() => Err(Stopped),
    };
    if stay && outcome.is_ok() {
        outcome = stay::stay(walk, &stage, &mut interruption).await;
    }
    // However it ends, nothing of it is left.
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

/// Compares what came with what must come.
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

/// Compares the status that came with the one that must come.
fn expect(what: &'static str, expected: StatusCode, found: u16) -> Result<(), StepError> {
    same(what, &expected.as_u16(), &found)
}

/// A member of an answer, or null.
fn member<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// A member of an answer that is a text, or an empty one.
fn text(object: &Value, name: &str) -> String {
    member(object, name).as_str().unwrap_or_default().to_owned()
}
