//! The transport between hyper and the socket. It holds back hyper's own error answers, and gives up on clients that do not
//! read.
//!
//! hyper answers a head that it cannot parse with an empty body and no request id. Every error answer here has a request
//! id, so that answer is held back, and the connection writes its own instead.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The state of a connection: whether a request is being answered, and whether its body was read.
#[derive(Default)]
pub(crate) struct Turn {
    state: AtomicU8,
    begun: AtomicBool,
    unread: AtomicBool,
}

impl Turn {
    /// Every answer has been flushed. Anything hyper writes now is its own error answer to the next head.
    const IDLE: u8 = 0;
    /// A request is being handled, and its answer is not complete.
    const ANSWERING: u8 = 1;
    /// The answer is complete but may still be in a buffer.
    const ANSWERED: u8 = 2;

    pub(crate) fn request_arrived(&self) {
        self.begun.store(true, Ordering::Release);
        self.unread.store(false, Ordering::Release);
        self.state.store(Self::ANSWERING, Ordering::Release);
    }

    /// Returns whether a request has ever arrived.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::IDLE
    }

    /// Records that the request is answered without its whole body, which the client may still be sending.
    pub(crate) fn body_is_unread(&self) {
        self.unread.store(true, Ordering::Release);
    }

    pub(crate) fn may_be_sending(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    fn answer_is_whole(&self) {
        self.state.store(Self::ANSWERED, Ordering::Release);
    }

    fn flushed(&self) {
        // If this exchange fails, a request has arrived or is being answered, so the connection is not idle.
        let _ = self.state.compare_exchange(
            Self::ANSWERED,
            Self::IDLE,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

/// The maximum size of a piece of an answer given to hyper. hyper copies it, so a long answer in one piece would be in
/// memory twice if the client does not read.
const PIECE: usize = 64 * 1024;

/// The body of an answer. When hyper has taken all of it, it updates the connection's [`Turn`].
pub(crate) struct AnswerBody {
    body: Full<Bytes>,
    /// The part that hyper has not taken yet.
    rest: Bytes,
    turn: Arc<Turn>,
}

impl AnswerBody {
    pub(crate) fn new(body: Full<Bytes>, turn: Arc<Turn>) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            turn,
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.turn.answer_is_whole();
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            // `Full` returns all its bytes at once.
            let whole = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = whole else {
                return Poll::Ready(None);
            };
            self.rest = frame.into_data().unwrap_or_default();
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let whole = self.body.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(rest.saturating_add(whole))
    }
}

/// How many bytes of a head are kept: its target's first segments, by which applications claim it, are shorter.
const KEPT_HEAD: usize = 512;

/// A transport between hyper and the socket or the TLS session.
pub(crate) struct Wire<T> {
    io: T,
    turn: Arc<Turn>,
    /// The beginning of the head that is being read. hyper discards a head whose target or `Content-Length` is invalid.
    head: Vec<u8>,
    held_back: Option<StatusCode>,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Wire<T> {
    pub(crate) fn new(io: T, turn: Arc<Turn>, write_timeout: Duration) -> Self {
        Self {
            io,
            turn,
            head: Vec::new(),
            held_back: None,
            write_timeout,
            stalled: None,
        }
    }

    /// Returns the transport, the status of the answer that was held back, and the beginning of the head that it answers.
    pub(crate) fn into_parts(self) -> (T, Option<StatusCode>, Vec<u8>) {
        (self.io, self.held_back, self.head)
    }

    /// Fails a write that makes no progress for `write_timeout`; hyper has no such limit.
    fn unless_stalled<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if self.turn.is_idle() {
            let read = buf.filled().get(before..).unwrap_or_default();
            let room = KEPT_HEAD.saturating_sub(self.head.len());
            self.head
                .extend_from_slice(read.get(..room).unwrap_or(read));
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.turn.is_idle()
            && let Some(status) = refusal_status(buf)
        {
            self.held_back = Some(status);
            return Poll::Ready(Ok(buf.len()));
        }
        // What is written answers this head.
        self.head.clear();
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.turn.flushed();
        }
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Returns the status in a bare `HTTP/1.1 4xx` head.
fn refusal_status(head: &[u8]) -> Option<StatusCode> {
    let status = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    StatusCode::from_bytes(status)
        .ok()
        .filter(StatusCode::is_client_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_answer_is_given_to_hyper_in_pieces() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let whole: Vec<u8> = (0..=255).cycle().take(length).collect();
            let body = Full::new(Bytes::from(whole.clone()));
            let mut body = AnswerBody::new(body, Arc::default());
            let mut read = Vec::new();
            while !body.is_end_stream() {
                let left = body.size_hint().exact();
                assert_eq!(left, u64::try_from(length - read.len()).ok());
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert!((1..=PIECE).contains(&piece.len()), "{}", piece.len());
                read.extend_from_slice(&piece);
            }
            assert!(body.frame().await.is_none());
            assert_eq!(read, whole);
        }
    }
}
