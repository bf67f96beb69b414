//! Sockets that are open before the server starts (sd_listen_fds(3)). The supervisor keeps them open over a restart,
//! and connections wait in them for the next server.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

use listenfd::ListenFd;

/// The name of the main listener's sockets, of which there may be several.
pub(crate) const MAIN: &str = "http";

/// The name of the metrics' listener.
pub(crate) const METRICS: &str = "metrics";

/// The names of a socket without a name: `keyproof.socket` in systemd, and the others in sd_listen_fds(3).
const NAMELESS: [&str; 3] = ["", "keyproof.socket", "unknown"];

/// Sockets that were passed to this process, until listeners take them.
#[derive(Debug, Default)]
pub struct Sockets(Mutex<Vec<Socket>>);

#[derive(Debug)]
struct Socket {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// A passed socket is not a TCP listener.
#[derive(Debug, thiserror::Error)]
#[error("the socket {name} that was passed to this process is no TCP listener: {source}")]
pub struct SocketError {
    /// Its name or number.
    pub name: String,
    /// The cause.
    pub source: io::Error,
}

impl Sockets {
    /// Returns the sockets that were passed to this process, by name (`FileDescriptorName=`).
    ///
    /// # Errors
    ///
    /// If one is not a TCP listener.
    pub fn inherited() -> Result<Self, SocketError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let name = match names.next().unwrap_or_default() {
                nameless if NAMELESS.contains(&nameless) => MAIN,
                name => name,
            };
            let refused = |source| SocketError {
                name: name.to_owned(),
                source,
            };
            let taken = passed.take_tcp_listener(at).map_err(refused)?;
            let Some(socket) = taken else { continue };
            sockets.push(Socket {
                name: name.to_owned(),
                address: socket.local_addr().map_err(refused)?,
                socket,
            });
        }
        Ok(Self(Mutex::new(sockets)))
    }

    /// Returns the names and addresses of the sockets that are left.
    pub fn named(&self) -> Vec<(String, SocketAddr)> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = sockets.iter();
        named
            .map(|socket| (socket.name.clone(), socket.address))
            .collect()
    }

    /// Takes the socket with this address, ready for an async runtime.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sockets
            .iter()
            .position(|socket| socket.address == address)?;
        let socket = sockets.swap_remove(at).socket;
        // A blocking socket would stall a worker at each accept.
        socket.set_nonblocking(true).ok().map(|()| socket)
    }
}
