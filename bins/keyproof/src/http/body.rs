//! The body of a request, read when the handler asks for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::{StackRefusal, deadline::HandlerDeadline};

/// A body that is still on its way.
pub(super) struct RequestBody {
    pub(super) incoming: Option<Incoming>,
    pub(super) limit: usize,
    pub(super) timeout: Duration,
    pub(super) deadline: Arc<HandlerDeadline>,
}

impl RequestBody {
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) async fn read(&mut self) -> Result<Bytes, StackRefusal> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(Bytes::new());
        };
        let too_large = StackRefusal::BodyTooLarge {
            limit: self.limit as u64,
        };
        // The hint is exactly the Content-Length when there is one: a body announced too long is never read.
        if incoming.size_hint().lower() > self.limit as u64 {
            return Err(too_large);
        }
        self.deadline.extend(self.timeout);
        let read = timeout(self.timeout, Limited::new(incoming, self.limit).collect()).await;
        self.deadline.restart();
        match read {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
            Ok(Err(_)) => Err(StackRefusal::BodyMalformed),
            Err(_) => Err(StackRefusal::BodyTimedOut),
        }
    }
}
