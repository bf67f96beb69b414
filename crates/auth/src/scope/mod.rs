//! What a token may be used for, and when one scope lies within another.

mod login;
mod named;
mod operator;

pub use login::{LoginGrant, LoginScope, Permission};
pub use named::Scopes;
pub use operator::{CertificatePath, OperatorScope, OperatorScopes, Reach, is_dns_label};
