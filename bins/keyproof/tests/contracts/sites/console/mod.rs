//! What an operator does at `/console`, and what keeps others out.

mod session;
