//! One connection: how it is made, what its session must be, and what becomes of it.

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

/// How often what is under way on a connection that is given up is asked to stop.
const CANCELS: usize = 3;
/// How long that may take each time.
const CANCEL_PAUSE: Duration = Duration::from_secs(1);

/// Makes connections, and knows whether any is left.
pub(super) struct Connector {
    hosts: Hosts,
    tls: Option<MakeRustlsConnect>,
    session: String,
    connect_timeout: Duration,
    /// Reached, and not yet a connection of the pool: where it is the only one to be had, it must not be let go.
    spare: Mutex<Option<Session>>,
    /// Each connection holds a receiver until it ends.
    alive: watch::Sender<()>,
}

/// A session without its statements.
pub(super) struct Session {
    pub(super) client: Client,
    /// Which server it is with.
    reached: Reached,
    /// That a commit may not be as durable as was asked.
    warned: Arc<AtomicBool>,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    driver: AbortHandle,
}

/// A session of the pool.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) statements: Statements,
    /// Which of the server's it is; it stays so, unless there is a pooler that does not keep to it.
    pub(super) backend: Option<String>,
    /// Whether a transaction may be open on it, or an answer under way; then it is not used again.
    pub(super) is_busy: bool,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl, options: &PostgresOptions) -> Result<Self, EngineError> {
        let mut config = url.config.clone();
        if config.get_application_name().is_none() {
            config.application_name("keyproof");
        }
        // Who does not acknowledge what was sent is gone, and so is who does not answer when all is quiet.
        config
            .tcp_user_timeout(options.answer_timeout())
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let mut hosts = config.get_hosts().iter();
        // There is no TLS on a Unix socket, and no name to check.
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

    /// A session that is ours, under the settings of the pool's.
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

    /// A session as the server gives it.
    pub(super) async fn reach(&self) -> Result<Session, EngineError> {
        self.try_to_reach().await.map_err(Unreached::into_error)
    }

    /// One more beside those that there are, or `None` if there is no room for it.
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
        // A pooler lets in whom it has no session for yet.
        match timeout(self.connect_timeout, session.client.batch_execute("")).await {
            Ok(Ok(())) => Ok(Some(session)),
            Ok(Err(error)) => unless_busy(engine_error(&error)),
            Err(_) => {
                session.abandon();
                Ok(None)
            }
        }
    }

    /// A session of the first server that takes writes. What is left of the time is shared among those that are left.
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

    /// The same of the addresses of one server.
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

    /// The server's name in the certificate is checked here, and that it takes writes.
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

    /// Lets the next connection be made of this session.
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

/// What applies to every statement of a connection, whatever the server, the database and the role say.
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

/// Lets no commit be acknowledged before it is on disk, a standby's included where the server names one, for the
/// transaction's time or the session's. What waits for more is kept.
pub(super) fn durable(is_local: bool) -> String {
    format!(
        "set_config('synchronous_commit',
             CASE current_setting('synchronous_commit')
                 WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' WHEN 'remote_write' THEN 'on'
                 ELSE current_setting('synchronous_commit') END,
             {is_local})"
    )
}

/// The first column of the last row of some answers.
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
            // Seen before the answer to whatever the server warns about.
            warned.fetch_or(is_about_durability(&notice), Ordering::SeqCst);
        }
    }
}

/// Whether it says that a commit is not as durable as was asked. PostgreSQL does so from where it waits for its standbys; what
/// it warns of elsewhere, such as a counter that runs out, is about itself. Of another server nothing is known.
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

/// What a commit ended with that a standby may not have.
pub(super) fn not_durable() -> EngineError {
    EngineError::Io {
        detail: "the server warned that a standby may not have it".to_owned(),
    }
}

impl Session {
    /// Closes a connection on which something may be under way, in a task of its own. The server is told to stop first:
    /// whoever waits there for a standby does not notice that nobody listens any more, and would go on for good.
    ///
    /// What was under way may be committed by that, without the standby: its outcome is as unknown as before.
    pub(super) fn give_up(self) {
        tokio::spawn(async move {
            for _ in 0..CANCELS {
                let Ok(Ok(())) = timeout(self.connect_timeout, self.cancel()).await else {
                    break;
                };
                // Answered once all before it was. A request to stop that came between two statements stopped neither.
                let idle = self.client.batch_execute("");
                if timeout(CANCEL_PAUSE, idle).await.is_ok() {
                    break;
                }
            }
        });
    }

    /// Closes a connection that waits for a pooler to give it a session, rather than once it has had one.
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

    /// Whether the server has warned of a commit's durability since this was last asked.
    pub(super) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::SeqCst)
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = EngineError;

    async fn create(&self) -> Result<Connection, EngineError> {
        let (session, backend) = self.connect().await?;
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
        })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<EngineError> {
        let session = &connection.session;
        // One that another has taken over from may answer still, and does not know what that has acknowledged.
        let is_of_before = !self.hosts.is_leader(session.reached);
        if connection.is_busy || session.client.is_closed() || is_of_before {
            return Err(RecycleError::message("it is of no more use"));
        }
        Ok(())
    }
}
