//! A browser driven by WebDriver (W3C): the parts that these tests need, with one connection per command.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use keyproof_service::ManualClock;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The member that contains an element's reference (WebDriver, section 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The time limit for a page, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser and the driver that has started it. Both end when this is dropped.
pub(super) struct Driver {
    driver: Child,
    port: u16,
    session: String,
    /// The server's clock, if the test controls it: a person takes a second for each step.
    clock: Option<Arc<ManualClock>>,
    _profile: TempDir,
}

impl Driver {
    pub(super) fn start(runs_scripts: bool, clock: Option<Arc<ManualClock>>) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the peer `chromedriver` cannot be run: install the package chromium-driver");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok);
        let mut ports = said.filter_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let port = ports.next().expect("chromedriver says its port");
        let profile = TempDir::new().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            // As on a phone, where scroll bars are drawn over the page.
            "--hide-scrollbars",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &folder,
        ];
        let scripts = if runs_scripts { 1 } else { 2 };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // For axe-core on a long page.
            "timeouts": { "script": PATIENCE.as_secs() * 1_000 },
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let mut started = Self {
            driver,
            port,
            session: String::new(),
            clock,
            _profile: profile,
        };
        let session = started.ask("POST", "/session", &capabilities).unwrap();
        started.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        started
    }

    /// # Errors
    ///
    /// The driver's message if it was not able to carry out the command.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        // The driver keeps the connection open, whatever is requested.
        let mut answer = BufReader::new(socket);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if answer["value"]["error"].is_null() {
            Ok(answer["value"].clone())
        } else {
            Err(format!("{path}: {answer}"))
        }
    }

    fn try_post(&self, command: &str, body: &Value) -> Result<Value, String> {
        self.ask("POST", &format!("{}/{command}", self.session), body)
    }

    fn try_get(&self, command: &str) -> Result<Value, String> {
        self.ask("GET", &format!("{}/{command}", self.session), &Value::Null)
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.try_post(command, body).unwrap()
    }

    fn get(&self, command: &str) -> Value {
        self.try_get(command).unwrap()
    }

    /// Acts on an element, once it exists: the page may still be loading.
    fn with<T>(&self, css: &str, act: impl Fn(&str) -> Result<T, String>) -> T {
        let selector = json!({ "using": "css selector", "value": css });
        let since = Instant::now();
        loop {
            let found = self.try_post("element", &selector);
            let done = found
                .and_then(|found| act(&format!("element/{}", found[ELEMENT].as_str().unwrap())));
            match done {
                Ok(done) => return done,
                Err(why) => assert!(since.elapsed() < PATIENCE, "{why}"),
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Acts on something that leads to another page, and waits until the current page is left.
    fn leave(&self, act: impl FnOnce()) {
        let page = self.with("html", |element| Ok(element.to_owned()));
        act();
        let since = Instant::now();
        while self.try_get(&format!("{page}/name")).is_ok() {
            assert!(since.elapsed() < PATIENCE, "this led nowhere");
            sleep(Duration::from_millis(50));
        }
        self.take_a_second();
    }

    fn take_a_second(&self) {
        if let Some(clock) = &self.clock {
            clock.advance(Duration::from_secs(1));
        }
    }

    pub(super) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
        self.take_a_second();
    }

    pub(super) fn address(&self) -> String {
        self.get("url").as_str().unwrap().to_owned()
    }

    /// Returns the visible text of an element.
    pub(super) fn text(&self, css: &str) -> String {
        let text = self.with(css, |element| self.try_get(&format!("{element}/text")));
        text.as_str().unwrap().to_owned()
    }

    pub(super) fn texts(&self, css: &str) -> Vec<String> {
        let found = self.post(
            "elements",
            &json!({ "using": "css selector", "value": css }),
        );
        let found = found.as_array().unwrap().iter();
        found
            .map(|element| {
                let id = element[ELEMENT].as_str().unwrap();
                let text = self.get(&format!("element/{id}/text"));
                text.as_str().unwrap().to_owned()
            })
            .collect()
    }

    pub(super) fn is_shown(&self, css: &str) -> bool {
        self.with(css, |element| self.try_get(&format!("{element}/displayed"))) == true
    }

    pub(super) fn type_in(&self, css: &str, text: &str) {
        let text = json!({ "text": text });
        self.with(css, |element| {
            self.try_post(&format!("{element}/value"), &text)
        });
    }

    pub(super) fn clear(&self, css: &str) {
        self.with(css, |element| {
            self.try_post(&format!("{element}/clear"), &json!({}))
        });
    }

    /// Selects an option by its value.
    pub(super) fn choose(&self, css: &str, value: &str) {
        self.click(&format!("{css} option[value='{value}']"));
    }

    /// Types into a field, and submits its form.
    pub(super) fn send(&self, css: &str, text: &str) {
        self.leave(|| self.type_in(css, &format!("{text}\u{E007}")));
    }

    /// Clicks on something that changes the current page.
    pub(super) fn click(&self, css: &str) {
        self.with(css, |element| {
            self.try_post(&format!("{element}/click"), &json!({}))
        });
    }

    /// Clicks on something that leads to another page.
    pub(super) fn follow(&self, css: &str) {
        self.leave(|| self.click(css));
    }

    pub(super) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns true.
    pub(super) fn wait_until(&self, script: &str) {
        let since = Instant::now();
        while self.run(script) != true {
            assert!(since.elapsed() < PATIENCE, "never true: {script}");
            sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("goog/cdp/execute", &body)
    }

    /// Emulates a window size, a scale and a preferred colour scheme.
    pub(super) fn emulate(&self, width: u32, scale: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 720, "deviceScaleFactor": scale, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "media": "", "features": [scheme] }),
        );
    }

    /// Emulates printing, until something else is emulated.
    pub(super) fn emulate_print(&self) {
        self.devtools("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    }

    pub(super) fn press_tab(&self) {
        self.press("\u{E004}");
    }

    pub(super) fn press_enter(&self) {
        self.press("\u{E007}");
    }

    /// Presses a key, wherever the focus is.
    fn press(&self, key: &str) {
        let actions = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("actions", &json!({ "actions": [keyboard] }));
    }

    /// Returns a PNG picture of the page at this width, from `top` on, of at most this height.
    pub(super) fn picture(&self, width: u32, top: u64, highest: u64) -> Vec<u8> {
        let height = self.run("return document.documentElement.scrollHeight");
        let height = height.as_u64().unwrap().saturating_sub(top).min(highest);
        let clip = json!({ "x": 0, "y": top, "width": width, "height": height, "scale": 1 });
        let options = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", &options);
        BASE64
            .decode(picture["data"].as_str().unwrap().as_bytes())
            .unwrap()
    }

    /// Returns the log entries since the last call.
    pub(super) fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("se/log", &json!({ "type": kind }));
        entries.as_array().unwrap().clone()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser ends with its session, which a failed test has left open.
        if !self.session.is_empty()
            && let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port))
        {
            let session = &self.session;
            let _ = write!(
                socket,
                "DELETE {session} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            // The first byte of the answer shows that the session has ended.
            let _ = socket.read(&mut [0]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
