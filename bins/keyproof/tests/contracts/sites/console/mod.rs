//! What an operator does at `/console`, and what keeps others out.

mod audit;
mod certificates;
pub(super) mod operator;
mod session;
mod start;
mod tills;
mod tpms;
mod users;
