//! The HTTP/1.1 stack under all applications: hyper, with every wait and every size bounded.
//!
//! It knows neither use cases nor a store: an [`Application`] answers, a [`RequestObserver`] counts, a [`RequestTracer`]
//! follows, and randomness is a closure.
//!
//! # What a request meets, in order
//!
//! Limits are fields of [`Limits`].
//!
//! | what is wrong | answer | the connection |
//! |---|---|---|
//! | more connections than `max_connections` | waits in the kernel's queue until one ends | |
//! | more from one IPv4 address or IPv6 /64 than `max_connections_per_address`; not on loopback, nor from [`TrustedProxies`] | none | closed |
//! | a TLS handshake slower than `header_timeout`, or failed | none | closed |
//! | a head that is not HTTP/1.1 or 1.0, or ends early | 400 | closed |
//! | a head slower than `header_timeout` | 408; none if no byte of it came | closed |
//! | a head over 64 KiB or 100 fields | 431 | closed |
//! | a request target over 16 KiB | 414 | kept; closed where the head is over its limit too |
//! | a query of more than 256 parameters | 400 | kept |
//! | no `Host` (HTTP/1.1) or two; two `Authorization` or `Content-Type` | 400 | kept |
//! | two different `Content-Length` (the same twice counts once), or one that is no number | 400 | closed |
//! | `TRACE` | 405 | kept |
//! | another transfer coding under `chunked` | 501 | closed |
//! | `Transfer-Encoding` in HTTP/1.0, or not ending in `chunked` | 400 | closed |
//! | `Transfer-Encoding` and `Content-Length` | by its chunks (RFC 9112, section 6.3) | closed after the answer |
//! | a path that no application claims | 404 | kept |
//! | a body announced longer than `max_body_bytes` | 413, nothing of it is read | closed |
//! | *authentication, permission, existence, precondition: the application's answers* | | kept |
//! | a path of more than 64 segments, of which 65 are kept | the application's 404: it has none | kept |
//! | a body longer than its route needs, announced or not | 413 | closed |
//! | a body slower than `body_timeout` | 408 | closed |
//! | a malformed chunk, or a body cut short | 400; nothing was changed | closed |
//! | a handler slower than `handler_timeout`, the body not counted | 503, of a read with `Retry-After`; a change goes on to its end | kept |
//! | a handler that panics | 500 | kept |
//! | a client that does not read its answer for `body_timeout` | | closed |
//! | a server that drains | what is being answered is, until `drain_timeout`; 503 to a body that is not there; else none, a connection without a request yet after a quarter of a second | closed |
//!
//! Each answer is in the shape of the application that claims the path (where there is no path, or nobody claims it, of
//! [`Served::unclaimed`], else plain JSON), which may give it another status, and carries a request id of its own in that
//! application's header. The path of a head that cannot be read is that in its first line, if there is one; a listener's only
//! application refuses all of those. The body is read when the handler asks for it, so a refusal for want of authentication
//! costs no upload; and each route says how long a body it needs. Where one use case judges existence, precondition and body,
//! the body is read first: it is told last, but the connection is closed as if it had been told. When a connection ends while
//! the client may still be sending, it is read from for two seconds more, for otherwise the kernel would reset it and the
//! client might never see the answer.
//!
//! A handler that only reads is part of its connection's task, and ends with it. One that changes state has a task of its own
//! and ends only by itself, whether its client hangs up or its deadline passes; the drain waits for it, and until then it
//! keeps its connection's slot.

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
pub use json_object::JsonObject;
pub use limits::Limits;
pub use observer::{RequestLabels, RequestObserver};
pub use path::{PathError, RequestPath, SegmentFault};
pub use query::Query;
pub use refusal::StackRefusal;
pub use request_id::RequestId;
pub use response::{Response, json, json_as, keeping, no_content, plain_refusal, with_body};
pub use retry::{retry_after, retry_soon, whole_seconds};
pub use served::Served;
pub use slots::Slots;
pub use socket::{Client, Presence};
pub use stack::{DRAINING, Draw, NO_ANSWER, Readiness, Stack, in_blocks};
pub use tls::{AuthorityNames, ClientAuthorities, ClientCertificate, ListenerTls, Tls};
pub use trace::{RequestTrace, RequestTracer};

use body::RequestBody;
