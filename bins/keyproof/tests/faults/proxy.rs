//! A bad network in front of a database: it delays bytes, and cuts connections while they are transferred.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// Forwards connections to a port of this machine. All its connections end when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    network: Arc<Network>,
    accepting: AbortHandle,
}

struct Network {
    is_bad: AtomicBool,
    cuts: AtomicU64,
    rng: Mutex<Rng>,
}

/// What happens in one direction of a connection, after a number of bytes.
#[derive(Clone, Copy, Debug)]
struct Fault {
    after: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Both directions end, and what was not forwarded yet is lost.
    Cut,
    Delay(Duration),
}

impl Proxy {
    pub(crate) async fn before(port: u16, rng: Rng) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let network = Arc::new(Network {
            is_bad: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            rng: Mutex::new(rng),
        });
        let address = listener.local_addr().unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&network)));
        Self {
            port: address.port(),
            network,
            accepting: accepting.abort_handle(),
        }
    }

    /// Starts or stops the faults, also for existing connections.
    pub(crate) fn set_bad(&self, is_bad: bool) {
        self.network.is_bad.store(is_bad, Ordering::SeqCst);
    }

    /// Returns the number of connections that it has cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.network.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, network: Arc<Network>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let network = Arc::clone(&network);
        connections.spawn(async move {
            // A server that is not there has cut it already.
            if let Ok(server) = TcpStream::connect(server).await {
                carry(client, server, &network).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards until one direction ends or is cut. Then both are closed, whatever was in transit.
async fn carry(client: TcpStream, server: TcpStream, network: &Network) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pass(from_client, to_server, network) => {}
        _ = pass(from_server, to_client, network) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    network: &Network,
) -> io::Result<()> {
    let mut fault = network.draw();
    let mut buffer = [0; 8192];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while network.is_bad.load(Ordering::SeqCst) && rest.len() >= fault.after {
            let (passed, held) = rest.split_at(fault.after);
            to.write_all(passed).await?;
            match fault.kind {
                Kind::Cut => {
                    network.cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Kind::Delay(time) => sleep(time).await,
            }
            rest = held;
            fault = network.draw();
        }
        to.write_all(rest).await?;
        fault.after = fault.after.saturating_sub(rest.len()).max(1);
    }
}

impl Network {
    fn draw(&self) -> Fault {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Fault {
            after: rng.usize(1..8_000),
            kind: match rng.u8(0..3) {
                0 => Kind::Cut,
                _ => Kind::Delay(Duration::from_millis(rng.u64(1..30))),
            },
        }
    }
}
