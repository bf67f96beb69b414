//! What Prometheus reads after known requests and commits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use keyproof::server::Server;
use keyproof_store::{CommitError, Key, Record, Timestamp, memory::MemoryEngine};
use serde::{Deserialize, Serialize};

use crate::{
    site::Site,
    stack::{Answer, Client, Stack, within},
};

const LISTEN: (&str, &str) = ("metrics.listen", "127.0.0.1:0");

/// Sends one line of a request and returns the answer.
async fn ask(address: SocketAddr, line: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    client.answer().await
}

/// The series of one scrape.
struct Series(String);

impl Series {
    async fn scrape(server: &Server) -> Self {
        let answer = ask(server.metrics_address().unwrap(), "GET /metrics").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4")
        );
        Self(answer.body)
    }

    /// Returns the lines of one metric, without help and type.
    fn of(&self, name: &str) -> Vec<&str> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let mut lines: Vec<_> = lines
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .collect();
        lines.sort_unstable();
        lines
    }

    /// Returns the value of one series, 0 if it does not exist.
    fn value(&self, series: &str) -> u64 {
        let mut values = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let found = values.find(|(name, _)| *name == series);
        found.map_or(0, |(_, value)| value.parse().unwrap())
    }
}

#[tokio::test]
async fn requests_are_counted_by_dialect_method_template_and_status() {
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into())]).await;
    let ask = async |line: &str| ask(stack.address, line).await.status;
    assert_eq!(ask("GET /trial/client?secret=hidden-query").await, 200);
    assert_eq!(ask("GET /trial/client").await, 200);
    assert_eq!(ask("POST /trial/unread").await, 401);
    assert_eq!(ask("GET /trial/hidden-what").await, 404);
    assert_eq!(ask("GET /trial/hidden/path").await, 404);
    assert_eq!(ask("GET /hidden-path").await, 404);
    assert_eq!(ask("HIDDEN /trial/client").await, 200);
    assert_eq!(ask("GET /trial/panic").await, 500);
    assert_eq!(ask("GET /healthz").await, 200);
    assert_eq!(ask("hidden").await, 400);

    // A scrape is counted when it has ended, so only the next one shows it.
    Series::scrape(&stack.server).await;
    let series = Series::scrape(&stack.server).await;
    let mut requests = series.of("keyproof_http_requests_total");
    let scrapes = requests.iter().position(|line| line.contains("/metrics"));
    let scrapes = requests.remove(scrapes.unwrap());
    assert!(scrapes.starts_with(
        "keyproof_http_requests_total{dialect=\"metrics\",method=\"GET\",route=\"/metrics\",status=\"200\"} 1"
    ));
    let labels: Vec<_> = requests
        .iter()
        .map(|line| line.strip_prefix("keyproof_http_requests_total").unwrap())
        .collect();
    assert_eq!(
        labels,
        [
            r#"{dialect="-",method="-",route="-",status="400"} 1"#,
            r#"{dialect="-",method="GET",route="-",status="404"} 1"#,
            r#"{dialect="-",method="GET",route="/healthz",status="200"} 1"#,
            r#"{dialect="taler",method="GET",route="-",status="404"} 1"#,
            r#"{dialect="taler",method="GET",route="/trial/{what}",status="200"} 2"#,
            r#"{dialect="taler",method="GET",route="/trial/{what}",status="404"} 1"#,
            r#"{dialect="taler",method="GET",route="/trial/{what}",status="500"} 1"#,
            r#"{dialect="taler",method="POST",route="/trial/{what}",status="401"} 1"#,
            r#"{dialect="taler",method="other",route="/trial/{what}",status="200"} 1"#,
        ]
    );
    assert!(!series.0.to_ascii_lowercase().contains("hidden"));

    // Each request has a duration, whatever its status.
    let durations = "keyproof_http_request_duration_seconds";
    let labels = "dialect=\"taler\",method=\"GET\",route=\"/trial/{what}\"";
    assert_eq!(series.value(&format!("{durations}_count{{{labels}}}")), 4);
    let infinite = format!("{durations}_bucket{{{labels},le=\"+Inf\"}}");
    assert_eq!(series.value(&infinite), 4);
}

/// Otherwise clients without credentials could create a series for each method at each route.
#[tokio::test]
async fn the_methods_that_a_route_lacks_are_one_series() {
    let flags = [(LISTEN.0, LISTEN.1.into())];
    let engine = Arc::new(MemoryEngine::new());
    let site = Site::set_up(Timestamp::EPOCH, engine, &flags, |_, _| {}).await;
    for (path, lacking) in [
        ("/healthz", &["DELETE", "PATCH", "POST", "PUT", "BREW"][..]),
        ("/config", &["DELETE", "PATCH", "POST", "PUT", "BREW"]),
        ("/private/otp-devices", &["DELETE", "PATCH", "PUT", "BREW"]),
        ("/private/otp-devices/7", &["POST", "PUT", "BREW"]),
        ("/private/token", &["GET", "PATCH", "PUT", "BREW"]),
    ] {
        for method in lacking {
            let answer = ask(site.server.address(), &format!("{method} {path}")).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let metrics = site.server.metrics_address().unwrap();
    for method in ["PUT", "BREW"] {
        assert_eq!(
            ask(metrics, &format!("{method} /metrics")).await.status,
            405
        );
    }
    let series = Series::scrape(&site.server).await;
    let requests = series.of("keyproof_http_requests_total");
    let labels: Vec<_> = requests
        .iter()
        .map(|line| line.strip_prefix("keyproof_http_requests_total").unwrap())
        .collect();
    assert_eq!(
        labels,
        [
            r#"{dialect="-",method="other",route="/healthz",status="405"} 5"#,
            r#"{dialect="metrics",method="other",route="/metrics",status="405"} 2"#,
            r#"{dialect="taler",method="other",route="/config",status="405"} 5"#,
            r#"{dialect="taler",method="other",route="/private/otp-devices",status="405"} 4"#,
            r#"{dialect="taler",method="other",route="/private/otp-devices/{id}",status="405"} 3"#,
            r#"{dialect="taler",method="other",route="/private/token",status="405"} 4"#,
        ]
    );
}

#[tokio::test]
async fn open_connections_are_counted_and_the_scrapes_own() {
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into())]).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = stack.connect().await;
        client
            .send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.status, 200);
        open.push(client);
    }
    let series = Series::scrape(&stack.server).await;
    assert_eq!(
        series.of("keyproof_http_connections"),
        ["keyproof_http_connections 4"]
    );
    drop(open);
    let closed = async {
        while Series::scrape(&stack.server)
            .await
            .value("keyproof_http_connections")
            != 1
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(closed).await;
}

/// It may have ended only its sending side, so nothing is read from its connection before the answer.
#[tokio::test]
async fn a_read_whose_client_has_left_counts_by_its_answer() {
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into())]).await;
    let read = "GET /trial/wait HTTP/1.1\r\nHost: x\r\n\r\n";
    let client = stack.connect_with(read).await;
    stack.trial.handler_waits().await;
    drop(client);
    stack.serves().await;
    stack.trial.gate.add_permits(1);
    let labels = "dialect=\"taler\",method=\"GET\",route=\"/trial/{what}\"";
    let answered = format!("keyproof_http_requests_total{{{labels},status=\"200\"}}");
    let counted = async {
        while Series::scrape(&stack.server).await.value(&answered) != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(counted).await;
}

/// They would occupy its eight slots until `http.header_timeout`.
#[tokio::test]
async fn silent_connections_do_not_blind_the_listener() {
    let an_hour = ("http.header_timeout_ms", 3_600_000.into());
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into()), an_hour]).await;
    let metrics = stack.server.metrics_address().unwrap();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(Client::connect(metrics).await);
    }
    Series::scrape(&stack.server).await;
    for mut client in silent {
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn the_listener_serves_metrics_and_probes_alone_even_when_the_server_is_full() {
    let limit = ("http.max_connections", 1.into());
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into()), limit]).await;
    let mut only = stack.connect().await;
    only.send("GET /trial/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    stack.trial.handler_waits().await;

    let metrics = stack.server.metrics_address().unwrap();
    assert_eq!(ask(metrics, "GET /metrics").await.status, 200);
    assert_eq!(ask(metrics, "GET /healthz").await.status, 200);
    assert_eq!(ask(metrics, "GET /readyz").await.status, 200);
    for nothing in ["GET /", "GET /metrics/", "GET /trial/client"] {
        assert_eq!(ask(metrics, nothing).await.status, 404, "{nothing}");
    }
    let refused = ask(metrics, "POST /metrics").await;
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("allow"), Some("get, head"));

    stack.trial.gate.add_permits(1);
    assert_eq!(only.answer().await.status, 200);
    drop(only);
    // Other listeners serve no metrics.
    assert_eq!(ask(stack.address, "GET /metrics").await.status, 404);
}

#[tokio::test]
async fn there_is_no_listener_unless_it_is_asked_for() {
    let stack = Stack::start(&[]).await;
    assert_eq!(stack.server.metrics_address(), None);
    assert_eq!(stack.server.metrics_url(), None);
}

#[derive(Clone, Deserialize, Serialize)]
struct Thing {}

impl Record for Thing {
    const TYPE: &'static str = "thing";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn commits_are_counted_by_outcome_and_group() {
    let flags = [(LISTEN.0, LISTEN.1.into())];
    let engine = Arc::new(MemoryEngine::new());
    let site = Site::set_up(Timestamp::EPOCH, engine, &flags, |_, _| {}).await;
    let insert = async || {
        let mut batch = site.store.batch(site.now());
        batch.insert(&Key::new("thing", ["a"]), &Thing {}, None);
        site.store.commit(batch).await
    };
    let outcome = |outcome: &str| format!("keyproof_store_commits_total{{outcome=\"{outcome}\"}}");
    let sizes = "keyproof_store_commit_group_size";
    let before = Series::scrape(&site.server).await;
    insert().await.unwrap();
    for _ in 0..2 {
        let conflict = insert().await.unwrap_err();
        assert_eq!(conflict, CommitError::Conflict { entry: 0 });
    }
    let after = Series::scrape(&site.server).await;
    let grown = |series: &str| after.value(series) - before.value(series);
    assert_eq!(grown(&outcome("applied")), 1);
    assert_eq!(grown(&outcome("conflict")), 2);
    assert_eq!(grown(&format!("{sizes}_count")), 3);
    assert_eq!(grown(&format!("{sizes}_sum")), 3);
    assert_eq!(grown(&format!("{sizes}_bucket{{le=\"1\"}}")), 3);
    // Outcomes that have not occurred have series with the value zero.
    for never in ["not_applied", "unknown"] {
        let line = format!("{} 0", outcome(never));
        let commits = after.of("keyproof_store_commits_total");
        assert!(commits.contains(&line.as_str()), "{commits:?}");
    }
}

#[tokio::test]
async fn the_use_cases_and_the_process_tell_their_figures() {
    let flags = [(LISTEN.0, LISTEN.1.into())];
    let engine = Arc::new(MemoryEngine::new());
    let site = Site::set_up(Timestamp::EPOCH, engine, &flags, |_, _| {}).await;
    let before = Series::scrape(&site.server).await;
    // The user does not exist, so the login costs a hash and reveals nothing.
    let body = r#"{"username":"hidden-name","password":"hidden-password"}"#;
    let mut client = Client::connect(site.server.address()).await;
    let length = body.len();
    let head = "POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length:";
    client.send(format!("{head} {length}\r\n\r\n{body}")).await;
    assert_eq!(client.answer().await.status, 401);

    let after = Series::scrape(&site.server).await;
    let hashed = "keyproof_hashing_total{outcome=\"hashed\"}";
    assert_eq!(after.value(hashed) - before.value(hashed), 1);
    let capacity = "keyproof_judging_queue_capacity{domain=\"accounts\"}";
    assert!(after.value(capacity) >= 128);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("keyproof_build_info{{version=\"{version}\"}}");
    assert_eq!(after.value(&build), 1);
    assert!(after.value("process_resident_memory_bytes") > 1_000_000);
    assert!(after.value("process_open_fds") > 3);
    assert!(!after.0.contains("hidden"));
    // Without TLS there is no certificate that could expire.
    let expiry = "keyproof_tls_certificate_expiry_timestamp_seconds";
    assert!(after.of(expiry).is_empty());
}

#[tokio::test]
async fn a_drain_is_seen_until_it_has_ended() {
    let stack = Stack::start(&[(LISTEN.0, LISTEN.1.into())]).await;
    let metrics = stack.server.metrics_address().unwrap();
    let value = async |name: &str| {
        let answer = ask(metrics, "GET /metrics").await;
        Series(answer.body).value(name)
    };
    assert_eq!(value("keyproof_draining").await, 0);
    assert_eq!(value("keyproof_listeners{socket=\"own\"}").await, 2);
    assert_eq!(value("keyproof_listeners{socket=\"passed\"}").await, 0);
    assert_eq!(ask(metrics, "GET /readyz").await.status, 200);
    let mut busy = stack.connect().await;
    busy.send("POST /trial/write HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await;
    stack.trial.handler_waits().await;
    let Stack { server, trial, .. } = stack;
    let drain = tokio::spawn(server.drain());
    within(async { while value("keyproof_draining").await == 0 {} }).await;
    let unready = ask(metrics, "GET /readyz").await;
    assert_eq!((unready.status, &*unready.body), (503, "draining\n"));
    // The scrape's own connection, and the one that is waited for.
    assert_eq!(value("keyproof_http_connections").await, 2);
    assert!(!drain.is_finished());
    trial.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 200);
    within(drain).await.unwrap();
    let gone = async { while tokio::net::TcpStream::connect(metrics).await.is_ok() {} };
    within(gone).await;
}
