//! The life of a connection.

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::http1::{Builder, Connection, Parts},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::yield_now,
    time::timeout,
};
use tracing::debug;

use crate::{
    RequestId, RequestLabels, Response, StackRefusal,
    answer::Origin,
    limits::{DRAINING_GRACE, LINGER, Limits, MAX_HEAD_BYTES, MAX_TARGET_BYTES},
    served::unread_target,
    stack::Stack,
    wire::{AnswerBody, Turn, Wire},
};

/// Serves requests until the connection ends, then answers a head that hyper could not parse.
///
/// All requests of the connection share its `Origin`. Reference counts shared among connections would move between
/// processors.
pub(crate) async fn serve<T>(io: T, origin: Arc<Origin>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stack, turn) = (&origin.stack, &origin.turn);
    let service = service_fn(|request: Request<Incoming>| {
        origin.turn.request_arrived();
        let turn = Arc::clone(&origin.turn);
        let answering = Origin::answer(&origin, request);
        Box::pin(async move {
            let response = answering.await;
            Ok::<_, Infallible>(response.map(|body| AnswerBody::new(body, turn)))
        })
    });
    let wire = Wire::new(io, Arc::clone(turn), stack.limits.body_timeout);
    let mut connection = builder(&stack.limits).serve_connection(TokioIo::new(wire), service);

    // Not with hyper's own shutdown: an error answer may still have to be written.
    let drained = tokio::select! {
        outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Drained::Over(outcome),
        () = stack.drained() => drain_one(&mut connection, turn).await,
    };
    // Behind the last request that is answered, the next one may have arrived.
    let is_last = matches!(drained, Drained::Answering);
    let outcome = match drained {
        Drained::Over(outcome) => outcome,
        Drained::Answering => poll_fn(|cx| connection.poll_without_shutdown(cx)).await,
        Drained::Idle => {
            let (io, _, _) = connection.into_parts().io.into_inner().into_parts();
            return close(io, false, stack).await;
        }
    };

    let Parts { io, read_buf, .. } = connection.into_parts();
    let (mut io, held_back, head) = io.into_inner().into_parts();
    // The whole head, unless hyper has discarded it. It is not kept if it came together with the one before it.
    let head = if read_buf.starts_with(&head) {
        &*read_buf
    } else {
        &*head
    };
    let refusal = match &outcome {
        Err(error) if turn.is_idle() => refused_head(error, held_back, &read_buf, head),
        _ => None,
    };
    if let Err(error) = &outcome {
        debug!(%error, "the connection ended");
    }
    let mut linger = turn.may_be_sending() || is_last;
    if let Some(refusal) = refusal {
        linger = true;
        if !refuse_head(&mut io, refusal, head, &origin).await {
            return;
        }
    }
    close(io, linger, stack).await;
}

/// The state of a connection when the server drains.
enum Drained {
    /// It has ended.
    Over(hyper::Result<()>),
    /// It ends after the current answer.
    Answering,
    /// There is no request to answer.
    Idle,
}

/// Lets a connection end with its current request.
async fn drain_one<I, S>(connection: &mut Connection<I, S>, turn: &Turn) -> Drained
where
    I: Read + Write + Unpin,
    S: Service<Request<Incoming>, Response = http::Response<AnswerBody>, Error = Infallible>
        + Unpin,
    S::Future: Unpin,
{
    if !turn.has_begun() {
        // A client that has just connected sends its request soon. If the listener outlives this server, the client does
        // not know that another takes over. hyper's shutdown would close a connection from which it has read nothing.
        let first = poll_fn(|cx| match connection.poll_without_shutdown(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if turn.has_begun() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Ok(Some(outcome)) = timeout(DRAINING_GRACE, first).await {
            return Drained::Over(outcome);
        }
    }
    // What has arrived is read before hyper's shutdown, which closes an idle connection without reading from it.
    yield_now().await;
    let read = poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx))).await;
    if let Poll::Ready(outcome) = read {
        return Drained::Over(outcome);
    }
    Pin::new(&mut *connection).graceful_shutdown();
    // A complete request is answered; an incomplete head is not waited for.
    match poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx))).await {
        Poll::Ready(outcome) => Drained::Over(outcome),
        Poll::Pending if turn.is_idle() => Drained::Idle,
        Poll::Pending => Drained::Answering,
    }
}

/// Answers a head that hyper could not parse. Returns whether the client took the answer in time.
async fn refuse_head<T: AsyncWrite + Unpin>(
    io: &mut T,
    refusal: StackRefusal,
    head: &[u8],
    origin: &Origin,
) -> bool {
    let (stack, served) = (&origin.stack, &origin.served);
    let request_id = RequestId::draw(&stack.draw);
    debug!(id = %request_id, %refusal, "refused a request's head");
    let application = served.application_of_unread(head);
    let mut response = served.refuse(application, refusal, request_id);
    served.stamp(application, request_id, &mut response);
    let status = Some(response.status());
    stack
        .observer
        .request_ended(RequestLabels::UNREADABLE, status, None);
    let answer = serialise(response).await;
    timeout(LINGER, io.write_all(&answer)).await.is_ok()
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        // Without a timer, hyper has no timeouts.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        // A client may shut down its sending side after its request.
        .half_close(true)
        .writev(false);
    builder
}

/// Returns the answer, if any, for a head that hyper gave up on.
fn refused_head(
    error: &hyper::Error,
    held_back: Option<StatusCode>,
    unread: &[u8],
    head: &[u8],
) -> Option<StackRefusal> {
    let target_is_too_long = || {
        let mut words = unread.split(u8::is_ascii_whitespace);
        let target = words.nth(1);
        target.is_some_and(|target| target.len() > MAX_TARGET_BYTES)
    };
    match held_back {
        Some(StatusCode::URI_TOO_LONG) => Some(StackRefusal::TargetTooLong),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if target_is_too_long() => {
            Some(StackRefusal::TargetTooLong)
        }
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Some(StackRefusal::HeadTooLarge),
        Some(_) => Some(StackRefusal::HeadMalformed(flaw(head))),
        // The client has not begun a head, so there is nothing to answer.
        None if unread.is_empty() => None,
        None if error.is_timeout() => Some(StackRefusal::HeadTimedOut),
        None if error.is_incomplete_message() => {
            Some(StackRefusal::HeadMalformed("the head is cut short"))
        }
        None if error.is_parse() => Some(StackRefusal::HeadMalformed(flaw(head))),
        None => None,
    }
}

/// Returns what is wrong with a head that hyper could not parse.
fn flaw(head: &[u8]) -> &'static str {
    match unread_target(head).map(Uri::try_from) {
        Some(Err(_)) => "the target has a character that must be percent-encoded",
        _ => "not a valid HTTP/1.1 head",
    }
}

/// Serialises an answer that hyper does not write.
async fn serialise(response: Response) -> Bytes {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    head.headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    if let Ok(date) = date.unwrap_or_default().try_into() {
        head.headers.insert(header::DATE, date);
    }

    let mut bytes = BytesMut::new();
    let reason = head.status.canonical_reason().unwrap_or_default();
    bytes.put(format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).as_bytes());
    for (name, value) in &head.headers {
        bytes.put(name.as_str().as_bytes());
        bytes.put(&b": "[..]);
        bytes.put(value.as_bytes());
        bytes.put(&b"\r\n"[..]);
    }
    bytes.put(&b"\r\n"[..]);
    bytes.put(body);
    bytes.freeze()
}

/// Closes a connection. If unread bytes remain, the kernel resets it, and the client may not receive the answer. So data of
/// a client that may still be sending is read and discarded for a while.
async fn close<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, linger: bool, stack: &Stack) {
    let closing = async {
        io.shutdown().await?;
        if linger {
            // On the heap: within the future, it would take this memory for as long as the connection lives.
            let mut discarded = vec![0; 4096];
            while io.read(&mut discarded).await? > 0 {}
        }
        Ok::<_, std::io::Error>(())
    };
    // In any case, the connection is over.
    tokio::select! {
        _ = timeout(LINGER, closing) => {}
        () = stack.drain_grace_passed() => {}
    }
}
