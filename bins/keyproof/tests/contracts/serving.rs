//! The HTTP stack as well-behaved clients and orchestrators see it, over raw sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use keyproof::server::Drained;
use keyproof_store::{Timestamp, memory::MemoryEngine};
use tokio::net::TcpStream;

use crate::{
    site::{Site, trusted_proxy},
    stack::{Answer, Client, Stack, within},
};

#[tokio::test]
async fn probes_answer_on_their_own() {
    let stack = Stack::start(&[]).await;
    let probe = async |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        stack.send(request).await
    };
    assert_eq!(probe("GET /healthz").await.status, 200);
    assert_eq!(probe("GET /readyz").await.status, 200);
    stack.trial.ready.store(false, Ordering::SeqCst);
    assert_eq!(probe("GET /healthz").await.status, 200);
    assert_eq!(probe("GET /readyz").await.status, 503);
    let refused = probe("POST /healthz").await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("get, head"))
    );
    assert!(refused.header("x-request-id").is_some());
}

#[tokio::test]
async fn connections_are_kept_and_old_clients_served() {
    let stack = Stack::start(&[]).await;
    let mut client = stack.connect().await;
    for _ in 0..3 {
        client
            .send("POST /trial/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
            .await;
        assert_eq!(client.answer().await.body, r#"{"read":2}"#);
    }
    // A short body that was not read does not end the connection.
    client
        .send("POST /trial/unread HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        .await;
    assert_eq!(client.answer().await.status, 401);
    client
        .send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let last = client.answer().await;
    assert!(last.closes());
    assert!(client.rest().await.is_empty());

    let mut old = stack.connect().await;
    old.send("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.answer().await.status, 200);
    assert!(old.rest().await.is_empty());
}

#[tokio::test]
async fn a_body_is_asked_for_when_it_is_wanted() {
    let stack = Stack::start(&[]).await;
    let expecting = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = stack.connect().await;
    client.send(expecting("/trial/echo")).await;
    assert_eq!(client.answer().await.status, 100);
    client.send("ab").await;
    assert_eq!(client.answer().await.body, r#"{"read":2}"#);

    let refused = stack.send(expecting("/trial/unread")).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn chunks_are_read() {
    let stack = Stack::start(&[]).await;
    let chunked = "POST /trial/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
    assert_eq!(stack.send(chunked).await.body, r#"{"read":5}"#);
}

#[tokio::test]
async fn the_client_is_who_the_proxy_says() {
    let request = "GET /trial/client HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    let stack = Stack::start(&[]).await;
    assert_eq!(stack.send(request).await.body, r#"{"client":"127.0.0.1"}"#);
    let stack = Stack::start(&[trusted_proxy()]).await;
    assert_eq!(stack.send(request).await.body, r#"{"client":"192.0.2.1"}"#);
    // Whatever the client has sent before it.
    let forged =
        b"GET /trial/client HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \xe9, 192.0.2.1\r\n\r\n";
    assert_eq!(stack.send(forged).await.body, r#"{"client":"192.0.2.1"}"#);
}

#[tokio::test]
async fn a_drain_waits_for_what_was_begun() {
    let stack = Stack::start(&[]).await;
    let mut idle = stack.connect().await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut busy = stack.connect().await;
    busy.send("POST /trial/write HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await;
    stack.trial.handler_waits().await;

    let Stack {
        server,
        address,
        trial,
    } = stack;
    let drain = tokio::spawn(server.drain());
    // The idle connection ends at once, and so does the listener.
    assert!(idle.rest().await.is_empty());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!drain.is_finished());
    trial.gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    assert_eq!(within(drain).await.unwrap(), Drained::Whole);
}

#[tokio::test]
async fn a_drain_waits_for_a_change_whose_client_has_left() {
    let stack = Stack::start(&[]).await;
    let mut client = stack.connect().await;
    client
        .send("POST /trial/write HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await;
    stack.trial.handler_waits().await;
    drop(client);
    let Stack { server, trial, .. } = stack;
    let drain = tokio::spawn(server.drain());
    trial.gate.add_permits(1);
    assert_eq!(within(drain).await.unwrap(), Drained::Whole);
    assert_eq!(trial.writes.load(Ordering::SeqCst), 1);
}

/// Deadlines far beyond the test's, including the drain's.
const NO_DEADLINE: [(&str, i64); 3] = [
    ("http.drain_timeout_ms", 3_600_000),
    ("http.header_timeout_ms", 3_600_000),
    ("http.body_timeout_ms", 3_600_000),
];

#[tokio::test]
async fn a_drain_does_not_wait_for_what_has_not_come() {
    let deadlines = NO_DEADLINE.map(|(key, value)| (key, value.into()));
    let stack = Stack::start(&deadlines).await;
    let post = "POST /trial/echo HTTP/1.1\r\nHost: x\r\n";
    let silent = stack.connect().await;
    let mut head = stack.connect().await;
    head.send("GET /hea").await;
    let mut second_head = stack.connect().await;
    second_head
        .send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HT")
        .await;
    assert_eq!(second_head.answer().await.status, 200);
    let mut body = stack.connect().await;
    body.send(format!("{post}Content-Length: 5\r\n\r\nab"))
        .await;
    let mut chunk = stack.connect().await;
    chunk
        .send(format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nab"))
        .await;
    let mut expecting = stack.connect().await;
    expecting
        .send(format!(
            "{post}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
    assert_eq!(expecting.answer().await.status, 100);
    // Connections are accepted in order: once these are answered, the earlier ones have begun.
    for _ in 0..20 {
        stack.serves().await;
    }

    assert_eq!(within(stack.server.drain()).await, Drained::Whole);
    for mut ended in [silent, head, second_head] {
        assert!(ended.rest().await.is_empty());
    }
    for mut refused in [body, chunk, expecting] {
        let answer = refused.answer().await;
        answer.refuses(503);
        assert!(answer.closes());
    }
}

#[tokio::test]
async fn what_has_come_whole_before_a_drain_is_answered() {
    let deadlines = NO_DEADLINE.map(|(key, value)| (key, value.into()));
    let stack = Stack::start(&deadlines).await;
    let mut client = stack.connect().await;
    client
        .send("POST /trial/echo_later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        .await;
    stack.trial.handler_waits().await;
    let Stack { server, trial, .. } = stack;
    let drain = tokio::spawn(server.drain());
    trial.gate.add_permits(1);
    assert_eq!(client.answer().await.body, r#"{"read":2}"#);
    assert_eq!(within(drain).await.unwrap(), Drained::Whole);
}

#[tokio::test]
async fn a_request_that_waits_unread_when_a_drain_begins_is_answered() {
    let stack = Stack::start(&[]).await;
    let first = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = stack.connect_with(first).await;
    assert_eq!(client.answer().await.status, 200);
    // The server cannot read it before the drain begins: it runs in this thread, and nothing is awaited in between.
    let second = b"POST /trial/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(client.socket.try_write(second).unwrap(), second.len());
    // The kernel delivers it meanwhile.
    thread::sleep(Duration::from_millis(50));
    let drain = tokio::spawn(stack.server.drain());
    assert_eq!(client.answer().await.body, r#"{"read":2}"#);
    assert_eq!(within(drain).await.unwrap(), Drained::Whole);
}

/// If the connection were closed with bytes that nobody has read, the kernel would reset it.
#[tokio::test]
async fn a_client_that_has_sent_more_than_a_drain_answers_gets_that_answer() {
    let stack = Stack::start(&[]).await;
    let write = "POST /trial/write HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let mut client = stack.connect_with(write).await;
    stack.trial.handler_waits().await;
    // Nothing is read from the connection meanwhile.
    client
        .send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let Stack {
        server,
        address,
        trial,
    } = stack;
    let drain = tokio::spawn(server.drain());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    trial.gate.add_permits(1);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert!(client.rest().await.is_empty());
    assert_eq!(within(drain).await.unwrap(), Drained::Whole);
}

#[tokio::test]
async fn trace_is_no_method_here() {
    let stack = Stack::start(&[]).await;
    for path in ["/trial/echo", "/healthz", "/nothing", "*"] {
        let mut client = stack.connect().await;
        client
            .send(format!("TRACE {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        answer.refuses(405);
        assert!(
            answer
                .header("allow")
                .is_some_and(|allow| allow.contains("get"))
        );
        assert!(!answer.closes());
    }
}

#[tokio::test]
async fn a_body_in_another_coding_than_chunks_is_not_implemented() {
    let stack = Stack::start(&[]).await;
    for codings in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity,\tChunked",
    ] {
        let mut client = stack.connect().await;
        let head = format!("POST /trial/echo HTTP/1.1\r\nHost: x\r\n{codings}\r\n\r\n");
        client.send(head + "2\r\nab\r\n0\r\n\r\n").await;
        let answer = client.answer().await;
        answer.refuses(501);
        assert!(answer.closes());
        assert!(client.rest().await.is_empty());
    }
    let twice =
        "POST /trial/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n";
    stack.send(twice).await.refuses(400);
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let stack = Stack::start(&[("http.drain_timeout_ms", 100.into())]).await;
    let mut client = stack.connect().await;
    client
        .send("GET /trial/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    stack.trial.handler_waits().await;
    assert_eq!(stack.server.drain().await, Drained::CutShort { open: 1 });
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let stack = Stack::start(&[]).await;
    let mut idle = stack.connect().await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let Stack {
        server, address, ..
    } = stack;
    drop(server);
    assert!(idle.rest().await.is_empty());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Returns whether an answer has a contract's form.
type Shape = fn(&Answer) -> bool;

/// Only Taler's answers allow every web page to read them, and each contract's clients need its own form.
#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_by_whose_path_it_names() {
    let own = [("dialects.f5.listen", toml::Value::from("127.0.0.1:0"))];
    let (now, engine) = (Timestamp::from_secs(1_700_000_000), MemoryEngine::new());
    let site = Site::set_up(now, Arc::new(engine), &own, |_, _| {}).await;
    let main = site.server.address();
    let f5 = site.server.urls().last().unwrap();
    let f5: SocketAddr = f5.strip_prefix("http://").unwrap().parse().unwrap();
    assert_ne!(main, f5);
    let refused = async |address: SocketAddr, head: &str| {
        let mut client = Client::connect(address).await;
        client.send(head).await;
        client.answer().await
    };
    let is_talers: Shape = |answer| {
        let origin = answer.header("access-control-allow-origin");
        origin.is_some() && answer.body.contains("\"hint\"")
    };
    let is_emnifys: Shape = |answer| answer.body.contains("\"error_code\"");
    let is_azures: Shape = |answer| answer.header("x-ms-request-id").is_some();
    let is_f5s: Shape = |answer| answer.body.contains("\"details\":[]");
    let is_a_page: Shape = |answer| {
        let kind = answer.header("content-type");
        kind.is_some_and(|kind| kind.starts_with("text/html"))
    };
    let all = [
        (main, "/config", is_talers),
        (main, "/nothing", is_talers),
        (main, "/api/v1/authenticate", is_emnifys),
        (main, "/api/v1/authenticate?q=1", is_emnifys),
        (main, "/subscriptions/a", is_azures),
        (main, "/account/sign-in", is_a_page),
        (main, "/console", is_a_page),
        (f5, "/api/tpm/tpm/preauth", is_f5s),
        (f5, "/nothing", is_f5s),
    ];
    let long = "a".repeat(70_000);
    for (address, path, is_whose) in all {
        for (status, fields) in [(400, "no field".to_owned()), (431, format!("A: {long}"))] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            let answer = refused(address, &head).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert!(is_whose(&answer), "{path}: {answer:?}");
            let is_open = answer.header("access-control-allow-origin").is_some();
            assert_eq!(is_open, is_talers(&answer), "{path}: {answer:?}");
        }
    }
    for (address, is_whose) in [(main, is_talers), (f5, is_f5s)] {
        let answer = refused(address, "no head\r\n\r\n").await;
        assert_eq!(answer.status, 400);
        assert!(is_whose(&answer), "{answer:?}");
    }
}
