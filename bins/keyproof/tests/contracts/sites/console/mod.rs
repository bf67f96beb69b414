//! What an operator does at `/console`, and what keeps others out.

mod audit;
mod session;
mod start;
mod users;
