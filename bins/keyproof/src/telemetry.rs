//! Logs: structured, on standard error.

use std::{
    io::{IsTerminal, stderr},
    panic,
};

use serde::{Deserialize, Serialize};
use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What needs an operator.
    Error,
    /// What may.
    Warn,
    /// One event a request, and what the server does by itself.
    #[default]
    Info,
    /// What became of connections.
    Debug,
    /// Everything.
    Trace,
}

impl LogFormat {
    /// As the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl LogLevel {
    /// As the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
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

/// Starts logging, once in a process; a second call changes nothing.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = LevelFilter::from(level);
    // Libraries may log what they are given: their details stay out.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("keyproof", level);
    let layer = fmt::layer().with_writer(stderr);
    let started = match format {
        LogFormat::Text => {
            let layer = layer.with_ansi(stderr().is_terminal());
            registry().with(filter).with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_span_list(false);
            registry().with(filter).with(layer).try_init()
        }
    };
    if started.is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

/// Says where, not what: a panic's message may quote the text that caused it.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    error!(location, "panicked");
}
