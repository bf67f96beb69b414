//! A client that costs as little as possible, so that the server is what is measured: requests are texts made beforehand, and of an
//! answer only the status and the length are read.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::Result;

/// One kept connection.
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// The result of a turn of requests.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Successful requests per second.
    pub rate: f64,
    /// The median duration of a request.
    pub p50: Duration,
    /// The 99th percentile of the durations.
    pub p99: Duration,
    /// The number of requests.
    pub requests: usize,
    /// The number of requests that were refused with 503, for lack of time or capacity.
    pub refused: usize,
}

/// Formats a request as it is sent.
pub fn request(method: &str, path: &str, authorization: &str, body: &str) -> String {
    let authorization = match authorization {
        "" => String::new(),
        value => format!("Authorization: {value}\r\n"),
    };
    let length = match body {
        "" => String::new(),
        body => format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{length}\r\n{body}")
}

impl Connection {
    /// Connects.
    pub async fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and reads its answer. Returns the status and the body.
    pub async fn ask(&mut self, request: &str) -> Result<(u16, &[u8])> {
        self.socket.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let (status, head, length) = loop {
            self.read().await?;
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
        };
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok((status, self.buffer.get(head..).unwrap_or_default()))
    }

    async fn read(&mut self) -> Result<()> {
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server has closed the connection".into());
        }
        Ok(())
    }
}

/// Returns the status, the length of the head, and that of the body, once the head is complete.
fn head(answer: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.ok_or("no status line")?.parse()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(Ok(0), |(_, value)| value.trim().parse())?;
    Ok(Some((status, end + 4, length)))
}

/// Sends all requests over `connections` connections. Each must succeed or be refused with 503.
pub async fn send(address: &str, connections: usize, requests: &[String]) -> Result<Turn> {
    let mut shares = Vec::new();
    for share in requests.chunks(requests.len().div_ceil(connections)) {
        shares.push((Connection::open(address).await?, share.to_vec()));
    }
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for (connection, share) in shares {
        tasks.spawn(one_after_the_other(connection, share));
    }
    let outcomes = tasks.join_all().await;
    let elapsed = start.elapsed();
    let mut times = Vec::with_capacity(requests.len());
    let mut refused = 0;
    for outcome in outcomes {
        let share = outcome?;
        times.extend(share.times);
        refused += share.refused;
    }
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index).copied().unwrap_or_default()
    };
    Ok(Turn {
        rate: times.len() as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        requests: requests.len(),
        refused,
    })
}

/// The result of one connection's requests.
struct Share {
    /// The durations of the successful requests.
    times: Vec<Duration>,
    refused: usize,
}

async fn one_after_the_other(mut connection: Connection, requests: Vec<String>) -> Result<Share> {
    let mut share = Share {
        times: Vec::with_capacity(requests.len()),
        refused: 0,
    };
    for request in requests {
        let sent = Instant::now();
        match connection.ask(&request).await? {
            (200..300, _) => share.times.push(sent.elapsed()),
            (503, _) => share.refused += 1,
            (status, body) => {
                let body = String::from_utf8_lossy(body);
                return Err(format!("answered {status}: {body}").into());
            }
        }
    }
    Ok(share)
}
