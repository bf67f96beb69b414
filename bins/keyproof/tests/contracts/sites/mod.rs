//! The sites, as a browser without scripts sees them over a socket, with the clock in the test's hand.

mod account;
mod browser;
mod console;
mod failing;
mod front;
mod late;
mod safety;
