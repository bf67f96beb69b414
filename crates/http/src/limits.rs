//! What the stack bounds. Each has its key under `http.` in the configuration, but for those that are constants.

use std::time::Duration;

/// The longest request target that is served, in bytes: some clients send certificates in the query.
pub(crate) const MAX_TARGET_BYTES: usize = 16 * 1024;

/// The longest head that is read, in bytes, target included.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a closed connection is still read from, so that the refusal reaches a client that is busy sending.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How long a server that drains waits for what its clients may have sent already: the rest of a body, or what a refused
/// one is still sending, or the first request of a connection.
pub(crate) const DRAINING_GRACE: Duration = Duration::from_millis(250);

/// How long `/readyz` waits for the store.
pub(crate) const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The configured limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `http.max_body_bytes`: the longest request body.
    pub max_body_bytes: usize,
    /// `http.header_timeout_ms`: for a whole head (the wait between two requests included), and for a TLS handshake.
    pub header_timeout: Duration,
    /// `http.body_timeout_ms`: for a whole body, and for a write without progress.
    pub body_timeout: Duration,
    /// `http.handler_timeout_ms`: for an answer, reading the body not counted.
    pub handler_timeout: Duration,
    /// `http.max_connections`: over all listeners; more wait in the kernel's queue.
    pub max_connections: u32,
    /// `http.max_connections_per_address`: likewise from one IPv4 address or IPv6 /64; more are closed, and 0 is without a limit.
    pub max_connections_per_address: u32,
    /// `http.drain_timeout_ms`: for open requests when the server is told to stop.
    pub drain_timeout: Duration,
}
