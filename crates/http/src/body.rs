//! The body of a request, read when the handler asks for it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming, SizeHint};
use tokio::time::timeout;

use crate::{StackRefusal, answer::Origin, progress::Progress};

/// A body that has not been read.
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    progress: Arc<Progress>,
    origin: Arc<Origin>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, progress: Arc<Progress>, origin: Arc<Origin>) -> Self {
        Self {
            incoming: Some(incoming),
            progress,
            origin,
        }
    }

    /// Returns the limit for a route that needs at most `needed` bytes.
    pub(crate) fn limit(&self, needed: usize) -> usize {
        needed.min(self.origin.stack.limits.max_body_bytes)
    }

    /// Rejects a body whose `Content-Length` is over the limit, before any other work for its request.
    pub(crate) fn check_announced(&self) -> Result<(), StackRefusal> {
        let hint = self.incoming.as_ref().map(Body::size_hint);
        hint.map_or(Ok(()), |hint| {
            check_announced(&hint, self.limit(usize::MAX))
        })
    }

    pub(crate) async fn read(&mut self, needed: usize) -> Result<Bytes, StackRefusal> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(Bytes::new());
        };
        let body = self.read_whole(incoming, self.limit(needed)).await;
        if body.is_err() {
            self.origin.turn.body_is_unread();
        }
        body
    }

    async fn read_whole(&self, incoming: Incoming, limit: usize) -> Result<Bytes, StackRefusal> {
        check_announced(&incoming.size_hint(), limit)?;
        let stack = &self.origin.stack;
        let patience = stack.limits.body_timeout;
        self.progress.deadline.extend(patience);
        let whole = timeout(patience, gather(incoming, limit));
        let read = tokio::select! {
            biased;
            read = whole => read,
            // Nothing has been decided yet, so the client can be told that nothing was done.
            () = stack.drain_grace_passed() => return Err(StackRefusal::Draining),
        };
        self.progress.deadline.restart();
        read.unwrap_or(Err(StackRefusal::BodyTimedOut))
    }
}

/// Reads a whole body. Each frame is copied and freed at once, since it is a slice of the connection's read buffer.
/// Otherwise, a body sent byte by byte would keep one buffer per byte.
async fn gather(mut incoming: Incoming, limit: usize) -> Result<Bytes, StackRefusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| StackRefusal::BodyMalformed)?;
        // The only other frames are trailers, which are ignored.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit.saturating_sub(whole.len()) {
            return Err(too_large(limit));
        }
        if whole.is_empty() && incoming.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self
            .incoming
            .as_ref()
            .is_some_and(|body| !body.is_end_stream())
        {
            self.origin.turn.body_is_unread();
        }
    }
}

/// Rejects a body over the limit. The lower bound of the hint is the `Content-Length`, if there is one.
fn check_announced(hint: &SizeHint, limit: usize) -> Result<(), StackRefusal> {
    if hint.lower() > limit as u64 {
        return Err(too_large(limit));
    }
    Ok(())
}

fn too_large(limit: usize) -> StackRefusal {
    StackRefusal::BodyTooLarge {
        limit: limit as u64,
    }
}
