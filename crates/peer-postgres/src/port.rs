//! Allocates a port that stays ours while the server is stopped.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
};

/// Below the range for outgoing connections (32,768 and up). A client that retries while the server is stopped may get any port of
/// that range as its own, even this one, and then connect to itself.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const TRIES: usize = 1_000;

/// Returns a loopback port on which nobody listens at the moment.
pub(crate) fn free() -> io::Result<u16> {
    let mut random = fs::File::open("/dev/urandom")?;
    for _ in 0..TRIES {
        let mut bytes = [0; 2];
        io::Read::read_exact(&mut random, &mut bytes)?;
        let port = u16::from_ne_bytes(bytes);
        if RANGE.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free"))
}
