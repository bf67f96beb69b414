//! The contract of GNU Taler's OTP devices, line by line, as a client sees it over a socket, with the clock controlled by the test,
//! and the commands' own use cases beside the server on the same store.

mod bodies;
mod config;
mod devices;
pub(crate) mod dialect;
mod instances;
mod locks;
mod login;
#[path = "../site/mod.rs"]
pub(crate) mod site;
mod transport;
