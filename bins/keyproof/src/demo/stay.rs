//! Keeps the server running after the walk, with a user who can sign in, and a token for the console and the
//! APIs.

use keyproof_service::accounts::{NewUser, Role};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::{Stage, StageError, StepError, Stopped, Walk, same, token};

/// The user who can sign in.
const NAME: &str = "demo";

/// The signals that end the demo: SIGINT and SIGTERM.
pub(super) struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    /// Registers the signals. From now on, they no longer end the program by themselves.
    pub(super) fn listen() -> Result<Self, StageError> {
        let listen = |kind| signal(kind).map_err(StageError::Signals);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal.
    pub(super) async fn comes(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Prints how to sign in, and waits for Ctrl-C.
pub(super) async fn stay(
    walk: &mut Walk<'_>,
    stage: &Stage,
    interruption: &mut Interruption,
) -> Result<(), Stopped> {
    walk.part("The server runs until Ctrl-C");
    walk.step("stay", overview(stage)).await?;
    interruption.comes().await;
    Ok(())
}

async fn overview(stage: &Stage) -> Result<String, StepError> {
    let service = stage.console().await?;
    let (password, command) = (Zeroizing::new(stage.draw()), Stage::command_line());
    let new = NewUser {
        name: NAME.to_owned(),
        organisation: "Demo".to_owned(),
        role: Role::Administrator,
    };
    let added = service.accounts.add_user(&new, password.clone(), &command);
    same("adding the user", &Ok(()), &added.await)?;
    let token = token(&service, "admin", None).await?;
    let url = stage.url();
    Ok(format!(
        "\n\n  {url}/account  sign in as {NAME} with the password {}\n  {url}/console  sign in with the token {}\n  \
         {url}/         links to both\n  The token has the scope admin, and is for the APIs, too.",
        *password, *token
    ))
}
