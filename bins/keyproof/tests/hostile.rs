//! Hostile requests over raw sockets: each gets its documented answer (see `keyproof_http`), and the server keeps serving.

mod judging;
mod program;
mod site_inputs;
mod site_routes;
mod stack;

use std::{io::ErrorKind, sync::atomic::Ordering, time::Duration};

use tokio::io::AsyncWriteExt;

use judging::Judged;
use stack::{Client, Stack};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Returns a request with these header lines, without the end of its head.
fn head(line: &str, fields: &[&str]) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nHost: x\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

#[tokio::test]
async fn malformed_heads_are_refused_in_shape_and_with_an_id() {
    let stack = Stack::start(&[]).await;
    for malformed in [
        "\u{1}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHo st: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nA: \u{0}\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = stack.connect_with(malformed).await;
        let answer = client.answer().await;
        answer.refuses(400);
        assert!(
            answer.closes() && answer.header("date").is_some(),
            "{malformed:?}"
        );
        assert!(client.rest().await.is_empty(), "{malformed:?}");
        stack.serves().await;
    }
}

#[tokio::test]
async fn a_malformed_head_behind_a_good_one_spoils_only_itself() {
    let stack = Stack::start(&[]).await;
    let mut client = stack
        .connect_with(format!("{HEALTH}{HEALTH}no head\r\n\r\n"))
        .await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.status, 200);
    }
    // It may share a buffer with the answers before it; then it is hyper's own.
    assert_eq!(client.answer().await.status, 400);
    assert!(client.rest().await.is_empty());

    let mut client = stack.connect_with(HEALTH).await;
    assert_eq!(client.answer().await.status, 200);
    client.send("no head\r\n\r\n").await;
    client.answer().await.refuses(400);
    stack.serves().await;
}

#[tokio::test]
async fn every_refusal_has_an_id_of_its_own() {
    let stack = Stack::start(&[]).await;
    let one = stack.send("no head\r\n\r\n").await;
    let other = stack.send(head("GET /nothing", &[])).await;
    one.refuses(400);
    other.refuses(404);
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}

#[tokio::test]
async fn an_id_from_outside_is_not_taken_over() {
    let stack = Stack::start(&[]).await;
    let theirs = "0123456789abcdef0123456789abcdef";
    let answer = stack
        .send(head("GET /nothing", &[&format!("X-Request-Id: {theirs}")]))
        .await;
    answer.refuses(404);
    assert_ne!(answer.header("x-request-id"), Some(theirs));
}

#[tokio::test]
async fn targets_up_to_16_kib_are_served() {
    let stack = Stack::start(&[]).await;
    let target = |length: usize| format!("/trial/client?{}", "a".repeat(length - 14));
    assert_eq!(
        stack
            .send(head(&format!("GET {}", target(16_384)), &[]))
            .await
            .status,
        200
    );
    for length in [16_385, 60_000, 65_535, 200_000] {
        stack
            .send(head(&format!("GET {}", target(length)), &[]))
            .await
            .refuses(414);
        stack.serves().await;
    }
}

/// In memory each piece takes many times its size in the target, until the whole body has arrived.
#[tokio::test]
async fn targets_in_many_pieces_are_refused() {
    let stack = Stack::start(&[]).await;
    let asked = async |target: &str| {
        let request = head(&format!("GET {target}"), &[]);
        stack.send(request).await
    };
    let query = |parameters: usize| format!("/trial/client?{}", "a&".repeat(parameters));
    assert_eq!(asked(&query(256)).await.status, 200);
    for parameters in [257, 8_000] {
        asked(&query(parameters)).await.refuses(400);
    }
    // Empty parameters do not count.
    let empty = format!("/trial/client?{}", "&".repeat(8_000));
    assert_eq!(asked(&empty).await.status, 200);

    let path = |segments: usize| format!("/trial{}", "/a".repeat(segments - 1));
    // The first segments select the dialect; the stack keeps at most 64.
    for segments in [64, 65, 8_000] {
        let claimed = asked(&path(segments)).await;
        assert_eq!((claimed.status, &*claimed.body), (404, "{}"));
    }
    stack.serves().await;
}

#[tokio::test]
async fn heads_over_the_limit_are_refused() {
    let stack = Stack::start(&[]).await;
    let long = format!("A: {}", "a".repeat(70_000));
    stack
        .send(head("GET /healthz", &[&long]))
        .await
        .refuses(431);
    let many: Vec<String> = (0..200).map(|at| format!("A{at}: b")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stack.send(head("GET /healthz", &many)).await.refuses(431);
    // The longest target is not what is too long.
    let target = format!("/trial/client?{}", "a".repeat(16_384 - 14));
    let request = head(&format!("GET {target}"), &[&long]);
    stack.send(request).await.refuses(431);
    stack.serves().await;
}

#[tokio::test]
async fn ambiguous_heads_are_refused() {
    let stack = Stack::start(&[]).await;
    for fields in [
        &["Host: y"][..],
        &["Authorization: Basic YTpi", "Authorization: Bearer c"],
        &["Content-Type: text/plain", "Content-Type: application/json"],
        &["Content-Length: 1", "Content-Length: 2"],
        &["Content-Length: 1, 1"],
        &["Content-Length: +1"],
        &["Content-Length: -1"],
        &["Content-Length: 99999999999999999999"],
        &["Transfer-Encoding: gzip"],
        &["Transfer-Encoding: chunked, gzip"],
    ] {
        stack
            .send(head("POST /trial/echo", fields))
            .await
            .refuses(400);
        stack.serves().await;
    }
    for host in ["", "Host: a b\r\n", "Host: a/b\r\n", "Host: user@a\r\n"] {
        let request = format!("GET /trial/client HTTP/1.1\r\n{host}\r\n");
        stack.send(request).await.refuses(400);
    }
    stack
        .send("POST /trial/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await
        .refuses(400);
}

/// RFC 9112, section 6.3: the chunked encoding takes precedence, and nothing after it is parsed as another request.
#[tokio::test]
async fn chunks_beside_a_length_end_the_connection() {
    let stack = Stack::start(&[]).await;
    for fields in [
        ["Content-Length: 40", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
    ] {
        let smuggled = head("POST /trial/echo", &fields) + "2\r\nab\r\n0\r\n\r\n" + HEALTH;
        let mut client = stack.connect_with(smuggled).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"read":2}"#)
        );
        assert!(answer.closes());
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let stack = Stack::start(&[]).await;
    let full = head("POST /trial/echo", &["Content-Length: 1000"]) + &"a".repeat(1000);
    assert_eq!(stack.send(full).await.body, r#"{"read":1000}"#);

    // Announced: rejected before any of it is read.
    let announced = head(
        "POST /trial/echo",
        &["Content-Length: 1001", "Expect: 100-continue"],
    );
    let answer = stack.send(announced).await;
    answer.refuses(413);
    assert!(answer.closes());

    // Chunked: rejected where it exceeds the limit.
    let chunk = format!("1f4\r\n{}\r\n", "a".repeat(500));
    let chunked = head("POST /trial/echo", &["Transfer-Encoding: chunked"]) + &chunk.repeat(3);
    stack.send(chunked).await.refuses(413);
    stack.serves().await;
}

/// A client that sends everything before it reads is not cut off, and gets its answer.
#[tokio::test]
async fn a_client_busy_sending_still_gets_its_refusal() {
    // The body is larger than the kernel's buffers for a reader that does not read.
    let body = "a".repeat(16 << 20);
    for (limit, path, status) in [(1_000, "/trial/echo", 413), (1 << 30, "/trial/unread", 401)] {
        let stack = Stack::start(&[("http.max_body_bytes", limit.into())]).await;
        let length = format!("Content-Length: {}", body.len());
        let request = head(&format!("POST {path}"), &[&length]) + &body;
        let mut client = stack.connect().await;
        let sent = stack::within(client.socket.write_all(request.as_bytes())).await;
        assert!(sent.is_ok(), "{path}: {sent:?}");
        let answer = client.answer().await;
        assert_eq!(answer.status, status);
        assert!(answer.closes());
        assert!(client.rest().await.is_empty());
        stack.serves().await;
    }
}

#[tokio::test]
async fn malformed_and_truncated_bodies_are_refused() {
    let stack = Stack::start(&[]).await;
    for body in [
        "zz\r\nab\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let chunked = head("POST /trial/echo", &["Transfer-Encoding: chunked"]) + body;
        stack.send(chunked).await.refuses(400);
        stack.serves().await;
    }
    for truncated in [
        head("POST /trial/echo", &["Content-Length: 10"]) + "abc",
        head("POST /trial/echo", &["Transfer-Encoding: chunked"]) + "5\r\nab",
        "GET /healthz HTTP/1.1\r\nHost: ".to_owned(),
        "G".to_owned(),
    ] {
        let mut client = stack.connect_with(&truncated).await;
        client.finish().await;
        client.answer().await.refuses(400);
        assert!(client.rest().await.is_empty());
        stack.serves().await;
    }
}

#[tokio::test]
async fn a_client_may_finish_sending_before_it_reads() {
    let stack = Stack::start(&[]).await;
    let mut client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 3"]) + "abc")
        .await;
    client.finish().await;
    stack.trial.handler_waits().await;
    stack.serves().await;
    stack.trial.gate.add_permits(1);
    assert_eq!(client.answer().await.body, r#"{"read":3}"#);
}

#[tokio::test]
async fn slow_heads_are_refused() {
    let stack = Stack::start(&[("http.header_timeout_ms", 2_000.into())]).await;
    let mut client = stack.connect_with("GET /healthz HTTP/1.1\r\nHost").await;
    let answer = client.answer().await;
    answer.refuses(408);
    assert!(answer.closes());

    // A client that has sent nothing gets no answer, before the first request and after it.
    assert!(stack.connect().await.rest().await.is_empty());
    let mut client = stack.connect_with(HEALTH).await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.rest().await.is_empty());
    stack.serves().await;
}

#[tokio::test]
async fn a_head_in_drips_has_one_deadline() {
    let stack = Stack::start(&[("http.header_timeout_ms", 2_000.into())]).await;
    let mut client = stack.connect_with("GET /healthz HTTP/1.1\r\n").await;
    // Without a deadline for the whole head, this would continue as long as bytes arrive.
    loop {
        client.send("A: b\r\n").await;
        let drip = Duration::from_millis(100);
        if tokio::time::timeout(drip, client.socket.readable())
            .await
            .is_ok()
        {
            break;
        }
    }
    client.answer().await.refuses(408);
}

/// Answers that are not read do not keep a connection for ever.
#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let stack = Stack::start(&[("http.body_timeout_ms", 300.into())]).await;
    let mut client = stack.connect().await;
    let requests = HEALTH.repeat(1000);
    let flood = async { while client.socket.write_all(requests.as_bytes()).await.is_ok() {} };
    stack::within(flood).await;
    stack.serves().await;
}

#[tokio::test]
async fn targets_in_every_form_are_answered() {
    let stack = Stack::start(&[]).await;
    let absolute = stack
        .send("GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(absolute.status, 200);
    for (target, host) in [("/trial/host", "x"), ("http://ada@y:1/trial/host", "y:1")] {
        let answer = stack.send(head(&format!("GET {target}"), &[])).await;
        assert_eq!(answer.body, format!("{{\"host\":\"{host}\"}}"));
    }
    for line in ["OPTIONS *", "CONNECT x:1", "BREW /pot"] {
        stack.send(head(line, &[])).await.refuses(404);
        stack.serves().await;
    }
}

#[tokio::test]
async fn slow_bodies_are_refused() {
    let stack = Stack::start(&[("http.body_timeout_ms", 300.into())]).await;
    let mut client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 10"]) + "abc")
        .await;
    let answer = client.answer().await;
    answer.refuses(408);
    assert!(answer.closes());
    assert_eq!(stack.trial.writes.load(Ordering::SeqCst), 0);
    stack.serves().await;
}

#[tokio::test]
async fn a_slow_body_takes_nothing_from_the_handler() {
    let limits = [
        ("http.body_timeout_ms", 60_000.into()),
        ("http.handler_timeout_ms", 2_000.into()),
    ];
    let stack = Stack::start(&limits).await;
    let mut client = stack
        .connect_with(head("POST /trial/echo", &["Content-Length: 3"]))
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.send("abc").await;
    assert_eq!(client.answer().await.body, r#"{"read":3}"#);
}

/// The handler gets no body, but its deadline is not the body's.
#[tokio::test]
async fn a_handler_behind_a_slow_body_has_its_own_deadline() {
    let limits = [
        ("http.body_timeout_ms", 600_000.into()),
        ("http.handler_timeout_ms", 2_000.into()),
    ];
    let stack = Stack::start(&limits).await;
    let mut client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 3"]))
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.send("abc").await;
    stack.trial.handler_waits().await;
    client.answer().await.refuses(503);
    stack.trial.gate.add_permits(1);
    stack.trial.written(1).await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_stays_where_it_was() {
    let stack = Stack::start(&[]).await;
    let mut client = stack.connect().await;
    for _ in 0..2 {
        client.send(head("GET /trial/panic", &[])).await;
        client.answer().await.refuses(500);
    }
    client.send(HEALTH).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_handler_past_its_deadline_is_answered_for() {
    let stack = Stack::start(&[("http.handler_timeout_ms", 2_000.into())]).await;
    let read = stack.send(head("GET /trial/wait", &[])).await;
    read.refuses(503);
    assert_eq!(read.header("retry-after"), Some("1"));
    stack.trial.handler_waits().await;

    // A change runs to completion, so the client is not told to retry.
    let change = stack
        .send(head("POST /trial/write", &["Content-Length: 0"]))
        .await;
    change.refuses(503);
    assert_eq!(change.header("retry-after"), None);
    assert!(change.body.contains("not known whether"), "{change:?}");
    stack.trial.handler_waits().await;
    assert_eq!(stack.trial.writes.load(Ordering::SeqCst), 0);
    stack.trial.gate.add_permits(1);
    stack.trial.written(1).await;
    stack.serves().await;
}

#[tokio::test]
async fn a_change_outlives_its_client() {
    let stack = Stack::start(&[]).await;
    let client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 3"]) + "abc")
        .await;
    stack.trial.handler_waits().await;
    drop(client);
    stack.serves().await;
    stack.trial.gate.add_permits(1);
    stack.trial.written(1).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_body_changes_nothing() {
    let stack = Stack::start(&[]).await;
    stack.trial.gate.add_permits(1);
    let client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 10"]) + "abc")
        .await;
    drop(client);
    stack.serves().await;
    // A drained server has no handler left that could still write.
    let trial = std::sync::Arc::clone(&stack.trial);
    assert_eq!(stack.server.drain().await, keyproof::server::Drained::Whole);
    assert_eq!(trial.writes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let stack = Stack::start(&[("http.max_connections", 2.into())]).await;
    let mut first = stack.connect().await;
    let mut second = stack.connect().await;
    for client in [&mut first, &mut second] {
        client.send(HEALTH).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let mut third = stack.connect_with(HEALTH).await;
    let early = tokio::time::timeout(Duration::from_millis(200), third.answer()).await;
    assert!(early.is_err(), "served beyond the limit: {early:?}");
    drop(first);
    assert_eq!(third.answer().await.status, 200);
}

#[tokio::test]
async fn a_handler_that_outlives_its_connection_keeps_the_slot() {
    let limits = [
        ("http.max_connections", 1.into()),
        ("http.handler_timeout_ms", 2_000.into()),
    ];
    let stack = Stack::start(&limits).await;
    let mut client = stack
        .connect_with(head("POST /trial/write", &["Content-Length: 0"]))
        .await;
    client.answer().await.refuses(503);
    drop(client);
    let mut next = stack.connect_with(HEALTH).await;
    let early = tokio::time::timeout(Duration::from_millis(200), next.answer()).await;
    assert!(early.is_err(), "served beyond the limit: {early:?}");
    stack.trial.gate.add_permits(1);
    assert_eq!(next.answer().await.status, 200);
}

#[tokio::test]
async fn the_only_async_thread_serves_while_something_is_judged() {
    let judged = Judged::start(1).await;
    for request in judged.requests().await {
        let occupied = judged.occupy().await;
        let mut client = judged.send(&request).await;
        judged.is_healthy().await;
        occupied.end().await;
        request.is_judged(&client.answer().await);
    }
}

#[tokio::test]
async fn more_than_may_wait_to_be_judged_is_put_off() {
    let judged = Judged::start(0).await;
    for (counted, request) in (1..).zip(judged.requests().await) {
        let occupied = judged.occupy().await;
        let (mut one, mut other) = (judged.send(&request).await, judged.send(&request).await);
        let (refused, waiting) = tokio::select! {
            answer = one.answer() => (answer, &mut other),
            answer = other.answer() => (answer, &mut one),
        };
        request.is_put_off(&refused);
        assert_eq!(judged.put_off(), counted, "{}", request.what);
        judged.is_healthy().await;
        occupied.end().await;
        request.is_judged(&waiting.answer().await);
    }
}

/// Returns a POST request to `path` from behind a proxy that names its client.
fn post_from(client: &str, path: &str, fields: &[&str], body: &str) -> String {
    let (forwarded, length) = (
        format!("X-Forwarded-For: {client}"),
        format!("Content-Length: {}", body.len()),
    );
    let mut all = vec![forwarded.as_str(), length.as_str()];
    all.extend_from_slice(fields);
    head(&format!("POST {path}"), &all) + body
}

/// One hashing thread, and no rate limit per address.
const ONE_THREAD: &str =
    "http.trusted_proxies = [\"127.0.0.0/8\"]\n[auth]\naddress_limit = 0\nargon2_concurrency = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn logins_succeed_while_200_connections_of_one_stranger_ask_for_hashes() {
    let program = program::Program::serve(ONE_THREAD);
    let add = ["user", "add", "ada", "--organisation", "org", "--stdin"];
    program.run(&add, "correct horse");
    program.run(
        &["instance", "set-password", "default", "--stdin"],
        "correct horse",
    );
    let address = program.address;
    let mut strangers = tokio::task::JoinSet::new();
    for number in 0..200 {
        strangers.spawn(async move {
            let from = format!("2001:db8:1:{number:x}::1");
            let wrong = ["Authorization: Basic ZGVmYXVsdDp3cm9uZw=="];
            let mut client = Client::connect(address).await;
            for attempt in 0.. {
                let body = format!(r#"{{"username":"{number}-{attempt}","password":"b"}}"#);
                let request = match attempt % 2 {
                    0 => post_from(&from, "/api/v1/authenticate", &[], &body),
                    _ => post_from(&from, "/private/token", &wrong, r#"{"scope":"all"}"#),
                };
                client.send(request).await;
                let status = client.answer().await.status;
                assert!([401, 429, 503].contains(&status), "{status}");
            }
        });
    }
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    for _ in 0..20 {
        let login = post_from("203.0.113.5", "/api/v1/authenticate", &[], body);
        let mut client = Client::connect_with(address, login).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // None of them has stopped at an unexpected answer.
    assert!(strangers.try_join_next().is_none());
    strangers.abort_all();
}

/// An attempt that is checked is counted: if these were, their name would be locked.
#[tokio::test]
async fn nothing_is_hashed_for_clients_that_have_hung_up() {
    let slow = format!(
        "http.handler_timeout_ms = 600000\n{ONE_THREAD}argon2_memory_kib = 131072\nargon2_iterations = 8\n"
    );
    let program = program::Program::serve(&slow);
    let add = ["user", "add", "ada", "--organisation", "org", "--stdin"];
    program.run(&add, "correct horse");
    let login = |from: &str, name: &str, password: &str| {
        let body = format!(r#"{{"username":"{name}","password":"{password}"}}"#);
        post_from(from, "/api/v1/authenticate", &[], &body)
    };
    // The first occupies the only thread while the others connect and disconnect.
    let request = login("192.0.2.1", "bob", "wrong horse");
    let mut first = Client::connect_with(program.address, request).await;
    for number in 0..30 {
        let request = login(&format!("2001:db8:{number:x}::1"), "ada", "wrong horse");
        drop(Client::connect_with(program.address, request).await);
    }
    assert_eq!(first.answer().await.status, 401);
    let request = login("203.0.113.5", "ada", "correct horse");
    let mut client = Client::connect_with(program.address, request).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Each is longer than a login's body may be.
#[tokio::test]
async fn held_bodies_take_little_memory() {
    // The server reads the body of each request.
    let program = program::Program::serve("[auth]\naddress_limit = 0\n");
    let announced = head("POST /api/v1/authenticate", &["Content-Length: 1048576"]);
    let chunked = head("POST /api/v1/authenticate", &["Transfer-Encoding: chunked"]);
    let body = "a".repeat((1 << 20) - 1);
    let mut held = Vec::new();
    for number in 0..600 {
        let request = match number % 2 {
            0 => format!("{announced}{body}"),
            _ => format!("{chunked}100000\r\n{body}"),
        };
        held.push(Client::connect_with(program.address, request).await);
    }
    for client in &mut held {
        assert_eq!(client.answer().await.status, 413);
    }
    // Without the limit it would be 600 MiB; it is about 60.
    let peak = program.peak_mib();
    assert!(peak < 250, "{peak} MiB");
}

/// The buffer of each segment is freed with it.
#[tokio::test]
async fn bodies_that_come_a_byte_at_a_time_take_little_memory() {
    let patient = "[auth]\naddress_limit = 0\n[http]\nbody_timeout_ms = 600000\n";
    let program = program::Program::serve(patient);
    let announced = head("POST /api/v1/authenticate", &["Content-Length: 16384"]);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(Client::connect_with(program.address, &announced).await);
    }
    for _ in 0..1000 {
        for client in &mut held {
            client.send("a").await;
        }
        // So that the next byte is a separate segment.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for client in &held {
        let refused = client.socket.try_read(&mut [0]);
        let why = refused.expect_err("no body is complete").kind();
        assert_eq!(why, ErrorKind::WouldBlock, "it is no longer held");
    }
    // With a buffer per byte it would be at least 160 MiB.
    let peak = program.peak_mib();
    assert!(peak < 100, "{peak} MiB");
}

/// A login's body has a lower limit than the server's, and nothing of a longer one is read.
#[tokio::test]
async fn a_body_longer_than_its_route_needs_is_refused_unread() {
    let program = program::Program::serve("");
    let fields = ["Content-Length: 16385", "Expect: 100-continue"];
    let request = head("POST /api/v1/authenticate", &fields);
    let mut client = Client::connect_with(program.address, request).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.closes());
}

#[tokio::test]
async fn memory_that_a_burst_took_goes_back_to_the_system() {
    let program = program::Program::serve("http.body_timeout_ms = 600000\n");
    let token = program.output(&["token", "create", "--scope", "tpm", "--quiet"]);
    let authorization = format!("Authorization: APIToken {}", token.trim_end());
    let path = "POST /api/tpm/namespaces/default/tpm_managers";
    let request = head(path, &[&authorization, "Content-Length: 1048576"]);
    let request = request + &"a".repeat((1 << 20) - 1);
    let before = program.resident_mib();
    let reaches = async |reached: &dyn Fn(u64) -> bool| {
        while !reached(program.resident_mib()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(Client::connect_with(program.address, &request).await);
    }
    stack::within(reaches(&|mib| mib > before + 150)).await;
    drop(held);
    stack::within(reaches(&|mib| mib < before + 50)).await;
}
