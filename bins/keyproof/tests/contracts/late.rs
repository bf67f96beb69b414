//! A request whose body arrives late: the server has checked the head when it requests the body.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ASKED_FOR: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Sends a head, and half of the body once the server requests it. Then waits for `meanwhile`, and sends the rest.
pub(crate) async fn send(
    address: SocketAddr,
    head: &str,
    body: &[u8],
    meanwhile: impl Future<Output = ()>,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{head}Content-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; ASKED_FOR.len()];
    socket.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, ASKED_FOR, "{:?}", String::from_utf8_lossy(&asked));
    let (half, rest) = body.split_at(length / 2);
    socket.write_all(half).await.unwrap();
    meanwhile.await;
    socket.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    read(&answer)
}

fn read(answer: &[u8]) -> (StatusCode, HeaderMap, Bytes) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.unwrap());
    let mut lines = std::str::from_utf8(head).unwrap().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    let body = Bytes::copy_from_slice(&body[4..]);
    (status.parse().unwrap(), headers.collect(), body)
}
