//! Who may do what: operators' tokens, those of external issuers, and the pool that hashes every password.

mod hashing;
mod issuers;
mod operators;

pub use hashing::{HashingError, HashingPool, HashingSettings, PasswordVerdict};
pub use issuers::{Claims, ExternalTokenError, IssuerSettings, Issuers, KeyFileError, KeySet};
pub use operators::{
    Access, AccessError, BearerError, CreateTokenError, IssuedOperatorToken, NewOperatorToken,
    Operator, OperatorToken, RevokeTokenError,
};
