//! The accept loop of one listener.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    ClientCertificate, ListenerTls, TrustedProxies,
    answer::Origin,
    connection,
    observer::OpenConnection,
    served::Served,
    slots::{Slot, Slots},
    socket::Socket,
    stack::Stack,
};

/// The wait after the system refuses a connection for lack of resources.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A bound listener and the applications that it serves.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// The TLS configuration, if this listener uses TLS.
    pub tls: Option<Arc<ListenerTls>>,
    /// The applications.
    pub served: Arc<Served>,
}

impl Listener {
    /// Accepts connections until the server drains. It takes a slot *before* `accept`, so that connections beyond the limit
    /// wait in the kernel's queue at no cost. The limit per address can only be checked after `accept`; a connection beyond
    /// it is closed.
    pub async fn serve(self, stack: Arc<Stack>, slots: Slots) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stack.drained() => return,
                accepted = self.accept(&stack, &slots) => accepted,
            };
            match accepted {
                Some((socket, peer, slot)) => {
                    let (tls, served, stack) = (
                        self.tls.clone(),
                        Arc::clone(&self.served),
                        Arc::clone(&stack),
                    );
                    tokio::spawn(open(socket, peer, tls, stack, served, slot));
                }
                // The slots, and so the server, are gone.
                None => return,
            }
        }
    }

    async fn accept(&self, stack: &Stack, slots: &Slots) -> Option<(TcpStream, SocketAddr, Slot)> {
        let mut permit = slots.permit().await?;
        loop {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    let is_exempt = is_exempt(peer.ip(), &stack.proxies);
                    match slots.slot(permit, peer.ip(), is_exempt) {
                        Ok(slot) => return Some((socket, peer, slot)),
                        Err(free) => permit = free,
                    }
                }
                Err(error) if is_connection_error(&error) => debug!(%error, "lost a connection"),
                Err(error) => {
                    // Descriptors or memory are exhausted, so an immediate retry would only spin.
                    warn!(%error, "cannot accept connections");
                    sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// Returns whether an address is exempt from the limit per address. A proxy has many clients behind it.
fn is_exempt(peer: IpAddr, proxies: &TrustedProxies) -> bool {
    let address = peer.to_canonical();
    address.is_loopback() || proxies.trusts(address)
}

/// Returns whether the error concerns only the connection being accepted.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

async fn open(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ListenerTls>>,
    stack: Arc<Stack>,
    served: Arc<Served>,
    slot: Slot,
) {
    let _open = OpenConnection::count(&stack.observer);
    // Answers are written whole, so waiting for more data would only delay them.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let socket = Socket::new(socket);
    let client = socket.peer();
    let is_tls = tls.is_some();
    let origin = |certificate| {
        Arc::new(Origin {
            stack: Arc::clone(&stack),
            served,
            peer: peer.ip(),
            client,
            is_tls,
            certificate,
            turn: Arc::default(),
            slot: Arc::new(slot),
        })
    };
    // Separate futures for TLS and plain connections: a common one would have the size of the larger one for its whole
    // life.
    let Some(tls) = tls else {
        return Box::pin(connection::serve(socket, origin(None))).await;
    };
    let handshake = async {
        let acceptor = tls.acceptor().await.map_err(io::Error::other)?;
        acceptor.accept(socket).await
    };
    let handshake = timeout(stack.limits.header_timeout, handshake);
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = stack.drain_grace_passed() => return debug!(%peer, "a TLS handshake was cut short by the shutdown"),
    };
    match shaken {
        Ok(Ok(session)) => {
            let certificate = ClientCertificate::of(session.get_ref().1);
            let origin = origin(certificate);
            Box::pin(connection::serve(session, origin)).await;
        }
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "TLS handshake took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_proxies_alone_are_exempt() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        for (peer, exempt) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_exempt(peer.parse().unwrap(), &proxies), exempt, "{peer}");
        }
    }
}
