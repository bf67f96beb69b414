//! emnify's API, as far as users' logins and second factors go.
//!
//! `POST authenticate` is for everybody, whatever their `Authorization` says. Everything else under `/api/v1` asks for
//! a token before it is routed, so that 401 only ever means the token: clients log in anew on a 401 and on nothing
//! else. Refusals come in this order: token, path, method, permission, existence, precondition, body.

pub mod body;
mod errors;
mod json;
mod query;
mod route;
mod wire;

use std::sync::Arc;

use body::Credentials;
use errors::Refusal;
use http::{HeaderValue, Method, StatusCode, header};
use keyproof_service::{
    Failure, Service,
    accounts::{Act, FirstStep, NotPermitted, PasswordLogin, Session, SessionError, Whose},
};
use route::{Id, Number, Resource, Whom};

use super::{DialectName, origin};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};

/// The dialect.
pub struct Emnify {
    service: Arc<Service>,
}

/// What any body here needs, in bytes: names, passwords, codes and descriptions.
const BODY: usize = 16 * 1024;

type Answered = Result<Response, Refusal>;

impl Emnify {
    /// The dialect over these use cases.
    #[must_use]
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    async fn answer(&self, mut exchange: Exchange) -> Answered {
        let method = match exchange.method().clone() {
            Method::HEAD => Method::GET,
            method => method,
        };
        match Resource::public(exchange.path()) {
            Some(Resource::Authenticate) => {
                exchange.matched(Resource::Authenticate.template());
                return match method {
                    Method::POST => self.authenticate(&mut exchange).await,
                    _ => Err(Resource::Authenticate.no_such_method()),
                };
            }
            Some(Resource::Jwks) => {
                exchange.matched(Resource::Jwks.template());
                return match method {
                    Method::GET => self.jwks().await,
                    _ => Err(Resource::Jwks.no_such_method()),
                };
            }
            _ => {}
        }
        let session = self.session(&exchange).await?;
        let resource = Resource::of(exchange.path())?;
        exchange.matched(resource.template());
        let session = &session;
        match (&method, &resource) {
            (&Method::POST, Resource::Keys) => self.enrol(session, &mut exchange).await,
            (&Method::PATCH, Resource::Key(Whom::Me, id, _)) if resource.may_activate() => {
                self.activate(session, *id, &mut exchange).await
            }
            (&Method::DELETE, Resource::Key(whom, id, _)) if resource.may_remove() => {
                self.remove_key(session, *whom, *id, &exchange).await
            }
            (&Method::GET, Resource::KeyStatuses) => Ok(wire::key_statuses()),
            (&Method::GET, Resource::KeyTypes) => Ok(wire::key_types()),
            (&Method::GET, Resource::Devices(whom)) => {
                self.devices(session, *whom, &exchange).await
            }
            (&Method::DELETE, Resource::Device(whom, id)) => {
                self.remove_device(session, *whom, *id, &exchange).await
            }
            (&Method::POST, Resource::RecoveryCodes) => {
                self.recovery_codes(session, &mut exchange).await
            }
            (&Method::GET, Resource::Users) => self.users(session, &exchange).await,
            (&Method::GET, Resource::User(Number::Of(id))) => {
                let found = self.service.accounts.user(session, id.get()).await;
                let refused = |failure| Refusal::of(failure, |why| Refusal::user(why, id));
                Ok(wire::user(&found.map_err(refused)?))
            }
            (&Method::GET, Resource::User(Number::Name(name))) => {
                let found = self.service.accounts.user_named(session, name).await;
                let refused = |failure| Refusal::of(failure, |why| Refusal::user(why, name));
                Ok(wire::user(&found.map_err(refused)?))
            }
            (&Method::GET, Resource::UserRoles) => Ok(wire::roles()),
            (&Method::GET, Resource::UserStatuses) => Ok(wire::user_statuses()),
            (&Method::PATCH, Resource::Password) => self.password(session, &mut exchange).await,
            (&Method::GET, Resource::ApplicationTokens) => {
                let accounts = &self.service.accounts;
                Ok(wire::application_tokens(
                    &accounts.application_tokens(session).await?,
                ))
            }
            (&Method::POST, Resource::ApplicationTokens) => {
                self.add_application_token(session, &mut exchange).await
            }
            (&Method::PATCH, Resource::ApplicationToken(id)) => {
                self.change_application_token(session, *id, &mut exchange)
                    .await
            }
            (_, resource) => Err(resource.no_such_method()),
        }
    }

    async fn authenticate(&self, exchange: &mut Exchange) -> Answered {
        let origin = origin(exchange);
        let address = exchange.client();
        let accounts = &self.service.accounts;
        accounts.admit(&origin)?;
        let credentials = Credentials::parse(&exchange.body(BODY).await?)?;
        match credentials {
            Credentials::Application { token } => {
                let access = accounts.application_login(&token, address, &origin).await;
                Ok(wire::tokens(&access?, None))
            }
            Credentials::Password {
                name,
                password,
                fingerprint,
            } => {
                let login = PasswordLogin {
                    name,
                    password,
                    fingerprint,
                };
                match accounts.login(login, &origin).await? {
                    FirstStep::Authenticated(tokens) => {
                        Ok(wire::tokens(&tokens.access, Some(&tokens.refresh)))
                    }
                    FirstStep::Challenged(token) => Ok(wire::challenge(&token)),
                }
            }
            Credentials::Refresh { token } => {
                let refreshed = accounts.refresh(&token, &origin).await?;
                Ok(wire::tokens(&refreshed.access, refreshed.refresh.as_ref()))
            }
            Credentials::SecondFactor { token, code, trust } => {
                let trust = trust.as_ref();
                let tokens = accounts
                    .answer_challenge(&token, &code, trust, &origin)
                    .await?;
                Ok(wire::tokens(&tokens.access, Some(&tokens.refresh)))
            }
        }
    }

    async fn jwks(&self) -> Answered {
        Ok(wire::jwks(&self.service.accounts.public_keys().await?))
    }

    async fn enrol(&self, session: &Session, exchange: &mut Exchange) -> Answered {
        self.permit(session, Act::AddKey, exchange).await?;
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let refused = |failure| Refusal::of(failure, |why| Refusal::enrolment(why, session.name()));
        let checked = accounts.check_enrolment(session, &origin).await;
        checked.map_err(refused)?;
        let password = body::enrolment(&exchange.body(BODY).await?)?;
        let enrolled = accounts.enrol_key(session, password, &origin).await;
        let enrolled = enrolled.map_err(refused)?;
        Ok(wire::enrolled(&enrolled))
    }

    async fn activate(&self, session: &Session, id: Id, exchange: &mut Exchange) -> Answered {
        self.permit(session, Act::ActivateKey, exchange).await?;
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let refused = |failure| Refusal::of(failure, |why| Refusal::activation(why, id));
        accounts
            .find_pending_key(session, id.get(), &origin)
            .await
            .map_err(refused)?;
        let code = body::activation(&exchange.body(BODY).await?)?;
        let activated = accounts
            .activate_key(session, id.get(), &code, &origin)
            .await;
        activated.map_err(refused)?;
        Ok(wire::no_content())
    }

    async fn remove_key(
        &self,
        session: &Session,
        whom: Whom,
        id: Id,
        exchange: &Exchange,
    ) -> Answered {
        let accounts = &self.service.accounts;
        let removed = accounts
            .remove_key(session, whom.whose(), id.get(), &origin(exchange))
            .await;
        let refused = |failure| Refusal::of(failure, |why| Refusal::removal(why, whom, id));
        removed.map_err(refused)?;
        Ok(wire::no_content())
    }

    async fn devices(&self, session: &Session, whom: Whom, exchange: &Exchange) -> Answered {
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let devices = accounts.devices(session, whom.whose(), &origin).await;
        let refused = |why| Refusal::device(why, whom, Id::default());
        let devices = devices.map_err(|failure| Refusal::of(failure, refused))?;
        Ok(wire::devices(&devices))
    }

    async fn remove_device(
        &self,
        session: &Session,
        whom: Whom,
        id: Id,
        exchange: &Exchange,
    ) -> Answered {
        let accounts = &self.service.accounts;
        let removed = accounts
            .remove_device(session, whom.whose(), id.get(), &origin(exchange))
            .await;
        let refused = |failure| Refusal::of(failure, |why| Refusal::device(why, whom, id));
        removed.map_err(refused)?;
        Ok(wire::no_content())
    }

    async fn recovery_codes(&self, session: &Session, exchange: &mut Exchange) -> Answered {
        self.permit(session, Act::MakeRecoveryCodes, exchange)
            .await?;
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let refused = |failure| Refusal::of(failure, |why| Refusal::recovery(why, session.name()));
        let checked = accounts.check_recovery_codes(session, &origin).await;
        checked.map_err(refused)?;
        let (password, code) = body::recovery_codes(&exchange.body(BODY).await?)?;
        let codes = accounts
            .make_recovery_codes(
                session,
                password,
                code.as_ref().map(|code| code.as_str()),
                &origin,
            )
            .await;
        let codes = codes.map_err(refused)?;
        Ok(wire::recovery_codes(&codes))
    }

    async fn users(&self, session: &Session, exchange: &Exchange) -> Answered {
        let asked = query::users(exchange.query())?;
        let page = self.service.accounts.users(session, &asked).await?;
        let mut response = wire::users(&page);
        query::add_paging_headers(&mut response, exchange.query(), &asked, page.total);
        Ok(response)
    }

    async fn password(&self, session: &Session, exchange: &mut Exchange) -> Answered {
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let refused = |failure| Refusal::of(failure, |why| Refusal::password(why, session.name()));
        let checked = accounts.check_password_change(session, &origin).await;
        checked.map_err(refused)?;
        let (old, new) = body::new_password(&exchange.body(BODY).await?)?;
        let changed = accounts.change_password(session, old, new, &origin).await;
        changed.map_err(refused)?;
        Ok(wire::no_content())
    }

    async fn add_application_token(&self, session: &Session, exchange: &mut Exchange) -> Answered {
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        accounts
            .check_new_application_token(session, &origin)
            .await?;
        let new = body::new_application_token(&exchange.body(BODY).await?)?;
        let text = accounts
            .add_application_token(session, new, &origin)
            .await?;
        Ok(wire::application_token(&text))
    }

    async fn change_application_token(
        &self,
        session: &Session,
        id: Id,
        exchange: &mut Exchange,
    ) -> Answered {
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let refused = |failure| Refusal::of(failure, |why| Refusal::application_token(why, id));
        let found = accounts.find_application_token(session, id.get(), &origin);
        found.await.map_err(refused)?;
        let change = body::application_token_change(&exchange.body(BODY).await?)?;
        let changed = accounts
            .change_application_token(session, id.get(), &change, &origin)
            .await;
        changed.map_err(refused)?;
        Ok(wire::no_content())
    }

    /// May it be done, whatever the body says?
    async fn permit(
        &self,
        session: &Session,
        act: Act,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        let (origin, accounts) = (origin(exchange), &self.service.accounts);
        let permitted = accounts.permit(session, act, Whose::Mine, &origin).await;
        permitted.map_err(|NotPermitted| Refusal::forbidden())
    }

    async fn session(&self, exchange: &Exchange) -> Result<Session, Failure<SessionError>> {
        let authorization = exchange.header(&header::AUTHORIZATION).unwrap_or_default();
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim_matches(' '));
        let accounts = &self.service.accounts;
        accounts.session(token, exchange.client()).await
    }
}

impl Application for Emnify {
    fn name(&self) -> &'static str {
        DialectName::Emnify.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        path.starts_with(&["api", "v1"]) || path.starts_with(&["keyproof", "v1", "jwks.json"])
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let answered = self.answer(exchange).await;
            stamp(answered.unwrap_or_else(Refusal::into_response))
        })
    }

    fn refuse(&self, refusal: StackRefusal, _: RequestId) -> Response {
        stamp(Refusal::from(refusal).into_response())
    }
}

/// Tokens and secrets are nothing for a cache.
fn stamp(mut response: Response) -> Response {
    if response.status() != StatusCode::OK
        || !response.headers().contains_key(header::CACHE_CONTROL)
    {
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
    }
    response
}
