//! The body of a request, read when the handler asks for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::{StackRefusal, deadline::HandlerDeadline, stack::Stack, wire::Turn};

/// A body that is still on its way.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    limit: usize,
    timeout: Duration,
    deadline: Arc<HandlerDeadline>,
    turn: Arc<Turn>,
    stack: Arc<Stack>,
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        limit: usize,
        timeout: Duration,
        deadline: Arc<HandlerDeadline>,
        turn: Arc<Turn>,
        stack: Arc<Stack>,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            limit,
            timeout,
            deadline,
            turn,
            stack,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Refuses a body that is announced too long, before anything else is done for its request.
    pub(super) fn check_announced(&self) -> Result<(), StackRefusal> {
        let limit = self.limit as u64;
        // The hint is exactly the Content-Length when there is one.
        let hint = self.incoming.as_ref().map(Body::size_hint);
        if hint.is_none_or(|hint| hint.lower() <= limit) {
            return Ok(());
        }
        Err(StackRefusal::BodyTooLarge { limit })
    }

    pub(super) async fn read(&mut self) -> Result<Bytes, StackRefusal> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(Bytes::new());
        };
        let body = self.read_whole(incoming).await;
        if body.is_err() {
            self.turn.body_is_unread();
        }
        body
    }

    async fn read_whole(&self, incoming: Incoming) -> Result<Bytes, StackRefusal> {
        let limit = self.limit as u64;
        self.deadline.extend(self.timeout);
        let whole = timeout(self.timeout, Limited::new(incoming, self.limit).collect());
        let read = tokio::select! {
            biased;
            read = whole => read,
            // Nothing was decided yet, so nobody is left in doubt.
            () = self.stack.stopped_waiting() => return Err(StackRefusal::Draining),
        };
        self.deadline.restart();
        match read {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(StackRefusal::BodyTooLarge { limit })
            }
            Ok(Err(_)) => Err(StackRefusal::BodyMalformed),
            Err(_) => Err(StackRefusal::BodyTimedOut),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self
            .incoming
            .as_ref()
            .is_some_and(|body| !body.is_end_stream())
        {
            self.turn.body_is_unread();
        }
    }
}
