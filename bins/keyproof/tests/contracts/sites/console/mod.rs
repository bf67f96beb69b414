//! An operator's actions at `/console`, and the protection against others.

mod audit;
mod certificates;
pub(crate) mod operator;
mod session;
mod start;
mod tills;
mod tpms;
mod users;
