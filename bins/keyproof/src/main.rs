//! The `keyproof` program.
fn main() {}
