//! A connection: how it is made, how its session is set up, and how it ends.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use rustls_tokio_postgres::MakeRustlsConnect;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, Socket,
    config::Host,
    error::{DbError, Severity},
};

use super::{
    LONGEST, PostgresOptions,
    error::engine_error,
    hosts::{Failure, Hosts, Reached, Server, Span, Unreached},
    pooler::BACKEND,
    statements::Statements,
    url::PostgresUrl,
};
use crate::EngineError;

/// How many times a given-up connection's work is cancelled.
const CANCELS: usize = 3;
/// The timeout of each cancellation.
const CANCEL_PAUSE: Duration = Duration::from_secs(1);
/// How long the next caller waits for an answer that nobody waits for any more. Most reads take a few milliseconds.
const LEFTOVER_PAUSE: Duration = Duration::from_millis(100);

/// Creates connections, and tracks whether any is left.
pub(super) struct Connector {
    hosts: Hosts,
    tls: Option<MakeRustlsConnect>,
    session: String,
    connect_timeout: Duration,
    /// A session that is connected but not yet in the pool. It must be kept, since it may be the only one available.
    spare: Mutex<Option<Session>>,
    /// Each connection holds a receiver until it ends.
    alive: watch::Sender<()>,
}

/// A session without its statements.
pub(super) struct Session {
    pub(super) client: Client,
    /// The server that it is connected to.
    reached: Reached,
    /// Whether the server warned that a commit may be less durable than requested.
    warned: Arc<AtomicBool>,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    driver: AbortHandle,
}

/// A session of the pool.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) statements: Statements,
    /// The server's process for this session. It stays the same, unless a pooler swaps sessions.
    pub(super) backend: Option<String>,
    /// Whether a transaction may be open or an answer outstanding; if so, the connection is not reused.
    pub(super) is_busy: bool,
    /// Whether the answer to a read may be outstanding, since its caller was cancelled.
    pub(super) is_asked: bool,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl, options: &PostgresOptions) -> Result<Self, EngineError> {
        let mut config = url.config.clone();
        if config.get_application_name().is_none() {
            config.application_name("keyproof");
        }
        // A peer that does not acknowledge data, or does not answer keepalives, is considered gone.
        config
            .tcp_user_timeout(options.answer_timeout())
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let mut hosts = config.get_hosts().iter();
        // A Unix socket has no TLS, and no name to verify.
        let tls = if hosts.all(|host| !matches!(host, Host::Tcp(_))) {
            None
        } else {
            url.tls.connector()?
        };
        Ok(Self {
            hosts: Hosts::of(&config)?,
            tls,
            session: session(options),
            connect_timeout: options.connect_timeout,
            spare: Mutex::default(),
            alive: watch::Sender::new(()),
        })
    }

    /// Connects and applies the pool's session settings.
    async fn connect(&self) -> Result<(Session, Option<String>), EngineError> {
        let session = match self.take_spare() {
            Some(session)
                if !session.client.is_closed() && self.hosts.is_leader(session.reached) =>
            {
                session
            }
            _ => self.reach().await?,
        };
        let set = session.client.simple_query(&self.session);
        let answers = timeout(self.connect_timeout, set)
            .await
            .map_err(|_| took_too_long("connecting"))?
            .map_err(|error| engine_error(&error))?;
        Ok((session, value(&answers).map(ToOwned::to_owned)))
    }

    /// Connects without changing any session setting.
    pub(super) async fn reach(&self) -> Result<Session, EngineError> {
        self.try_to_reach().await.map_err(Unreached::into_error)
    }

    /// Opens one more connection; `None` if the server or pooler has no room for it.
    pub(super) async fn reach_another(&self) -> Result<Option<Session>, EngineError> {
        let unless_busy = |error| match error {
            EngineError::Busy { .. } => Ok(None),
            error => Err(error),
        };
        let session = match self.try_to_reach().await {
            Ok(session) => session,
            Err(unreached) if unreached.is_silent() => return Ok(None),
            Err(unreached) => return unless_busy(unreached.into_error()),
        };
        // A pooler accepts connections before it has a session for them.
        match timeout(self.connect_timeout, session.client.batch_execute("")).await {
            Ok(Ok(())) => Ok(Some(session)),
            Ok(Err(error)) => unless_busy(engine_error(&error)),
            Err(_) => {
                session.abandon();
                Ok(None)
            }
        }
    }

    /// Connects to the first server that accepts writes. The remaining time is shared among the remaining servers.
    async fn try_to_reach(&self) -> Result<Session, Unreached> {
        let span = Span::new(Instant::now(), self.connect_timeout.min(LONGEST));
        let servers = self.hosts.in_order();
        let mut unreached = Unreached::default();
        for (tried, (at, server)) in servers.iter().enumerate() {
            let share = span.share(Instant::now(), servers.len() - tried);
            let reached = self.try_server(*at, server, share, &mut unreached).await;
            if let Some(session) = reached {
                return Ok(session);
            }
        }
        Err(unreached)
    }

    /// Does the same for the addresses of one server.
    async fn try_server(
        &self,
        at: usize,
        server: &Server,
        span: Span,
        unreached: &mut Unreached,
    ) -> Option<Session> {
        let addresses = match timeout_at(span.end(), self.hosts.addresses(at, server)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                unreached.add(server.name(), Failure::Unknown(error));
                return None;
            }
            Err(_) => {
                unreached.add(server.name(), Failure::Silent);
                return None;
            }
        };
        let is_alone = self.hosts.count() == 1 && addresses.len() == 1;
        let span = if is_alone { span.alone() } else { span };
        for (tried, (name, config)) in addresses.iter().enumerate() {
            let share = span.share(Instant::now(), addresses.len() - tried);
            match timeout_at(share.end(), self.try_once(at, config)).await {
                Ok(Ok(session)) => {
                    self.hosts.leads(session.reached);
                    return Some(session);
                }
                Ok(Err(error)) => unreached.add(name, Failure::Refused(error)),
                Err(_) => unreached.add(name, Failure::Silent),
            }
        }
        None
    }

    /// Verifies the name in the server's certificate, and that the server accepts writes.
    async fn try_once(&self, at: usize, config: &Config) -> Result<Session, tokio_postgres::Error> {
        let reached = Reached::by(at, config);
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                self.spawn(reached, client, connection)
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                self.spawn(reached, client, connection)
            }
        })
    }

    /// Keeps this session for the next connection.
    pub(super) fn keep(&self, session: Session) {
        *self.spare() = Some(session);
    }

    pub(super) fn take_spare(&self) -> Option<Session> {
        self.spare().take()
    }

    fn spare(&self) -> MutexGuard<'_, Option<Session>> {
        // No code that can panic runs under this lock.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when no connection is left.
    pub(super) async fn is_idle(&self) {
        self.alive.closed().await;
    }

    fn spawn<T>(
        &self,
        reached: Reached,
        client: Client,
        connection: tokio_postgres::Connection<Socket, T>,
    ) -> Session
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let warned = Arc::new(AtomicBool::new(false));
        let (noted, alive) = (warned.clone(), self.alive.subscribe());
        let driver = tokio::spawn(async move {
            drive(connection, &noted).await;
            drop(alive);
        });
        Session {
            client,
            reached,
            warned,
            tls: self.tls.clone(),
            connect_timeout: self.connect_timeout,
            driver: driver.abort_handle(),
        }
    }
}

/// Session settings, which override those of the server, the database and the role.
fn session(options: &PostgresOptions) -> String {
    let statement = options.statement_timeout.as_millis();
    let lock = options.lock_timeout.as_millis();
    format!(
        "SET statement_timeout = {statement};
         SET lock_timeout = {lock};
         SET idle_in_transaction_session_timeout = {statement};
         SET default_transaction_isolation = 'read committed';
         SET client_min_messages = 'warning';
         SELECT {};
         {BACKEND}",
        durable(false)
    )
}

/// Requires a commit to be on disk before it is acknowledged, also on a standby's disk if the server requires standbys.
/// Applies to the transaction or to the session. Stricter settings are kept.
pub(super) fn durable(is_local: bool) -> String {
    format!(
        "set_config('synchronous_commit',
             CASE current_setting('synchronous_commit')
                 WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' WHEN 'remote_write' THEN 'on'
                 ELSE current_setting('synchronous_commit') END,
             {is_local})"
    )
}

/// The first column of the last row among some answers.
pub(super) fn value(answers: &[SimpleQueryMessage]) -> Option<&str> {
    answers.iter().rev().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

async fn drive<T>(mut connection: tokio_postgres::Connection<Socket, T>, warned: &AtomicBool)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message {
            // Seen before the answer that the warning refers to.
            warned.fetch_or(is_about_durability(&notice), Ordering::SeqCst);
        }
    }
}

/// Whether the notice warns that a commit is less durable than requested. PostgreSQL's warnings of this kind come from
/// the routine that waits for standbys; its other warnings do not concern durability. If the routine is not given, as
/// by other servers, every warning counts.
fn is_about_durability(notice: &DbError) -> bool {
    let is_warning = match notice.parsed_severity() {
        Some(severity) => severity == Severity::Warning,
        None => notice.severity() == "WARNING",
    };
    is_warning
        && notice
            .routine()
            .is_none_or(|routine| routine == "SyncRepWaitForLSN")
}

pub(super) fn took_too_long(what: &str) -> EngineError {
    EngineError::Io {
        detail: format!("{what} took too long"),
    }
}

/// The error of a commit that a standby may not have received.
pub(super) fn not_durable() -> EngineError {
    EngineError::Io {
        detail: "the server warned that a standby may not have it".to_owned(),
    }
}

impl Session {
    /// Closes, in a separate task, a connection that may have work in flight. The server is told to stop first: a
    /// backend that waits for a standby does not notice that the client is gone, and would wait for ever.
    ///
    /// Cancelling may commit that work without the standby. Its outcome is as unknown as before.
    pub(super) fn give_up(self) {
        tokio::spawn(async move {
            for _ in 0..CANCELS {
                let Ok(Ok(())) = timeout(self.connect_timeout, self.cancel()).await else {
                    break;
                };
                // Answered after all earlier requests. A cancellation that came between two statements cancelled
                // neither.
                let idle = self.client.batch_execute("");
                if timeout(CANCEL_PAUSE, idle).await.is_ok() {
                    break;
                }
            }
        });
    }

    /// Closes a connection that may still wait for a session from a pooler, without waiting until it has one.
    pub(super) fn abandon(self) {
        self.driver.abort();
    }

    async fn cancel(&self) -> Result<(), tokio_postgres::Error> {
        let token = self.client.cancel_token();
        match &self.tls {
            Some(tls) => token.cancel_query(tls.clone()).await,
            None => token.cancel_query(NoTls).await,
        }
    }

    /// Returns whether the server has warned about a commit's durability since the last call.
    pub(super) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::SeqCst)
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = EngineError;

    async fn create(&self) -> Result<Connection, EngineError> {
        // Boxed: it is a large future, with TLS in it, and every future that may need a connection would contain it.
        let (session, backend) = Box::pin(self.connect()).await?;
        let statements = timeout(self.connect_timeout, Statements::prepare(&session.client));
        let statements = statements
            .await
            .map_err(|_| took_too_long("preparing the statements"))?
            .map_err(|error| engine_error(&error))?;
        Ok(Connection {
            session,
            statements,
            backend,
            is_busy: false,
            is_asked: false,
        })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<EngineError> {
        let session = &connection.session;
        // After a failover, the old server may still answer, but it lacks what the new one has acknowledged.
        let is_of_before = !self.hosts.is_leader(session.reached);
        if connection.is_busy || session.client.is_closed() || is_of_before {
            return Err(RecycleError::message("it is of no more use"));
        }
        if connection.is_asked {
            // Answered after that read.
            let answered = timeout(LEFTOVER_PAUSE, session.client.batch_execute("")).await;
            if !matches!(answered, Ok(Ok(()))) {
                return Err(RecycleError::message("a read that was cancelled goes on"));
            }
            connection.is_asked = false;
        }
        Ok(())
    }
}
