//! Traces for an OpenTelemetry collector: a stub on loopback decodes them.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc};

use keyproof::telemetry;
use keyproof_store::{
    Timestamp,
    faults::{CommitMode, FaultyEngine},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    site::{Site, trusted_proxy},
    stack::{Client, Stack, within},
};

/// The example of W3C Trace Context, section 3.2.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector, which passes on what it receives.
struct Collector {
    address: SocketAddr,
    /// The head and the body of each request.
    received: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
}

impl Collector {
    /// Starts a collector that answers with this status.
    async fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                send.send(take(socket, status).await).unwrap();
            }
        });
        Self { address, received }
    }

    /// Starts a server that sends spans to the collector. Returns the spans and the bodies once these requests are answered and the
    /// server has ended.
    async fn spans(
        mut self,
        flags: &[(&'static str, toml::Value)],
        requests: &[&str],
    ) -> (Vec<Span>, Vec<u8>) {
        let url = format!("http://{}", self.address);
        let mut all = vec![("telemetry.otlp", url.into())];
        all.extend_from_slice(flags);
        let stack = Stack::start(&all).await;
        for request in requests {
            stack.send(request).await;
        }
        // Waiting spans are sent before the server ends.
        stack.server.drain().await;
        let (spans, bodies, _) = self.taken();
        (spans, bodies)
    }

    /// Returns everything received so far: the spans, the bodies and the heads.
    fn taken(&mut self) -> (Vec<Span>, Vec<u8>, String) {
        let (mut spans, mut bodies, mut heads) = (Vec::new(), Vec::new(), String::new());
        while let Ok((head, body)) = self.received.try_recv() {
            heads.push_str(&head);
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            bodies.extend(body);
            for resource in request.resource_spans {
                let told = resource.resource.unwrap().attributes;
                let name = told.iter().find(|told| told.key == "service.name");
                let name = name.and_then(|told| told.value.clone()?.value);
                assert_eq!(name, Some(Value::StringValue("keyproof".to_owned())));
                let scopes = resource.scope_spans.into_iter();
                spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        }
        (spans, bodies, heads)
    }
}

/// Receives one request, and answers it with this status. Returns its head and body.
async fn take(mut socket: TcpStream, status: &str) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    let (head, start, length) = loop {
        assert_ne!(within(socket.read_buf(&mut received)).await.unwrap(), 0);
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(received[..end].to_vec()).unwrap();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.unwrap().1.parse::<usize>().unwrap();
        break (head, end + 4, end + 4 + length);
    };
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("\r\ncontent-type: application/x-protobuf"),
        "{head}"
    );
    while received.len() < length {
        assert_ne!(within(socket.read_buf(&mut received)).await.unwrap(), 0);
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
    (head, received.split_off(start))
}

fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn told(span: &Span) -> Vec<(&str, String)> {
    let attributes = span.attributes.iter();
    let mut told: Vec<_> = attributes
        .map(|told| {
            let value = told.value.as_ref().and_then(|value| value.value.as_ref());
            let value = match value.unwrap() {
                Value::StringValue(text) => text.clone(),
                Value::IntValue(number) => number.to_string(),
                other => panic!("{other:?}"),
            };
            (&*told.key, value)
        })
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_span_tells_method_template_status_and_dialect_and_nothing_else() {
    let collector = Collector::start("200 OK").await;
    let (spans, bodies) = collector
        .spans(
            &[],
            &[
                &request("GET /trial/hidden-what?hidden=query", "Cookie: hidden\r\n"),
                &request("HIDDEN /trial/client", ""),
                &request("GET /hidden-path", ""),
                &request("GET /trial/panic", ""),
            ],
        )
        .await;
    let mut names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    let template = "/trial/{what}";
    assert_eq!(
        names,
        [
            "GET",
            "GET /trial/{what}",
            "GET /trial/{what}",
            "HTTP /trial/{what}"
        ]
    );
    for span in &spans {
        assert_eq!(span.kind(), SpanKind::Server);
        assert!(span.parent_span_id.is_empty());
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(span.events.is_empty() && span.links.is_empty());
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    }
    let of = |status: &str| {
        let found = spans.iter().find(|span| {
            told(span).contains(&("http.response.status_code", status.to_owned()))
                && span.name == format!("GET {template}")
        });
        found.unwrap()
    };
    assert_eq!(
        told(of("404")),
        [
            ("http.request.method", "GET".to_owned()),
            ("http.response.status_code", "404".to_owned()),
            ("http.route", template.to_owned()),
            ("keyproof.dialect", "taler".to_owned()),
        ]
    );
    let is_error = |span: &Span| {
        let status = span.status.clone().unwrap_or_default();
        status.code() == StatusCode::Error
    };
    assert!(is_error(of("500")) && !is_error(of("404")));
    let bodies = String::from_utf8_lossy(&bodies).to_ascii_lowercase();
    assert!(!bodies.contains("hidden"));
}

#[tokio::test]
async fn a_trace_goes_on_where_a_trusted_proxy_says_so_and_nowhere_else() {
    let trusted = trusted_proxy();
    let strangers = (
        "http.trusted_proxies",
        toml::Value::from(vec!["10.0.0.0/8"]),
    );
    let line = "GET /trial/client";
    let twice = traceparent("01").repeat(2);
    for (proxies, fields, goes_on) in [
        (&trusted, traceparent("01"), true),
        (&strangers, traceparent("01"), false),
        // A client in front of the trusted proxy has no influence.
        (
            &strangers,
            format!("X-Forwarded-For: 10.0.0.1\r\n{}", traceparent("01")),
            false,
        ),
        (&trusted, twice, false),
        (&trusted, "traceparent: 00-hidden-01\r\n".to_owned(), false),
        (
            &trusted,
            format!("traceparent: 00-{}-{PARENT}-01\r\n", "0".repeat(32)),
            false,
        ),
        (&trusted, String::new(), false),
    ] {
        let collector = Collector::start("200 OK").await;
        let flags = [proxies.clone()];
        let sent = request(line, &fields);
        let (spans, _) = collector.spans(&flags, &[&sent]).await;
        let [span] = &*spans else {
            panic!("{spans:?}");
        };
        assert_eq!(hex(&span.trace_id) == TRACE, goes_on, "{fields}");
        let parent = hex(&span.parent_span_id);
        assert_eq!(parent, if goes_on { PARENT } else { "" }, "{fields}");
        assert_ne!(hex(&span.span_id), PARENT);
    }
    // A trusted proxy's decision not to sample applies; a stranger's does not.
    for (proxies, spans) in [(trusted, 0), (strangers, 1)] {
        let collector = Collector::start("200 OK").await;
        let sent = request(line, &traceparent("00"));
        let (found, _) = collector.spans(&[proxies], &[&sent]).await;
        assert_eq!(found.len(), spans);
    }
}

/// Returns the value of a series of `keyproof_otlp_spans_total`.
async fn counted(stack: &Stack, outcome: &str) -> u64 {
    let mut client = Client::connect(stack.server.metrics_address().unwrap()).await;
    client.send(request("GET /metrics", "")).await;
    let answer = client.answer().await;
    let series = format!("keyproof_otlp_spans_total{{outcome=\"{outcome}\"}} ");
    let mut values = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix(&series));
    values.next().unwrap().parse().unwrap()
}

async fn traced(address: SocketAddr) -> Stack {
    Stack::start(&[
        ("telemetry.otlp", format!("http://{address}").into()),
        ("metrics.listen", "127.0.0.1:0".into()),
    ])
    .await
}

#[tokio::test]
async fn a_collector_that_is_gone_or_refuses_costs_spans_which_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let refusing = Collector::start("503 Service Unavailable").await;
    for address in [gone, refusing.address] {
        let stack = traced(address).await;
        let answer = stack.send(request("GET /trial/client", "")).await;
        assert_eq!(answer.status, 200);
        within(async { while counted(&stack, "lost").await == 0 {} }).await;
        assert_eq!(counted(&stack, "delivered").await, 0);
        stack.server.drain().await;
    }
    let collector = Collector::start("200 OK").await;
    let stack = traced(collector.address).await;
    stack.serves().await;
    within(async { while counted(&stack, "delivered").await == 0 {} }).await;
    assert_eq!(counted(&stack, "lost").await, 0);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    // It accepts connections, and never answers.
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let stack = traced(listener.local_addr().unwrap()).await;
    for _ in 0..3 {
        stack.serves().await;
    }
    within(listener.accept()).await.unwrap();
    let mut client = stack.connect().await;
    let requests = request("GET /healthz", "").repeat(100);
    for _ in 0..50 {
        client.send(&requests).await;
        for _ in 0..100 {
            assert_eq!(client.answer().await.status, 200);
        }
    }
    assert!(counted(&stack, "lost").await > 0, "more than may wait");
    drop(client);
    within(stack.server.drain()).await;
}

#[tokio::test]
async fn what_a_request_waits_for_is_told_below_it_by_its_kind_alone() {
    let mut collector = Collector::start("200 OK").await;
    let url = format!("http://{}", collector.address);
    let faults = FaultyEngine::new();
    let engine = telemetry::traced(faults.clone(), "sqlite");
    let flags = [("telemetry.otlp", url.into()), trusted_proxy()];
    let site = Site::set_up(Timestamp::EPOCH, engine, &flags, |_, _| {}).await;
    let body = r#"{"username":"hidden-name","password":"hidden-password"}"#;
    let log_in = async |status, field: &str| {
        let mut client = Client::connect(site.server.address()).await;
        let length = format!("Content-Length: {}\r\n{field}", body.len());
        let head = request("POST /api/v1/authenticate", &length);
        client.send(format!("{head}{body}")).await;
        assert_eq!(client.answer().await.status, status);
    };
    log_in(401, "").await;
    faults.commits(CommitMode::NotApplied);
    log_in(503, "").await;
    // A request that a proxy does not sample has no spans, nor do its parts.
    log_in(503, &traceparent("00")).await;
    site.server.drain().await;
    let (spans, bodies, _) = collector.taken();
    let requests = spans.iter().filter(|span| span.kind() == SpanKind::Server);
    let requests: Vec<_> = requests.collect();
    assert_eq!(requests.len(), 2, "{spans:?}");
    let parts = |of: &Span| {
        let parts = spans
            .iter()
            .filter(|span| (&span.trace_id, &span.parent_span_id) == (&of.trace_id, &of.span_id));
        parts.cloned().collect::<Vec<_>>()
    };
    let [first, second] = [parts(requests[0]), parts(requests[1])];
    assert_eq!(first.len() + second.len() + 2, spans.len(), "no other");
    let named = |parts: &[Span], name: &str| -> Vec<Span> {
        let named = parts.iter().filter(|part| part.name == name);
        named.cloned().collect()
    };
    for parts in [&first, &second] {
        let hashes = named(parts, "hash a password");
        assert_eq!(hashes.len(), 1);
        assert_eq!(hashes[0].kind(), SpanKind::Internal);
        let reads = named(parts, "read");
        assert!(!reads.is_empty());
        for read in reads {
            assert_eq!(read.kind(), SpanKind::Client);
            let attributes = [("db.operation.name", "read"), ("db.system.name", "sqlite")];
            let attributes = attributes.map(|(name, value)| (name, value.to_owned()));
            assert_eq!(told(&read), attributes);
        }
    }
    let commits = named(&first, "commit");
    assert!(!commits.is_empty());
    for commit in &commits {
        let names: Vec<_> = told(commit).into_iter().map(|(name, _)| name).collect();
        let always = [
            "db.operation.batch.size",
            "db.operation.name",
            "db.system.name",
        ];
        assert_eq!(names, always);
        assert_ne!(
            commit.status.clone().unwrap_or_default().code(),
            StatusCode::Error
        );
    }
    let lost = ("error.type", "not_applied".to_owned());
    let commits = named(&second, "commit");
    assert!(!commits.is_empty());
    for commit in &commits {
        assert!(told(commit).contains(&lost), "{commit:?}");
        assert_eq!(commit.status.clone().unwrap().code(), StatusCode::Error);
    }
    let bodies = String::from_utf8_lossy(&bodies).to_ascii_lowercase();
    assert!(!bodies.contains("hidden"));
}

#[tokio::test]
async fn a_collector_gets_the_fields_of_the_file_and_nobody_else_reads_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("fields");
    fs::write(&file, "Api-Key: hunter2\nx-scope: a\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut collector = Collector::start("200 OK").await;
    let stack = Stack::start(&[
        (
            "telemetry.otlp",
            format!("http://{}", collector.address).into(),
        ),
        ("telemetry.otlp_headers", file.display().to_string().into()),
    ])
    .await;
    stack.send(request("GET /trial/client", "")).await;
    stack.server.drain().await;
    let (spans, _, heads) = collector.taken();
    assert_eq!(spans.len(), 1);
    let heads = heads.to_ascii_lowercase();
    assert!(heads.contains("\r\napi-key: hunter2"), "{heads}");
    assert!(heads.contains("\r\nx-scope: a"), "{heads}");
}

/// A traced engine passes the same tests as the engine itself.
mod conformance {
    use std::sync::Arc;

    use keyproof::telemetry::traced;
    use keyproof_store::{BoxFuture, Engine, conformance, memory::MemoryEngine};

    struct Followed(Arc<MemoryEngine>);

    impl conformance::Database for Followed {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>> {
            let engine = Arc::clone(&self.0);
            Box::pin(async { traced(engine, "memory") })
        }

        fn is_durable(&self) -> bool {
            false
        }
    }

    conformance::tests!(Followed(Arc::new(MemoryEngine::new())));
}
