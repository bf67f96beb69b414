//! The progress of a request, set by its handler and read by the stack.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;

use crate::deadline::HandlerDeadline;

/// State shared by the parts of one request.
pub(crate) struct Progress {
    /// The matched route, which the handler sets. The access log reads it after the answer.
    template: OnceLock<&'static str>,
    /// The methods of the matched route, if the request's is not one of them.
    pub(crate) allow: OnceLock<HeaderValue>,
    is_login: AtomicBool,
    pub(crate) deadline: HandlerDeadline,
    /// The `Set-Cookie` field of the answer, even of one without the handler.
    pub(crate) cookie: OnceLock<HeaderValue>,
    is_answered: AtomicBool,
}

impl Progress {
    /// Starts the progress of a new request, whose handler may take `allowance`.
    pub(crate) fn start(allowance: Duration) -> Self {
        Self {
            template: OnceLock::new(),
            allow: OnceLock::new(),
            is_login: AtomicBool::default(),
            deadline: HandlerDeadline::start(allowance),
            cookie: OnceLock::new(),
            is_answered: AtomicBool::default(),
        }
    }

    /// Records that the request was answered without its handler.
    pub(crate) fn answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    /// Returns whether the request was answered without its handler.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    pub(crate) fn matched(&self, template: &'static str) {
        // The first template counts.
        let _ = self.template.set(template);
    }

    pub(crate) fn template(&self) -> &'static str {
        self.template.get().copied().unwrap_or("-")
    }

    pub(crate) fn mark_method_not_allowed(&self, allow: &str) {
        // The names of methods are always valid.
        let allow = HeaderValue::try_from(allow).unwrap_or(HeaderValue::from_static(""));
        let _ = self.allow.set(allow);
    }

    pub(crate) fn mark_login(&self) {
        self.is_login.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_login(&self) -> bool {
        self.is_login.load(Ordering::Relaxed)
    }
}
