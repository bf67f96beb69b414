//! The sites, as a browser without scripts sees them over a socket, with the clock controlled by the test.

mod account;
mod browser;
pub(crate) mod console;
mod failing;
mod front;
mod late;
mod safety;
