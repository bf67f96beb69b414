//! The contract of emnify's logins and second factors, line by line, as a client sees it over a socket, with the clock controlled
//! by the test, and the commands' own use cases beside the server on the same store.

mod configured;
pub(crate) mod dialect;
mod events;
mod forgeries;
mod generated_client;
mod keys;
mod limits;
mod locks;
mod login;
mod organisations;
mod races;
mod refusals;
mod rotation;
mod sessions;
#[path = "../site/mod.rs"]
pub(crate) mod site;
mod tokens;
mod users;
