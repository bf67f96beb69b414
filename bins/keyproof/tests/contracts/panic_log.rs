//! A handler's panic is logged with its location and its request, without its message.

use std::{
    env,
    process::{Command, Stdio},
};

use keyproof::telemetry::{self, LogFormat, LogLevel};
use serde_json::Value;

use crate::stack::Stack;

const INNER: &str = "KEYPROOF_TEST_INNER";

/// Runs itself again, because a process writes its log to its standard error.
#[tokio::test]
async fn a_panic_is_logged_by_place_and_request() {
    if let Some(level) = env::var_os(INNER) {
        let all = [("info", LogLevel::Info), ("error", LogLevel::Error)];
        let (_, level) = all.into_iter().find(|(name, _)| level == *name).unwrap();
        telemetry::init(LogFormat::Json, level).unwrap();
        let stack = Stack::start(&[]).await;
        let answer = stack
            .send("GET /trial/panic HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        answer.refuses(500);
        return telemetry::flush();
    }
    for (level, messages) in [
        ("info", &["panicked", "the handler failed", "answered"][..]),
        ("error", &["panicked", "the handler failed"]),
    ] {
        let log = log_at(level);
        let events: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let event = |message: &str| {
            let mut events = events.iter();
            let event = events.find(|event| event.get("message") == Some(&message.into()));
            event.unwrap_or_else(|| panic!("no {message:?} in {log}"))
        };
        let place = event("panicked").get("location").unwrap().as_str().unwrap();
        assert!(place.contains("stack/mod.rs:"), "{place}");
        let requests: Vec<_> = messages
            .iter()
            .map(|message| event(message).get("span"))
            .collect();
        assert!(
            requests
                .iter()
                .all(|span| span.is_some() && *span == requests[0]),
            "{log}"
        );
        assert!(!log.contains("on purpose"), "{log}");
    }
}

/// Returns the log of a server with this level, of which a handler panics.
fn log_at(level: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "panic_log::a_panic_is_logged_by_place_and_request",
            "--nocapture",
        ])
        .env(INNER, level)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
