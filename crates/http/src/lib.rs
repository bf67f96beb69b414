//! The HTTP/1.1 stack of all applications, based on hyper. It bounds every wait and every size.
//!
//! It does not depend on use cases or a store. An [`Application`] answers requests, a [`RequestObserver`] counts them, and
//! a [`RequestTracer`] traces them. Randomness is a closure.
//!
//! # Checks of a request, in order
//!
//! Limits are fields of [`Limits`].
//!
//! | condition | answer | the connection |
//! |---|---|---|
//! | more than `max_connections` connections | waits in the kernel's queue until one ends | |
//! | more than `max_connections_per_address` from one IPv4 address or IPv6 /64; loopback and [`TrustedProxies`] are exempt | none | closed |
//! | a TLS handshake that fails or takes longer than `header_timeout` | none | closed |
//! | a head that is not HTTP/1.1 or 1.0, or is truncated | 400 | closed |
//! | a head that takes longer than `header_timeout` | 408; none if no byte of it arrived | closed |
//! | a head over 64 KiB or 100 fields | 431 | closed |
//! | a request target over 16 KiB | 414 | kept; closed if the head is over its limit too |
//! | a query with more than 256 parameters | 400 | kept |
//! | no `Host` (HTTP/1.1) or two; two `Authorization` or `Content-Type` | 400 | kept |
//! | a host in the target (absolute form) | counts as `Host` instead of the field, which must be there all the same | kept |
//! | two different `Content-Length` (equal ones count once), or one that is not a number | 400 | closed |
//! | `TRACE` | 405 | kept |
//! | a transfer coding other than `chunked`, before a final `chunked` | 501 | closed |
//! | `Transfer-Encoding` in HTTP/1.0, or not ending in `chunked` | 400 | closed |
//! | `Transfer-Encoding` and `Content-Length` | the chunks count (RFC 9112, section 6.3) | closed after the answer |
//! | a path that no application claims | 404 | kept |
//! | a body with a `Content-Length` over `max_body_bytes` | 413, without reading it | closed |
//! | *authentication, permission, existence, precondition: the application's answers* | | kept; closed if more of an unread body is to come |
//! | a path of more than 64 segments; only 65 are parsed | the application's 404: it has no such path | kept |
//! | a body longer than its route needs, with or without `Content-Length` | 413 | closed |
//! | a body that takes longer than `body_timeout` | 408 | closed |
//! | a malformed chunk, or a truncated body | 400; nothing was changed | closed |
//! | a handler that takes longer than `handler_timeout`, without the time to read the body | 503, with `Retry-After` for a read; a change continues to its end | kept |
//! | a handler that panics | 500 | kept |
//! | a client that does not read its answer for `body_timeout` | | closed |
//! | a draining server | requests that have arrived are answered, until `drain_timeout`, but none behind another one on its connection; 503 if the body is not complete; otherwise none. A new connection without a request closes after a quarter of a second, a kept one at once | closed |
//!
//! The application that claims the path determines the form of each answer, and may change its status. It also names the
//! header for the request id, which every answer carries. If there is no path, or no application claims it,
//! [`Served::unclaimed`] determines the form; without that, it is plain JSON. If a head cannot be parsed, the path in its
//! first line counts, if there is one. A listener's only application refuses all such heads.
//!
//! The body is read when the handler asks for it, so a request refused for lack of authentication costs no upload. Each
//! route states the body size it needs. If one use case checks existence, precondition and body together, the body is read
//! first: a body that is too long is then reported last, but the connection closes as if it had been reported first.
//!
//! When a connection ends while the client may still be sending, the server reads from it for two more seconds. Otherwise,
//! the kernel would reset the connection, and the client might not receive the answer.
//!
//! A handler that only reads is part of its connection's task and ends with it. While it runs, nothing is read from the
//! connection, since a client that has sent its end may still wait for the answer. A handler that changes state has its own
//! task. It runs to its end even if its client disconnects or its deadline passes. The drain waits for it, and it keeps its
//! connection's slot until then.

mod accept;
mod access_log;
mod answer;
mod application;
mod authorization;
mod body;
mod client_address;
mod connection;
mod deadline;
mod exchange;
mod health;
mod json_object;
mod limits;
mod observer;
mod path;
mod progress;
mod query;
mod refusal;
mod request_id;
mod response;
mod retry;
mod served;
mod slots;
mod socket;
mod stack;
mod tls;
mod trace;
mod wire;

pub use accept::Listener;
pub use application::{Application, BoxFuture};
pub use authorization::Authorization;
pub use client_address::TrustedProxies;
pub use exchange::Exchange;
pub use json_object::{JsonObject, UniqueMembers};
pub use limits::Limits;
pub use observer::{RequestLabels, RequestObserver};
pub use path::{PathError, RequestPath, SegmentFault};
pub use query::Query;
pub use refusal::StackRefusal;
pub use request_id::RequestId;
pub use response::{Response, json, json_as, no_content, plain_refusal, with_body, with_guard};
pub use retry::{retry_after, retry_soon, whole_seconds};
pub use served::Served;
pub use slots::Slots;
pub use socket::{Client, Presence};
pub use stack::{DRAINING, FillRandom, NO_ANSWER, Readiness, Stack, in_blocks};
pub use tls::{AuthorityNames, ClientAuthorities, ClientCertificate, ListenerTls, Tls};
pub use trace::{RequestTrace, RequestTracer};

use body::RequestBody;
