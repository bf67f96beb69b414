//! A port to listen on that stays ours while the server is down.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
};

/// Below the ports that the system hands to outgoing connections (32,768 and up): a client that keeps knocking while the
/// server is down may be given any of those as its own, this one too, and then talk to itself.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const TRIES: usize = 1_000;

/// A port of the loopback on which nobody listens at the moment.
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
