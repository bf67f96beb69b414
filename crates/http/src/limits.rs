//! The limits of the stack: constants, and those that the server chooses.

use std::time::Duration;

/// The maximum length of a request target, in bytes. Some clients send certificates in the query.
pub(crate) const MAX_TARGET_BYTES: usize = 16 * 1024;

/// The maximum number of path segments in any application. In memory, a segment takes many times the size of a slash.
pub(crate) const MAX_SEGMENTS: usize = 64;

/// The maximum number of query parameters. In memory, each takes many times its size in the target.
pub(crate) const MAX_PARAMETERS: usize = 256;

/// The maximum length of a request head, in bytes, including the target.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to read from a closed connection, so that the answer reaches a client that is still sending.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How long a draining server waits for data that clients may already have sent: the rest of a body, refused data, or the
/// first request of a connection.
pub(crate) const DRAINING_GRACE: Duration = Duration::from_millis(250);

/// How long `/readyz` waits for the store.
pub(crate) const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The configurable limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum length of a request body, in bytes.
    pub max_body_bytes: usize,
    /// The maximum time for a whole head, including the wait between two requests, and for a TLS handshake.
    pub header_timeout: Duration,
    /// The maximum time for a whole body, and for a write without progress.
    pub body_timeout: Duration,
    /// The maximum time for a handler, excluding the time to read the body.
    pub handler_timeout: Duration,
    /// The maximum number of connections of all listeners together. More connections wait in the kernel's queue.
    pub max_connections: u32,
    /// The maximum number of connections from one IPv4 address or IPv6 /64. More connections are closed; 0 means no limit.
    pub max_connections_per_address: u32,
    /// How long to wait for open requests when the server stops.
    pub drain_timeout: Duration,
}
