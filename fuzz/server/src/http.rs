//! Arbitrary bytes on a connection, such as heads of requests, through the HTTP stack.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
};

use crate::site::{connect, field, with_site};

/// The bytes of a connection. The server returns complete answers, one after the other and none of them a 5xx, and closes the
/// connection.
pub fn connection(data: &[u8]) {
    with_site(|site| {
        let mut client = connect(site.address);
        // The server may close the connection before it has read everything.
        let _ = client.write_all(data);
        let _ = client.shutdown(Shutdown::Write);
        let mut received = Vec::new();
        match client.read_to_end(&mut received) {
            Ok(_) => answers(&received),
            // The server closed before it had read everything, so the kernel may have discarded the answer.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    });
}

fn answers(mut received: &[u8]) {
    while !received.is_empty() {
        let shown = String::from_utf8_lossy(received);
        let end = received.windows(4).position(|end| end == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("a head without an end: {shown}")) + 4;
        let (head, rest) = received.split_at(end);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status = head
            .strip_prefix("http/1.1 ")
            .or_else(|| head.strip_prefix("http/1.0 "));
        let status = status
            .and_then(|head| head.get(..3))
            .and_then(|status| status.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {shown}"));
        assert!(status != 500 && status < 600, "{shown}");
        let length =
            field(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        // An answer to HEAD announces a body that it does not have.
        let has_body = status >= 200 && !rest.is_empty() && !rest.starts_with(b"HTTP/1.");
        let len = if has_body { length } else { 0 };
        assert!(len <= rest.len(), "cut: {shown}");
        received = &rest[len..];
    }
}
