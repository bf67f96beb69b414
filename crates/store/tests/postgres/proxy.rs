//! A proxy in front of the server that loses data on request.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

const WITHOUT_LIMIT: i64 = i64::MAX;

pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: AtomicU16,
    /// How many more bytes pass to the server, and back, before all connections are cut.
    up: AtomicI64,
    down: AtomicI64,
    /// Counts the cuts; every connection ends when it changes.
    cuts: watch::Sender<u64>,
    /// Whether data over the limit is dropped, instead of ending the connection.
    is_silent: AtomicBool,
    /// A word whose last letter is changed once on its way to the server.
    misspelt: Mutex<Option<&'static str>>,
    /// Whether the completion of the next statement is replaced by a cancellation.
    is_cancelled: AtomicBool,
    /// Whether new connections are refused.
    is_closed: AtomicBool,
}

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server: server.into(),
            up: WITHOUT_LIMIT.into(),
            down: WITHOUT_LIMIT.into(),
            cuts: watch::Sender::new(0),
            is_silent: false.into(),
            misspelt: Mutex::default(),
            is_cancelled: false.into(),
            is_closed: false.into(),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, shared.clone()));
            }
        });
        Self { port, state }
    }

    /// The URL, with the proxy's port instead of the server's.
    pub(crate) fn url(&self, url: &str) -> String {
        let server = self.state.server.load(Ordering::SeqCst);
        url.replace(&format!(":{server}/"), &format!(":{}/", self.port))
    }

    /// Cuts every connection after this many more bytes to the server, and back. New ones pass unhindered.
    pub(crate) fn cut_after(&self, up: Option<i64>, down: Option<i64>) {
        self.limit(up, down, false);
    }

    /// Stops all data after this many more bytes, although the connections stay open.
    pub(crate) fn fall_silent_after(&self, up: Option<i64>, down: Option<i64>) {
        self.limit(up, down, true);
    }

    /// Misspells this word when it is next sent to the server, which then rejects the statement.
    pub(crate) fn misspell(&self, word: &'static str) {
        *self.state.misspelt.lock().unwrap() = Some(word);
    }

    /// Lets the next selecting statement run, and answers as if it had been cancelled.
    pub(crate) fn answer_cancelled(&self) {
        self.state.is_cancelled.store(true, Ordering::SeqCst);
    }

    /// Refuses new connections, and keeps the existing ones.
    pub(crate) fn close(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.state.cuts.receiver_count()
    }

    /// Cuts every connection now, and lets new ones pass.
    pub(crate) fn cut(&self) {
        self.state.cut();
    }

    fn limit(&self, up: Option<i64>, down: Option<i64>, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::SeqCst);
        self.state
            .up
            .store(up.unwrap_or(WITHOUT_LIMIT), Ordering::SeqCst);
        self.state
            .down
            .store(down.unwrap_or(WITHOUT_LIMIT), Ordering::SeqCst);
    }
}

impl State {
    fn spell(&self, bytes: &mut [u8]) {
        let mut misspelt = self.misspelt.lock().unwrap();
        let Some(word) = *misspelt else { return };
        let found = bytes
            .windows(word.len())
            .position(|at| at == word.as_bytes());
        if let Some(at) = found {
            bytes[at + word.len() - 1] = b'_';
            *misspelt = None;
        }
    }

    /// Replaces the completion of a statement by an error, in data from the server.
    fn cancel(&self, bytes: &mut Vec<u8>) {
        const COMPLETION: &[u8] = b"C\0\0\0\x0dSELECT 1\0";
        const FIELDS: &[u8] = b"SERROR\0VERROR\0C57014\0Mcancelled\0\0";
        let mut found = bytes.windows(COMPLETION.len());
        let Some(at) = found.position(|at| at == COMPLETION) else {
            return;
        };
        if self.is_cancelled.swap(false, Ordering::SeqCst) {
            let length = (FIELDS.len() as u32 + 4).to_be_bytes();
            let error = [b"E", &length[..], FIELDS].concat();
            bytes.splice(at..at + COMPLETION.len(), error);
        }
    }

    fn cut(&self) {
        self.up.store(WITHOUT_LIMIT, Ordering::SeqCst);
        self.down.store(WITHOUT_LIMIT, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn relay(mut client: TcpStream, state: Arc<State>) {
    if state.is_closed.load(Ordering::SeqCst) {
        return;
    }
    let mut cuts = state.cuts.subscribe();
    let server = (Ipv4Addr::LOCALHOST, state.server.load(Ordering::SeqCst));
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let passed = async {
        tokio::select! {
            _ = pass(&mut from_client, &mut to_server, &state.up, &state) => {}
            _ = pass(&mut from_server, &mut to_client, &state.down, &state) => {}
        }
    };
    tokio::select! {
        () = passed => {}
        _ = cuts.changed() => {}
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    limit: &AtomicI64,
    state: &State,
) -> io::Result<()> {
    loop {
        let mut bytes = Vec::with_capacity(16 << 10);
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if std::ptr::eq(limit, &raw const state.up) {
            state.spell(&mut bytes);
        } else if state.is_cancelled.load(Ordering::SeqCst) {
            state.cancel(&mut bytes);
        }
        let read = bytes.len();
        let left = limit.load(Ordering::SeqCst);
        let passing = read.min(usize::try_from(left).unwrap_or(0));
        if left != WITHOUT_LIMIT {
            limit.fetch_sub(passing as i64, Ordering::SeqCst);
        }
        to.write_all(&bytes[..passing]).await?;
        if passing < read && !state.is_silent.load(Ordering::SeqCst) {
            state.cut();
            return Ok(());
        }
    }
}
