//! Authentication and authorisation: operators' tokens and browser sessions, tokens of external issuers, and the pool that hashes
//! all passwords.

mod addresses;
mod applicant;
mod hashing;
mod issuers;
mod line;
mod operator_sessions;
mod operators;
mod remembered;
mod shown_password;

pub use addresses::AddressLimit;
pub use applicant::{Applicant, Presence};
pub use hashing::{HashingError, HashingPool, HashingSettings, PasswordVerdict, Turn, UseCase};
pub use issuers::{Claims, ExternalTokenError, IssuerSettings, Issuers, KeyFileError, KeySet};
pub(crate) use remembered::{Remembered, digest_of};
pub(crate) use shown_password::ShownPassword;

pub(crate) use operators::ReadAlong;

pub use operator_sessions::{NoSession, OperatorSession, SignInError};
pub use operators::{
    Access, Along, BearerError, CreateTokenError, IssuedOperatorToken, NewOperatorToken,
    NoOperator, Operator, OperatorToken, OutOfScope, RevokeTokenError,
};
