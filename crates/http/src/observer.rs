//! Observation of requests and connections, for metrics.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

/// Receives the events of requests and connections.
pub trait RequestObserver: Send + Sync + 'static {
    /// A connection was opened.
    fn connection_opened(&self);

    /// A connection has ended.
    fn connection_closed(&self);

    /// A request has ended. `status` is `None` if its connection ended before the answer. `took` is `None` if its head could
    /// not be parsed.
    fn request_ended(
        &self,
        labels: RequestLabels,
        status: Option<StatusCode>,
        took: Option<Duration>,
    );
}

/// The labels of a request. Clients cannot choose any of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    /// The application's name, or `-`.
    pub application: &'static str,
    /// A registered method. `other` for an unknown method or one that the route does not have, or `-`.
    pub method: &'static str,
    /// The route's template, or `-`.
    pub route: &'static str,
    /// Whether the application reports that the route logs a user in.
    pub is_login: bool,
}

impl RequestLabels {
    /// The labels of a head that cannot be parsed.
    pub(crate) const UNREADABLE: Self = Self {
        application: "-",
        method: "-",
        route: "-",
        is_login: false,
    };
}

/// Counts a connection as open while it exists.
pub(crate) struct OpenConnection(Arc<dyn RequestObserver>);

impl OpenConnection {
    pub(crate) fn count(observer: &Arc<dyn RequestObserver>) -> Self {
        observer.connection_opened();
        Self(Arc::clone(observer))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
