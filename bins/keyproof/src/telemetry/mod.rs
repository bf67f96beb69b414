//! Structured logs on standard error, traces, and audit events for the journal.

mod collector_fields;
pub(crate) mod journal;
mod line;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod outbox;
mod queue;

use std::{
    io::{self, IsTerminal, Write, stderr},
    panic,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::ValueEnum;
use jiff::Timestamp;
use keyproof_http::RequestTracer;
use keyproof_service::WorkObserver;
use keyproof_store::Engine;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{Level, Metadata, dispatcher, error, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

use crate::{config::Config, metrics::Metrics, server::StartError};
use line::TextLine;
use outbox::Outgoing;
use queue::{Queue, Urgency};

pub use collector_fields::{CollectorFields, CollectorFieldsError};

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable lines.
    #[default]
    Text,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Errors that need an operator.
    Error,
    /// Also warnings, which may need one.
    Warn,
    /// Also one event per request, and the server's own actions.
    #[default]
    Info,
    /// Also how connections ended.
    Debug,
    /// Everything.
    Trace,
}

impl LogFormat {
    /// Parses the text of a configuration value. Returns `None` if it is invalid.
    pub(crate) fn of(text: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(text, false).ok()
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Checks what [`tracer`] needs to reach the collector: its header fields, and TLS.
///
/// # Errors
///
/// As for [`tracer`].
pub(crate) fn check_collector(config: &Config) -> Result<(), StartError> {
    if let Some(fields) = &config.collector_fields {
        fields.read()?;
    }
    #[cfg(feature = "otlp")]
    if let Some(url) = &config.settings.telemetry.otlp {
        otlp::client(url)?;
    }
    Ok(())
}

/// Creates the tracer of requests and the task that sends its spans, if `telemetry.otlp` has an address.
///
/// # Errors
///
/// If TLS to the collector cannot be set up, or the metric's name is taken.
#[cfg(feature = "otlp")]
pub(crate) fn tracer(config: &Config, metrics: &Metrics) -> Result<Option<Tracer>, StartError> {
    let Some(url) = &config.settings.telemetry.otlp else {
        return Ok(None);
    };
    let fields = config.collector_fields.as_ref();
    let fields = fields
        .map(CollectorFields::read)
        .transpose()?
        .unwrap_or_default();
    let (traces, outgoing) = otlp::Traces::start(url, fields, metrics.spans()?)?;
    Ok(Some((traces, outgoing)))
}

/// Without the feature there is no tracer. The configuration rejects the setting.
#[cfg(not(feature = "otlp"))]
#[expect(clippy::unnecessary_wraps, reason = "the feature's signature")]
pub(crate) fn tracer(_: &Config, _: &Metrics) -> Result<Option<Tracer>, StartError> {
    Ok(None)
}

/// Returns the observer of the work that traced requests wait for.
#[cfg(feature = "otlp")]
pub(crate) fn work_observer() -> Option<Arc<dyn WorkObserver>> {
    Some(Arc::new(otlp::WorkSpans))
}

/// Without the feature there is no observer.
#[cfg(not(feature = "otlp"))]
pub(crate) fn work_observer() -> Option<Arc<dyn WorkObserver>> {
    None
}

/// Wraps an engine so that its operations become spans of traced requests. `system` is the database's name in
/// OpenTelemetry.
#[cfg(feature = "otlp")]
pub fn traced(inner: Arc<dyn Engine>, system: &'static str) -> Arc<dyn Engine> {
    Arc::new(otlp::TracedEngine { inner, system })
}

/// Returns the engine unchanged, as there is no tracing without the feature.
#[cfg(not(feature = "otlp"))]
pub fn traced(engine: Arc<dyn Engine>, _: &'static str) -> Arc<dyn Engine> {
    engine
}

/// The tracer of requests, and the task that sends its spans.
pub(crate) type Tracer = (Arc<dyn RequestTracer>, Outgoing);

/// The queue of lines to write, once logging has started.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// How long a process that ends waits for its log to be read.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes each event to the queue.
#[derive(Clone)]
struct Log(Arc<Queue>);

/// The line of one event.
struct Line<'q> {
    queue: &'q Queue,
    urgency: Urgency,
}

impl<'q> MakeWriter<'q> for Log {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line {
            queue: &self.0,
            urgency: Urgency::None,
        }
    }

    fn make_writer_for(&'q self, event: &Metadata<'_>) -> Line<'q> {
        let urgency = if *event.level() <= Level::WARN {
            Urgency::Urgent
        } else {
            Urgency::None
        };
        Line {
            urgency,
            ..self.make_writer()
        }
    }
}

impl Write for Line<'_> {
    /// The formatter writes each event in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.add(line, self.urgency);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until all logged lines are written, or for a second at most.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINES);
    }
}

/// Starts logging. Has no effect if it was already started.
///
/// # Errors
///
/// If the writer thread cannot be spawned.
pub fn init(format: LogFormat, level: LogLevel) -> io::Result<()> {
    let queue = match QUEUE.get() {
        Some(queue) => queue,
        None => {
            let queue = Queue::start(stderr())?;
            QUEUE.get_or_init(|| queue)
        }
    };
    let level = LevelFilter::from(level);
    // Libraries may log their input, so their details are filtered out.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("keyproof", level);
    let layer = fmt::layer().with_writer(Log(Arc::clone(queue)));
    let started = match format {
        LogFormat::Text if stderr().is_terminal() => {
            let layer = layer.with_ansi(true);
            registry().with(filter).with(layer).try_init()
        }
        LogFormat::Text => {
            let layer = layer.with_ansi(false).event_format(TextLine);
            registry().with(filter).with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_span_list(false);
            registry().with(filter).with(layer).try_init()
        }
    };
    if started.is_ok() {
        watch_panics();
    }
    Ok(())
}

/// Installs a panic hook that logs panics, or writes them to standard error until logging has started.
pub(crate) fn watch_panics() {
    panic::set_hook(Box::new(log_panic));
}

/// Logs only the location, as a panic's message may quote the text that caused it.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    if dispatcher::has_been_set() {
        error!(location, "panicked");
        // The process may end now.
        flush();
    } else {
        print_error(&format!("panicked at {}", location.unwrap_or_default()));
    }
}

/// Escapes a text for a terminal or a line of a log: control characters, and those that hide or reorder others, are
/// shown by their number.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

/// Whether messages outside the log are written as JSON. An example is the reason why the server does not start.
static BESIDE: AtomicBool = AtomicBool::new(false);

/// Sets the format of messages outside the log.
pub(crate) fn write_as(format: LogFormat) {
    BESIDE.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Writes a message to standard error outside the log, whatever the log level.
pub(crate) fn print_line(level: Level, message: &str) {
    let line = if BESIDE.load(Ordering::Relaxed) {
        let timestamp = format!("{:.6}", Timestamp::now());
        json!({ "timestamp": timestamp, "level": level.as_str(), "message": message }).to_string()
    } else {
        message.to_owned()
    };
    // Keeps the order of the messages.
    flush();
    // The error cannot be reported anywhere.
    let _ = writeln!(stderr(), "{line}");
}

/// Writes outside the log why the program ends.
pub(crate) fn print_error(message: &str) {
    if BESIDE.load(Ordering::Relaxed) {
        print_line(Level::ERROR, message);
    } else {
        print_line(Level::ERROR, &format!("keyproof: {message}"));
    }
}
