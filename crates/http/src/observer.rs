//! Who counts requests and connections.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

/// Is told of requests and connections as they end; for metrics.
pub trait RequestObserver: Send + Sync + 'static {
    /// A connection was opened.
    fn connection_opened(&self);

    /// A connection has ended.
    fn connection_closed(&self);

    /// A request has ended; without a status if nobody waits for its answer. Without a duration if its head could not be
    /// read.
    fn request_ended(
        &self,
        labels: RequestLabels,
        status: Option<StatusCode>,
        took: Option<Duration>,
    );
}

/// What a request is counted under. Clients choose none of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    /// The application's name, or `-`.
    pub application: &'static str,
    /// A registered method; `other`, also for one that the route lacks; or `-`.
    pub method: &'static str,
    /// The route's template, or `-`.
    pub route: &'static str,
    /// Whether the application says that the route logs somebody in.
    pub is_login: bool,
}

impl RequestLabels {
    /// A head that cannot be read.
    pub(crate) const UNREADABLE: Self = Self {
        application: "-",
        method: "-",
        route: "-",
        is_login: false,
    };
}

/// A connection that counts as open for as long as this lives.
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
