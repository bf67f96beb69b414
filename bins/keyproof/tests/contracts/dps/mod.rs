//! The contract of Azure DPS's certificates, line by line, as a client sees it over a socket, with the clock controlled by the
//! test.

mod access;
mod certificates;
pub(crate) mod dialect;
mod possession;
mod races;
mod requests;
#[path = "../site/mod.rs"]
pub(crate) mod site;
