//! Who may do what: operators' tokens, those of external issuers, and the pool that hashes every password.

mod addresses;
mod applicant;
mod hashing;
mod issuers;
mod line;
mod operators;
mod remembered;

pub use addresses::AddressLimit;
pub use applicant::{Applicant, Client, Presence};
pub use hashing::{HashingError, HashingPool, HashingSettings, PasswordVerdict, Turn, UseCase};
pub use issuers::{Claims, ExternalTokenError, IssuerSettings, Issuers, KeyFileError, KeySet};
pub(crate) use remembered::{Remembered, digest_of};

pub use operators::{
    Access, AccessError, Along, BearerError, CreateTokenError, IssuedOperatorToken,
    NewOperatorToken, Operator, OperatorToken, RevokeTokenError,
};
