//! A proxy before the server that loses what it is told to lose.

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
    /// How many bytes more are passed on to the server, and back, until all connections are cut.
    up: AtomicI64,
    down: AtomicI64,
    /// Counts the cuts; every connection ends when it changes.
    cuts: watch::Sender<u64>,
    /// Whether what is over a limit is swallowed, rather than ending the connection.
    is_silent: AtomicBool,
    /// A word that reaches the server with another last letter, once.
    misspelt: Mutex<Option<&'static str>>,
    /// Whether the next statement that completes is said to have been cancelled.
    is_cancelled: AtomicBool,
    /// Whether whoever connects is sent away.
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

    /// The URL, with the proxy's port for the server's.
    pub(crate) fn url(&self, url: &str) -> String {
        let server = self.state.server.load(Ordering::SeqCst);
        url.replace(&format!(":{server}/"), &format!(":{}/", self.port))
    }

    /// After so many bytes more to the server, and back, every connection is cut, and new ones pass unhindered.
    pub(crate) fn cut_after(&self, up: Option<i64>, down: Option<i64>) {
        self.limit(up, down, false);
    }

    /// After so many bytes more nothing passes any more, though all seem connected.
    pub(crate) fn fall_silent_after(&self, up: Option<i64>, down: Option<i64>) {
        self.limit(up, down, true);
    }

    /// Spoils the next such word that is sent to the server, which then cannot make sense of the statement.
    pub(crate) fn misspell(&self, word: &'static str) {
        *self.state.misspelt.lock().unwrap() = Some(word);
    }

    /// The next statement that selects is done, and answered as if it had been cancelled.
    pub(crate) fn answer_cancelled(&self) {
        self.state.is_cancelled.store(true, Ordering::SeqCst);
    }

    /// Takes no more connections, and leaves those that there are.
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

    /// Puts an error in the place of the completion of a statement, in what the server has sent.
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
