//! Who may do what: operators' tokens, and the pool that hashes every password.

mod hashing;
mod operators;

pub use hashing::{HashingError, HashingPool, HashingSettings, PasswordVerdict};
pub use operators::{
    Access, AccessError, CreateTokenError, IssuedOperatorToken, NewOperatorToken, Operator,
    OperatorToken, RevokeTokenError,
};
