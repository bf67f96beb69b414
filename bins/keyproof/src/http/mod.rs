//! The HTTP/1.1 stack under all dialects.

mod accept;
mod access_log;
mod answer;
mod body;
mod client_address;
mod connection;
mod deadline;
mod exchange;
mod health;
mod limits;
mod path;
mod query;
mod refusal;
mod request_id;
mod response;
mod site;
mod stack;
mod tls;
mod wire;

pub(crate) use accept::Listener;
use body::RequestBody;
pub use client_address::TrustedProxies;
pub use exchange::Exchange;
pub use limits::Limits;
pub use path::{PathError, RequestPath, SegmentFault};
pub use query::Query;
pub use refusal::StackRefusal;
pub use request_id::RequestId;
pub use response::{Response, json};
pub(crate) use site::Site;
pub use stack::Readiness;
pub(crate) use stack::Stack;
pub(crate) use tls::Tls;
pub use tls::{TlsError, TlsSource};
