//! emnify's API for user logins and second factors.
//!
//! `POST authenticate` is public, whatever the `Authorization` header contains. Everything else under `/api/v1`
//! requires a token before routing, so that a 401 always concerns the token: it makes clients log in again. Refusals
//! come in this order: token, path, method, permission, existence, precondition, body.

pub mod body;
mod errors;
mod events;
mod json;
mod path;
mod query;
mod routes;
pub mod settings;
mod wire;

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal, no_content,
    with_guard,
};
use keyproof_service::{
    Accounts, Service, StorageError,
    accounts::{Editor, FirstStep, Manager, NotPermitted, Person, Session, SessionError},
};

use super::DialectName;
use crate::request_origin::origin;
use body::{BodyError, Credentials};
use errors::Refusal;
use path::{Named, Variables};
use routes::{Operation, ROUTES};

/// The dialect.
pub struct Emnify {
    service: Arc<Service>,
}

type HandlerResult = Result<Response, Refusal>;

impl Emnify {
    async fn answer(&self, exchange: Exchange) -> HandlerResult {
        let accounts = &self.service.accounts;
        let segments = exchange.path().segments();
        let resource = segments
            .as_deref()
            .map(|all| ROUTES.resource_with_empty_variables(all));
        let is_public = matches!(&resource, Ok(Some(resource)) if routes::is_public(resource));
        let named = resource.as_ref().ok().and_then(Option::as_ref);
        let variables = named.map(Variables::of);
        let prefetch = match (
            named.and_then(|named| named.route(exchange.method())),
            &variables,
        ) {
            (Some(route), Some(Ok(variables))) => route.operation.prefetch(variables),
            _ => None,
        };
        // An invalid token is reported before an unknown path.
        let session = if is_public {
            None
        } else {
            let (token, client) = (exchange.credentials("bearer"), exchange.client_address());
            let session = accounts.session_with_prefetch(token, client, prefetch);
            Some(session.await?)
        };
        let resource = resource.map_err(|error| Refusal::bad_request(error.to_string()))?;
        let resource = resource.ok_or_else(Refusal::not_found)?;
        let variables = variables.unwrap_or_else(|| Variables::of(&resource))?;
        let route = resource
            .asked(&exchange)
            .ok_or_else(|| routes::no_such_method(&resource))?;
        let (origin, target_user) = (origin(&exchange), variables.path_user.target_user());
        let call = Call {
            who: (),
            variables,
            body: route.body,
            exchange,
            service: Arc::clone(&self.service),
        };
        let session = || session.ok_or(SessionError::Missing);
        match route.operation {
            Operation::Public(answer) => answer(call).await,
            Operation::BySession(answer) => answer(call.by(session()?)).await,
            Operation::ByPerson(act, answer) => {
                let person = accounts.person(session()?, act, &origin).await?;
                answer(call.by(person)).await
            }
            Operation::ByManager(act, answer) => {
                let manager = accounts
                    .manager(session()?, act, target_user, &origin)
                    .await?;
                answer(call.by(manager)).await
            }
            Operation::ByEditor(act, answer) => {
                let editor = accounts.editor(session()?, act, &origin).await?;
                answer(call.by(editor)).await
            }
        }
    }
}

/// A permitted request whose head was validated, with its caller.
struct Call<W> {
    who: W,
    variables: Variables,
    /// The limit of the body, in bytes.
    body: usize,
    exchange: Exchange,
    service: Arc<Service>,
}

impl<W> Call<W> {
    fn accounts(&self) -> &Accounts {
        &self.service.accounts
    }

    /// Reads and parses the body. The use case reports an error only if nothing else refuses the request.
    async fn read<T>(&mut self, read: fn(&[u8]) -> Result<T, BodyError>) -> Result<T, Refusal> {
        Ok(read(&self.exchange.body(self.body).await?)?)
    }
}

impl Call<()> {
    fn by<W>(self, who: W) -> Call<W> {
        Call {
            who,
            variables: self.variables,
            body: self.body,
            exchange: self.exchange,
            service: self.service,
        }
    }

    async fn authenticate(mut self) -> HandlerResult {
        let origin = origin(&self.exchange);
        self.accounts().admit(&origin)?;
        let credentials = self.read(Credentials::parse).await?;
        let accounts = self.accounts();
        match credentials {
            Credentials::Application(token) => {
                let address = self.exchange.client_address();
                let access = accounts.application_login(&token, address, &origin).await;
                Ok(wire::tokens(&access?, None))
            }
            Credentials::Password(login) => match accounts.login(login, &origin).await? {
                FirstStep::Authenticated(tokens) => {
                    Ok(wire::tokens(&tokens.access, Some(&tokens.refresh)))
                }
                FirstStep::Challenged(token) => Ok(wire::challenge(&token)),
            },
            Credentials::Refresh(token) => {
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

    async fn jwks(self) -> HandlerResult {
        Ok(wire::jwks(&self.accounts().public_keys().await?))
    }
}

impl Call<Session> {
    /// Returns the statuses or types of keys. As with all of `/user/mfa`, only for persons.
    fn of_keys(self, told: fn() -> Response) -> HandlerResult {
        if !self.who.is_person() {
            return Err(NotPermitted.into());
        }
        Ok(told())
    }

    async fn users(self) -> HandlerResult {
        let query = self.exchange.query();
        let asked = query::users(query)?;
        let page = self.accounts().users(&self.who, &asked).await?;
        let mut response = wire::users(&page);
        query::add_paging_headers(&mut response, query, &asked, page.total);
        Ok(response)
    }

    async fn user(self) -> HandlerResult {
        let accounts = self.accounts();
        let found = match &self.variables.named {
            Named::Number(id) => accounts.user(&self.who, id.get()).await,
            Named::Name(name) => accounts.user_named(&self.who, name).await,
        };
        let user = found
            .map_err(|failure| failure.map(|why| Refusal::user(why, &self.variables.named)))?;
        Ok(wire::user(&user))
    }

    async fn application_tokens(self) -> HandlerResult {
        let place = self.service.lists.take(&self.who.party()).await;
        let place = place.map_err(StorageError::from)?;
        let tokens = self.accounts().application_tokens(&self.who).await?;
        Ok(with_guard(wire::application_tokens(&tokens), place))
    }
}

impl Call<Person> {
    async fn enrol_key(mut self) -> HandlerResult {
        let password = self.read(body::enrolment).await;
        let enrolled = self.accounts().enrol_key(&self.who, password).await;
        let enrolled = enrolled
            .map_err(|failure| failure.map(|why| Refusal::enrolment(why, self.who.name())))?;
        Ok(wire::enrolled(&enrolled))
    }

    async fn activate_key(mut self) -> HandlerResult {
        let (code, id) = (self.read(body::activation).await, self.variables.id);
        let accounts = self.accounts();
        let activated = accounts.activate_key(&self.who, id.get(), code).await;
        activated.map_err(|failure| failure.map(|why| Refusal::activation(why, id)))?;
        Ok(no_content())
    }

    async fn make_recovery_codes(mut self) -> HandlerResult {
        let request = self.read(body::recovery_codes).await;
        let accounts = self.accounts();
        let codes = accounts.make_recovery_codes(&self.who, request).await;
        let codes =
            codes.map_err(|failure| failure.map(|why| Refusal::recovery(why, self.who.name())))?;
        Ok(wire::recovery_codes(&codes))
    }

    async fn change_password(mut self) -> HandlerResult {
        let passwords = self.read(body::new_password).await;
        let changed = self.accounts().change_password(&self.who, passwords).await;
        changed.map_err(|failure| failure.map(|why| Refusal::password(why, self.who.name())))?;
        Ok(no_content())
    }

    async fn change_application_token(mut self) -> HandlerResult {
        let change = self.read(body::application_token_change).await;
        let (accounts, id) = (self.accounts(), self.variables.id);
        let changed = accounts.change_application_token(&self.who, id.get(), change);
        changed
            .await
            .map_err(|failure| failure.map(|why| Refusal::application_token(why, id)))?;
        Ok(no_content())
    }
}

impl Call<Manager> {
    async fn remove_key(self) -> HandlerResult {
        let Variables { path_user, id, .. } = self.variables;
        let removed = self.accounts().remove_key(&self.who, id.get()).await;
        removed.map_err(|failure| failure.map(|why| Refusal::removal(why, path_user, id)))?;
        Ok(no_content())
    }

    async fn devices(self) -> HandlerResult {
        let Variables { path_user, id, .. } = self.variables;
        let devices = self.accounts().devices(&self.who).await;
        let devices =
            devices.map_err(|failure| failure.map(|why| Refusal::device(why, path_user, id)))?;
        Ok(wire::devices(&devices))
    }

    async fn remove_device(self) -> HandlerResult {
        let Variables { path_user, id, .. } = self.variables;
        let removed = self.accounts().remove_device(&self.who, id.get()).await;
        removed.map_err(|failure| failure.map(|why| Refusal::device(why, path_user, id)))?;
        Ok(no_content())
    }
}

impl Call<Editor> {
    async fn add_application_token(mut self) -> HandlerResult {
        let new = self.read(body::new_application_token).await;
        let accounts = self.accounts();
        let text = accounts.add_application_token(&self.who, new).await?;
        Ok(wire::application_token(&text))
    }
}

impl Application for Emnify {
    fn name(&self) -> &'static str {
        DialectName::Emnify.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        routes::claims(path)
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

/// Forbids caching, as responses contain tokens and secrets.
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
