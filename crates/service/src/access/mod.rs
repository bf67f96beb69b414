//! Authentication and authorisation: operators' tokens and browser sessions, tokens of external issuers, and the pool that hashes
//! all passwords.

mod addresses;
mod fair_queue;
mod hashing;
mod issuers;
mod operator_sessions;
mod operators;
mod presented_password;
mod requester;
mod token_cache;

pub use addresses::AddressLimit;
pub use hashing::{HashingError, HashingPool, HashingSettings, PasswordVerdict, Turn, UseCase};
pub use issuers::{Claims, ExternalTokenError, IssuerSettings, Issuers, KeyFileError, KeySet};
pub(crate) use presented_password::PresentedPassword;
pub use requester::{Presence, Requester};
pub(crate) use token_cache::{VerifiedTokenCache, digest_of};

pub(crate) use operators::Prefetched;

pub use operator_sessions::{NoSession, OperatorSession, SignInError};
pub use operators::{
    Access, BearerError, CreateTokenError, IssuedOperatorToken, NewOperatorToken, NoOperator,
    Operator, OperatorToken, OutOfScope, Prefetch, RevokeTokenError,
};
