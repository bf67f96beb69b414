//! The way from a request to its answer.

use std::{
    future::{Future, ready},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header, request,
    uri::Authority,
};
use hyper::body::Incoming;
use tracing::{Instrument, error, error_span, warn};

use crate::{
    Application, BoxFuture, Client, ClientCertificate, Exchange, Query, RequestBody, RequestId,
    RequestPath, RequestTrace, Response, StackRefusal,
    access_log::AccessRecord,
    health::Probe,
    limits::{MAX_PARAMETERS, MAX_TARGET_BYTES},
    progress::Progress,
    served::Served,
    slots::Slot,
    socket::Peer,
    stack::Stack,
    wire::Turn,
};

/// The connection of a request.
pub(crate) struct Origin {
    pub(crate) stack: Arc<Stack>,
    pub(crate) served: Arc<Served>,
    pub(crate) peer: IpAddr,
    pub(crate) client: Peer,
    pub(crate) is_tls: bool,
    /// The certificate that the client presented, if it did.
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) turn: Arc<Turn>,
    /// The connection's slot. Handlers share it, so that one that outlives its connection still counts.
    pub(crate) slot: Arc<Slot>,
}

impl Origin {
    /// Answers and logs a request. All work without waiting is done before this returns. The remaining state is small,
    /// since it moves together with the connection's state.
    pub(crate) fn answer(
        this: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let request_id = RequestId::draw(&this.stack.draw);
        let trace = this.stack.trace(this.peer, request.headers());
        // A span below the log's level would be missing from the lines that are logged.
        let span = match &trace {
            None => error_span!("request", id = %request_id),
            Some(trace) => error_span!("request", id = %request_id, trace_id = trace.id()),
        };
        let answering = span.in_scope(|| Answering::begin(this, request_id, request, trace));
        answering.end().instrument(span)
    }
}

/// A request that is being answered.
struct Answering {
    origin: Arc<Origin>,
    request_id: RequestId,
    /// The application that claims the path.
    application: Option<Arc<dyn Application>>,
    progress: Arc<Progress>,
    step: Step,
    record: AccessRecord,
}

/// The remaining work for an answer.
enum Step {
    /// Return a refusal of the stack.
    Refuse(StackRefusal),
    /// Answer a probe.
    Probe(Probe, Method),
    /// Run the application's handler.
    Handle {
        handler: BoxFuture<Result<Response, Panicked>>,
        only_reads: bool,
    },
}

/// A handler ended without an answer; `true` if it panicked.
struct Panicked(bool);

impl Answering {
    fn begin(
        origin: &Arc<Origin>,
        request_id: RequestId,
        request: Request<Incoming>,
        trace: Option<Box<dyn RequestTrace>>,
    ) -> Self {
        let (head, incoming) = request.into_parts();
        let (stack, served) = (&origin.stack, &origin.served);
        let client = stack.proxies.client(origin.peer, &head.headers);
        let is_encrypted = origin.is_tls || stack.proxies.says_https(origin.peer, &head.headers);
        let path = RequestPath::of_target(head.uri.path());
        let application = served.application(&path).cloned();
        let progress = Arc::new(Progress::start(stack.limits.handler_timeout));
        let record = AccessRecord::start(
            &head.method,
            application
                .as_ref()
                .map_or("-", |application| application.name()),
            Arc::clone(&progress),
            client,
            Arc::clone(origin),
            trace,
        );

        let body = RequestBody::new(incoming, Arc::clone(&progress), Arc::clone(origin));
        let within_limits = check_unambiguous(&head)
            .and_then(|()| check_supported(&head))
            .and_then(|()| check_parameter_count(&head))
            .and_then(|()| body.check_announced());
        let probe = Probe::at(&path);
        let step = match (within_limits, probe, application.as_ref()) {
            (Err(refusal), ..) => Step::Refuse(refusal),
            (Ok(()), Some(probe), _) => {
                progress.matched(probe.route());
                if !Probe::has(&head.method) {
                    progress.mark_method_not_allowed(Probe::ALLOW);
                }
                Step::Probe(probe, head.method)
            }
            (Ok(()), None, None) => Step::Refuse(StackRefusal::NotFound),
            (Ok(()), None, Some(application)) => {
                let only_reads = head.method.is_safe();
                let exchange = Exchange {
                    query: Query::parse(head.uri.query().unwrap_or_default()),
                    method: head.method,
                    path,
                    headers: with_host_of_target(head.headers, &head.uri),
                    client,
                    is_encrypted,
                    waiting: Client::new(origin.client.clone(), Arc::clone(&progress)),
                    client_certificate: origin.certificate,
                    request_id,
                    progress: Arc::clone(&progress),
                    body,
                };
                Step::Handle {
                    handler: origin.run(Arc::clone(application), exchange, record.trace()),
                    only_reads,
                }
            }
        };
        Self {
            origin: Arc::clone(origin),
            request_id,
            application,
            progress,
            step,
            record,
        }
    }

    async fn end(self) -> Response {
        let Self {
            origin,
            request_id,
            application,
            progress,
            step,
            record,
        } = self;
        let answered = match step {
            Step::Refuse(refusal) => Err(refusal),
            Step::Probe(probe, method) => Ok(Box::pin(probe.answer(&method, &origin.stack)).await),
            Step::Handle {
                handler,
                only_reads,
            } => within_deadline(handler, only_reads, &progress).await,
        };
        let leaves_a_body = matches!(
            answered,
            Err(StackRefusal::BodyTooLarge { .. } | StackRefusal::CodingUnknown)
        );
        let (served, application) = (&origin.served, application.as_ref());
        let mut response =
            answered.unwrap_or_else(|refusal| served.refuse(application, refusal, request_id));
        if let Some(cookie) = progress.cookie.get() {
            let headers = response.headers_mut();
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && let Some(allow) = progress.allow.get()
        {
            let headers = response.headers_mut();
            headers.insert(header::ALLOW, allow.clone());
        }
        served.stamp(application, request_id, &mut response);
        let is_unread =
            response.status() == StatusCode::PAYLOAD_TOO_LARGE && origin.turn.may_be_sending();
        if leaves_a_body || is_unread {
            // hyper closes the connection, but detects the unread body too late to send this field itself.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        record.answered(response.status());
        response
    }
}

impl Origin {
    /// Runs a handler. A read is part of its connection's task and ends with it. A change has its own task, which runs to
    /// its end even if the client disconnects or the deadline passes. A panic ends neither task.
    fn run(
        &self,
        application: Arc<dyn Application>,
        exchange: Exchange,
        trace: Option<&dyn RequestTrace>,
    ) -> BoxFuture<Result<Response, Panicked>> {
        let followed = |handler: BoxFuture<Response>| match trace {
            None => handler,
            Some(trace) => trace.wrap_handler(handler),
        };
        if exchange.method().is_safe() {
            match catch_unwind(AssertUnwindSafe(|| application.handle(exchange))) {
                Ok(handler) => Box::pin(CatchUnwind(followed(handler))),
                Err(_) => Box::pin(ready(Err(Panicked(true)))),
            }
        } else {
            let slot = Arc::clone(&self.slot);
            let handler = followed(Box::pin(async move {
                let _slot = slot;
                application.handle(exchange).await
            }));
            let task = tokio::spawn(handler.in_current_span());
            Box::pin(async move { task.await.map_err(|failure| Panicked(failure.is_panic())) })
        }
    }
}

/// Returns the handler's result, unless its deadline passes first.
async fn within_deadline(
    handler: BoxFuture<Result<Response, Panicked>>,
    only_reads: bool,
    progress: &Progress,
) -> Result<Response, StackRefusal> {
    // Poll the handler first: an immediate answer needs no timer.
    tokio::select! {
        biased;
        done = handler => done.map_err(|Panicked(panicked)| {
            // The panic hook has logged the location.
            error!(panicked, "the handler failed");
            StackRefusal::Internal
        }),
        () = progress.deadline.passed() => {
            warn!(carries_on = !only_reads, "the handler's deadline has passed");
            progress.answered();
            Err(StackRefusal::DeadlineExceeded { may_change: !only_reads })
        }
    }
}

/// A handler that returns a panic as an error. It must not be polled again afterwards.
struct CatchUnwind(BoxFuture<Response>);

impl Future for CatchUnwind {
    type Output = Result<Response, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handler = &mut self.0;
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(Err(Panicked(true))), |polled| polled.map(Ok))
    }
}

/// Header fields that may occur only once: a proxy could use another occurrence than this server.
const SINGLE_FIELDS: [(HeaderName, &str); 3] = [
    (header::AUTHORIZATION, "more than one Authorization field"),
    (header::CONTENT_TYPE, "more than one Content-Type field"),
    (header::HOST, "more than one Host field"),
];

/// Rejects heads that two recipients could interpret differently, beyond those that hyper rejects.
fn check_unambiguous(head: &request::Parts) -> Result<(), StackRefusal> {
    if head
        .uri
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > MAX_TARGET_BYTES)
    {
        return Err(StackRefusal::TargetTooLong);
    }
    for (name, refusal) in &SINGLE_FIELDS {
        if head.headers.get_all(name).iter().nth(1).is_some() {
            return Err(StackRefusal::HeadMalformed(refusal));
        }
    }
    // RFC 9112, section 3.2.
    match head.headers.get(header::HOST) {
        None if head.version == Version::HTTP_11 => {
            Err(StackRefusal::HeadMalformed("no Host field"))
        }
        Some(host) if !host.as_bytes().iter().all(|byte| is_in_host(*byte)) => {
            Err(StackRefusal::HeadMalformed("the Host field is not a host"))
        }
        _ => Ok(()),
    }
}

/// Replaces `Host` by the host in the target, if there is one (RFC 9112, section 3.2.2).
fn with_host_of_target(mut headers: HeaderMap, target: &Uri) -> HeaderMap {
    let authority = target.authority().map(Authority::as_str);
    let host = authority.and_then(|authority| authority.rsplit('@').next());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(header::HOST, host);
    }
    headers
}

/// Returns whether a host with a port may contain this byte (RFC 3986, section 3.2.2).
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Rejects what the server does not support on any path.
fn check_supported(head: &request::Parts) -> Result<(), StackRefusal> {
    // TRACE would return the client's own header fields, including cookies.
    if head.method == Method::TRACE {
        return Err(StackRefusal::MethodNotAllowed);
    }
    let fields = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    // If the last coding is not `chunked`, hyper has rejected the head.
    let mut codings = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
        .rev()
        .skip(1);
    match codings.next() {
        None => Ok(()),
        // RFC 9112, section 6.1: `chunked` must occur only once.
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => Err(
            StackRefusal::HeadMalformed("chunked is not the last coding"),
        ),
        Some(_) => Err(StackRefusal::CodingUnknown),
    }
}

/// Rejects a query with more parameters than any application reads.
fn check_parameter_count(head: &request::Parts) -> Result<(), StackRefusal> {
    let parameters = head.uri.query().unwrap_or_default().split('&');
    let parameters = parameters.filter(|parameter| !parameter.is_empty());
    if parameters.count() > MAX_PARAMETERS {
        return Err(StackRefusal::HeadMalformed(
            "more than 256 parameters in the query",
        ));
    }
    Ok(())
}
