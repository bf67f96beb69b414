//! Keeps the server running after the walk, with a user who can sign in, and a token for the console and the
//! APIs.

use keyproof_service::accounts::{NewUser, Role};
use zeroize::Zeroizing;

use super::{Stage, StepError, Stopped, Walk, same, token};
use crate::interruption::Interruption;

/// The user who can sign in.
const NAME: &str = "demo";

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
