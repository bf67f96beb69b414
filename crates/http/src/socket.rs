//! A connection's socket. It can tell whether the client is still connected while hyper owns the socket.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{Shutdown, shutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::progress::Progress;

/// The stream that hyper or the TLS session reads from and writes to.
pub(crate) struct Socket {
    /// A separate half: after a read that did not fill its buffer, it waits for readiness before the next system call.
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

/// The client of a connection. It does not keep the socket open.
#[derive(Clone)]
pub(crate) struct Peer(Weak<OwnedWriteHalf>);

/// The client of a request. Clones belong to the same request.
#[derive(Clone)]
pub struct Client {
    peer: Peer,
    progress: Arc<Progress>,
}

/// Whether a client still waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is no sign that it does not.
    Here,
    /// It will send no more. Either it has closed its connection, or only its sending side. These cannot be distinguished
    /// without sending to it.
    SendsNoMore,
    /// It is gone, or the request was answered without its handler, for example because the deadline passed.
    Gone,
}

impl Client {
    pub(crate) const fn new(peer: Peer, progress: Arc<Progress>) -> Self {
        Self { peer, progress }
    }

    /// Returns whether the client still waits, as far as is known. Never blocks.
    pub fn presence(&self) -> Presence {
        if self.progress.is_answered() {
            return Presence::Gone;
        }
        self.peer.presence()
    }
}

/// The event for a client that has shut down its sending side. Not every system reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SENDS_NO_MORE: PollFlags = PollFlags::RDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SENDS_NO_MORE: PollFlags = PollFlags::empty();

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            read,
            write: Arc::new(write),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.write))
    }

    fn stream(&self) -> &TcpStream {
        (*self.write).as_ref()
    }
}

impl Peer {
    fn presence(&self) -> Presence {
        let Some(half) = self.0.upgrade() else {
            return Presence::Gone;
        };
        let stream: &TcpStream = (*half).as_ref();
        let mut asked = [PollFd::new(stream, SENDS_NO_MORE)];
        let at_once = Timespec::default();
        if poll(&mut asked, Some(&at_once)).is_err() {
            return Presence::Here;
        }
        let [answered] = asked;
        let found = answered.revents();
        // The connection was reset, or shut down in both directions.
        if found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            Presence::Gone
        } else if found.intersects(SENDS_NO_MORE) {
            Presence::SendsNoMore
        } else {
            Presence::Here
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream().poll_write_ready(cx))?;
            match self.stream().try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Does nothing: written data is already in the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.stream(), Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    async fn connected() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        (client.unwrap(), Socket::new(server))
    }

    async fn becomes(peer: &Peer, presence: Presence) {
        while peer.presence() != presence {
            tokio::task::yield_now().await;
        }
    }

    /// Sends bytes and their end one way.
    async fn pass(from: &mut (impl AsyncWrite + Unpin), to: &mut (impl AsyncRead + Unpin)) {
        let sent = vec![7; 1 << 20];
        let mut read = Vec::new();
        let (written, ended) = tokio::join!(
            async {
                from.write_all(&sent).await?;
                from.shutdown().await
            },
            to.read_to_end(&mut read)
        );
        written.unwrap();
        ended.unwrap();
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_end() {
        let (mut client, mut socket) = connected().await;
        pass(&mut client, &mut socket).await;
        pass(&mut socket, &mut client).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_behind_what_it_sent() {
        let (mut client, socket) = connected().await;
        let peer = socket.peer();
        client.write_all(b"unread").await.unwrap();
        assert_eq!(peer.presence(), Presence::Here);
        drop(client);
        becomes(&peer, Presence::SendsNoMore).await;
        drop(socket);
        assert_eq!(peer.presence(), Presence::Gone);
    }

    #[tokio::test]
    async fn a_reset_is_an_end() {
        let (client, mut socket) = connected().await;
        let peer = socket.peer();
        socket.write_all(b"unread").await.unwrap();
        client.readable().await.unwrap();
        // Closed with unread bytes.
        drop(client);
        becomes(&peer, Presence::Gone).await;
    }
}
