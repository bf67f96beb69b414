//! What the stack bounds: by constants, and as whoever serves with it says.

use std::time::Duration;

/// The longest request target that is served, in bytes: some clients send certificates in the query.
pub(crate) const MAX_TARGET_BYTES: usize = 16 * 1024;

/// The most segments of a path that any application has. In memory each takes many times what a slash does.
pub(crate) const MAX_SEGMENTS: usize = 64;

/// The most parameters of a query that is served. In memory each takes many times what it does in the target.
pub(crate) const MAX_PARAMETERS: usize = 256;

/// The longest head that is read, in bytes, target included.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a closed connection is still read from, so that the refusal reaches a client that is busy sending.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How long a server that drains waits for what its clients may have sent already: the rest of a body, or what a refused
/// one is still sending, or the first request of a connection.
pub(crate) const DRAINING_GRACE: Duration = Duration::from_millis(250);

/// How long `/readyz` waits for the store.
pub(crate) const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The limits that are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body.
    pub max_body_bytes: usize,
    /// How long a whole head may take (the wait between two requests included), and a TLS handshake.
    pub header_timeout: Duration,
    /// How long a whole body may take, and a write without progress.
    pub body_timeout: Duration,
    /// How long an answer may take, reading the body not counted.
    pub handler_timeout: Duration,
    /// How many connections all listeners have at once; more wait in the kernel's queue.
    pub max_connections: u32,
    /// How many of them come from one IPv4 address or IPv6 /64; more are closed, and 0 is without a limit.
    pub max_connections_per_address: u32,
    /// How long open requests are waited for when the server is told to stop.
    pub drain_timeout: Duration,
}
